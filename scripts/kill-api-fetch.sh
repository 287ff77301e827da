#!/usr/bin/env bash
# 100 SIGKILLs at random moments of a 200-prompt fetch from the mock API, for each way of knowing a
# submission again: docs/results/api-teacher.md.
set -euo pipefail
cd "$(dirname "$0")/.."
AFD_KILLS=100 AFD_PROMPTS=200 cargo test -p afd-api --test kill -- --nocapture --test-threads=1
