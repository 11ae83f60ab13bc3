"""Counts of a chunk or a run, and the summary that a run returns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from fastsim import startup
from fastsim.event import HardEvents
from fastsim.formats.calochallenge import Showers

BAD_EVENTS, REJECTED_EVENTS = "bad_events", "rejected_events"
"""Notes that count events of the input that are not in the output: those that are none, and those Pythia rejects."""


ELSEWHERE = "partons_elsewhere"
"""The note that counts partons whose hadrons are not the source's: from a fallback, or as light as they must be."""

LABELS = {
    BAD_EVENTS: "bad events, left out",
    REJECTED_EVENTS: "events that Pythia rejects, left out",
    "endless_events": "of them Pythia would not end",
    "fallback_partons": "partons outside the model's limits, from Pythia",
    "soft_partons": "of them softer than its limit",
    "chain_partons": "partons of colour singlets of three and more, from Pythia",
    "low_scales": "partons whose shower starts below pT (SCALUP)",
    "ignored_scales": "partons whose shower should start below pT (SCALUP): the model does not know how",
    "assigned_colours": "events without colour tags, given a flow that their flavours allow",
    "fallback_systems": "systems redrawn from Pythia",
    "redrawn_systems": "redraws of systems too heavy for their energy",
    "minimal_partons": "partons too soft for either, as one or two particles",
    "radiated_photons": "photons radiated by leptons of the hard process",
    "rests_from_library": "rests of collisions from the library",
    "rests_from_pythia": "rests of collisions from Pythia",
    "events_without_rest": "events without a rest: none is left of their beams",
    "pileup_collisions": "pile-up collisions",
    "events_with_repeated_pileup": "events with more pile-up than its file has, repeated",
    "decayed_resonances": "resonances decayed by Pythia",
    "decayed_particles": "other unstable particles decayed by Pythia",
    "undecayed_particles": "undecayed particles that are not final in nature",
    "unknown_particles": "particles of unknown species, left as they are",
}
"""What the notes mean, as the table of a summary says it."""
OF_PARTONS = frozenset(
    {"fallback_partons", "soft_partons", "chain_partons", "low_scales", "ignored_scales", "minimal_partons"}
)
"""Notes that count partons: a summary gives them as shares too."""
MOST_ELSEWHERE = 0.05
"""Share of the partons beyond which a summary warns that their hadrons are not the model's."""


@dataclass(kw_only=True)
class Counts:
    """Numbers that add up over chunks.

    Attributes:
        events: events, or single showers.
        partons: partons that were turned into hadrons.
        particles: final particles.
        cells: cells of a calorimeter, or voxels of single showers, that hold energy.
        visible: energy in these, in MeV.
        incident: kinetic energy of single showers' particles, in MeV.
        sum_weights, sum_weights2: sums of the nominal weights and of their squares.
        notes: further counts by name, such as partons that went to the fallback.
    """

    events: int = 0
    partons: int = 0
    particles: int = 0
    cells: int = 0
    visible: float = 0.0
    incident: float = 0.0
    sum_weights: float = 0.0
    sum_weights2: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """The number of events of the input that are not in the output."""
        return self.notes.get(BAD_EVENTS, 0) + self.notes.get(REJECTED_EVENTS, 0)

    def note(self, notes: Mapping[str, int]) -> None:
        """Add further counts by name."""
        for key, value in notes.items():
            self.notes[key] = self.notes.get(key, 0) + value

    def counts(self) -> dict[str, Any]:
        """Return the counts by name, without other attributes of a subclass."""
        return {name: getattr(self, name) for name in COUNTS} | {"notes": dict(self.notes)}

    def __iadd__(self, other: Counts) -> Self:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.note(other.notes)
        return self

    def __add__(self, other: Counts) -> Counts:
        total = Counts(**self.counts())
        total += other
        return total


