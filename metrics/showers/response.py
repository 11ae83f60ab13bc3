r"""Response and resolution of the visible energy against the incident energy, and their agreement.

With x = E_tot / E_inc of the showers in a bin of E_inc: response R = <x>, resolution sigma/R with sigma^2 =
<(x - R)^2>, and the robust resolution, half the central 68.27% interval over the median, which tails do not move.
Linearity is R over its mean in all bins, less 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.result import MetricResult
from metrics.sample import Sample, check_alike
from metrics.statistics.resampling import Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]

RATIO, ENERGY = "E_tot/E_inc", "energy"
CENTRAL = 0.6827
"""Probability within one standard deviation of a Gaussian."""
MIN_EVENTS = 30
"""Bins with fewer events in either sample are left out of a comparison."""


@dataclass(frozen=True)
class Response:
    """Response and resolution in K bins of the incident energy; NaN where a bin holds too few showers.

    Attributes:
        edges: of the bins in GeV, (K+1,).
        energy: mean incident energy in GeV, (K,).
        num: showers, (K,).
        response: R, (K,), without unit as all that follow.
        response_error: one sigma, (K,).
        resolution: sigma / R, (K,).
        resolution_error: one sigma, (K,).
        robust: the robust resolution, (K,).
        robust_error: one sigma, (K,).
    """

    edges: Floats
    energy: Floats
    num: NDArray[np.int64]
    response: Floats
    response_error: Floats
    resolution: Floats
    resolution_error: Floats
    robust: Floats
    robust_error: Floats

    @property
    def linearity(self) -> Floats:
        """R over its mean in all bins, less 1; its error is ``response_error`` over that mean."""
        return self.response / np.nanmean(self.response) - 1.0


def energy_edges(energy: Floats, num_bins: int = 10) -> Floats:
    """Choose edges in GeV of bins of the incident energy.

    Where there are at most 30 different energies, as in dataset 1 of the CaloChallenge, one bin each, with geometric
    means as edges; else ``num_bins`` logarithmic bins from the least to the largest.

    Args:
        energy: incident energies in GeV, (N,).
        num_bins: bins where there are many different energies.

    Returns:
        Increasing edges, (bins + 1,).

    Raises:
        ValueError: if there are no energies, or one is not positive and finite.

    >>> energy_edges(np.array([1.0, 4.0, 16.0, 4.0])).round(6).tolist()
    [0.5, 2.0, 8.0, 32.0]
    """
    if len(energy) == 0 or not (np.isfinite(energy).all() and energy.min() > 0):
        raise ValueError("bins of the incident energy need energies, all positive and finite")
    points = np.unique(energy)
    if len(points) == 1:
        return np.array([points[0] / 2, points[0] * 2])
    if len(points) <= 30:
        inner = np.sqrt(points[1:] * points[:-1])
        return np.concatenate([[points[0] ** 2 / inner[0]], inner, [points[-1] ** 2 / inner[-1]]])
    edges = np.geomspace(points[0], points[-1], num_bins + 1)
    edges[[0, -1]] = points[[0, -1]]  # geomspace may round the largest energy out of its bin
    return edges


def response(sample: Sample, edges: Floats | None = None, *, num_bootstrap: int = 100, seed: int = 0) -> Response:
    """Compute response and resolution of showers against their incident energy.

    The errors of response and resolution follow from the moments of x up to the fourth, the error of the robust
    resolution from a bootstrap.

    Args:
        sample: of calorimeter showers.
        edges: of the bins of E_inc in GeV; default :func:`energy_edges` of the sample.
        num_bootstrap: resamples.
        seed: of the resamples.

    Returns:
        Both, by bin.

    Raises:
        ValueError: if the sample is not of showers, is empty, or has negative weights (a width needs a probability).
    """
    ratio, energy = _columns(sample)
    # a width needs a probability; and this sample may be either side
    weights = checked_weights("the resolution", "the sample's", sample.weights, len(sample), negative=False)
    edges = energy_edges(energy) if edges is None else _checked(edges)
    place = _place(energy, edges)
    rng = np.random.default_rng(seed)
    columns = np.full((7, len(edges) - 1), np.nan)
    for k in range(len(edges) - 1):
        rows = place == k
        columns[:, k] = _of_bin(energy[rows], ratio[rows], weights[rows], num_bootstrap, rng)
    num = np.bincount(place[place >= 0], minlength=len(edges) - 1)
    return Response(edges, columns[0], num.astype(np.int64), *columns[1:])


def response_differences(
    real: Sample,
    generated: Sample,
    edges: Floats | None = None,
    *,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """Compute means over bins of E_inc of |R_gen / R_real - 1| and |resolution_gen / resolution_real - 1|.

    Args:
        real, generated: samples of calorimeter showers; weights may have either sign.
        edges: of the bins of E_inc in GeV; default :func:`energy_edges` of the real sample. Bins with fewer than 30
            events in either sample are left out.
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        "response difference" and "resolution difference".

    Raises:
        ValueError: if the samples are not of showers, or no bin has enough events and a response and width above 0.
    """
    check_alike(real, generated)
    columns = [_columns(sample) for sample in (real, generated)]
    edges = energy_edges(columns[0][1]) if edges is None else _checked(edges)
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    places = [_place(energy, edges) for _, energy in columns]
    counts = [np.bincount(p[p >= 0], minlength=len(edges) - 1) for p in places]
    kept = np.flatnonzero(np.minimum(*counts) >= MIN_EVENTS)
    if len(kept) == 0:
        raise ValueError(f"no bin of the incident energy has {MIN_EVENTS} events in both samples: use wider bins")
    middle = float(np.mean(columns[0][0]))
    sums = []
    weights = (
        checked_weights("the response", "real", real.weights, len(real)),
        checked_weights("the response", "generated", generated.weights, len(generated)),
    )
    for side in (0, 1):
        x = columns[side][0] - middle  # centred: x^2 - R^2 would lose its digits
        inside = (places[side][:, None] == kept) * weights[side][:, None]
        powers = np.concatenate([inside * x[:, None] ** n for n in (0, 1, 2)], axis=1)
        sums.append(resampling.sums(side, powers))

    def moments(total: Floats) -> tuple[Floats, Floats]:
        weight, first, second = (total[:, i * len(kept) : (i + 1) * len(kept)] for i in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused
            mean = first / weight
            return mean + middle, np.sqrt(second / weight - mean**2) / (mean + middle)

    nominal = [np.stack(moments(s.sum(axis=0)[None])) for s in sums]
    if not (np.isfinite(nominal).all() and np.min(nominal) > 0):
        raise ValueError("a bin of the incident energy has no visible energy, or no width: use other bins")
    results = {}
    for i, name in enumerate(("response difference", "resolution difference")):

        def statistic(h: Floats, g: Floats, which: int = i) -> Floats:
            return np.asarray(np.mean(np.abs(moments(g)[which] / moments(h)[which] - 1.0), axis=1))

        results[name] = resampling.result(name, resampling.draws(sums[0], sums[1], statistic))
    return results


def _columns(sample: Sample) -> tuple[Floats, Floats]:
    """Return E_tot / E_inc and the incident energy (GeV) of a sample of showers, (N,) each."""
    if RATIO not in sample.observables or ENERGY not in sample.condition:
        raise ValueError(f"the sample is of {sample.kind}: response needs showers, with {RATIO!r} and {ENERGY!r}")
    ratio, energy = sample.observables[RATIO], sample.condition[ENERGY]
    if not (np.isfinite(ratio).all() and np.isfinite(energy).all()):
        raise ValueError(f"{RATIO!r} or {ENERGY!r} holds NaN or infinity")
    return ratio, energy


def _checked(edges: Floats) -> Floats:
    """Return edges that increase, else raise ValueError."""
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("edges of the incident energy must be two or more and increase")
    return np.asarray(edges, dtype=np.float64)


def _place(energy: Floats, edges: Floats) -> NDArray[np.int64]:
    """Find the bin of each energy, -1 outside; the last bin holds its upper edge."""
    place = np.searchsorted(edges, energy, side="right") - 1
    place[energy == edges[-1]] = len(edges) - 2
    return np.where(place < len(edges) - 1, place, -1)


def _of_bin(energy: Floats, x: Floats, weights: Floats, num_bootstrap: int, rng: np.random.Generator) -> list[float]:
    """Compute energy, response, resolution and robust resolution, the last three with errors; NaN where undefined."""
    nan = float("nan")
    total = weights.sum()
    if total <= 0:
        return [nan] * 7
    p = weights / total
    mean_energy, mean = float(p @ energy), float(p @ x)
    variance = float(p @ (x - mean) ** 2)
    if np.count_nonzero(weights) < 2 or mean <= 0:
        return [mean_energy, mean, nan, nan, nan, nan, nan]
    sigma = np.sqrt(variance)
    # influence of one event on R and on sigma / R: their errors are sqrt(sum p^2 influence^2)
    on_mean = x - mean
    on_ratio = ((x - mean) ** 2 - variance) / (2 * sigma * mean) - sigma * (x - mean) / mean**2 if sigma > 0 else 0 * x
    order = np.argsort(x, kind="stable")
    times = rng.multinomial(len(x), np.full(len(x), 1.0 / len(x)), size=num_bootstrap)
    robust = [_robust(x[order], (weights * t)[order]) for t in times]
    return [
        mean_energy,
        mean,
        float(np.sqrt(np.sum((p * on_mean) ** 2))),
        float(sigma / mean),
        float(np.sqrt(np.sum((p * on_ratio) ** 2))),
        _robust(x[order], weights[order]),
        float(np.nanstd(robust, ddof=1)),
    ]


def _robust(x: Floats, weights: Floats) -> float:
    """Compute half the central 68.27% interval over the median, of sorted values."""
    below = np.cumsum(weights) - 0.5 * weights
    if below[-1] <= 0:
        return float("nan")
    low, median, high = np.interp(np.array([0.5 - CENTRAL / 2, 0.5, 0.5 + CENTRAL / 2]) * weights.sum(), below, x)
    return float((high - low) / 2 / median) if median > 0 else float("nan")
