#!/usr/bin/env python3
"""Mean and spread (sample standard deviation) of base and distilled scores over the seeds of each
student family.

scripts/summarise-results.py RUN/report.json ...
"""

import collections
import json
import pathlib
import re
import statistics
import sys

families = collections.defaultdict(list)
for path in sys.argv[1:]:
    report = json.load(open(path))
    family = re.sub(r"-seed\d+$", "", pathlib.Path(path).parent.name)
    families[family].append(report)


def spread(values):
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


for family, reports in families.items():
    seeds = ", ".join(str(report["seed"]) for report in reports)
    minutes = spread([report["wall_seconds"] / 60 for report in reports])
    print(f"### {family} (seeds {seeds}; {minutes} minutes a run, {reports[0]['backend']})\n")
    columns = [name for name, _ in reports[0]["scores"]]
    print("| metric | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for metric in reports[0]["scores"][0][1]:
        cells = [
            spread([dict(report["scores"])[column].get(metric) for report in reports])
            for column in columns
        ]
        print(f"| {metric.replace('_', ' ')} | " + " | ".join(cells) + " |")
    ratios = [dict(report["scores"]) for report in reports]
    ratios = [
        scores["distilled"]["trajectory_energy_distance"]
        / scores["base"]["trajectory_energy_distance"]
        for scores in ratios
    ]
    print(
        "\ndistilled / base trajectory energy distance per seed: "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}\n"
    )
