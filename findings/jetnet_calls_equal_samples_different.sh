#!/usr/bin/env bash
# jetnet 0.2.5 with numpy 1.26.4 and scipy 1.17.1 (Python 3.11).
#
# Behaviour: evaluation.fpd, with its defaults and the 50,000 events a side that it recommends, gives two samples of one
# distribution a distance that is more than twenty of its errors from 0 (36 features, as many as it takes of jets). Its
# batches are drawn from the samples with replacement, so that the extrapolation to batches of infinite size ends at the
# distance of the two finite samples; the error is that of the fit alone. With four times the events the distance is a
# quarter.
#
# Expected: 0 within the error, for the metric is extrapolated to infinite samples so as to have no bias
# (arXiv:2211.10295). Whoever reads value and error calls a perfect generator wrong, and numbers of samples of different
# sizes cannot be compared. The documentation asks for 50,000 events or more, and says nothing of an offset; only the
# distance of truth from truth, measured beside, tells.
#
# Output seen (normal numbers):
#   50000 events a side: FPD 7.5e-04 +- 0.4e-04, 22 errors from 0
#   200000 events a side: FPD 1.7e-04 +- 0.2e-04, 9 errors from 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check jetnet==0.2.5 torch==2.13.0 numpy==1.26.4 \
    scipy==1.17.1 numba==0.68.1 coffea==2026.9.0 energyflow==1.4.0 pyarrow==21.0.0
cd "$work"
OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np

warnings.simplefilter("ignore")  # those of the packages that jetnet imports
from jetnet import evaluation

found = {}
for num, seed in ((50_000, 100), (200_000, 1)):
    rng = np.random.default_rng(seed)
    real, generated = (rng.normal(size=(num, 36)) for _ in range(2))
    value, error = found[num] = evaluation.fpd(real, generated)
    print(f"{num} events a side: FPD {value:.1e} +- {error / 1e-4:.1f}e-04, {value / error:.0f} errors from 0", flush=True)
assert all(value > 5 * error for value, error in found.values()), found
assert 3 < found[50_000][0] / found[200_000][0] < 6, found
PYTHON
