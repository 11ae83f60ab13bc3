"""e+e- -> Z -> hadrons with Pythia: events, and the quark pairs alone, which models hadronise.

K0S and hyperons decay, as in the measurements; there is no radiation off the beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from fastsim.event import Decayed, Floats, History, Ints, ParticleSet, offsets_from_counts
from fastsim.sources.hadrons import PartonPairs

ENERGY = 91.2
TAU0_MAX = 100.0
"""Mean proper lifetime times c in mm up to which particles decay: K0S and hyperons, not K0L."""
_FOR_SHARES = 20_000
_QUARKS = (1, 2, 3, 4, 5)


def settings(energy: float) -> tuple[str, ...]:
    """Return the settings beside the Monash tune, for a collision energy in GeV."""
    return (
        "Print:quiet = on",
        "Beams:idA = 11",
        "Beams:idB = -11",
        f"Beams:eCM = {energy}",
        "PDF:lepton = off",
        "WeakSingleBoson:ffbar2gmZ = on",
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
        "ParticleDecays:limitTau0 = on",
        f"ParticleDecays:tau0Max = {TAU0_MAX}",
    )


def started(seed: int, *more: str, energy: float = ENERGY) -> Any:
    """Return a Pythia with a seed and further settings.

    Raises:
        FastsimError: if Pythia does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*settings(energy), "Random:setSeed = on", f"Random:seed = {seed}", *more):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia did not start")
    return pythia


def quark_pairs(num: int, seed: int, *, energy: float = ENERGY) -> PartonPairs:
    """Draw the quark pairs of e+e- -> gamma*/Z, with the shares of flavours that Pythia gives them.

    Args:
        num: pairs.
        seed: of the flavours.
        energy: of the collision in GeV.
    """
    flavours = np.random.default_rng(seed).choice(_QUARKS, num, p=_shares(energy))
    return PartonPairs(np.stack([flavours, -flavours], -1), np.full(num, energy))


@lru_cache(maxsize=4)
def _shares(energy: float) -> tuple[float, ...]:
    pythia, counts = started(1, "PartonLevel:all = off", energy=energy), np.zeros(6)
    while counts.sum() < _FOR_SHARES:
        if pythia.next():
            counts[abs(next(p.id() for p in pythia.process if p.statusAbs() == 23))] += 1
    return tuple(counts[list(_QUARKS)] / counts.sum())


def events(num: int, seed: int, *, tune: Sequence[str] = (), energy: float = ENERGY) -> ParticleSet:
    """Make events with Pythia: final particles with the hadrons and leptons that decayed into them.

    Args:
        num: events.
        seed: of Pythia.
        tune: further settings.
        energy: of the collision in GeV.

    Raises:
        FastsimError: if Pythia does not start.
    """
    return weighted_events(num, seed, tune=tune, energy=energy)[0]


def weighted_events(
    num: int, seed: int, *, tune: Sequence[str] = (), energy: float = ENERGY
) -> tuple[ParticleSet, dict[str, Floats]]:
    """Make events as :func:`events` does, and return them with Pythia's weights for variations that ``tune`` asks for.

    Returns:
        The events, and the weights (N,) by name: "Baseline", and those of ``UncertaintyBands:List`` and
        ``VariationFrag:List``.
    """
    pythia = started(seed, *tune, energy=energy)
    info = pythia.infoPython()
    weights: list[list[float]] = []
    final: list[list[Any]] = []
    decayed: list[list[Any]] = []
    counts: list[list[int]] = []
    while len(counts) < num:
        if not pythia.next():
            continue
        numbers = [0, 0]
        place: dict[int, int] = {}
        for i in range(pythia.event.size()):
            p = pythia.event[i]
            hadron = p.isHadron() or (p.isLepton() and p.statusAbs() > 80)
            if not (p.isFinal() or (hadron and p.statusAbs() > 80)):
                continue
            row = [p.id(), p.e(), p.px(), p.py(), p.pz(), place.get(p.mother1(), -1), p.tProd()]
            row += [p.xProd(), p.yProd(), p.zProd()]
            if p.isFinal():
                final.append(row)
                numbers[0] += 1
            else:
                place[i] = numbers[1]
                decayed.append(row)
                numbers[1] += 1
        counts.append(numbers)
        weights.append([info.getGroupWeight(k) for k in range(info.nWeightGroups())])
    names = [str(info.getGroupName(k)) for k in range(info.nWeightGroups())]  # known once there are events
    columns = dict(zip(names, np.array(weights).T, strict=True))
    return _record(np.array(counts), np.array(final), np.array(decayed)), columns


def _record(sizes: Ints, one: Any, other: Any) -> ParticleSet:
    ids, mothers = other[:, 0].astype(np.int64), other[:, 5].astype(np.int64)
    record = Decayed(offsets_from_counts(sizes[:, 1]), ids, other[:, 1:5], mothers, other[:, 6:])
    history = History(record, one[:, 5].astype(np.int64), one[:, 6:])
    return ParticleSet(offsets_from_counts(sizes[:, 0]), one[:, 0].astype(np.int64), one[:, 1:5], history)
