"""What the events of hadron colliders hold besides the hadrons of the hard partons: the rest, and pile-up."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from fastsim.errors import FastsimError

PathLike = str | os.PathLike[str]

HARD, WHOLE = "hard", "full"
"""The hadrons of the hard partons alone, or whole collisions."""


@dataclass(frozen=True)
class Collisions:
    """What the events of a run hold.

    Attributes:
        event: ``"hard"`` or ``"full"``.
        rest: the source of the rests of whole collisions: ``"pythia"``, or the path of a library (.h5); None for one
            that is made of the first events of the input and kept on this machine.
        pileup: mean number of further minimum-bias collisions an event.
        pileup_events: file of these collisions; None for those of Pythia.
        beam_spot: standard deviation of their places along the beam in mm.

    Raises:
        FastsimError: if a value is out of range, or two do not go together.
    """

    event: str = HARD
    rest: PathLike | None = None
    pileup: float = 0.0
    pileup_events: PathLike | None = None
    beam_spot: float = 35.0

    def __post_init__(self) -> None:
        if self.event not in (HARD, WHOLE):
            raise FastsimError(f"event={self.event!r}: must be {WHOLE} or {HARD}")
        if self.rest is not None and self.event != WHOLE:
            raise FastsimError("a source of rests is given, but the events are no whole collisions: use --event full")
        if not (math.isfinite(self.pileup) and 0 <= self.pileup <= 1000):
            raise FastsimError(f"pileup={self.pileup:g}: the mean number of collisions must be 0 to 1000")
        if self.pileup_events is not None and not self.pileup:
            raise FastsimError("a file of pile-up collisions is given, but no mean number of them: use --pileup")
        if not (math.isfinite(self.beam_spot) and self.beam_spot >= 0):
            raise FastsimError(f"beam_spot={self.beam_spot:g} mm: must not be negative")

    @property
    def any(self) -> bool:
        """Whether there is anything to add."""
        return self.event == WHOLE or self.pileup > 0


def is_lepton(pdg_id: int) -> bool:
    """Return whether a beam of a PDG id is one of leptons, of which nothing is left after the hard process.

    >>> is_lepton(-11), is_lepton(2212), is_lepton(22)
    (True, False, False)
    """
    return 11 <= abs(pdg_id) <= 16
