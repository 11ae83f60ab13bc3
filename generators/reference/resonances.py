"""Decays of resonances that the hard record leaves undecayed: t, W, Z, H and tau, by Pythia 8.

t, W, Z and H are decayed first, each at rest and with the mass it has in the record, by Pythia's resonance decays
without shower or hadronisation, so that quarks come out as partons for the next Step; the products are then boosted to
the resonance's momentum. Decay chains (t -> b W, W -> q q') are kept in full. The decays of W and Z get the angles that
their production gives them (:mod:`generators.reference.decay_angles`). Then the leptons may radiate photons
(:mod:`generators.reference.radiation`). Last, tau leptons, those of the file and those of the decays, give their final
hadrons and leptons, with polarisation and spin correlations (:mod:`generators.reference.tau_decays`).

Other states (new vector bosons, supersymmetric particles...) have widths that depend on a model: they pass.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastsim.event import HardEvents
from fastsim.event.kinematics import boost_to, mass
from fastsim.sources.hadrons import TAU0_MAX
from generators.reference.decay_angles import correlate
from generators.reference.products import Products, append_products, cannot_decay, read_products
from generators.reference.radiation import radiate_photons
from generators.reference.tau_decays import TAU, decay_taus

TOP = 6
BOSONS_AND_TOPS: frozenset[int] = frozenset({TOP, 23, 24, 25})
"""PDG ids (absolute) that Pythia decays as resonances."""
RESONANCES: frozenset[int] = BOSONS_AND_TOPS | {TAU}
"""PDG ids (absolute) that are decayed."""

SETTINGS: tuple[str, ...] = (
    "PartonLevel:FSRinResonances = off",
    "HadronLevel:Hadronize = off",
    "HadronLevel:Decay = off",
)
TAU0_OF_TAU = 0.08703
"""Mean proper lifetime of the tau in mm, as Pythia has it."""
_MAX_TRIES = 20


@dataclass(frozen=True)
class DecayResonances:
    """The Step that gives undecayed t, W, Z, H and tau status 2 and appends their products to the hard record.

    The tally ``decayed_resonances`` counts the resonances of the file. Four-momentum is conserved to rounding.

    Attributes:
        settings: further lines for Pythia, such as ``25:onMode = off`` and ``25:onIfMatch = 15 -15``.
        tau0_max: mean proper lifetime in mm beyond which particles are left as they are; taus below 0.087 mm.
        photons: whether charged leptons radiate photons, taus before they decay.
    """

    settings: tuple[str, ...] = ()
    tau0_max: float = TAU0_MAX
    photons: bool = False

    name = "decay-resonances"
    requires = frozenset({"partons"})
    provides = frozenset({"partons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with all resonances decayed.

        Raises:
            InvalidEvent: if Pythia finds no decay for a resonance (a mass below all its channels).
        """
        with_taus = self.tau0_max >= TAU0_OF_TAU
        species = RESONANCES if with_taus else BOSONS_AND_TOPS
        chosen = (events.status == 1) & np.isin(np.abs(events.pdg_id), sorted(species))
        if chosen.any():
            events = events.tally("decayed_resonances", events.index[chosen])
        events = _decay_bosons_and_tops(events, rng, self.settings)
        if self.photons:
            events = radiate_photons(events, rng)
        return decay_taus(events, rng, self.settings) if with_taus else events


def _decay_bosons_and_tops(events: HardEvents, rng: np.random.Generator, settings: tuple[str, ...]) -> HardEvents:
    """Return the events with t, W, Z and H decayed; taus among the products stay."""
    rows = np.flatnonzero((events.status == 1) & np.isin(np.abs(events.pdg_id), sorted(BOSONS_AND_TOPS)))
    if not len(rows):
        return events
    from generators.reference.pythia import own_pythia

    pythia = own_pythia(settings=(*SETTINGS, *settings))
    seeds = rng.integers(1, 900_000_000, len(rows))
    products = [_decay(pythia, events, int(row), int(seed)) for row, seed in zip(rows, seeds, strict=True)]
    sizes = events.counts
    events = append_products(events, rows.tolist(), products)
    position = np.arange(len(events.pdg_id)) - events.offsets[events.index]
    appended = position >= sizes[events.index]
    return correlate(events, appended & (events.status == 1), rng)


def _decay(pythia: Any, events: HardEvents, row: int, seed: int) -> Products:
    """Decay one resonance isotropically, and what it decays to.

    Args:
        pythia: a Pythia with :data:`SETTINGS`.
        events: the events.
        row: row of the resonance.
        seed: seed of the decay.

    Raises:
        InvalidEvent: if Pythia finds no decay.
    """
    pythia.rndm.init(seed)
    record = pythia.event
    pdg_id, m = int(events.pdg_id[row]), float(mass(events.p4[row]))
    # a top has colour even if the file does not say which; new tags of Pythia are above those of the resonance
    top = abs(pdg_id) == TOP
    tags = (101 if top and pdg_id > 0 else 0, 102 if top and pdg_id < 0 else 0)
    own = {tag: int(colour) for tag, colour in zip(tags, events.colours[row], strict=True) if tag}
    for _ in range(_MAX_TRIES):
        record.reset()
        record.append(pdg_id, 22, *tags, 0.0, 0.0, 0.0, m, m, m)
        if pythia.next() and record.size() > 2:
            products = read_products(record, (row,), own)
            frame = np.broadcast_to(events.p4[row], products.p4.shape)
            return replace(products, p4=boost_to(products.p4, frame))
    raise cannot_decay(events, row)
