r"""JetNet's own numbers: the metrics of JetNet 0.2.5 with its definitions and random draws (``protocol="jetnet"``).

For comparison with published values, not for judging: the metrics of this package that carry the same names are
unbiased and come with a null. What JetNet does, and every function here repeats:

- Batches are drawn *with replacement*, so two samples of one distribution have FPD > 0 (7e-4 for 50,000 events of a
  36-dimensional Gaussian), and W1 has a floor.
- Features are divided by their largest absolute value in the real sample. FPD and KPD draw from
  ``default_rng(seed)``, seed 42; KPD from a new one in each batch, seeds 42, 1042, 2042 ... Its multi-threaded
  version draws from the legacy generator with the same seeds and so gives another number (``parallel``).
- FPD(N) at 10 sizes regular in 1/N is fitted by ``scipy.optimize.curve_fit``, bounded to intercept and slope >= 0; its
  error comes from the fit alone.
- W1, coverage and MMD draw from one generator of the module without a seed. ``seed`` here stands for having replaced
  it by ``default_rng(seed)`` before the call.
- Errors of W1 are standard deviations over batches. Coverage and MMD have none there; here, the same deviation.

Jets are padded arrays (N, P, F) of eta, phi, pT relative to the jet, and optionally mass; particles whose features are
all 0 are padding. JetNet computes in the precision of its input, and so does the jet mass here; all else is float64,
so that EFPs of float32 jets agree to float32 rounding only.

JetNet has no null: :func:`metrics.statistics.permutation.with_null` adds one.

References:
    Kansal et al. 2021, arXiv:2106.11535 (W1, coverage, MMD). Kansal et al. 2022, arXiv:2211.10295 (FPD, KPD).
    Kansal et al. 2023, JOSS 8(90), 5789 (JetNet). Komiske, Metodiev, Thaler 2019, arXiv:1902.02346 (EMD).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from metrics.distances.frechet import check_features, frechet_distance, scales
from metrics.distances.kernel import kernel_sum, pair_mean
from metrics.distances.transport import padded_emds
from metrics.distances.wasserstein import wasserstein_1
from metrics.hadrons.efp import DEFAULT_GRAPHS, efps_of_arrays
from metrics.hadrons.graphs import Graph, graphs
from metrics.result import MetricResult

Floats = NDArray[np.float64]

W1_GRAPHS = graphs("n==4", "d==4", "p==1")
"""The EFPs of W1EFP in JetNet's order, the square last: connected, four vertices, four edges."""

_FEATURES = ("eta", "phi", "pt", "mass")
"""Columns of a jet."""
_ETA, _PHI, _PT, _MASS = range(4)


def jet_efps(jets: NDArray[Any], of: Sequence[Graph] = DEFAULT_GRAPHS) -> Floats:
    """Compute EFPs of jets: by default the 36 with at most four edges, which FPD and KPD take.

    Args:
        jets: padded jets, columns eta, phi, pT and optionally mass, shape (N, P, F).
        of: the graphs.

    Returns:
        EFPs in float64, shape (N, G).
    """
    return np.asarray(efps_of_arrays(jets[:, :, :3], graphs=of, dtype=np.float64))


def fpd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    min_samples: int = 20_000,
    max_samples: int = 50_000,
    num_batches: int = 20,
    num_points: int = 10,
    normalise: bool = True,
    seed: int = 42,
) -> MetricResult:
    """Compute JetNet's FPD: Frechet distance at ``num_points`` sizes, extrapolated to infinite size.

    JetNet takes tr (S_1 S_2)^(1/2) from a matrix square root, here it is a sum over eigenvalues: equal but for
    rounding, which the square root enlarges where covariances are singular.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        min_samples, max_samples: smallest and largest size.
        num_batches: draws at each size.
        num_points: sizes.
        normalise: divide features by their largest absolute value in ``real``.
        seed: of the draws.

    Returns:
        The intercept with the error of the fit; without a null (NaN).

    Raises:
        ValueError: if the samples do not fit each other, or hold NaN or infinity.
    """
    check_features("FPD", real, generated, 2)
    sizes = (1 / np.linspace(1 / min_samples, 1 / max_samples, num_points)).astype(np.int32)
    samples = _normalised(real, generated, normalise)
    rng = np.random.default_rng(seed)
    distances = np.zeros(num_points)
    for k, size in enumerate(sizes):
        for _ in range(num_batches):
            (mean_1, cov_1), (mean_2, cov_2) = (_moments(x[rng.choice(len(x), size=size)]) for x in samples)
            distances[k] += frechet_distance(mean_1, cov_1, mean_2, cov_2)
    line, cov = curve_fit(
        lambda x, c, k: c + k * x, 1 / sizes, distances / num_batches, bounds=([0, 0], [np.inf, np.inf])
    )
    return _result("fpd", line[0], np.sqrt(cov[0, 0]), real, generated, seed)


