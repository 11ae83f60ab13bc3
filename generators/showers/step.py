"""The Step from hadrons to calorimeter cells: every particle through a source of showers, deposited in its towers."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Layer
from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import Towers, unit_vectors
from fastsim.errors import InvalidEvent, PipelineError
from fastsim.event import Cells, Floats, HardEvents, Ints, kinematics, offsets_from_counts, species
from fastsim.sources.showers import ShowerSource

NOWHERE = -1
"""Of a particle that goes to no source."""


STAND_INS = {
    310: 130,
    **{sign * hyperon: sign * 2112 for hyperon in (3122, 3322) for sign in (1, -1)},
    **{sign * hyperon: sign * 2212 for hyperon in (3112, 3222, 3312, 3334) for sign in (1, -1)},
}
"""Whose showers are taken for those of K0S and hyperons that no source takes: K0L, and the nucleon of that baryon
number, neutral or charged alike. Their nuclear interactions are much the same."""


class Deposit:
    """Sends the final particles of events into a calorimeter and adds up their showers in its cells.

    Particles outside the domain of ``source`` go to ``fallback`` (tally ``fallback_showers``, of all ``showers``). K0S
    and hyperons that neither takes leave the showers of others (:data:`STAND_INS`; tally ``stand_in_showers``).
    Neutrinos leave nothing. What else leaves nothing is counted, with its kinetic energy:

    * ``forward_particles``, ``forward_energy_MeV``: beyond the towers' ``eta_max``;
    * ``soft_particles``, ``soft_energy_MeV``: of less energy than either source takes;
    * ``dropped_particles``, ``dropped_energy_MeV``: other particles that neither source takes.

    ``leaked_energy_MeV`` is what showers deposit beyond ``eta_max``; all their other energy is in the cells.

    Each shower is turned by a random azimuth about its axis, and the energy of each of its voxels goes to a random
    place in the voxel (see :mod:`fastsim.detector.towers` for how showers are placed).

    Args:
        source: the model, library or reference to use.
        fallback: where particles outside its domain go, usually Geant4; None to count them as dropped.
        towers: the geometry; its detector must be the sources'.

    Raises:
        PipelineError: if sources and towers do not belong to one detector.
    """

    requires = frozenset({"hadrons"})
    provides = frozenset({"cells"})

    def __init__(self, source: ShowerSource, fallback: ShowerSource | None, towers: Towers) -> None:
        for given in (source, fallback):
            if given is not None:
                _check(given, towers)
        self.source = source
        self.fallback = fallback
        self.towers = towers
        self.name = f"deposit:{source.name}"

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with cells.

        Raises:
            InvalidEvent: if a particle's momentum is not finite.
            PipelineError: if a source does not give one shower a particle.
        """
        particles = events.particles
        if particles is None:
            raise PipelineError(f"step {self.name!r} was given events without particles")
        event = particles.index
        finite = np.isfinite(particles.p4).all(axis=1)
        if not finite.all():
            number = events.number[event[np.argmin(finite)]]
            raise InvalidEvent(f"event {number}: a particle's momentum is not finite")
        seen = ~np.isin(np.abs(particles.pdg_id), tuple(species.NEUTRINOS))
        event, pdg_id, p4 = event[seen], particles.pdg_id[seen], particles.p4[seen]
        kinetic = kinetic_energies(pdg_id, p4)
        direction, moves = unit_vectors(p4)
        inside = moves & (np.abs(kinematics.eta(p4)) < self.towers.eta_max)
        use, soft = self._choose(pdg_id, kinetic)
        pdg_id, replaced = self._stand_ins(pdg_id, kinetic, use)
        lost = {"forward": ~inside, "soft": inside & soft, "dropped": inside & ~soft & (use == NOWHERE)}
        for key, which in lost.items():
            events = events.tally(f"{key}_particles", event[which])
            events = events.tally(f"{key}_energy_MeV", event[which], 1e3 * kinetic[which])
        use[~inside] = NOWHERE
        events = events.tally("showers", event[use != NOWHERE]).tally("fallback_showers", event[use == 1])
        events = events.tally("stand_in_showers", event[replaced & inside])
        hits = [self._hits(s, event, pdg_id, kinetic, direction, use == k, rng) for k, s in enumerate(self._sources)]
        at, cell, energy = (np.concatenate(column) for column in zip(*hits, strict=True))
        events = events.tally("leaked_energy_MeV", at[cell < 0], energy[cell < 0])
        return replace(events, cells=collected(len(events), at, cell, energy))

    @property
    def _sources(self) -> list[ShowerSource]:
        return [self.source] if self.fallback is None else [self.source, self.fallback]

    def _choose(self, pdg_id: Ints, kinetic: Floats) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the number of the source that takes each particle, or NOWHERE; and which have too little energy."""
        use = np.full(len(pdg_id), NOWHERE)
        some = np.flatnonzero(kinetic > 0)
        incidents = _along_axis(pdg_id[some], kinetic[some])
        for number, source in reversed(list(enumerate(self._sources))):
            use[some[source.domain.contains(incidents)]] = number
        soft = (use == NOWHERE) & (kinetic < min(source.domain.min_energy for source in self._sources))
        return use, soft

    def _stand_ins(self, pdg_id: Ints, kinetic: Floats, use: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the particles whose showers are taken, and which of them stand in for others; update ``use``."""
        taken = pdg_id.copy()
        some = np.flatnonzero((use == NOWHERE) & (kinetic > 0) & np.isin(pdg_id, list(STAND_INS)))
        taken[some] = [STAND_INS[i] for i in pdg_id[some].tolist()]
        some = some[self.source.domain.contains(_along_axis(taken[some], kinetic[some]))]
        use[some] = 0
        replaced = np.zeros(len(pdg_id), np.bool_)
        replaced[some] = True
        return np.where(replaced, taken, pdg_id), replaced

    def _hits(
        self,
        source: ShowerSource,
        event: Ints,
        pdg_id: Ints,
        kinetic: Floats,
        direction: Floats,
        chosen: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Ints, Ints, Floats]:
        """Events, cells (-1 for leakage) and energies in MeV of what the voxels of a source's showers hold."""
        rows = np.flatnonzero(chosen)
        showers = source.sample(_along_axis(pdg_id[rows], kinetic[rows]), rng=rng)
        if not np.isfinite(showers).all() or (showers < 0).any():
            raise PipelineError(f"{source.name} gave a shower with deposits that are negative or not finite")
        turn = rng.uniform(-np.pi, np.pi, len(rows))
        found: list[tuple[Ints, Ints, Floats]] = []
        for species_id in np.unique(pdg_id[rows]):
            those = np.flatnonzero(pdg_id[rows] == species_id)
            voxels = _voxels(source.binning(int(species_id)).layers)
            shower, voxel = np.nonzero(showers[those])
            shower = those[shower]
            r, alpha = voxels.places(voxel, rng)
            cell = self.towers.locate(direction[rows[shower]], voxels.layer[voxel], r, alpha + turn[shower])
            found.append((event[rows[shower]], cell, showers[shower, voxel].astype(np.float64)))
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        at, cell, energy = (np.concatenate(column) for column in zip(empty, *found, strict=True))
        return at, cell, energy


