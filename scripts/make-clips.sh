#!/usr/bin/env bash
# COUNT different clips (64 x 64, 16 frames, 1 s, H.264) in DIRECTORY, with a manifest that gives
# them the prompts of the physics world in turn.
#
#   scripts/make-clips.sh DIRECTORY COUNT
set -euo pipefail
directory=$1 count=$2
cd "$(dirname "$0")/.."
prompts=$PWD/recipes/physics-world/prompts-train.txt
mkdir -p "$directory/clips"
cd "$directory"
# One film, cut at every second: a plaid that moves, and is another one every second.
plaid="128+55*sin(X/9+T*7.3+31*floor(T))"
plaid="$plaid+55*sin(Y/(5+mod(floor(T)\,7))-T*5+mod(floor(T)*floor(T)\,97))"
source="nullsrc=size=64x64:rate=16:duration=$count"
ffmpeg -nostdin -v error -f lavfi -i "$source,format=yuv420p,geq=lum='$plaid':cb=128:cr=128" \
    -c:v libx264 -preset ultrafast -g 16 -keyint_min 16 -sc_threshold 0 -pix_fmt yuv420p \
    -f segment -segment_time 1 -reset_timestamps 1 clips/%05d.mp4
awk -v count="$count" 'NF { prompt[lines++] = $0 }
    END {
        for (clip = 0; clip < count; clip++)
            printf "{\"prompt\": \"%s\", \"video\": \"clips/%05d.mp4\"}\n", \
                prompt[clip % lines], clip
    }' \
    "$prompts" > manifest.jsonl
