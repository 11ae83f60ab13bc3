"""The Step that moves particles to where the hard record says that they were made."""

from __future__ import annotations

import numpy as np

from fastsim.event import HardEvents
from fastsim.event.vertices import displaced, followed


class Displace:
    """The Step that puts what comes from long-lived particles of the hard record where these decayed.

    Sources draw the hadrons of a parton as if it were made at the primary vertex. The lifetimes of the record
    (VTIMUP of Les Houches events) say where it was; see :mod:`fastsim.event.vertices`.
    """

    name = "displace"
    requires = frozenset({"hadrons"})
    provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with particles at their places, and with what decayed into them as these recoiled."""
        return displaced(followed(events))
