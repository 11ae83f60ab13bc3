"""What the events of hadron colliders hold besides the hadrons of the hard partons: the rest, and pile-up."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass, replace

from fastsim.errors import FastsimError
from fastsim.event import RunInfo

PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)

HARD, WHOLE = "hard", "full"
"""The hadrons of the hard partons alone, or whole collisions."""


@dataclass(frozen=True)
class Collisions:
    """What the events of a run hold.

    Attributes:
        event: ``"hard"`` or ``"full"``; None for what the beams make of it (:meth:`of_beams`).
        rest: the source of the rests of whole collisions: ``"pythia"``, or the path of a library (.h5); None for a
            library that is made of the first events of the input and kept on this machine, for few events Pythia.
        pileup: mean number of further minimum-bias collisions an event.
        pileup_events: file of these collisions; None for those of Pythia.
        beam_spot: standard deviation of their places along the beam in mm.

    Raises:
        FastsimError: if a value is out of range, or two do not go together.
    """

    event: str | None = None
    rest: PathLike | None = None
    pileup: float = 0.0
    pileup_events: PathLike | None = None
    beam_spot: float = 35.0

    def __post_init__(self) -> None:
        if self.event not in (HARD, WHOLE, None):
            raise FastsimError(f"event={self.event!r}: must be {WHOLE} or {HARD}")
        if self.rest is not None and self.event == HARD:
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

    def of_beams(self, run: RunInfo) -> Collisions:
        """Return what the events are to hold, by their beams: leptons leave nothing to add.

        Where it was not said, beams of nucleons make whole collisions; of other ones, and of those that a file does not
        name, the hadrons of the hard partons are kept, which a line of the log says of ions, pions, photons and
        leptons on hadrons.

        Args:
            run: the beams; those of PDG id 0 are not known.
        """
        beams = [pdg_id for pdg_id in run.beam_pdg_id if pdg_id]
        if beams and all(map(is_lepton, beams)):
            return replace(self, event=HARD, rest=None)
        if self.event is not None:
            return self
        if self.rest is not None:
            return replace(self, event=WHOLE)
        whole = len(beams) == 2 and all(map(is_nucleon, beams)) and min(run.beam_energy) > 0
        if not all(map(is_nucleon, beams)):
            _log.warning(
                "beams of PDG ids %s: no whole collisions are made of such; events hold the hadrons of the hard "
                "partons (--event hard)",
                " and ".join(map(str, beams)),
            )
        return replace(self, event=WHOLE if whole else HARD)


def is_nucleon(pdg_id: int) -> bool:
    """Return whether a beam of a PDG id is one of protons or neutrons, or of their antiparticles.

    >>> is_nucleon(-2212), is_nucleon(1000822080)
    (True, False)
    """
    return abs(pdg_id) in (2212, 2112)


def is_lepton(pdg_id: int) -> bool:
    """Return whether a beam of a PDG id is one of leptons, of which nothing is left after the hard process.

    >>> is_lepton(-11), is_lepton(2212), is_lepton(22)
    (True, False, False)
    """
    return 11 <= abs(pdg_id) <= 16
