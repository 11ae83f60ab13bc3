"""Every Step keeps one contract: it gives what it promises, for all events, and leaves its input alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from fastsim.detector.detector import load_detector
from fastsim.detector.towers import towers_of
from fastsim.event import HardEvents, Partons
from fastsim.formats import lhe
from fastsim.production.store import content_sha256
from fastsim.sources.pipeline import Pipeline, Step
from generators.hadrons.step import Hadronize, HadronizeSets
from generators.reference.full import FullPythia
from generators.reference.resonances import DecayResonances
from generators.showers.library import ShowerLibrary
from generators.showers.step import Deposit
from tests.helpers.events import event, file
from tests.helpers.showers import store, toy_showers
from tests.helpers.sources import Spray

NUM = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("steps")
    (made / "events.lhe").write_text(file(*[event()] * NUM))
    binning = load_detector("copper").binning("gamma")
    assert binning is not None
    showers = toy_showers(20, binning, np.random.default_rng(1), energy=(200.0, 2e5), response=0.2)
    store(made / "library.h5", showers, binning, detector={"name": "copper"}, energy=[0.2, 200.0])
    return made


def steps(folder: Path) -> dict[str, Step]:
    deposit = Deposit(ShowerLibrary(folder / "library.h5"), None, towers_of(load_detector("copper")))
    hadronize = Hadronize(Spray(), Spray())
    return {
        "decay-resonances": DecayResonances(),
        "hadronize": hadronize,
        "hadronize-sets": HadronizeSets(Spray(), Spray()),
        "deposit": deposit,
        "pythia-full": FullPythia(lhe.read(folder / "events.lhe")[0], 3),
        "pipeline": Pipeline([DecayResonances(), hadronize, deposit]),
    }


@pytest.fixture(params=["decay-resonances", "hadronize", "hadronize-sets", "deposit", "pythia-full", "pipeline"])
def step(request: pytest.FixtureRequest, folder: Path) -> Step:
    return steps(folder)[request.param]


@pytest.fixture
def given(step: Step, folder: Path, rng: np.random.Generator) -> HardEvents:
    """Events with what the Step requires, and named columns of somebody's own."""
    events = HardEvents.concatenate(list(lhe.read(folder / "events.lhe")[1]))
    if "hadrons" in step.requires:
        events = Hadronize(Spray()).step(events, rng=rng)
    if step.name.startswith("hadronize-sets"):
        chosen = np.flatnonzero(events.status == 1)
        events = HardEvents.of_partons(Partons(events.pdg_id[chosen], events.p4[chosen]))
    return events.with_columns(
        event={"trigger": np.arange(len(events))}, hard={"tag": np.arange(len(events.pdg_id), dtype=np.float32)}
    )


def run(step: Step, events: HardEvents, seed: int = 1) -> HardEvents:
    return step.step(events, rng=np.random.default_rng(seed))


def test_all_events_come_back_with_what_is_promised(step: Step, given: HardEvents) -> None:
    done = run(step, given)
    assert len(done) == len(given) and np.array_equal(done.number, given.number)
    assert np.array_equal(done.weights, given.weights)
    assert ("hadrons" in step.provides) <= (done.particles is not None and done.origin is not None)
    assert ("cells" in step.provides) <= (done.cells is not None)
    if done.particles is not None and done.origin is not None:
        assert len(done.origin) == len(done.particles.pdg_id)
        counts = np.diff(done.offsets)[done.particles.index]
        assert (done.origin >= -1).all() and (done.origin < counts).all()


def test_the_input_is_left_alone(step: Step, given: HardEvents) -> None:
    before = content_sha256(given)
    run(step, given)
    assert content_sha256(given) == before


def test_randomness_is_the_rng_alone(step: Step, given: HardEvents) -> None:
    first = content_sha256(run(step, given))
    assert content_sha256(run(step, given)) == first
    copy: Step = pickle.loads(pickle.dumps(step))
    assert content_sha256(run(copy, given)) == first


def test_named_columns_stay_with_their_events(step: Step, given: HardEvents) -> None:
    done = run(step, given)
    assert done.event_columns["trigger"].tolist() == given.event_columns["trigger"].tolist()
    assert len(done.hard_columns["tag"]) == len(done.pdg_id)
    rows = done.offsets[:-1]
    assert np.array_equal(done.hard_columns["tag"][rows], given.hard_columns["tag"][given.offsets[:-1]])


def test_no_events_are_no_fault(step: Step, given: HardEvents) -> None:
    done = run(step, given[:0])
    assert len(done) == 0 and (done.particles is None or len(done.particles) == 0)