def kinetic_energies(pdg_id: Ints, p4: Floats) -> Floats:
    """Kinetic energies in GeV (N,): E - m, with the mass of a known species, else that of the four-momentum."""
    mass = kinematics.mass(p4)
    for unique in np.unique(pdg_id):
        try:
            mass[pdg_id == unique] = species.mass(int(unique))
        except KeyError:
            continue
    return np.asarray(p4[:, 0] - mass)


def collected(num_events: int, event: Ints, cell: Ints, energy: Floats) -> Cells:
    """Energy deposits added up cell by cell; those of cell -1 are left out.

    Args:
        num_events: E.
        event, cell, energy: of each deposit (N,), energies in MeV.
    """
    kept = cell >= 0
    event, cell = event[kept], cell[kept]
    width = int(cell.max(initial=0)) + 1
    keys, inverse = np.unique(event * width + cell, return_inverse=True)
    total = np.bincount(inverse, weights=energy[kept], minlength=len(keys))
    counts = np.bincount(keys // width, minlength=num_events)
    return Cells(offsets_from_counts(counts), keys % width, total.astype(np.float32))


class _Voxels(NamedTuple):
    """Where voxels lie: arrays (V,) of layer, squared radii in mm2, first alpha and width in rad."""

    layer: Ints
    r2_low: Floats
    r2_high: Floats
    alpha: Floats
    width: Floats

    def places(self, voxel: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Radii in mm and angles of places in voxels (N,), uniform over their areas."""
        low, high = self.r2_low[voxel], self.r2_high[voxel]
        r = np.sqrt(low + rng.uniform(size=len(voxel)) * (high - low))
        return r, self.alpha[voxel] + rng.uniform(size=len(voxel)) * self.width[voxel]


@lru_cache(maxsize=64)
def _voxels(layers: tuple[Layer, ...]) -> _Voxels:
    columns = []
    for number, layer in enumerate(layers):
        squares = np.square(layer.r_edges)
        width = 2 * np.pi / layer.num_alpha
        alpha = np.repeat(-np.pi + width * np.arange(layer.num_alpha), layer.num_r)
        low, high = (np.tile(part, layer.num_alpha) for part in (squares[:-1], squares[1:]))
        columns.append((np.full(layer.num_voxels, number), low, high, alpha, np.full(layer.num_voxels, width)))
    return _Voxels(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _along_axis(pdg_id: Ints, kinetic: Floats) -> Incidents:
    zeros = np.zeros(len(kinetic))
    return Incidents(pdg_id, kinetic, zeros, zeros)


def _check(source: ShowerSource, towers: Towers) -> None:
    if source.detector != towers.detector:
        raise PipelineError(
            f"{source.name} makes showers in {source.detector}, but the towers are those of {towers.detector}"
        )
    for pdg_id in sorted(source.domain.particles):
        layers = len(source.binning(pdg_id).layers)
        if layers != len(towers.depths_mm):
            raise PipelineError(
                f"{source.name}: showers of {pdg_id} have {layers} layers, but the towers {len(towers.depths_mm)}"
            )
