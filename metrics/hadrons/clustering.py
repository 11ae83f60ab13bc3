"""Anti-kt jets of event records, through FastJet: the jets that event files are compared by.

References:
    Cacciari, Salam, Soyez 2008, arXiv:0802.1189 (anti-kt); 2011, arXiv:1111.6097 (FastJet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event import ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import eta, pt
from fastsim.event.species import NEUTRINOS
from fastsim.extras import library
from metrics.hadrons.jets import Sets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK = 1_000
"""Events that FastJet holds the clustering of at a time."""


@dataclass(frozen=True)
class ClusteredJets:
    """J jets, event by event, in falling pT within an event.

    Attributes:
        constituents: the particles of each jet.
        axes: the jets' four-momenta (E scheme) in GeV with the PDG id 21, whatever they come from, so that
            ``relative(jets.constituents, jets.axes)`` gives what every metric of particle sets takes.
        event: the event of each jet, (J,).
        weights: weights of the jets' events, (J,), or None where all are 1.
    """

    constituents: ParticleSet
    axes: Partons
    event: Ints
    weights: Floats | None = None

    def __len__(self) -> int:
        return len(self.event)


def cluster(
    particles: Sets,
    *,
    radius: float = 0.4,
    pt_min: float = 20.0,
    max_jets: int | None = 2,
    eta_max: float | None = None,
    neutrinos: bool = False,
    weights: NDArray[Any] | None = None,
) -> ClusteredJets:
    """Cluster the particles of every event into anti-kt jets, and keep the leading ones.

    Args:
        particles: the final particles of E events, one set an event; p4 in GeV.
        radius: R of the algorithm.
        pt_min: jets above this pT count, in GeV.
        max_jets: leading jets that are kept of an event; None for all.
        eta_max: jets within this pseudorapidity count; None for all.
        neutrinos: cluster neutrinos too. A detector does not see them.
        weights: of the events, (E,).

    Returns:
        The jets of all events.

    Raises:
        ValueError: if a momentum is not finite, a number is out of range, or the weights do not fit the events.
        ImportError: if FastJet is not installed.
    """
    _check(particles, radius, pt_min, max_jets, eta_max, weights)
    seen = np.ones(len(particles.pdg_id), bool)
    if not neutrinos:
        seen = ~np.isin(np.abs(particles.pdg_id), tuple(NEUTRINOS))
    num_events = len(particles.offsets) - 1
    index = np.repeat(np.arange(num_events), np.diff(particles.offsets))
    offsets = offsets_from_counts(np.bincount(index[seen], minlength=num_events))
    visible = ParticleSet(offsets, particles.pdg_id[seen], particles.p4[seen])
    parts = [
        _cluster_chunk(visible[first : first + CHUNK], first, radius, pt_min, max_jets, eta_max)
        for first in range(0, max(len(visible), 1), CHUNK)
    ]
    event = np.concatenate([p.event for p in parts])
    return ClusteredJets(
        ParticleSet.concatenate([p.constituents for p in parts]),
        Partons.concatenate([p.axes for p in parts]),
        event,
        None if weights is None else np.asarray(weights, dtype=np.float64)[event],
    )


def cluster_sequence(offsets: Ints, p4: Floats, algorithm: str, radius: float) -> Any:
    """Cluster N ragged sets at once with FastJet, without its banner on standard output.

    Args:
        offsets: (N+1,).
        p4: (M, 4) in GeV.
        algorithm: FastJet's name, such as "antikt_algorithm".
        radius: R of the algorithm.

    Returns:
        FastJet's ClusterSequence over an awkward array.
    """
    import awkward as ak

    fastjet = library("fastjet")
    fastjet.ClusterSequenceArea.set_fastjet_banner_stream(None)
    columns = [ak.contents.NumpyArray(np.ascontiguousarray(p4[:, k])) for k in (1, 2, 3, 0)]
    record = ak.contents.RecordArray(columns, ["px", "py", "pz", "E"], parameters={"__record__": "Momentum4D"})
    sets = ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), record))
    return fastjet.ClusterSequence(sets, fastjet.JetDefinition(getattr(fastjet, algorithm), radius))


def _cluster_chunk(
    events: ParticleSet, first: int, radius: float, pt_min: float, max_jets: int | None, eta_max: float | None
) -> ClusteredJets:
    """Cluster a few events, the first of which is number ``first``."""
    import awkward as ak

    sequence = cluster_sequence(events.offsets, events.p4, "antikt_algorithm", radius)
    constituents = sequence.constituent_index(min_pt=pt_min)
    event = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(constituents, axis=1)))
    members = ak.flatten(constituents, axis=1)
    offsets = offsets_from_counts(ak.to_numpy(ak.num(members, axis=1)))
    rows = ak.to_numpy(ak.flatten(members, axis=1)).astype(np.int64)
    rows += np.repeat(events.offsets[event], np.diff(offsets))
    jets = ParticleSet(offsets, events.pdg_id[rows], events.p4[rows])
    p4 = jets.sums()
    order = np.lexsort((-pt(p4), event))
    if eta_max is not None:
        order = order[np.abs(eta(p4[order])) < eta_max]
    if max_jets is not None:
        start = np.searchsorted(event[order], event[order])
        order = order[np.arange(len(order)) - start < max_jets]
    return ClusteredJets(jets[order], Partons(np.full(len(order), 21), p4[order]), event[order] + first)


def _check(
    particles: Sets,
    radius: float,
    pt_min: float,
    max_jets: int | None,
    eta_max: float | None,
    weights: NDArray[Any] | None,
) -> None:
    if not np.isfinite(particles.p4).all():
        raise ValueError("particle momenta hold NaN or infinity: clustering needs finite momenta")
    if not 0.0 < radius < np.pi / 2:
        raise ValueError(f"radius = {radius}: must lie between 0 and pi/2")
    if not pt_min > 0.0:
        raise ValueError(f"pt_min = {pt_min}: must be above 0 GeV, or every particle alone in its cone is a jet")
    if max_jets is not None and max_jets < 1:
        raise ValueError(f"max_jets = {max_jets}: must be at least 1, or None for all")
    if eta_max is not None and not eta_max > 0.0:
        raise ValueError(f"eta_max = {eta_max}: must be above 0, or None for all")
    if weights is not None and np.shape(weights) != (len(particles.offsets) - 1,):
        raise ValueError(f"weights of shape {np.shape(weights)} for {len(particles.offsets) - 1} events")
