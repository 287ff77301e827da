#!/usr/bin/env bash
# Peak memory and time of attention, of a transformer and of the register discriminator on two
# clips, plain and as ours, from 256 to 8,192 tokens (a clip): the table of docs/results/memory.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet --example memory
echo "| tokens | attention, plain | ours | transformer, one graph | block by block \
| registers, one graph | in pieces |"
echo "|---|---|---|---|---|---|---|"
for tokens in 256 512 1024 2048 4096 8192; do
    row="| $tokens |"
    for what in attention transformer registers; do
        for how in plain ours; do
            row="$row $(target/release/examples/memory $what $how $tokens) |"
        done
    done
    echo "$row"
done
