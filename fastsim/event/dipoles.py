"""Colour dipoles: the pairs of a hard parton and the one at the other end of its colour line that radiate together.

In hadron collisions most colour lines of a hard parton run to the beams. In the rest frame of the parton p and its
partner k - an incoming partner counts as one that goes out along its beam - the two are back to back with momentum
p* = sqrt((p + k)^2) / 2, as the pair of the Pythia gun is. p* limits the transverse momenta, and log(p*/kT) the
rapidities, of what the parton radiates in a dipole shower, whichever of the partners is initial or final; the string
between the two makes hadrons as that of the gun's pair does. So the hadrons of the parton are its hemisphere of a pair
with momentum p*, in this frame. For a parton that leaves at the rapidity y* in the rest frame of two, its dipole with
the beam that it flies along has p* = pT sqrt(1 + exp(-2 abs(y*))) / 2: less than the pT of a pair across the beams,
which radiates more.

A jet of mass m that keeps the transverse momentum of its parton has p + z k, z = m^2 / (2 p k): the partner recoils,
if it is incoming by bringing more momentum in. A hemisphere has less than that, since some of its parton's momentum
goes to hadrons in the partner's hemisphere, of which those near a jet are the jet's, while the rest of the collision
has others of its own near the beams. The jets get the momentum midway (:data:`RECOIL`).

A gluon has two dipoles, and its hemisphere is that of one of them, drawn with equal chances.

References:
    Sjostrand and Skands 2004, hep-ph/0408302 (dipoles of a final radiator and an initial recoiler).
    Streng, Walsh and Zerwas 1979, Z. Phys. C 2, 237 (the hemisphere of a parton in the Breit frame).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastsim.event.arrays import Floats, Ints
from fastsim.event.hard import HardEvents
from fastsim.event.kinematics import boost_from, boost_to, mass, mass_squared, on_shell, rotate_between
from fastsim.event.singlets import colour_partners
from fastsim.event.species import LEAST_MOMENTUM, PARTON_MASSES

X_AXIS = np.array([1.0, 0.0, 0.0])
RECOIL = 0.5
"""Where the momentum of a jet lies between that of the hemisphere (0) and p + z k (1): so fitted to jets of Pythia's
dijets from 20 GeV without multiple interactions."""


def draw_partners(events: HardEvents, rng: np.random.Generator) -> Ints:
    """Return the row of the colour partner of each entry, (K,), -1 for none; of two, one with equal chances.

    Args:
        events: the events, with colour tags.
        rng: draws the partners.
    """
    both = colour_partners(events)
    one = np.where(rng.integers(0, 2, len(both)) == 0, both[:, 0], both[:, 1])
    return np.where((both < 0).any(axis=1), both.max(axis=1), one)


@dataclass(frozen=True)
class Dipoles:
    """The dipoles of D partons.

    Attributes:
        parton: which of the partons of a batch these are, (D,).
        p4: four-momenta of the partons in the lab, with the masses of the Pythia gun's partons, in GeV, (D, 4).
        frame: four-momenta of the dipoles in GeV, (D, 4).
        momentum: four-momenta of the partons in the rest frames of the dipoles in GeV, (D, 4).
    """

    parton: Ints
    p4: Floats
    frame: Floats
    momentum: Floats

    def __len__(self) -> int:
        return len(self.parton)

    @classmethod
    def of(cls, parton: Ints, pdg_id: Ints, p4: Floats, partner: Floats) -> Dipoles:
        """Return the dipoles of partons and their partners.

        A dipole too light for hadrons of the parton's flavour is one with a harder partner in the same direction.

        Args:
            parton: which partons these are, (D,).
            pdg_id: their PDG ids, (D,).
            p4: their four-momenta in GeV, (D, 4).
            partner: four-momenta of their partners in GeV, of incoming ones as they come in, (D, 4).
        """
        flavour = np.abs(pdg_id)
        m, least = (np.array([table[int(i)] for i in flavour]) for table in (PARTON_MASSES, LEAST_MOMENTUM))
        own = on_shell(p4, m)
        light = _length(boost_from(own, own + partner)) < least
        product = _product(own, partner)
        needed = least * (least + np.hypot(least, m))  # product of a massless partner with which p* is the least
        harder = np.where(light, needed / np.maximum(product, 1e-6 * needed), 1.0)
        frame = own + harder[:, None] * partner
        return cls(parton, own, frame, boost_from(own, frame))

    @property
    def along_x(self) -> Floats:
        """Four-momenta (D, 4) in GeV of the partons in the rest frames of the dipoles, turned to the x axis."""
        size, zero = _length(self.momentum), np.zeros(len(self))
        return np.stack([self.momentum[:, 0], size, zero, zero], axis=-1)

    def jets(self, hemispheres: Floats) -> Floats:
        """Return the four-momenta (D, 4) of jets, of which the hemispheres have ``hemispheres`` (D, 4), in GeV."""
        m, partner = mass(hemispheres), self.frame - self.p4
        product = np.maximum(_product(self.p4, partner), np.finfo(float).tiny)
        z = np.clip((m**2 - mass_squared(self.p4)) / (2 * product), 0.0, 1.0)
        return on_shell((1 - RECOIL) * hemispheres + RECOIL * (self.p4 + z[:, None] * partner), m)

    def to_lab(self, p4: Floats, dipole: Ints) -> Floats:
        """Move momenta (M, 4) from the frames of :attr:`along_x` to the lab.

        Args:
            p4: four-momenta in GeV.
            dipole: which dipole each belongs to, (M,).
        """
        end = self.momentum[:, 1:] / np.maximum(_length(self.momentum), np.finfo(float).tiny)[:, None]
        turned = rotate_between(p4[:, 1:], np.broadcast_to(X_AXIS, (len(p4), 3)), end[dipole])
        return boost_to(np.concatenate([p4[:, :1], turned], axis=-1), self.frame[dipole])


def _product(one: Floats, other: Floats) -> Floats:
    """Return the Minkowski products (N,) of four-momenta (N, 4)."""
    value: Floats = one[:, 0] * other[:, 0] - np.sum(one[:, 1:] * other[:, 1:], axis=1)
    return value


def _length(p4: Floats) -> Floats:
    """Return the lengths (N,) of the three-momenta of four-momenta (N, 4)."""
    value: Floats = np.linalg.norm(p4[:, 1:], axis=-1)
    return value
