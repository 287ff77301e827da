"""The constants in report/src/statistics.rs. Needs scipy and statsmodels."""

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

for degrees in (1, 2, 4, 17):
    print("critical t", degrees, repr(float(stats.t.ppf(0.975, degrees))))

seeds = [3.02, 2.71, 3.48]
error = stats.sem(seeds)
print(
    "interval",
    float(np.std(seeds, ddof=1)),
    [float(end) for end in stats.t.interval(0.95, 2, loc=np.mean(seeds), scale=error)],
)

method, reference = np.array([3.52, 3.11, 4.08, 3.3, 2.95]), np.array([3.02, 2.71, 3.48, 3.35, 2.6])
test = stats.ttest_rel(method, reference)
print("paired t", float(test.pvalue), [float(end) for end in test.confidence_interval(0.95)])
flips = stats.permutation_test(
    (method - reference,), np.mean, permutation_type="samples", n_resamples=np.inf
)
print("sign flips", float(flips.pvalue))

print("holm", multipletests([0.01, 0.04, 0.03, 0.005], method="holm")[1].tolist())
