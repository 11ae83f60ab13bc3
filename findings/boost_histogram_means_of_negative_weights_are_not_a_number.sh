#!/usr/bin/env bash
# boost-histogram 1.8.1 with numpy 1.26.4 (Python 3.11); hist has the same storage.
#
# Behaviour: a profile (storage WeightedMean) whose weights have both signs gets a mean that is not a number in each bin
# where the sum of the weights was exactly 0 at any moment of filling, whatever comes after. Whether that happens depends
# on the order of the events. Sums of weights stay right.
#
# Expected: sum of w x / sum of w, as numpy.average gives and ROOT's TProfile keeps. Weights of +1 and -1, which NLO
# generators give (MC@NLO, POWHEG), cross 0 in many bins of a sample. Not documented (of the mean it says that West's
# incremental algorithm is used), and no warning is given.
#
# Output seen:
#   weights +1 -1 +1 +1: profile nan, numpy 3.0
#   weights +1 +1 +1 -1: profile 3.0, numpy 3.0
#   10000 events, 20% with weight -1: bins of 20 that are not a number: profile 8, numpy 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check boost-histogram==1.8.1 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import boost_histogram as bh
import numpy as np


def profile(x, y, weights, bins):
    """Return the weighted mean of y in bins of x from 0 to ``bins``."""
    histogram = bh.Histogram(bh.axis.Regular(bins, 0, bins), storage=bh.storage.WeightedMean())
    return histogram.fill(x, sample=y, weight=weights).values()


def by_numpy(x, y, weights, bins):
    sums = [np.histogram(x, bins, (0, bins), weights=w)[0] for w in (weights * y, weights)]
    return sums[0] / sums[1]


x, y, weights = np.full(4, 0.5), np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, -1.0, 1.0, 1.0])
for order in ([0, 1, 2, 3], [0, 2, 3, 1]):
    given = x, y[order], weights[order], 1
    signs = " ".join(f"{w:+.0f}" for w in weights[order])
    print(f"weights {signs}: profile {profile(*given)[0]}, numpy {by_numpy(*given)[0]}")

rng = np.random.default_rng(1)
x = rng.uniform(0, 20, 10_000)
given = x, x + rng.normal(size=len(x)), np.where(rng.random(len(x)) < 0.2, -1.0, 1.0), 20
num = [int(np.isnan(means(*given)).sum()) for means in (profile, by_numpy)]
print(f"10000 events, 20% with weight -1: bins of 20 that are not a number: profile {num[0]}, numpy {num[1]}")
PYTHON
diff seen.txt - <<'EXPECTED'
weights +1 -1 +1 +1: profile nan, numpy 3.0
weights +1 +1 +1 -1: profile 3.0, numpy 3.0
10000 events, 20% with weight -1: bins of 20 that are not a number: profile 8, numpy 0
EXPECTED