def kpd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_batches: int = 10,
    batch_size: int = 5_000,
    normalise: bool = True,
    parallel: bool = False,
    seed: int = 42,
) -> MetricResult:
    """Compute JetNet's KPD: median over batches of the unbiased MMD^2 with kernel (x.y / D + 1)^4.

    The error is half the distance from the 16.275% to the 83.725% quantile of the batches.

    Args:
        real, generated: features, shapes (N, D) and (N', D).
        num_batches, batch_size: draws and events of each.
        normalise: divide features by their largest absolute value in ``real``.
        parallel: repeat the draws of JetNet's multi-threaded version (its ``num_threads`` given).
        seed: of the draws.

    Returns:
        The median; without a null (NaN).

    Raises:
        ValueError: if the samples do not fit each other, or hold NaN or infinity.
    """
    check_features("KPD", real, generated, 2)
    x, y = _normalised(real, generated, normalise)
    distances = []
    for batch_seed in range(seed, seed + 1000 * num_batches, 1000):
        rng = np.random.RandomState(batch_seed) if parallel else np.random.default_rng(batch_seed)
        first, second = (s[rng.choice(len(s), size=batch_size)] for s in (x, y))
        across = kernel_sum(first, second) / batch_size**2
        distances.append(pair_mean(first) + pair_mean(second) - 2 * across)
    low, high = np.percentile(distances, (16.275, 83.725))
    return _result("kpd", np.median(distances), (high - low) / 2, real, generated, seed)


def w1m(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_eval_samples: int = 50_000,
    num_batches: int = 5,
    seed: int = 42,
) -> MetricResult:
    """Compute JetNet's W1M: Wasserstein-1 distance of jet masses, in units of the jet pT.

    Args:
        real, generated: jets, shapes (N, P, F) and (N', P', F); particles are massless if F = 3.
        num_eval_samples: jets of a batch.
        num_batches: batches, of which mean and standard deviation are given.
        seed: of the draws.

    Returns:
        The mean over batches with their standard deviation; without a null (NaN).

    Raises:
        ValueError: if a shape is not allowed, or the jets hold NaN, infinity or no particles.
    """
    _check_jets(real, generated)
    values, errors = _w1(_masses(real)[:, None], _masses(generated)[:, None], num_eval_samples, num_batches, seed)
    return _result("w1m", values[0], errors[0], real, generated, seed)


def w1p(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_eval_samples: int = 50_000,
    num_batches: int = 5,
    seed: int = 42,
) -> dict[str, MetricResult]:
    """Compute JetNet's W1P: Wasserstein-1 distance of each feature of the particles.

    Args:
        real, generated, num_eval_samples, num_batches, seed: as in :func:`w1m`.

    Returns:
        "w1p_eta", "w1p_phi", "w1p_pt", and "w1p_mass" if F = 4. (JetNet's paper states the mean of the first three.)

    Raises:
        ValueError: if a shape is not allowed, or the jets hold NaN, infinity or no particles.
    """
    _check_jets(real, generated)
    values, errors = _w1(real, generated, num_eval_samples, num_batches, seed)
    names = [f"w1p_{name}" for name in _FEATURES]
    return {n: _result(n, v, e, real, generated, seed) for n, v, e in zip(names, values, errors, strict=False)}


def w1efp(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_eval_samples: int = 50_000,
    num_batches: int = 5,
    seed: int = 42,
) -> dict[str, MetricResult]:
    """Compute JetNet's W1EFP: Wasserstein-1 distance of each EFP of :data:`W1_GRAPHS`.

    Args:
        real, generated, num_eval_samples, num_batches, seed: as in :func:`w1m`.

    Returns:
        "w1efp_0" to "w1efp_4". (JetNet's paper states their mean.)

    Raises:
        ValueError: if a shape is not allowed, or the jets hold NaN, infinity or no particles.
    """
    _check_jets(real, generated)
    efps = jet_efps(real, W1_GRAPHS), jet_efps(generated, W1_GRAPHS)
    values, errors = _w1(*efps, num_eval_samples, num_batches, seed)
    names = [f"w1efp_{k}" for k in range(len(W1_GRAPHS))]
    return {n: _result(n, v, e, real, generated, seed) for n, v, e in zip(names, values, errors, strict=True)}


