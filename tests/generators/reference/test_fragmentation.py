"""A source inside Pythia: what it fragments, that events stay whole, and that Lund makes the rest."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import pythia8mc

from fastsim.errors import FastsimError
from fastsim.pythia import attach
from fastsim.sources.hadrons import Domain, HadronSource
from generators.reference.fragmentation import LUND, SOURCE
from generators.reference.pythia import PythiaGun

Z_TO_QUARKS = (
    "Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 1 2 3 4 5",
)  # fmt: skip
DIJETS = ("Beams:eCM = 13600", "HardQCD:all = on", "PhaseSpace:pTHatMin = 30")


def make(*settings: str, seed: int = 7) -> Any:
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *settings):
        assert pythia.readString(line)
    return pythia


def charged(pythia: Any) -> int:
    return sum(p.isFinal() and p.isCharged() for p in pythia.event)


def run(pythia: Any, num: int) -> list[int]:
    """Make events, check that each is whole, and return the numbers of charged particles."""
    numbers = []
    for _ in range(num):
        assert pythia.next()
        final = [p for p in pythia.event if p.isFinal()]
        assert all(p.isHadron() or p.isLepton() or p.id() == 22 for p in final)
        total = np.array([(p.e(), p.px(), p.py(), p.pz()) for p in final]).sum(axis=0)
        beams = pythia.event[0]
        np.testing.assert_allclose(total, [beams.e(), beams.px(), beams.py(), beams.pz()], atol=2e-6 * beams.e())
        assert sum(p.chargeType() for p in final) == pythia.event[1].chargeType() + pythia.event[2].chargeType()
        numbers.append(charged(pythia))
    return numbers


def test_chains_of_the_reference_are_what_lund_strings_give() -> None:
    pythia = make(*Z_TO_QUARKS)
    attached = attach(pythia, PythiaGun(), scale=0.5)  # the cut-off of the shower
    assert pythia.init()
    ours = run(pythia, 400)
    assert attached.counts[SOURCE] > 400
    assert attached.counts[LUND] < 0.02 * attached.counts[SOURCE]
    plain = make(*Z_TO_QUARKS, seed=8)
    assert plain.init()
    theirs = run(plain, 400)
    error = np.hypot(np.std(ours), np.std(theirs)) / 20
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error


def test_a_model_takes_pairs_and_lund_the_rest() -> None:
    pythia = make(*DIJETS)
    attached = attach(pythia, "hadron-tree-small")
    assert pythia.init()
    run(pythia, 4)
    assert attached.counts[SOURCE] > 0
    assert attached.counts[LUND] > attached.counts[SOURCE]


def test_hadrons_of_the_model_decay_and_have_their_mothers() -> None:
    pythia = make(*Z_TO_QUARKS, "PartonLevel:FSR = off")
    attached = attach(pythia, "hadron-tree-small", scale=91.2)
    assert pythia.init()
    run(pythia, 10)
    assert attached.counts == {SOURCE: 10}
    primary = [p for p in pythia.event if p.statusAbs() == 83]
    assert {abs(pythia.event[p.mother1()].id()) for p in primary} <= {1, 2, 3, 4, 5}
    assert any(p.status() < 0 and p.daughter1() > p.index() for p in primary)
    assert all(p.tau() > 0 for p in primary if p.tau0() > 0)


def test_the_same_seed_gives_the_same_events_and_nothing_is_collected_too_early() -> None:
    both = []
    for _ in range(2):
        pythia = make(*Z_TO_QUARKS)
        attach(pythia, PythiaGun())  # what it returns is not kept
        gc.collect()
        assert pythia.init()
        both.append(run(pythia, 5))
    assert both[0] == both[1]


def test_a_model_cannot_be_attached_after_the_start() -> None:
    pythia = make(*Z_TO_QUARKS)
    assert pythia.init()
    with pytest.raises(FastsimError, match=r"attach the model before pythia\.init"):
        attach(pythia, PythiaGun())


def test_a_source_of_hemispheres_alone_is_refused() -> None:
    class Hemispheres(HadronSource):
        name, domain = "hemispheres", Domain(frozenset({21}), 1.0, 10.0)

        def draw(self, partons: Any, rng: Any) -> Any:
            raise AssertionError

    with pytest.raises(FastsimError, match="hemispheres draws no colour singlets"):
        attach(make(*Z_TO_QUARKS), Hemispheres())
