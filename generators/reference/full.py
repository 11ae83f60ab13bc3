"""Ordinary Pythia on the events of an LHE file, as ``fastsim reference --full`` runs it, independent of the gun.

Initial- and final-state radiation, multiparton interactions, beam remnants, hadronisation and decays (Monash
tune, particles with c*tau > 10 mm stable). The hard record and the weights of the file are kept; the final
particles, and what decayed into them, belong to no parton (origin -1). An event that Pythia rejects is left out.

Pythia takes the events as the reader of :mod:`fastsim.formats.lhe` understood them, each with weight one: it neither
unweights nor rejects events by their weights, whatever the file's IDWTUP. Events without colour tags, which Pythia
rejects, get those of a flow that their flavours allow (:func:`fastsim.event.singlets.assign_colours`).

Pythia runs in a process of its own (:mod:`generators.reference.full_process`), since some events make it loop for ever,
where nothing inside its process could stop it. Such an event is left out too, and counted in the tally
``endless_events`` of a neighbour.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace

import numpy as np

from fastsim.errors import InvalidEvent
from fastsim.event import HardEvents, RunInfo
from fastsim.event.singlets import assign_colours
from generators.reference.full_process import PythiaProcess

ENDLESS_EVENTS = "endless_events"
"""The tally of events whose processor time went beyond the limit."""
TIME_LIMIT = 30.0
"""Seconds of processor time that an event may take: a thousand times what one takes."""
MERGING = ("Merging:", "JetMatching:")
"""How settings begin that have Pythia merge samples of several multiplicities: events then get weights of its own."""

logger = logging.getLogger(__name__)
_of_thread = threading.local()


@dataclass(frozen=True)
class FullPythia:
    """The Step that has Pythia complete the events of a file; those that Pythia rejects are left out.

    Each thread, here or in a worker process, has its own Pythia process.

    Attributes:
        run: beams and processes of the file.
        seed: decides an event together with its number; the ``rng`` of a step is not used.
        settings: further lines for Pythia.
        time_limit: seconds of processor time after which an event is given up.
        history: whether to keep what decayed into the final particles, and where; reading it takes twice as long as
            reading these alone.
    """

    run: RunInfo
    seed: int
    settings: tuple[str, ...] = ()
    time_limit: float = TIME_LIMIT
    history: bool = True

    name = "pythia-full"
    requires = frozenset({"partons"})
    provides = frozenset({"hadrons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events that Pythia completes.

        Raises:
            FastsimError: if Pythia refuses a setting, or does not start with these beams and processes.
        """
        current: tuple[FullPythia, PythiaProcess] | None = getattr(_of_thread, "current", None)
        if current is None or current[0] != self:
            if current is not None:
                current[1].close()
            process = PythiaProcess(self.run, self.settings, self.time_limit, history=self.history)
            current = _of_thread.current = self, process
        return _completed(_with_colours(events), current[1], self)


def _with_colours(events: HardEvents) -> HardEvents:
    """Return the events with colour tags; those that no flow joins stay as they are: about them Pythia decides."""
    try:
        return assign_colours(events)
    except InvalidEvent:
        if len(events) == 1:
            return events
        return HardEvents.concatenate([_with_colours(one) for one in events.chunks(1)])


def _completed(events: HardEvents, pythia: PythiaProcess, step: FullPythia) -> HardEvents:
    """Return the events that Pythia completes, with their particles."""
    done = pythia.complete(events, step.seed)
    for i in done.endless:
        logger.warning(
            "event %d: Pythia did not finish it within %g s of processor time; it is left out",
            events.number[i],
            step.time_limit,
        )
    rejected = sorted(set(range(len(events))) - {*done.events.tolist(), *done.endless})
    for i, why in ((i, _foreign(events, i, step.run)) for i in rejected):
        if why:
            logger.warning("event %d: Pythia rejects it: %s", events.number[i], why)
            break  # the others of the file are like it
    chosen, particles = events[done.events], done.particles
    if not step.history:
        particles = particles.without_history()
    chosen = chosen.with_particles(particles, np.full(len(particles.pdg_id), -1, dtype=np.int64))
    if any(line.lstrip().startswith(MERGING) for line in step.settings):
        chosen = replace(chosen, weights=chosen.weights * done.weights.reshape(-1, 1))
    if len(chosen) == 0:
        return chosen
    # the next event counts those before it, the last one those after it; the run counts all that are missing
    return chosen.tally(ENDLESS_EVENTS, np.minimum(np.searchsorted(done.events, done.endless), len(chosen) - 1))


def _foreign(events: HardEvents, i: int, run: RunInfo) -> str:
    """Say which incoming leptons of event ``i`` come out of beams of hadrons, where Pythia has none; else nothing."""
    rows = np.arange(events.offsets[i], events.offsets[i + 1])
    incoming = events.pdg_id[rows[events.status[rows] == -1]].tolist()
    leptons = [pdg_id for pdg_id in incoming if 11 <= abs(pdg_id) <= 16]
    if not leptons or min(map(abs, run.beam_pdg_id)) < 100:
        return ""
    beams = " and ".join(map(str, run.beam_pdg_id))
    return f"incoming {' and '.join(map(str, leptons))} in the beams {beams} of the init block, where there are none"
