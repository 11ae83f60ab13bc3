"""Pipelines check that their Steps fit when built, and that Steps keep their word when run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastsim.errors import PipelineError
from fastsim.event import HardEvents, Partons
from fastsim.sources.domains import Domain
from fastsim.sources.hadrons import HadronSource
from fastsim.sources.pipeline import Pipeline, Step
from generators.hadrons.step import Hadronize
from tests.helpers.sources import Spray, hard_event

EVENT = hard_event(
    [
        (21, -1, (-1, -1), [50.0, 0, 0, 50.0]),
        (21, -1, (-1, -1), [50.0, 0, 0, -50.0]),
        (21, 1, (0, 1), [50.0, 30.0, 0, 40.0]),
        (21, 1, (0, 1), [50.0, -30.0, 0, -40.0]),
    ]
)


class Fake:
    name = "fake"

    def __init__(self, requires: str, provides: str, drop: bool = False) -> None:
        self.requires = frozenset(requires.split())
        self.provides = frozenset(provides.split())
        self.drop = drop

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        return events[:0] if self.drop else events


def test_missing_word_is_named_when_built() -> None:
    with pytest.raises(PipelineError, match=r"step 1 \('fake'\) requires hadrons, which no earlier step provides"):
        Pipeline([Fake("hadrons", "showers")])
    later = Pipeline([Hadronize(Spray()), Fake("hadrons", "showers")])
    assert later.provides == {"partons", "hadrons", "showers"}


def test_a_pipeline_is_a_step_and_nests() -> None:
    inner = Pipeline([Hadronize(Spray())])
    assert isinstance(inner, Step) and isinstance(Spray(), HadronSource)
    once = inner.step(EVENT, rng=np.random.default_rng(3))
    nested = Pipeline([inner, Fake("hadrons", "")]).step(EVENT, rng=np.random.default_rng(3))
    assert once.particles is not None and nested.particles is not None
    assert np.array_equal(once.particles.p4, nested.particles.p4)


def test_steps_that_break_their_contract() -> None:
    with pytest.raises(PipelineError, match="was given 1 events and returned 0"):
        Pipeline([Fake("partons", "partons", drop=True)]).step(EVENT, rng=np.random.default_rng(1))
    with pytest.raises(PipelineError, match="provides hadrons but returned events without particles"):
        Pipeline([Fake("partons", "hadrons")]).step(EVENT, rng=np.random.default_rng(1))


def test_domain_limits_are_inclusive() -> None:
    domain = Domain(frozenset({21, 1}), 20.0, 100.0)
    pt = np.array([20.0, 19.999, 100.0, 100.001, 50.0])
    zero = np.zeros(5)
    partons = Partons.from_pt_eta_phi(np.array([21, 21, 1, 1, 2]), pt, zero, zero)
    assert domain.contains(partons).tolist() == [True, False, True, False, False]


def test_tallies_follow_the_events() -> None:
    both = HardEvents.concatenate([EVENT.tally("odd", np.array([0, 0])), replace(EVENT, number=np.array([1]))])
    assert (
        both.notes == {"odd": 2} and both[1:].notes == {} and both[:1].tally("odd", np.array([0])).notes == {"odd": 3}
    )
