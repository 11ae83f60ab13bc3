"""Whole events at rest, such as e+e- -> hadrons, as a sample: their shapes, multiplicities and momentum fractions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.kinematics import mass_squared
from fastsim.event.species import charges
from metrics.distances.kolmogorov import ks_distances
from metrics.hadrons.event_shapes import EVENT_SHAPES, event_shapes
from metrics.hadrons.histograms import sum_per_set
from metrics.hadrons.origins import weakly_decaying
from metrics.result import MetricResult
from metrics.sample import Sample

Floats = NDArray[np.float64]

KINDS: dict[str, tuple[int, ...]] = {
    "pion": (211,),
    "kaon": (321,),
    "K0": (130, 310),
    "proton": (2212,),
    "neutron": (2112,),
    "photon": (22,),
    "lepton": (11, 13),
}
"""Kinds of particles, with their antiparticles, that are counted."""
WHOLE_EVENTS: dict[str, str] = {
    **{name: f"{meaning}, of charged particles" for name, meaning in EVENT_SHAPES.items()},
    "light_mass": "smaller squared mass of the hemispheres / squared visible energy, of charged particles",
    "charged": "charged particles",
    "multiplicity": "particles",
    "x_1": "momentum of the leading charged particle / half the energy of the event",
    "charged_more": "charged particles in the hemisphere of the thrust axis that has more",
    "charged_fewer": "charged particles in the other",
    "charge_apart": "half the difference of the charges of the hemispheres, without its sign",
    **{f"{kind}s": f"particles of the kind {kind}" for kind in KINDS},
    **{f"x_{kind}": f"momentum of the leading {kind} / half the energy of the event" for kind in KINDS},
}
"""Observables of whole events and their meanings."""


def whole_sample(particles: ParticleSet, *, weights: NDArray[Any] | None = None) -> Sample:
    """Make a sample of N events at rest.

    Args:
        particles: final particles, one set an event, p4 in GeV in the rest frame of the event; with their history, b
            hadrons are compared too.
        weights: of the events, (N,), of either sign.

    Returns:
        The sample, of kind "events"; its embedding are the observables in their real spread.

    Raises:
        ValueError: if a momentum is not finite.
    """
    if not np.isfinite(particles.p4).all():
        raise ValueError("particle momenta hold NaN or infinity: event shapes need finite momenta")
    charged, num = _charged(particles), len(particles)
    shapes, axes = event_shapes(charged)
    charge, index = charges(charged.pdg_id), charged.index
    forward = np.sum(charged.p4[:, 1:] * axes.thrust[index], axis=1) > 0
    ahead = np.bincount(index, forward, num)
    behind = charged.counts - ahead
    sides = [sum_per_set(index[side], charge[side], num) for side in (forward, ~forward)]
    fractions, kinds = _fractions(particles), np.abs(particles.pdg_id)
    of_kind = [np.isin(kinds, ids) for ids in KINDS.values()]
    columns = np.column_stack(
        [
            shapes,
            _light_mass(charged, forward, sum_per_set(index, charged.p4[:, 0], num)),
            charged.counts,
            particles.counts,
            _leading(fractions, particles.index, charges(particles.pdg_id) != 0, num),
            np.maximum(ahead, behind),
            np.minimum(ahead, behind),
            np.abs(sides[0] - sides[1]) / 2,
            *(np.bincount(particles.index, own, num) for own in of_kind),
            *(_leading(fractions, particles.index, own, num) for own in of_kind),
        ]
    ).astype(np.float64)
    observables = {name: columns[:, k] for k, name in enumerate(WHOLE_EVENTS)}
    given = None if weights is None else np.asarray(weights, dtype=np.float64)
    return Sample("events", observables, columns, weights=given, events=particles)


def momentum_fractions(particles: ParticleSet) -> Floats:
    """Compute x_p = 2 |p| / E of the charged particles, E the energy of the whole event; (K,)."""
    return np.asarray(_fractions(particles)[charges(particles.pdg_id) != 0])


def _fractions(particles: ParticleSet) -> Floats:
    """Compute 2 |p| / E of all particles, (M,)."""
    energy = sum_per_set(particles.index, particles.p4[:, 0], len(particles))
    return np.asarray(2.0 * np.sqrt(np.sum(particles.p4[:, 1:] ** 2, axis=1)) / energy[particles.index])


def _leading(fractions: Floats, index: NDArray[np.int64], rows: NDArray[np.bool_], num: int) -> Floats:
    """Return the largest fraction of some particles in each of ``num`` events, 0 where there is none."""
    result = np.zeros(num)
    np.maximum.at(result, index[rows], fractions[rows])
    return result


def _light_mass(charged: ParticleSet, forward: NDArray[np.bool_], energy: Floats) -> Floats:
    """Compute the smaller squared mass of two hemispheres over the squared energy (N,), 0 where there is none."""
    masses = [
        mass_squared(np.stack([sum_per_set(charged.index[side], c, len(charged)) for c in charged.p4[side].T], axis=1))
        for side in (forward, ~forward)
    ]
    light = np.maximum(np.minimum(*masses), 0.0)
    return np.asarray(np.divide(light, energy**2, out=np.zeros_like(light), where=energy > 0))


def event_distances(
    real: Sample,
    generated: Sample,
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> list[MetricResult]:
    """Compute Kolmogorov-Smirnov distances of whole events, of their charged particles, and of their b hadrons.

    Args:
        real, generated: samples of :func:`whole_sample`, N and N' events.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Results "events NAME" of :data:`WHOLE_EVENTS`, of "x_p", and where both know their history, of "x_B": energy of
        b hadrons that decay weakly over half the energy of the event.

    Raises:
        ValueError: if a sample has fewer than 2 events or holds NaN or infinity, or its weights have no positive sum.
    """
    options: dict[str, Any] = {"num_bootstrap": num_bootstrap, "num_permutations": num_permutations, "seed": seed}
    options |= {"real_weights": real_weights, "generated_weights": generated_weights, "prefix": "events"}
    results = ks_distances(real.observables, generated.observables, **options)
    sides = [s.events for s in (real, generated) if isinstance(s.events, ParticleSet)]
    if len(sides) < 2:
        return results
    items = [(momentum_fractions(side), _charged(side).index) for side in sides]
    options["num_events"] = len(real), len(generated)
    results += _of_items("x_p", items, options)
    if all(side.history is not None for side in sides):
        results += _of_items("x_B", [_b_fractions(side) for side in sides], options)
    return results


def _of_items(name: str, items: list[tuple[Floats, NDArray[np.int64]]], options: dict[str, Any]) -> list[MetricResult]:
    """Compare what each event has several of: values and the event of each, by side."""
    (one, first), (other, second) = items
    return ks_distances({name: one}, {name: other}, real_groups=first, generated_groups=second, **options)


def _b_fractions(particles: ParticleSet) -> tuple[Floats, NDArray[np.int64]]:
    """List x_B of the weakly decaying b hadrons, and the event of each."""
    assert particles.history is not None
    decayed = particles.history.decayed
    energy = sum_per_set(particles.index, particles.p4[:, 0], len(particles))
    weak = weakly_decaying(decayed, 5)
    owner = decayed.index[weak]
    return np.asarray(2.0 * decayed.p4[weak, 0] / energy[owner]), owner


def _charged(particles: ParticleSet) -> ParticleSet:
    rows = np.flatnonzero(charges(particles.pdg_id) != 0)
    counts = np.bincount(particles.index[rows], minlength=len(particles))
    return ParticleSet(offsets_from_counts(counts), particles.pdg_id[rows], particles.p4[rows])
