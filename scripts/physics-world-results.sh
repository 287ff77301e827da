#!/usr/bin/env bash
# Both student families over three seeds, then the table of means and spreads that
# docs/results/physics-world.md quotes.
#
#   [AFD=<program>] scripts/physics-world-results.sh [runs directory=runs/results] [seeds="0 1 2"]
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/results}
if [ -z "${AFD:-}" ]; then
    cargo build --release
    AFD=target/release/afd
fi
for seed in ${2:-0 1 2}; do
    for family in distill distill-framewise; do
        name="$family-seed$seed"
        [ -f "$runs/$name/report.json" ] && continue # finished earlier
        resume=()
        [ -d "$runs/$name" ] && resume=(--resume)
        "$AFD" distill "recipes/physics-world/$family.toml" --runs "$runs" --name "$name" \
            --set "seed=$seed" "${resume[@]}"
    done
done
python3 scripts/summarise-results.py "$runs"/*/report.json
