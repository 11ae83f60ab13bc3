"""What a parton's particle set is made of: charges, quantum numbers, resonances, yields of species.

These are columns of a sample of particle sets, (N,) each, beside the observables of shapes; and the results of the
families ``content`` and ``vertices``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.distances.kolmogorov import ks_distances
from metrics.hadrons.charges import CHARGES, charge_observables
from metrics.hadrons.histograms import sum_per_set
from metrics.hadrons.jets import Jets
from metrics.hadrons.observables import GROUPS, SPECTRA, group_counts, species_counts
from metrics.hadrons.origins import Origins
from metrics.hadrons.quantum_numbers import QUANTUM_NUMBERS, quantum_number_observables
from metrics.hadrons.resonances import PEAKS, pairs_in_windows, ratios
from metrics.result import MetricResult
from metrics.statistics.resampling import Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]

CONTENT: dict[str, str] = {
    **CHARGES,
    **QUANTUM_NUMBERS,
    **{f"{name} pairs": f"combinations in the mass window of {name}, like-sign ones subtracted" for name in PEAKS},
}
"""Names and meanings of the columns."""
HARD = 0.5
"""Share of the parton's pT from which on a particle is hard: few are, and spectra of all particles do not show them."""
MIN_DECAYS = 30
"""Decays of a species that both samples need for its lifetime to be compared."""


def content(jets: Jets) -> Floats:
    """Compute the columns of :data:`CONTENT` of N sets, shape (N, 42)."""
    return np.concatenate([charge_observables(jets), quantum_number_observables(jets), pairs_in_windows(jets)], axis=1)


def yield_ratios(
    real: Jets,
    generated: Jets,
    *,
    real_origins: Origins | None = None,
    generated_origins: Origins | None = None,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> list[MetricResult]:
    """Compute ratios of generated to real mean numbers of particles a set, by species.

    Args:
        real, generated: N and N' sets.
        real_origins, generated_origins: where their particles come from; with both, decayed species are compared too.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of sets for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Results "yield GROUP" of final particles (:data:`metrics.hadrons.observables.GROUPS`), "hard NAME" of those with
        more than half of the parton's pT (:data:`metrics.hadrons.observables.SPECTRA`), and "decayed SPECIES" (with
        antiparticles); of what the real sample has significantly.

    Raises:
        ValueError: if a sample has fewer than 2 sets, or its weights have no positive sum.
    """
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    final, hard, decayed = [], [], []
    for side, (jets, origins, given) in enumerate(
        ((real, real_origins, real_weights), (generated, generated_origins, generated_weights))
    ):
        w = checked_weights("a yield", "real" if side == 0 else "generated", given, len(jets))
        blocks, num_blocks = resampling.blocks[side], resampling.num_blocks[side]
        total = sum_per_set(blocks, w, num_blocks)
        numbers = group_counts(species_counts(jets)).T
        final.append({n: _block_sums(w * k, blocks, total) for n, k in zip(GROUPS, numbers, strict=True)})
        above = jets.pt_rel > HARD
        chosen = {name: jets.index[above & np.isin(jets.pdg_id, ids)] for name, ids in SPECTRA.items()}
        hard.append({name: _block_sums(w[sets], blocks[sets], total) for name, sets in chosen.items()})
        if origins is not None:
            ids, sets = np.abs(origins.decays.pdg_id), origins.decays.index
            own = {}
            for species in np.unique(ids):
                block, weight = blocks[sets[ids == species]], w[sets[ids == species]]
                own[species_name(int(species))] = _block_sums(weight, block, total)
            decayed.append(own)
    results = ratios(final[0], final[1], resampling, "yield") + ratios(hard[0], hard[1], resampling, "hard")
    if len(decayed) == 2:
        none = next(iter(final[1].values())) * (0.0, 1.0)
        # what is missing from the generated sample altogether has the ratio 0
        results += ratios(decayed[0], {name: decayed[1].get(name, none) for name in decayed[0]}, resampling, "decayed")
    return results


def vertex_distances(
    real: Origins,
    generated: Origins,
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> list[MetricResult]:
    """Compare vertices: displaced tracks and flight lengths of sets, impact parameters of tracks, lifetimes of species.

    Args:
        real, generated: where the particles of N and N' sets come from.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of sets for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Kolmogorov-Smirnov distances "vertices NAME" of the quantities of :data:`metrics.hadrons.origins.ORIGINS` and of
        "d0" and "z0" of all tracks, and ratios "lifetime SPECIES" of mean proper decay lengths.

    Raises:
        ValueError: if a sample has fewer than 2 sets, or its weights have no positive sum.
    """
    weights: dict[str, Any] = {"real_weights": real_weights, "generated_weights": generated_weights}
    options: dict[str, Any] = {"num_bootstrap": num_bootstrap, "num_permutations": num_permutations, "seed": seed}
    results = ks_distances(real.vertices, generated.vertices, **weights, **options, prefix="vertices")
    tracks = real.tracks, generated.tracks
    results += ks_distances(
        {"d0": tracks[0].d0, "z0": tracks[0].z0},
        {"d0": tracks[1].d0, "z0": tracks[1].z0},
        **weights,
        **options,
        real_groups=tracks[0].index,
        generated_groups=tracks[1].index,
        num_events=(len(real), len(generated)),
        prefix="vertices",
    )
    resampling = Resampling(len(real), len(generated), **options)
    sums: list[dict[str, Floats]] = []
    for side, (sample, given) in enumerate(((real, real_weights), (generated, generated_weights))):
        w = checked_weights("a lifetime", "real" if side == 0 else "generated", given, len(sample))
        ids, sets, ctau = np.abs(sample.decays.pdg_id), sample.decays.index, sample.decays.ctau
        own = {}
        for species in np.unique(ids):
            rows = np.flatnonzero(ids == species)
            if len(rows) >= MIN_DECAYS:
                block, weight = resampling.blocks[side][sets[rows]], w[sets[rows]]
                columns = [sum_per_set(block, v, resampling.num_blocks[side]) for v in (weight * ctau[rows], weight)]
                own[species_name(int(species))] = np.stack(columns, axis=1)
        sums.append(own)
    return results + ratios(sums[0], sums[1], resampling, "lifetime")


@lru_cache(maxsize=4096)
def species_name(pdg_id: int) -> str:
    """Name a species as the scikit-hep table does, or by its PDG id."""
    from particle import Particle, ParticleNotFound

    try:
        return str(Particle.from_pdgid(pdg_id).name)
    except ParticleNotFound:
        return str(pdg_id)


def _block_sums(values: Floats, blocks: NDArray[np.int64], total: Floats) -> Floats:
    """Sum values (K,), each of a block, over the blocks beside the blocks' sums of weights, (blocks, 2)."""
    return np.stack([sum_per_set(blocks, values, len(total)), total], axis=1)