def counts_of(content: HardEvents | Showers) -> Counts:
    """Return the counts of a chunk of events or of single showers."""
    if isinstance(content, Showers):
        return Counts(
            events=len(content),
            cells=int(np.count_nonzero(content.voxels)),
            visible=float(content.voxels.sum(dtype=np.float64)),
            incident=float(content.incident.sum()),
            sum_weights=float(len(content)),
            sum_weights2=float(len(content)),
        )
    notes, weights, cells = content.notes, content.weights[:, 0], content.cells
    return Counts(
        events=len(content),
        partons=notes.pop("partons", 0),
        particles=0 if content.particles is None else len(content.particles.pdg_id),
        cells=0 if cells is None else len(cells.id),
        visible=0.0 if cells is None else float(cells.sums().sum()),
        sum_weights=float(weights.sum()),
        sum_weights2=float(np.square(weights).sum()),
        notes=notes,
    )


COUNTS = tuple(entry.name for entry in fields(Counts) if entry.name != "notes")
"""Names of the plain counts of :class:`Counts`."""


@dataclass(kw_only=True)
class Summary(Counts):
    """The summary of a run: its counts (:class:`Counts`), and the attributes below.

    Attributes:
        output: path of the output.
        source: name of the source of the events.
        cross_section: cross-section of the input and its error, in pb.
        seconds: time since the run began.
        loading: seconds of start-up before the run began.
        compiling: seconds of start-up within the run, which rates leave out.
        resumed_events: events that an earlier, stopped run had computed already.
        started: when the run began, by ``time.perf_counter``.

    >>> summary = Summary(output="events.h5", source="hadron-tree", events=200, resumed_events=50)
    >>> summary.computed, dict(summary.rows())["source"]
    (150, 'hadron-tree')
    """

    output: str = ""
    source: str = ""
    cross_section: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0
    resumed_events: int = 0
    loading: float = field(default_factory=startup.take)
    compiling: float = 0.0
    started: float = field(default_factory=time.perf_counter, repr=False)

    def add(self, counts: Counts, *, seconds: float = 0.0, resumed: bool = False) -> None:
        """Add the counts of a chunk.

        Args:
            counts: the counts.
            seconds: time that the chunk's computation took.
            resumed: whether an earlier, stopped run had computed it already.
        """
        self += counts
        self.resumed_events += counts.events if resumed else 0
        self.compiling += startup.take()
        self.seconds = time.perf_counter() - self.started

    @property
    def held(self) -> int:
        """The name of ``resumed_events`` in fastsim 0.1."""
        return self.resumed_events

    @property
    def computed(self) -> int:
        """The number of events that this run computed."""
        return self.events - self.resumed_events

    @property
    def working(self) -> float:
        """The time of the run in seconds, without start-up."""
        return max(self.seconds - self.compiling, 0.0)

    def startup_row(self) -> list[tuple[str, str]]:
        """Return the row of the table that says how long the start took, if that can be noticed."""
        seconds = self.loading + self.compiling
        return [("start-up", f"{seconds:.1f} s (loading, compiling: not in the rate)")] if seconds >= 0.1 else []

    def facts(self) -> Mapping[str, Any]:
        """Return the named facts that a log holds about the run."""
        skipped = ("output", "source", "started")
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in skipped}

    @property
    def share_elsewhere(self) -> float:
        """The share of the partons whose hadrons are not the source's."""
        return self.notes.get(ELSEWHERE, 0) / self.partons if self.partons else 0.0

    def warnings(self) -> list[str]:
        """Return what a user should not overlook, one sentence each."""
        lines = []
        if self.share_elsewhere > MOST_ELSEWHERE:
            lines.append(
                f"{self.share_elsewhere:.0%} of the partons have hadrons that are not from {self.source}: "
                "what this output says about it is that much less"
            )
        if ignored := self.notes.get("ignored_scales", 0):
            lines.append(
                f"SCALUP of the file is below pT for {ignored:,} partons, whose showers {self.source} starts at pT all "
                "the same: what is harder than SCALUP is in the file already"
            )
        if undecayed := self.notes.get("undecayed_particles", 0):
            lines.append(
                f"{undecayed:,} undecayed particles carry colour or do not live long, and Pythia has no decay for "
                "them: they are written as final; decay them in the generator"
            )
        if dropped := self.notes.get("dropped_particles", 0):
            lines.append(
                f"{dropped:,} particles of {self.notes.get('dropped_energy_MeV', 0) / 1e3:,.4g} GeV together left "
                "nothing in the cells: they are outside the limits of the model of showers; --geant4-data DIR has "
                "Geant4 make theirs"
            )
        for key, why in ((BAD_EVENTS, "bad"), (REJECTED_EVENTS, "rejected by Pythia")):
            if count := self.notes.get(key, 0):
                subject = "1 event of the input is" if count == 1 else f"{count:,} events of the input are"
                lines.append(f"{subject} {why} and left out")
        return lines

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as names and formatted values, for a table."""
        new = self.computed
        rate = new / self.events / self.working if self.events and self.working > 0 else 0.0
        rates = f"{_rounded(self.events * rate)} events/s, {_rounded(self.partons * rate)} partons/s"
        resumed = f" ({new:,} in this run)" if self.resumed_events else ""
        per_event = self.particles / self.events if self.events else 0.0
        rows = [
            ("output", self.output),
            ("source", self.source),
            ("events", f"{self.events:,}{resumed}"),
            ("partons", f"{self.partons:,}"),
            ("final particles", f"{self.particles:,} ({per_event:.1f} an event)"),
            ("sum of weights", f"{self.sum_weights:.6g} (of squares {self.sum_weights2:.6g})"),
            ("time", f"{self.working:.1f} s ({rates})"),
        ]
        if self.cross_section[0]:
            rows.insert(2, ("cross-section", "{:.5g} ± {:.2g} pb".format(*self.cross_section)))
        if self.cells:
            visible = f"{1e-3 * self.visible / self.events:.4g} GeV"
            rows.insert(-2, ("cells", f"{self.cells:,} ({self.cells / self.events:.1f} with {visible} an event)"))
        rows += self.startup_row()
        notes = dict(self.notes)
        if elsewhere := notes.pop(ELSEWHERE, 0):
            rows.append(
                (f"not from {self.source}", f"{elsewhere:,} partons of {self.partons:,} ({self.share_elsewhere:.1%})")
            )
        order = {key: place for place, key in enumerate(LABELS)}
        for key, value in sorted(notes.items(), key=lambda note: (order.get(note[0], len(order)), note[0])):
            share = f" ({value / self.partons:.1%})" if key in OF_PARTONS and self.partons else ""
            rows.append((LABELS.get(key, key.replace("_", " ")), f"{value:,}{share}"))
        return rows


@dataclass(kw_only=True)
class ShowerSummary(Summary):
    """The summary of a run of single showers.

    Attributes:
        busy: seconds that all workers together computed.
        computed_energy: MeV of the particles whose showers this run computed.
        by_energy: whether the time grows with the energy, as for Geant4, and is given for each GeV.
    """

    busy: float = 0.0
    computed_energy: float = 0.0
    by_energy: bool = False

    def add(self, counts: Counts, *, seconds: float = 0.0, resumed: bool = False) -> None:
        """Add the counts of a chunk, and the seconds that its computation took; see :meth:`Summary.add`."""
        super().add(counts, seconds=seconds, resumed=resumed)
        if not resumed:
            self.busy += seconds
            self.computed_energy += counts.incident

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as names and formatted values, for a table."""
        resumed = f" ({self.computed:,} in this run)" if self.resumed_events else ""
        rows = [("output", self.output), ("source", self.source), ("showers", f"{self.events:,}{resumed}")]
        if self.incident > 0:
            rows.append(("visible energy", f"{100 * self.visible / self.incident:.3f}% of the incident"))
        time = f"{self.working:.1f} s"
        if self.computed and self.working > 0:
            time += f" ({self.computed / self.working:,.1f} showers/s"
            cost = f", {1e6 * self.busy / self.computed_energy:.1f} ms a GeV and worker" if self.by_energy else ""
            time += f"{cost})"
        return [*rows, ("time", time), *self.startup_row()]


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
