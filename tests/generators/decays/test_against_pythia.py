"""Decays of many species at rest, and of the primary hadrons of quarks, against Pythia's own."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from fastsim.event import Floats, Ints, ParticleSet, offsets_from_counts
from fastsim.event.kinematics import mass
from fastsim.event.species import MASSES
from generators.decays import decay, draw_masses
from generators.decays.data import particle_data

LEAST_P = 1e-4
"""Least p-value of agreement; the seeds are fixed."""


def pythia_with(*settings: str) -> Any:
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "ProcessLevel:all = off", "ParticleDecays:limitTau0 = on", *settings):
        assert pythia.readString(line)
    assert pythia.init()
    return pythia


@pytest.fixture(scope="module")
def pythia() -> Any:
    return pythia_with("ParticleDecays:tau0Max = 1000.0")


Event = tuple[tuple[int, ...], Ints, Floats]
"""Products of the first decay, and PDG ids and momenta of the final particles."""


def by_pythia(pythia: Any, pdg_id: int, m: float, num: int) -> list[Event]:
    """Decay particles at rest, each in an event of its own (Pythia's tau decays look for partners)."""
    pythia.rndm.init(12)
    result: list[Event] = []
    event = pythia.event
    for _ in range(num):
        event.reset()
        event.append(pdg_id, 1, 0, 0, 0.0, 0.0, 0.0, m, m)
        assert pythia.next()
        one, two = event[1].daughter1(), event[1].daughter2()
        first = tuple(sorted(event[i].id() for i in range(one, two + 1)))
        rows = [(p.id(), p.e(), p.px(), p.py(), p.pz()) for p in event if p.isFinal()]
        table = np.array(rows)
        result.append((first, table[:, 0].astype(np.int64), table[:, 1:]))
    return result


def by_kernels(pdg_id: int, m: float, num: int) -> list[Event]:
    sets = ParticleSet(np.arange(num + 1), np.full(num, pdg_id), np.tile([m, 0.0, 0.0, 0.0], (num, 1)))
    after = decay(sets, np.random.default_rng(13), tau0_max=1000.0)
    assert after.history is not None
    old = after.history.decayed
    result: list[Event] = []
    for i in range(num):
        final = slice(after.offsets[i], after.offsets[i + 1])
        inner = slice(old.offsets[i], old.offsets[i + 1])
        first = [*after.pdg_id[final][after.history.mother[final] == 0], *old.pdg_id[inner][old.mother[inner] == 0]]
        result.append((tuple(sorted(int(k) for k in first)), after.pdg_id[final], after.p4[final]))
    return result


def agree(one: list[Any], two: list[Any]) -> float:
    """Return the p-value that two lists of names come from one distribution; rare names count together."""
    a, b = Counter(one), Counter(two)
    common = [name for name in a | b if a[name] + b[name] >= 20]
    counts = np.array([[c[name] for name in common] + [sum(c.values()) - sum(c[n] for n in common)] for c in (a, b)])
    counts = counts[:, counts.sum(axis=0) > 0]
    return float(chi2_contingency(counts)[1]) if counts.shape[1] > 1 else 1.0


def pair_masses(events: list[Event], ids: tuple[int, int]) -> Floats:
    """Return the mass of one pair of each event that has any, drawn at random: the pairs of an event are correlated."""
    rng, found = np.random.default_rng(5), []
    for _, pdg_id, p4 in events:
        pairs = [
            (i, j)
            for i, j in combinations(range(len(pdg_id)), 2)
            if tuple(sorted((int(pdg_id[i]), int(pdg_id[j])))) == ids
        ]
        if pairs:
            found.append(mass(p4[list(pairs[rng.integers(len(pairs))])].sum(axis=0)))
    return np.array(found)


SPECIES = [
    (111, None), (221, None), (223, None), (331, None), (333, None), (113, None), (113, 0.4), (213, 1.2),
    (313, 0.66), (323, None), (2214, 1.1), (2224, None), (3214, 1.33), (3324, None), (3212, None), (310, None),
    (3122, None), (3222, None), (-3334, None), (413, None), (4222, None), (421, None), (-511, None), (15, None),
]  # fmt: skip


@pytest.mark.parametrize(("pdg_id", "own_mass"), SPECIES)
def test_decays_at_rest(pythia: Any, pdg_id: int, own_mass: float | None) -> None:
    m = particle_data()[pdg_id].mass if own_mass is None else own_mass
    num = 1500
    one, two = by_pythia(pythia, pdg_id, m, num), by_kernels(pdg_id, m, num)
    assert agree([e[0] for e in one], [e[0] for e in two]) > LEAST_P
    assert agree([i for e in one for i in e[1].tolist()], [i for e in two for i in e[1].tolist()]) > LEAST_P
    ids = [np.concatenate([e[1] for e in events]) for events in (one, two)]
    energy = [np.concatenate([e[2][:, 0] for e in events]) for events in (one, two)]
    for species in np.unique(ids[0]):
        a, b = (np.round(e[i == species], 7) for e, i in zip(energy, ids, strict=True))
        if min(len(a), len(b)) >= 50:
            assert ks_2samp(a, b).pvalue > LEAST_P, species
    for pair in ((-211, 211), (22, 22), (-11, 11), (-211, 22), (-321, 211)):
        a, b = (np.round(pair_masses(events, pair), 7) for events in (one, two))
        if min(len(a), len(b)) >= 50:
            assert ks_2samp(a, b).pvalue > LEAST_P, pair


@pytest.mark.parametrize("pdg_id", [113, 213, 223, 313, 331, 333, 1114, 3224, 3314, 4222, 111])
def test_masses(pythia: Any, pdg_id: int) -> None:
    entry = pythia.particleData.findParticle(pdg_id)
    pythia.rndm.init(3)
    real = np.array([entry.mSel() for _ in range(10_000)])
    drawn = draw_masses(np.full(10_000, pdg_id), np.random.default_rng(4))
    assert ks_2samp(real, drawn).pvalue > LEAST_P


def test_nominal_masses_are_those_of_the_species_table() -> None:
    data = particle_data()
    assert {k: data[k].mass for k in MASSES if k != 22} == {k: m for k, m in MASSES.items() if k != 22}
    assert all(draw_masses(np.array([k]), np.random.default_rng(0))[0] == m for k, m in MASSES.items())


def shoot(flavour: int, num: int) -> ParticleSet:
    """Return the primary hadrons of quark pairs at 100 GeV a quark."""
    pythia = pythia_with("HadronLevel:Decay = off")
    pythia.rndm.init(21)
    m = {2: 0.33, 5: 4.8}[flavour]
    energy = float(np.hypot(100.0, m))
    counts, rows = [], []
    for _ in range(num):
        pythia.event.reset()
        pythia.event.append(flavour, 23, 101, 0, 0.0, 0.0, 100.0, energy, m, 100.0)
        pythia.event.append(-flavour, 23, 0, 101, 0.0, 0.0, -100.0, energy, m, 100.0)
        pythia.forceTimeShower(1, 2, 100.0)
        assert pythia.next()
        new = [(p.id(), p.e(), p.px(), p.py(), p.pz(), p.m()) for p in pythia.event if p.isFinal()]
        counts.append(len(new))
        rows += new
    table = np.array(rows)
    return ParticleSet(offsets_from_counts(np.array(counts)), table[:, 0].astype(np.int64), table[:, 1:5])


@pytest.mark.parametrize("flavour", [2, 5])
def test_hadrons_of_quarks(flavour: int) -> None:
    primaries = shoot(flavour, 300)
    pythia = pythia_with("ParticleDecays:tau0Max = 10.0")
    pythia.rndm.init(22)
    ids, momenta = [], []
    for i in range(len(primaries)):
        pythia.event.reset()
        part = slice(primaries.offsets[i], primaries.offsets[i + 1])
        for pdg_id, p in zip(primaries.pdg_id[part].tolist(), primaries.p4[part].tolist(), strict=True):
            kind = None if pdg_id == 22 else particle_data()[pdg_id]
            broad = kind is not None and kind.width > 0
            own = float(mass(np.array(p))) if broad else kind.mass if kind is not None else 0.0
            pythia.event.append(pdg_id, 1, 0, 0, p[1], p[2], p[3], p[0], own)
        assert pythia.next()
        final = [p for p in pythia.event if p.isFinal()]
        ids.append(np.array([p.id() for p in final]))
        momenta.append(np.array([p.pAbs() for p in final]))
    real_counts = np.array([len(k) for k in ids])
    real, real_p = np.concatenate(ids), np.concatenate(momenta)
    after = decay(primaries, np.random.default_rng(23))
    p = np.linalg.norm(after.p4[:, 1:], axis=1)
    # each set of primaries decays twice: only the decays fluctuate
    difference = after.counts - real_counts
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    for species in (22, 211, 321, 130, 310, 2212, 11, 13, 12, 14, 16):
        a, b = real_p[np.abs(real) == species], p[np.abs(after.pdg_id) == species]
        assert abs(len(a) - len(b)) < 5 * np.sqrt(len(a) + len(b) + 1)
        if min(len(a), len(b)) >= 50:
            assert ks_2samp(np.log(a), np.log(b)).pvalue > LEAST_P, species
