"""Record what JetNet 0.2.5 answers on the inputs of inputs.py, into outputs.json beside this file.

JetNet's metrics of W1, coverage and MMD draw from a generator of the module without a seed: it is replaced before
every call. In an environment of its own (JetNet needs numpy < 2):

    pip install "jetnet==0.2.5" "torch==2.13.0" "numpy<2" "scipy<1.18" "pyarrow<22"
    OMP_NUM_THREADS=1 python -m tests.metrics.jetnet.record
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jetnet.evaluation import gen_metrics

from tests.metrics.jetnet import inputs

PACKAGES = ("jetnet", "numpy", "scipy", "numba", "energyflow", "wasserstein", "coffea", "vector", "awkward", "torch")


def plain(value: Any) -> Any:
    """Convert to floats and lists of them, for JSON; a double keeps all its digits."""
    return [plain(v) for v in value] if isinstance(value, (tuple, list, np.ndarray)) else float(value)


def seeded(metric: Callable[..., Any], *args: Any, **options: Any) -> Any:
    gen_metrics.rng = np.random.default_rng(inputs.SEED)
    return plain(metric(*args, **options))


def main() -> None:
    warnings.simplefilter("ignore", RuntimeWarning)
    start = time.perf_counter()
    data = inputs.make()
    out: dict[str, Any] = {}
    for name in ("features", "features_equal"):
        real, generated = data[name]
        out[name] = {
            "fpd": plain(gen_metrics.fpd(real, generated, **inputs.FPD)),
            "fpd_raw": plain(gen_metrics.fpd(real, generated, **inputs.FPD, normalise=False, seed=3)),
            "kpd": plain(gen_metrics.kpd(real, generated, **inputs.KPD)),
            "kpd_raw": plain(gen_metrics.kpd(real, generated, **inputs.KPD, normalise=False, seed=3)),
            "kpd_parallel": plain(gen_metrics.kpd(real, generated, **inputs.KPD, num_threads=1)),
        }
    real, generated = data["features_full"]
    # every argument at its default: 50,000 events
    out["features_full"] = {
        "fpd": plain(gen_metrics.fpd(real, generated)),
        "kpd": plain(gen_metrics.kpd(real, generated)),
    }
    for name in ("jets", "jets_float32", "jets_mass"):
        real, generated = data[name]
        out[name] = {
            "w1m": seeded(gen_metrics.w1m, real, generated, **inputs.W1),
            "w1p": seeded(gen_metrics.w1p, real, generated, **inputs.W1),
        }
        if name != "jets_mass":
            efps = [gen_metrics.get_fpd_kpd_jet_features(jets, efp_jobs=1) for jets in (real, generated)]
            out[name] |= {
                "w1efp": seeded(gen_metrics.w1efp, real, generated, **inputs.W1, efp_jobs=1),
                "cov_mmd": seeded(gen_metrics.cov_mmd, real, generated, **inputs.COV_MMD, use_tqdm=False),
                "efps": plain(efps[0][:3]),
                "fpd": plain(gen_metrics.fpd(*efps, **inputs.FPD)),
                "kpd": plain(gen_metrics.kpd(*efps, **inputs.KPD)),
            }
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    text = json.dumps({"versions": versions, "outputs": out}, indent=1)
    Path(__file__).with_name("outputs.json").write_text(text + "\n")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
