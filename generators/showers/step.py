"""The Step from hadrons to calorimeter cells: every particle through a source of showers, deposited in its towers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.incidents import Incidents
from fastsim.detector.towers import Towers, unit_vectors
from fastsim.detector.voxel_places import voxel_places
from fastsim.errors import InvalidEvent, PipelineError
from fastsim.event import Cells, Floats, HardEvents, Ints, kinematics, offsets_from_counts, species
from fastsim.sources.showers import ShowerSource

NO_SOURCE = -1
"""Number in place of a source's for a particle whose shower none makes."""
SOURCE, FALLBACK = 0, 1
"""Numbers of the sources in their order."""


SUBSTITUTES = {
    310: 130,
    **{sign * hyperon: sign * 2112 for hyperon in (3122, 3322) for sign in (1, -1)},
    **{sign * hyperon: sign * 2212 for hyperon in (3112, 3222, 3312, 3334) for sign in (1, -1)},
}
"""PDG id of the particle whose showers replace those of a K0S or hyperon that no source takes: K0L for a K0S; for a
hyperon the nucleon of its baryon number, neutral for neutral and charged for charged. Their nuclear interactions are
much the same."""


class Deposit:
    """The Step that sends final particles into a calorimeter and adds up their showers in its cells.

    Particles outside the domain of ``source`` go to ``fallback`` (tally ``fallback_showers``, of all ``showers``). K0S
    and hyperons that neither takes have the showers of other particles (:data:`SUBSTITUTES`; tally
    ``stand_in_showers``). Neutrinos leave nothing. Other particles that leave nothing are counted, with their kinetic
    energies:

    * ``forward_particles``, ``forward_energy_MeV``: beyond the towers' ``eta_max``;
    * ``soft_particles``, ``soft_energy_MeV``: of less energy than either source takes;
    * ``dropped_particles``, ``dropped_energy_MeV``: other particles that neither source takes.

    ``leaked_energy_MeV`` is what showers deposit beyond ``eta_max``; all their other energy is in the cells.

    Each shower is turned by a random azimuth about its axis, and the energy of each of its voxels goes to a random
    place in the voxel (see :mod:`fastsim.detector.towers` for how showers are placed).

    Args:
        source: the model, library or reference to use.
        fallback: the source for particles outside its domain, usually Geant4; None to count them as dropped.
        towers: the cells; their detector must be that of the sources.

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
        visible = ~np.isin(np.abs(particles.pdg_id), tuple(species.NEUTRINOS))
        event, pdg_id, p4 = event[visible], particles.pdg_id[visible], particles.p4[visible]
        kinetic = kinetic_energies(pdg_id, p4)
        direction, moves = unit_vectors(p4)
        inside = moves & (np.abs(kinematics.eta(p4)) < self.towers.eta_max)
        use, soft = self._choose(pdg_id, kinetic)
        pdg_id, use, replaced = self._with_substitutes(pdg_id, kinetic, use)
        lost = {"forward": ~inside, "soft": inside & soft, "dropped": inside & ~soft & (use == NO_SOURCE)}
        for key, chosen in lost.items():
            events = events.tally(f"{key}_particles", event[chosen])
            events = events.tally(f"{key}_energy_MeV", event[chosen], 1e3 * kinetic[chosen])
        use = np.where(inside, use, NO_SOURCE)
        events = events.tally("showers", event[use != NO_SOURCE]).tally("fallback_showers", event[use == FALLBACK])
        events = events.tally("stand_in_showers", event[replaced & inside])
        hits = [self._hits(s, event, pdg_id, kinetic, direction, use == k, rng) for k, s in enumerate(self._sources)]
        event, cell, energy = (np.concatenate(column) for column in zip(*hits, strict=True))
        events = events.tally("leaked_energy_MeV", event[cell < 0], energy[cell < 0])
        return replace(events, cells=collected(len(events), event, cell, energy))

    @property
    def _sources(self) -> list[ShowerSource]:
        return [self.source] if self.fallback is None else [self.source, self.fallback]

    def _choose(self, pdg_id: Ints, kinetic: Floats) -> tuple[Ints, NDArray[np.bool_]]:
        """Choose the source of each particle's shower.

        Args:
            pdg_id: PDG ids (N,).
            kinetic: kinetic energies (N,) in GeV.

        Returns:
            Number of the source, or NO_SOURCE, and whether the energy is too low for all sources, each (N,).
        """
        use = np.full(len(pdg_id), NO_SOURCE)
        rows = np.flatnonzero(kinetic > 0)
        incidents = _along_axis(pdg_id[rows], kinetic[rows])
        for number, source in reversed(list(enumerate(self._sources))):
            use[rows[source.domain.contains(incidents)]] = number
        soft = (use == NO_SOURCE) & (kinetic < min(source.domain.min_energy for source in self._sources))
        return use, soft

    def _with_substitutes(self, pdg_id: Ints, kinetic: Floats, use: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Replace particles that no source takes by their :data:`SUBSTITUTES`, where the source takes those.

        Args:
            pdg_id: PDG ids (N,).
            kinetic: kinetic energies (N,) in GeV.
            use: number of the source of each particle (N,), or NO_SOURCE.

        Returns:
            PDG ids, numbers of the sources, and which particles were replaced, each (N,).
        """
        substitutes = pdg_id.copy()
        rows = np.flatnonzero((use == NO_SOURCE) & (kinetic > 0) & np.isin(pdg_id, list(SUBSTITUTES)))
        substitutes[rows] = [SUBSTITUTES[i] for i in pdg_id[rows].tolist()]
        rows = rows[self.source.domain.contains(_along_axis(substitutes[rows], kinetic[rows]))]
        replaced = np.zeros(len(pdg_id), np.bool_)
        replaced[rows] = True
        return np.where(replaced, substitutes, pdg_id), np.where(replaced, SOURCE, use), replaced

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
        """Sample the showers of the chosen particles, and put the energy of each voxel into a cell.

        Args:
            source: the source of the showers.
            event, pdg_id, kinetic, direction: event (N,), PDG id (N,), kinetic energy in GeV (N,), and direction of
                flight (N, 3) of the particles.
            chosen: which particles have a shower from this source (N,).
            rng: source of all randomness.

        Returns:
            Event, cell (-1 beyond the towers) and energy in MeV of each voxel with energy, each (M,).
        """
        rows = np.flatnonzero(chosen)
        showers = source.sample(_along_axis(pdg_id[rows], kinetic[rows]), rng=rng)
        if not np.isfinite(showers).all() or (showers < 0).any():
            raise PipelineError(f"{source.name} gave a shower with deposits that are negative or not finite")
        turn = rng.uniform(-np.pi, np.pi, len(rows))
        hits: list[tuple[Ints, Ints, Floats]] = []
        for species_id in np.unique(pdg_id[rows]):
            selected = np.flatnonzero(pdg_id[rows] == species_id)
            voxels = voxel_places(source.binning(int(species_id)).layers)
            shower, voxel = np.nonzero(showers[selected])
            shower = selected[shower]
            r, alpha = voxels.draw(voxel, rng)
            cell = self.towers.locate(direction[rows[shower]], voxels.layer[voxel], r, alpha + turn[shower])
            hits.append((event[rows[shower]], cell, showers[shower, voxel].astype(np.float64)))
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        events, cells, energies = (np.concatenate(column) for column in zip(empty, *hits, strict=True))
        return events, cells, energies


