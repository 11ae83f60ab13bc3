r"""How far mean spectra of particle sets lie apart: fragmentation functions, energy flow, energy-energy correlator.

Each is a histogram h_b averaged over events. The distance is the share of the real spectrum that lies elsewhere,

    D = sum_b |g_b - h_b| / sum_b h_b,

which sees shape and normalisation alike: 0.01 is one particle (or unit of energy, or pair) in a hundred too many
or too few somewhere. It is positive for equal samples: read it beside its null.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.correlators import energy_energy_correlator
from metrics.hadrons.fragmentation import fragmentation_functions
from metrics.hadrons.jets import Jets
from metrics.hadrons.observables import energy_flow
from metrics.resampling import Resampling
from metrics.result import MetricResult

Floats = NDArray[np.float64]

MIN_SETS = 20
"""Real sets that have to hold a species for its spectrum to be compared."""
MAX_PARTICLES = 50
"""Leading particles whose pairs enter the correlator."""


def spectra(jets: Jets) -> dict[str, NDArray[np.float32]]:
    """Histograms of every set by name: "D(z) SPECIES", "energy flow" (in Delta R) and "EEC"; each (N, bins)."""
    found = {f"D(z) {name}": counts for name, counts in fragmentation_functions(jets).items()}
    found["energy flow"] = energy_flow(jets)
    found["EEC"] = energy_energy_correlator(jets, max_particles=MAX_PARTICLES)
    return found


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
    """Distances D of the mean spectra of two samples, by name; without species that hardly any real set has.

    Args:
        real, generated: N and N' sets.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Raises:
        ValueError: if a sample has fewer than 2 sets, or its weights do not have a positive sum.
    """
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    weights = []
    for name, jets, given in (("real", real, real_weights), ("generated", generated, generated_weights)):
        w = np.ones(len(jets)) if given is None else np.asarray(given, dtype=np.float64)
        if w.shape != (len(jets),) or not np.isfinite(w).all() or not w.sum() > 0:
            raise ValueError(f"{name} weights: expected {len(jets)} finite weights with a positive sum")
        weights.append(w)
    sides = [spectra(jets) for jets in (real, generated)]
    found = {}
    for name in sides[0]:
        # species that a resample may not hold have no distance relative to it
        if int((sides[0][name] > 0).any(axis=1).sum()) < MIN_SETS:
            continue
        # the sum of weights is one more bin, so that resamples are normalised to their own events
        columns = [np.concatenate([s[name], np.ones((len(w), 1))], axis=1) for s, w in zip(sides, weights, strict=True)]
        sums = [
            np.stack([w[rows] @ x[rows] for rows in resampling.members(k)])
            for k, (x, w) in enumerate(zip(columns, weights, strict=True))
        ]
        found[f"spectrum {name}"] = resampling.result(f"spectrum {name}", resampling.draws(sums[0], sums[1], _distance))
    return found


def _distance(real: Floats, generated: Floats) -> Floats:
    """D of rows of summed histograms, the sum of weights last; (R,)."""
    h, g = (x[:, :-1] / x[:, -1:] for x in (real, generated))
    return np.asarray(np.abs(g - h).sum(axis=1) / h.sum(axis=1))
