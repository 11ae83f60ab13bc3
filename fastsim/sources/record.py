"""How much of an event's history a run keeps: all that decayed on the way, or the final particles alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import HardEvents

FULL, FINAL = "full", "final"
RECORDS = (FULL, FINAL)
"""The records that a run can keep: with the particles that decayed, where the source gives them, or without."""


def check_record(record: str) -> None:
    """Raise FastsimError if a run keeps no such record.

    >>> check_record("all")
    Traceback (most recent call last):
    fastsim.errors.FastsimError: record 'all': must be full or final
    """
    if record not in RECORDS:
        raise FastsimError(f"record {record!r}: must be {' or '.join(RECORDS)}")


class FinalParticles:
    """The Step that drops the history of the final particles: what decayed into them, and where they were made."""

    name = "final-particles"
    requires = frozenset({"hadrons"})
    provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with their final particles alone."""
        if events.particles is None:
            return events
        return replace(events, particles=events.particles.without_history())
