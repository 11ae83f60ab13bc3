"""What the rest of a hadron collision depends on: momentum fractions, scale, initial state, and limits of radiation.

The rest is what Pythia makes around a hard process that is a colour singlet, which does not radiate and is invisible
(two gluons make a 25, a quark and an antiquark a 23 or 24), with the momentum fractions and the scale of the event's
own hard process. Of an initial state that makes no singlet (q g, q q') one parton, drawn with equal chances, keeps its
place and the other one becomes its partner: a gluon for a gluon, the antiquark for a quark.

The hardest radiation that Pythia allows depends on what the hard process makes; the singlet cannot show that, so that
it is a condition too (the documentation of ``SpaceShower:pTmaxMatch`` and ``MultipartonInteractions:pTmaxMatch``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, HardEvents, Ints, RunInfo, offsets_from_counts
from fastsim.event.kinematics import mass
from fastsim.event.reconstruction import is_parton
from fastsim.event.species import charges
from generators.rests.azimuths import LINES, draw_azimuths, line_ends

JETS, MIXED, COLOURLESS = 0, 1, 2
"""What the hard process makes: light partons and photons alone, to whose scale showers and further scatterings are
limited; such together with others, or heavy partons, which limit the shower; or neither."""
SINGLETS = (23, 24, -24, 25)
"""PDG ids of the singlets."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of N rests.

    Attributes:
        number: numbers of the events, (N,).
        energy: energies of the beams along +z and -z in GeV, (2,).
        x: momentum fractions of the incoming partons along +z and -z, (N, 2).
        incoming: PDG ids of the incoming partons of the singlet along +z and -z, (N, 2).
        scale: scale of the hard process in GeV, (N,).
        limits: JETS, MIXED or COLOURLESS, (N,).
        ends: pT in GeV and azimuths of the final partons in which the colour lines of the incoming ones end, as of
            :func:`generators.rests.azimuths.line_ends`, (N, 4, 2); none where not given.
    """

    number: Ints
    energy: Floats
    x: Floats
    incoming: Ints
    scale: Floats
    limits: Ints
    ends: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if self.ends.ndim == 1:
            object.__setattr__(self, "ends", np.full((len(self), *LINES), np.nan))

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, rows: Ints) -> Conditions:
        """Return the conditions of some of the rests, by their indices or a mask."""
        columns = (getattr(self, name)[rows] for name in ("x", "incoming", "scale", "limits", "ends"))
        return Conditions(self.number[rows], self.energy, *columns)

    @property
    def total(self) -> Floats:
        """Four-momenta of the singlets before they recoil, in GeV, (N, 4)."""
        energies = self.x * self.energy
        zero = np.zeros(len(self))
        return np.stack([energies.sum(axis=1), zero, zero, energies[:, 0] - energies[:, 1]], axis=-1)

    @property
    def gluonic(self) -> NDArray[np.bool_]:
        """Which of the singlets are made by gluons, (N,)."""
        return np.asarray((self.incoming == 21).all(axis=1))

    @classmethod
    def of(cls, events: HardEvents, run: RunInfo, rng: np.random.Generator) -> Conditions:
        """Return the conditions of N events with two incoming particles each.

        Where the file gives no scale, half the mass of the hard process stands for it.

        Args:
            events: the events.
            run: their beams.
            rng: draws which parton of an initial state without a singlet keeps its place.
        """
        rows = np.flatnonzero(events.status == -1).reshape(-1, 2)
        pz = events.p4[rows, 3]
        rows = np.where((pz[:, 0] < pz[:, 1])[:, None], rows[:, ::-1], rows)
        energy = np.array(run.beam_energy)
        x = events.p4[rows, 0] / energy
        half = 0.5 * np.sqrt(x.prod(axis=1) * energy.prod() * 4)
        scale = np.where(events.scale > 0, events.scale, half)
        incoming = _of_singlet(events.pdg_id[rows], rng)
        return cls(events.number, energy, x, incoming, scale, _limits(events), line_ends(events))

    def azimuths(self, transverse: Floats, rng: np.random.Generator) -> Floats:
        """Draw the azimuths (N,) of radiation of transverse momenta (N,) in GeV, against which the events recoil."""
        return draw_azimuths(self.ends, transverse, self.limits == JETS, rng)

    def singlets(self) -> HardEvents:
        """Return the hard processes of the singlets, as events of a Les Houches file."""
        size, total = len(self), self.total
        charge = np.rint(charges(self.incoming).sum(axis=1)).astype(np.int64)
        both_quarks = is_parton(self.incoming).all(axis=1) & ~self.gluonic
        made = np.where(both_quarks, np.where(charge == 0, 23, 24 * np.sign(charge)), 25)
        energies = self.x * self.energy
        zero = np.zeros((size, 2))
        incoming = np.stack([energies, zero, zero, energies * [1.0, -1.0]], axis=-1)
        # the colour of the one is the anticolour of the other; two gluons have two such lines
        coloured, first = is_parton(self.incoming), self.incoming[:, 0] > 0
        colours = np.zeros((size, 3, 2), dtype=np.int64)
        colours[:, 0] = np.where(self.gluonic[:, None], [101, 102], np.where(first[:, None], [101, 0], [0, 101]))
        colours[:, 1] = np.where(self.gluonic[:, None], [102, 101], np.where(first[:, None], [0, 101], [101, 0]))
        colours[~coloured.all(axis=1)] = 0
        mothers = np.tile(np.array([[-1, -1], [-1, -1], [0, 1]]), (size, 1))
        p4 = np.concatenate([incoming, total[:, None]], axis=1).reshape(-1, 4)
        return HardEvents(
            number=self.number,
            offsets=offsets_from_counts(np.full(size, 3)),
            pdg_id=np.concatenate([self.incoming, made[:, None]], axis=1).ravel(),
            status=np.tile([-1, -1, 1], size),
            mothers=mothers,
            colours=colours.reshape(-1, 2),
            p4=p4,
            mass=np.where(np.tile([False, False, True], size), mass(p4), 0.0),
            weights=np.ones((size, 1)),
            process=self.limits,
            scale=self.scale,
        )

    @classmethod
    def of_singlets(cls, events: HardEvents, run: RunInfo) -> Conditions:
        """Return the conditions that :meth:`singlets` made events of."""
        rows = events.offsets[:-1, None] + np.arange(2)
        energy = np.array(run.beam_energy)
        return cls(
            events.number, energy, events.p4[rows, 0] / energy, events.pdg_id[rows], events.scale, events.process
        )


def _of_singlet(incoming: Ints, rng: np.random.Generator) -> Ints:
    """Return initial states (N, 2) that make singlets, for any ones (N, 2)."""
    one, other = incoming.T
    quarks = (np.abs(incoming) <= 6).all(axis=1)
    singlet = (quarks & (one * other < 0)) | ((one == other) & ~quarks)
    kept = rng.integers(0, 2, len(incoming))
    kept = np.where(is_parton(incoming).all(axis=1), kept, is_parton(incoming)[:, 1])  # of a photon's partner
    keeper = incoming[np.arange(len(incoming)), kept]
    partner = np.where(np.abs(keeper) <= 6, -keeper, keeper)
    changed = incoming.copy()
    changed[np.arange(len(incoming)), 1 - kept] = partner
    return np.where(singlet[:, None], incoming, changed)


def _limits(events: HardEvents) -> Ints:
    """Return what the hard processes of N events make, before resonances decay: JETS, MIXED or COLOURLESS."""
    index = events.index
    mother = np.where(events.mothers[:, 0] >= 0, events.mothers[:, 0] + events.offsets[index], 0)
    first = (events.mothers[:, 0] < 0) | (events.status[mother] == -1)
    made = np.isin(events.status, (1, 2)) & first
    light = is_parton(events.pdg_id) | (events.pdg_id == 22)
    coloured = light | (events.colours != 0).any(axis=1)
    size = len(events)
    num, num_light, num_coloured = (np.bincount(index[made & kind], minlength=size) for kind in (made, light, coloured))
    return np.where(num_light == num, JETS, np.where(num_coloured > 0, MIXED, COLOURLESS))