def kinetic_energies(pdg_id: Ints, p4: Floats) -> Floats:
    """Return kinetic energies E - m in GeV, (N,), with the mass of the species, or of the momentum if that is unknown.

    Args:
        pdg_id: PDG ids (N,).
        p4: four-momenta (N, 4) in GeV.
    """
    mass = kinematics.mass(p4)
    for unique in np.unique(pdg_id):
        try:
            mass[pdg_id == unique] = species.mass(int(unique))
        except KeyError:
            continue
    return np.asarray(p4[:, 0] - mass)


def collected(num_events: int, event: Ints, cell: Ints, energy: Floats) -> Cells:
    """Add up energy deposits cell by cell, without those of cell -1.

    Args:
        num_events: number of events.
        event, cell, energy: event, cell and energy in MeV of each deposit, (N,).
    """
    kept = cell >= 0
    event, cell = event[kept], cell[kept]
    width = int(cell.max(initial=0)) + 1
    keys, inverse = np.unique(event * width + cell, return_inverse=True)
    total = np.bincount(inverse, weights=energy[kept], minlength=len(keys))
    counts = np.bincount(keys // width, minlength=num_events)
    return Cells(offsets_from_counts(counts), keys % width, total.astype(np.float32))


def _along_axis(pdg_id: Ints, kinetic: Floats) -> Incidents:
    """Return particles along the normal of the layers, as which towers take all particles."""
    zeros = np.zeros(len(kinetic))
    return Incidents(pdg_id, kinetic, zeros, zeros)


def _check(source: ShowerSource, towers: Towers) -> None:
    """Raise PipelineError if a source's showers and the towers are not of one detector."""
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
