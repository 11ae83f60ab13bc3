"""The Step from partons to hadrons: domains, redraws, fallbacks, and what is too soft for any source."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import OutOfDomain, PipelineError
from fastsim.event import HardEvents, ParticleSet, Partons, kinematics
from generators.hadrons.step import MAX_REDRAWS, Hadronize, HadronizeSets
from tests.helpers.sources import Spray, closure, hard_event, shell


def dijet(pt: float, number: int = 0, flavours: tuple[int, int] = (21, 21)) -> HardEvents:
    energy = 2 * pt
    pz = np.sqrt(energy**2 - pt**2)
    return hard_event(
        [
            (21, -1, (-1, -1), [energy, 0, 0, energy]),
            (21, -1, (-1, -1), [energy, 0, 0, -energy]),
            (flavours[0], 1, (0, 1), [energy, pt, 0, pz]),
            (flavours[1], 1, (0, 1), [energy, -pt, 0, -pz]),
        ],
        number,
    )


def w_and_gluon(energy: float) -> HardEvents:
    """Make an undecayed W recoiling against one gluon of the given energy at right angles."""
    w = np.hypot(80.4, energy)
    total = w + energy
    return hard_event(
        [
            (2, -1, (-1, -1), [total / 2, 0, 0, total / 2]),
            (-1, -1, (-1, -1), [total / 2, 0, 0, -total / 2]),
            (24, 1, (0, 1), [w, energy, 0, 0]),
            (21, 1, (0, 1), [energy, -energy, 0, 0]),
        ]
    )


class Heavy(Spray):
    """Draws sets too heavy for any system, but for one try in ``every``."""

    name = "heavy"

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        if (len(self.calls) + 1) % self.every == 0:
            return super().draw(partons, rng)
        self.calls.append(len(partons))
        n = len(partons)
        p4 = np.repeat(np.array([[1e4, 9e3, 0.0, 0.0], [1e4, -9e3, 0.0, 0.0]])[None], n, axis=0).reshape(-1, 4)
        return ParticleSet(2 * np.arange(n + 1), np.full(2 * n, 22), kinematics.on_shell(p4, np.zeros(2 * n)) + 1.0)


def test_all_partons_go_through_the_source_in_one_call_and_the_rest_through_the_fallback() -> None:
    events = HardEvents.concatenate([dijet(50.0), dijet(5.0, 1), dijet(300.0, 2)])
    source, fallback = Spray(20.0), Spray()
    done = Hadronize(source, fallback).step(events, rng=np.random.default_rng(1))
    assert source.calls[0] == 4 and fallback.calls[0] == 2
    assert done.notes["partons"] == 6 and done.notes["fallback_partons"] == 2
    assert done[1:2].notes["fallback_partons"] == 2 and "fallback_partons" not in done[:1].notes
    assert closure(done) < 1e-9 and shell(done) < 1e-9
    assert done.origin is not None and set(done.origin.tolist()) == {2, 3}


def test_outside_the_domain_without_fallback_is_refused() -> None:
    events = HardEvents.concatenate([dijet(50.0, 40), dijet(5.0, 41)])
    with pytest.raises(
        OutOfDomain, match=r"event 41: parton 2 \(PDG id 21, pT = 5 GeV\) is outside the domain of spray"
    ):
        Hadronize(Spray(20.0)).step(events, rng=np.random.default_rng(1))


def test_redraws_are_counted_and_deterministic() -> None:
    results = []
    for _ in range(2):
        source, fallback = Heavy(every=4), Spray()
        done = Hadronize(source, fallback).step(dijet(50.0), rng=np.random.default_rng(8))
        assert done.notes == {"partons": 2, "redrawn_systems": 3, "ignored_scales": 2} and fallback.calls == []
        assert done.particles is not None
        results.append(done.particles.p4)
    assert np.array_equal(results[0], results[1]) and closure(done) < 1e-9


def test_the_fallback_takes_over_after_the_bound() -> None:
    source, fallback = Heavy(every=10**9), Spray()
    events = HardEvents.concatenate([dijet(50.0), dijet(60.0, 1)])
    done = Hadronize(source, fallback).step(events, rng=np.random.default_rng(8))
    assert len(source.calls) == MAX_REDRAWS + 1
    assert done.notes["fallback_systems"] == 2 and "minimal_partons" not in done.notes
    assert closure(done) < 1e-9 and shell(done) < 1e-9


def test_pions_where_nothing_else_fits() -> None:
    done = Hadronize(Heavy(10**9), Heavy(10**9)).step(dijet(50.0, flavours=(2, 21)), rng=np.random.default_rng(8))
    assert done.particles is not None and done.notes["minimal_partons"] == 2
    assert done.particles.pdg_id.tolist() == [211, 22, 22]  # the gluon's pi0 as its photons
    assert closure(done) < 1e-9 and shell(done) < 1e-9


def test_a_gluon_below_every_domain_is_drawn_at_the_least_pt_of_the_fallback() -> None:
    source, fallback = Spray(20.0), Spray(1.0, width=0.05, num=1)
    done = Hadronize(source, fallback).step(w_and_gluon(0.9), rng=np.random.default_rng(8))
    assert done.particles is not None and done.particles.pdg_id[0] == 24 and source.calls == []
    assert done.notes["fallback_partons"] == done.notes["soft_partons"] == 1 and "minimal_partons" not in done.notes
    assert closure(done) < 1e-9 and kinematics.mass(done.particles.p4[0]) == pytest.approx(80.4, rel=1e-9)


def test_a_gluon_softer_than_any_hadron() -> None:
    done = Hadronize(Spray(20.0), Heavy(10**9)).step(w_and_gluon(0.05), rng=np.random.default_rng(8))
    assert done.particles is not None and done.particles.pdg_id.tolist() == [24, 22]
    assert done.notes["minimal_partons"] == 1 and closure(done) < 1e-9
    assert kinematics.mass(done.particles.p4[0]) == pytest.approx(80.4, rel=1e-9)


@pytest.mark.parametrize("m", [0.0, 0.1, 5.0])
def test_a_parton_alone(m: float) -> None:
    p4 = [np.hypot(30.0, m), 18.0, 0.0, 24.0]
    event = hard_event([(11, -1, (-1, -1), p4), (2, 1, (0, 0), p4)])
    done = Hadronize(Heavy(10**9)).step(event, rng=np.random.default_rng(8))
    assert done.particles is not None and closure(done) < 1e-9 and shell(done) < 1e-9
    assert done.particles.pdg_id.tolist() == {0.0: [22], 0.1: [22, 22], 5.0: [211, -211]}[m]


def test_empty_batches_and_events_without_partons() -> None:
    step = Hadronize(Spray(20.0), Spray(1.0))
    none = step.step(dijet(50.0)[:0], rng=np.random.default_rng(1))
    assert none.particles is not None and len(none.particles) == 0
    leptons = hard_event(
        [
            (11, -1, (-1, -1), [50.0, 0, 0, 50.0]),
            (-11, -1, (-1, -1), [50.0, 0, 0, -50.0]),
            (13, 1, (0, 1), [50.0, 30, 0, 40]),
            (-13, 1, (0, 1), [50.0, -30, 0, -40]),
        ]
    )
    done = step.step(leptons, rng=np.random.default_rng(1))
    assert done.particles is not None and done.particles.pdg_id.tolist() == [13, -13]
    assert closure(done) < 1e-12 and shell(done) < 1e-12


def test_leptons_too_light_for_their_masses_stay_as_the_file_has_them() -> None:
    half = 0.05  # mu+ mu- of mass 0.1 GeV, written massless
    event = hard_event(
        [
            (22, -1, (-1, -1), [half, 0, 0, half]),
            (22, -1, (-1, -1), [half, 0, 0, -half]),
            (13, 1, (0, 1), [half, half, 0, 0]),
            (-13, 1, (0, 1), [half, -half, 0, 0]),
        ]
    )
    done = Hadronize(Spray()).step(event, rng=np.random.default_rng(1))
    assert done.particles is not None and closure(done) < 1e-9
    assert np.allclose(done.particles.p4, event.p4[2:], atol=1e-9)


def test_a_source_that_loses_sets_is_named() -> None:
    class Lossy(Spray):
        def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
            return super().draw(partons[:-1], rng)

    with pytest.raises(PipelineError, match="spray was given 2 partons and returned 1 sets"):
        Hadronize(Lossy()).step(dijet(50.0), rng=np.random.default_rng(1))


def test_a_gun_keeps_its_order() -> None:
    source, fallback = Spray(20.0, num=1), Spray(num=1)
    pt = np.array([5.0, 50.0, 7.0, 500.0])
    partons = HardEvents.concatenate([hard_event([(21, 1, (-1, -1), [x, x, 0, 0])], k) for k, x in enumerate(pt)])
    done = HadronizeSets(source, fallback).step(partons, rng=np.random.default_rng(1))
    assert done.particles is not None and done.particles.counts.tolist() == [1, 1, 1, 1]
    assert done.notes == {"partons": 4, "fallback_partons": 2, "partons_elsewhere": 2}
    assert source.calls == fallback.calls == [2]
    assert np.allclose(kinematics.pt(done.particles.p4), pt, rtol=0.3)
    with pytest.raises(OutOfDomain, match="pT = 5 GeV"):
        HadronizeSets(source, source).step(partons, rng=np.random.default_rng(1))
