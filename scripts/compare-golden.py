#!/usr/bin/env python3
"""Compares the metrics of a golden run on another backend with the flex golden: largest difference
relative to max(1, |golden|).

scripts/compare-golden.py RUN/metrics.jsonl [tolerance=1e-4]
"""

import json
import pathlib
import sys

golden = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/ndarray.metrics.jsonl"
tolerance = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-4
lines = [[json.loads(line) for line in open(path)] for path in (golden, sys.argv[1])]
if len(lines[0]) != len(lines[1]):
    sys.exit(f"{len(lines[1])} rounds, the golden has {len(lines[0])}")
largest, where = 0.0, ""
for expected, found in zip(*lines):
    for name, value in expected.items():
        if isinstance(value, (int, float)):
            gap = abs(found[name] - value) / max(1.0, abs(value))
            if gap > largest:
                largest, where = gap, f"{name} in round {expected['step']}"
print(f"largest difference {largest:.2e} ({where or 'none'}), tolerance {tolerance:.0e}")
sys.exit(largest > tolerance)
