#!/usr/bin/env bash
# Peak memory and time of the full-size Wan VAE over a streamed clip of 9 frames: the table of
# docs/results/wan-vae.md. Arguments: the sizes, as HEIGHTxWIDTH; 96x160 and 240x416 if there are
# none.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --workspace --example vae_memory
echo "| frame | encode, f32 | decode, f32 | encode, bf16 | decode, bf16 |"
echo "|---|---|---|---|---|"
[ $# -gt 0 ] || set -- 96x160 240x416
for frame in "$@"; do
    row="| $frame |"
    for dtype in f32 bf16; do
        for what in encode decode; do
            peak=$(target/debug/examples/vae_memory $what $dtype 9 "${frame%x*}" "${frame#*x}")
            row="$row $peak |"
        done
    done
    echo "$row"
done
