r"""Distances of mean spectra of particle sets: fragmentation functions, energy flow, energy-energy correlator.

Each is a histogram h_b averaged over events. The distance is the share of the real spectrum that lies elsewhere,

    D = sum_b |g_b - h_b| / sum_b h_b,

which sees shape and normalisation alike: 0.01 is one particle (or unit of energy, or pair) in a hundred too many
or too few somewhere. It is positive for equal samples: compare it with its null. A species that hardly any real set
holds, but generated sets do, is relative to the mean of both spectra instead,

    D = sum_b |g_b - h_b| / (1/2 sum_b (g_b + h_b)),

which is 2 where only the model makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.correlators import energy_energy_correlator
from metrics.hadrons.fragmentation import fragmentation_functions
from metrics.hadrons.jets import Jets
from metrics.hadrons.observables import energy_flow
from metrics.result import MetricResult
from metrics.statistics.resampling import Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]

MIN_SETS = 20
"""Sets of either sample that have to hold a species for its spectrum to be compared."""
CHUNK = 20_000
"""Sets whose histograms are in memory at a time."""
MAX_PARTICLES = 50
"""Leading particles whose pairs enter the correlator."""


def spectra(jets: Jets) -> dict[str, NDArray[np.float32]]:
    """Fill the histograms of every set.

    Returns:
        "D(z) SPECIES", "energy flow" (in Delta R) and "EEC": each (N, bins).
    """
    histograms = {f"D(z) {name}": counts for name, counts in fragmentation_functions(jets).items()}
    histograms["energy flow"] = energy_flow(jets)
    histograms["EEC"] = energy_energy_correlator(jets, max_particles=MAX_PARTICLES)
    return histograms


def spectrum_distances(
    real: Jets,
    generated: Jets,
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """Compute distances D of the mean spectra of two samples.

    Args:
        real, generated: N and N' sets.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Results named "spectrum SPECTRUM"; without species that hardly any set of either sample has.

    Raises:
        ValueError: if a sample has fewer than 2 sets, holds NaN or infinity, or its weights have no positive sum.
    """
    for label, jets in (("real", real), ("generated", generated)):
        if not all(np.isfinite(column).all() for column in (jets.pt_rel, jets.eta_rel, jets.phi_rel)):
            raise ValueError(f"the {label} sets hold NaN or infinity: spectra need finite momenta")
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    weights = (
        checked_weights("a spectrum", "real", real_weights, len(real)),
        checked_weights("a spectrum", "generated", generated_weights, len(generated)),
    )
    sums, sets = [], []
    for side, jets in enumerate((real, generated)):
        total, num_filled = _block_sums(jets, weights[side], resampling, side)
        sums.append(total)
        sets.append(num_filled)
    results = {}
    for name in sums[0]:
        # species that a resample may not hold have no distance relative to it
        if max(num_filled[name] for num_filled in sets) < MIN_SETS:
            continue
        distance = _distance if sets[0][name] >= MIN_SETS else _symmetric_distance
        draws = resampling.draws(sums[0][name], sums[1][name], distance)
        results[f"spectrum {name}"] = resampling.result(f"spectrum {name}", draws)
    return results


def _block_sums(
    jets: Jets, weights: Floats, resampling: Resampling, side: int
) -> tuple[dict[str, Floats], dict[str, int]]:
    """Sum histograms over each block of events, (blocks, bins + 1), and count the sets that fill a bin.

    The sum of weights is one more bin, so that resamples are normalised to their own events.
    """
    sums: dict[str, Floats] = {}
    num_filled: dict[str, int] = {}
    for first in range(0, len(jets), CHUNK):
        rows = slice(first, first + CHUNK)
        blocks, w = resampling.blocks[side][rows], weights[rows]
        for name, counts in spectra(jets[rows]).items():
            columns = [*(w * column for column in counts.T), w]
            total: Floats = np.stack([np.bincount(blocks, c, resampling.num_blocks[side]) for c in columns], axis=1)
            sums[name] = sums[name] + total if name in sums else total
            num_filled[name] = num_filled.get(name, 0) + int((counts > 0).any(axis=1).sum())
    return sums, num_filled


def _distance(real: Floats, generated: Floats) -> Floats:
    """Compute D of rows of summed histograms, the sum of weights last; (R,)."""
    h, g = (x[:, :-1] / x[:, -1:] for x in (real, generated))
    return np.asarray(np.abs(g - h).sum(axis=1) / h.sum(axis=1))


def _symmetric_distance(real: Floats, generated: Floats) -> Floats:
    """Compute D relative to the mean of both spectra; 0 where both are empty."""
    h, g = (x[:, :-1] / x[:, -1:] for x in (real, generated))
    scale = 0.5 * (g + h).sum(axis=1)
    return np.asarray(np.divide(np.abs(g - h).sum(axis=1), scale, out=np.zeros(len(h)), where=scale > 0))
