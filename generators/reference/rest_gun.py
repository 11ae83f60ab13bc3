"""The rest gun: Pythia's rest of a hadron collision at given momentum fractions, scale and initial state.

Pythia makes an event around a colour singlet that stands for the hard process (:mod:`generators.rests.conditions`): its
initial-state radiation, multiparton interactions, beam remnants and hadronisation. Hadrons do not decay here: rests are
of primary hadrons, which the Step that adds them decays. What the singlet recoils against is known from where it
ends. Radiation that would make use of the matrix element of the singlet's own process is
off, but for hard processes that are such singlets themselves.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Sjostrand, van Zijl, A multiple-interaction model for the event structure in hadron collisions, 1987,
    Phys. Rev. D 36, 2019.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from fastsim.event import Floats, Ints, ParticleSet, RunInfo
from generators.reference.full import TIME_LIMIT
from generators.reference.full_process import PythiaProcess
from generators.rests.conditions import COLOURLESS, JETS, MIXED, SINGLETS, Conditions
from generators.rests.rests import Rests

MAX_TRIES = 5
"""How often a rest that Pythia rejects is tried, each time with other random numbers."""
_LIMITED = ("SpaceShower:pTmaxMatch = 1", "SpaceShower:MEcorrections = off")
SETTINGS = {
    JETS: (*_LIMITED, "MultipartonInteractions:pTmaxMatch = 1"),
    MIXED: _LIMITED,
    COLOURLESS: (),
}
"""Settings for what the hard process makes, beyond those of ordinary Pythia."""
_PRIMARY = "HadronLevel:Decay = off", *(f"{pdg}:mayDecay = off" for pdg in (23, 24, 25))
_of_thread = threading.local()


@dataclass(frozen=True)
class RestGun:
    """Pythia's rests for beams of a kind and an energy.

    Each thread has its own Pythia processes, one for each of :data:`SETTINGS` that it needs.

    Attributes:
        run: the beams.
        settings: further lines for Pythia, such as those of a tune.
        time_limit: seconds of processor time after which an event is given up.
    """

    run: RunInfo
    settings: tuple[str, ...] = ()
    time_limit: float = TIME_LIMIT

    def shoot(self, conditions: Conditions, seed: int) -> tuple[Rests, Ints]:
        """Make the rests of N collisions.

        Args:
            conditions: the conditions.
            seed: decides a rest together with the number of its event.

        Returns:
            The rests that Pythia completes, and their indices, increasing.

        Raises:
            FastsimError: if Pythia does not start with these beams.
        """
        parts: list[tuple[Rests, Ints]] = []
        waiting = np.arange(len(conditions))
        for attempt in range(MAX_TRIES):
            for limits, settings in SETTINGS.items():
                chosen = waiting[conditions.limits[waiting] == limits]
                if len(chosen) == 0:
                    continue
                state = np.random.SeedSequence([seed, attempt]).generate_state(1, np.uint64)[0]
                done = self._process(settings).complete(conditions[chosen].singlets(), int(state))
                parts.append((_without_singlets(done.particles), chosen[done.events]))
            found = np.concatenate([rows for _, rows in parts]) if parts else waiting[:0]
            waiting = np.setdiff1d(np.arange(len(conditions)), found)
            if len(waiting) == 0:
                break
        if not parts:
            return Rests.empty(), np.zeros(0, np.int64)
        rows = np.concatenate([rows for _, rows in parts])
        order = np.argsort(rows)
        return Rests.concatenate([rests for rests, _ in parts])[order], rows[order]

    def _process(self, settings: tuple[str, ...]) -> PythiaProcess:
        """Return this thread's Pythia with some settings; the first call starts it."""
        run = RunInfo(self.run.beam_pdg_id, self.run.beam_energy, ((1.0, 1.0, 1.0, 1),))
        settings = *self.settings, *settings
        key = run.beam_pdg_id, run.beam_energy, settings, self.time_limit
        processes = _of_thread.__dict__.setdefault("processes", {})
        if key not in processes:
            processes[key] = PythiaProcess(run, (*settings, *_PRIMARY), self.time_limit, history=False)
        process: PythiaProcess = processes[key]
        return process


def _without_singlets(particles: ParticleSet) -> Rests:
    """Return the rests of events: all but the singlets, and where these ended."""
    singlet = np.isin(particles.pdg_id, SINGLETS)
    recoil: Floats = np.zeros((len(particles), 4))
    recoil[particles.index[singlet]] = particles.p4[singlet]
    return Rests(particles.keeping(~singlet), recoil)
