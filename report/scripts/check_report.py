"""Recomputes a report's intervals, p-values and corrections from its runs.csv with SciPy:
check_report.py DIRECTORY. Needs scipy, statsmodels.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

directory = Path(sys.argv[1])
lines = list(csv.DictReader(open(directory / "runs.csv", newline="")))
values = {
    (line["method"], line["family"], line["regime"], line["seed"], line["metric"]): float(
        line["value"]
    )
    for line in lines
    if line["state"] == "done" and line["value"]
}
summary = json.load(open(directory / "summary.json"))
benchmark = json.load(open(directory / "benchmark.json"))
better = {metric["name"]: metric["better"] for metric in benchmark["metrics"]}
teacher = next(
    (method["name"] for method in benchmark["methods"] if method.get("role") == "teacher"), None
)
worst = {"interval": 0.0, "paired t": 0.0, "sign flips": 0.0, "Holm": 0.0}


def found(method, family, regime, metric, seed=None):
    """The values of a cell; those of one seed, or of the run that stands for all."""
    return [
        value
        for (m, f, r, s, k), value in values.items()
        if (m, f, k) == (method, family, metric)
        and r in (regime, "")
        and (seed is None or s in (seed, ""))
    ]


for cell in summary["cells"]:
    sample = found(cell["method"], cell["family"], cell["regime"], cell["metric"])
    assert len(sample) == len(cell["samples"]), cell
    if len(sample) > 1:
        half = stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample)
        worst["interval"] = max(worst["interval"], abs(half - cell["estimate"]["half_width"]))

tables = {}
for comparison in summary["comparisons"]:
    metric, family, regime = comparison["metric"], comparison["family"], comparison["regime"]
    differences = []
    for (m, f, r, s, k), value in values.items():
        if (
            (m, k) != (benchmark["reference"], metric)
            or family not in (None, f)
            or regime not in (None, r)
        ):
            continue
        for other in found(comparison["method"], f, r, metric, s):
            if better[metric] == "teacher":
                target = np.mean(found(teacher, f, r, metric))
            else:
                target = better[metric]["target"] if isinstance(better[metric], dict) else None
            differences.append(
                other - value if target is None else abs(other - target) - abs(value - target)
            )
    differences = np.array(differences)
    assert len(differences) == comparison["difference"]["count"], comparison
    if len(differences) > 1 and np.ptp(differences) > 0:
        worst["paired t"] = max(
            worst["paired t"],
            abs(stats.ttest_1samp(differences, 0).pvalue - comparison["p_paired_t"]),
        )
    if len(differences) <= 12:
        signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
        exact = np.mean(
            abs(signs @ differences) >= abs(differences.sum()) - 1e-12 * abs(differences).sum()
        )
        worst["sign flips"] = max(worst["sign flips"], abs(exact - comparison["p_sign_flip"]))
    if comparison["p_corrected"] is not None:
        tables.setdefault((metric, comparison["group"], family, regime), []).append(comparison)

for table in tables.values():
    corrected = multipletests([comparison["p_paired_t"] for comparison in table], method="holm")[1]
    worst["Holm"] = max(
        worst["Holm"], *abs(corrected - [comparison["p_corrected"] for comparison in table])
    )

print(
    f"{len(summary['cells'])} cells, {len(summary['comparisons'])} comparisons; "
    "largest differences:",
    worst,
)
sys.exit(any(difference > 1e-9 for difference in worst.values()))