def cov_mmd(
    real: NDArray[Any],
    generated: NDArray[Any],
    *,
    num_eval_samples: int = 100,
    num_batches: int = 10,
    seed: int = 42,
) -> dict[str, MetricResult]:
    """Compute JetNet's coverage and minimum matching distance under the energy mover's distance (R = 1, beta = 1).

    Coverage: fraction of the real jets of a batch that are nearest to some generated jet. MMD: mean over real jets of
    the distance to the nearest generated one. Needs POT.

    Args:
        real, generated: jets, shapes (N, P, F) and (N', P', F).
        num_eval_samples: jets of either sample in a batch.
        num_batches: batches, of which mean and standard deviation are given.
        seed: of the draws.

    Returns:
        Results "cov" and "mmd".

    Raises:
        ValueError: if a shape is not allowed, the jets hold NaN, infinity or no particles, or a pT is negative.
        ImportError: if POT is not installed.
    """
    _check_jets(real, generated)
    least = min(np.min(real[:, :, _PT]), np.min(generated[:, :, _PT]))
    if least < 0:
        raise ValueError(f"a particle has pT {least:g}: the energy mover's distance needs pT >= 0")
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(num_batches):
        x, y = (jets[rng.choice(len(jets), size=num_eval_samples)] for jets in (real, generated))
        emd = padded_emds(y, x)
        batches.append((np.unique(np.argmin(emd, axis=1)).size / num_eval_samples, np.mean(np.min(emd, axis=0))))
    (cov, mmd), (cov_error, mmd_error) = np.mean(batches, axis=0), np.std(batches, axis=0)
    return {
        "cov": _result("cov", cov, cov_error, real, generated, seed),
        "mmd": _result("mmd", mmd, mmd_error, real, generated, seed),
    }


def _result(name: str, value: Any, error: Any, real: NDArray[Any], generated: NDArray[Any], seed: int) -> MetricResult:
    worse: Literal["high", "low"] = "low" if name == "cov" else "high"
    return MetricResult(name, float(value), float(error), np.nan, np.nan, len(real), len(generated), seed, worse=worse)


def _normalised(real: NDArray[Any], generated: NDArray[Any], normalise: bool) -> list[Floats]:
    divisor = scales(real) if normalise else 1.0
    return [np.asarray(x, dtype=np.float64) / divisor for x in (real, generated)]


def _moments(x: Floats) -> tuple[Floats, Floats]:
    """Compute mean (D,) and unbiased covariance (D, D) of rows, which are overwritten."""
    mean = x.mean(axis=0)
    x -= mean
    return mean, x.T @ x / (len(x) - 1)


def _check_jets(real: NDArray[Any], generated: NDArray[Any]) -> None:
    for name, jets in (("real", real), ("generated", generated)):
        if jets.ndim != 3 or jets.shape[2] not in (3, 4) or jets.shape[2] != real.shape[2] or len(jets) < 2:
            raise ValueError(
                f"{name} jets of shape {jets.shape}: expected (N, P, 3) of eta, phi, pT or (N, P, 4) with mass, "
                "N >= 2, equal features on both sides"
            )
        if not np.isfinite(jets).all():
            raise ValueError(f"jet {np.argwhere(~np.isfinite(jets))[0][0]} of the {name} sample holds NaN or infinity")
        if not jets.any():
            raise ValueError(f"the {name} jets hold no particles: every feature is 0")


def _masses(jets: NDArray[Any]) -> NDArray[Any]:
    """Compute masses of the sums of four-momenta, negative where m^2 is, shape (N,).

    Of jets of one particle only the rounding is left: the operations follow the order of JetNet's vector library.
    """
    eta, phi, pt = jets[:, :, _ETA], jets[:, :, _PHI], jets[:, :, _PT]
    m2 = jets[:, :, _MASS] ** 2 if jets.shape[2] == 4 else np.zeros_like(pt)
    decay = np.exp(-eta)
    cosh = 0.5 * (1 + decay**2) / decay
    energy = np.sqrt(m2 + pt**2 * cosh**2)
    # a running sum adds one particle after the other, np.sum in pairs
    e, px, py, pz = (
        np.cumsum(c, axis=1)[:, -1] for c in (energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta))
    )
    m2 = e**2 - (px**2 + py**2 + pz**2)
    return np.asarray(np.copysign(np.sqrt(np.abs(m2)), m2))


def _w1(
    real: NDArray[Any], generated: NDArray[Any], num_eval_samples: int, num_batches: int, seed: int
) -> tuple[Floats, Floats]:
    """Compute mean and standard deviation over batches of W1 of each feature.

    Args:
        real, generated: features of jets (N, K), or of their particles (N, P, K), where those all 0 are padding.
    """
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(num_batches):
        x, y = (s[rng.choice(len(s), size=num_eval_samples)] for s in (real, generated))
        if x.ndim == 3:
            x, y = x[x.any(axis=2)], y[y.any(axis=2)]
        batches.append([wasserstein_1(x[:, k], y[:, k]) for k in range(x.shape[1])])
    return np.mean(batches, axis=0), np.std(batches, axis=0)
