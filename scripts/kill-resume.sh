#!/usr/bin/env bash
# Kills the golden run with SIGKILL at random moments, resumes it each time, and compares the final
# state with an uninterrupted run's.
#
#   scripts/kill-resume.sh [times=50] [backend=flex] [seed=1]
set -euo pipefail
times=${1:-50}
backend=${2:-flex}
RANDOM=${3:-1}
cd "$(dirname "$0")/.."
afd=${AFD:-target/release/afd}
recipe=tests/golden/recipe.toml
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export RAYON_NUM_THREADS=1

state() { # the final state of a run, without times and places
    (
        cd "$1/golden" && cat metrics.jsonl && cd "checkpoints/$(cat checkpoints/latest)" &&
            find . -type f | LC_ALL=C sort | xargs cat
    ) | sha256sum | cut -d ' ' -f 1
}

begin=$(date +%s%N)
"$afd" distill "$recipe" --backend "$backend" --runs "$place/whole" >/dev/null 2>&1
length=$((($(date +%s%N) - begin) / 1000000))
expected=$(state "$place/whole")
echo "uninterrupted: $length ms, state $expected"
same=0
for i in $(seq "$times"); do
    runs="$place/$i"
    "$afd" distill "$recipe" --backend "$backend" --runs "$runs" >/dev/null 2>&1 &
    child=$!
    after=$((RANDOM * length / 32768))
    sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    resume=()
    [ -d "$runs/golden" ] && resume=(--resume)
    "$afd" distill "$recipe" --backend "$backend" --runs "$runs" "${resume[@]}" \
        >/dev/null 2>"$place/error" || cat "$place/error"
    found=$(state "$runs")
    if [ "$found" = "$expected" ]; then
        same=$((same + 1))
    else
        echo "kill $i after $after ms: state $found differs"
    fi
    rm -rf "$runs"
done
echo "$same of $times resumed runs end in the identical state ($backend)"
[ "$same" = "$times" ]
