"""Colour singlets in events: pairs from the model, longer chains from Pythia, beside other members of their system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.errors import InvalidEvent
from fastsim.event import HardEvents, ParticleSet, Partons, kinematics
from fastsim.event.species import charges
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from fastsim.sources.hadrons import HadronSource, PartonPairs
from generators.hadrons.step import Hadronize
from generators.reference.pythia import PythiaGun
from tests.helpers.events import file
from tests.helpers.sources import closure, hard_event

Tags = tuple[int, int]


@pytest.fixture(scope="module")
def model() -> HadronSource:
    return fastsim.load_model("hadron-tree")


def annihilation(
    outgoing: list[tuple[int, Tags]], *, energy: float = 91.2, seed: int = 1, scale: float = 0.0
) -> HardEvents:
    """One event e+ e- -> massless outgoing particles in random directions, with these colour tags."""
    vectors = np.random.default_rng(seed).normal(size=(len(outgoing), 3))
    p4 = np.concatenate([np.linalg.norm(vectors, axis=1, keepdims=True), vectors], axis=1)
    p4 = kinematics.boost_from(p4, np.broadcast_to(p4.sum(axis=0), p4.shape))
    p4 *= energy / p4.sum(axis=0)[0]
    half = energy / 2
    rows = [(11, -1, (-1, -1), [half, 0, 0, half]), (-11, -1, (-1, -1), [half, 0, 0, -half])]
    rows += [(pdg_id, 1, (0, 1), p.tolist()) for (pdg_id, _), p in zip(outgoing, p4, strict=True)]
    event = hard_event(rows)
    colours = np.array([(0, 0), (0, 0), *(tags for _, tags in outgoing)])
    return replace(event, colours=colours, scale=np.array([scale]))


QGQ = [(2, (501, 0)), (21, (502, 501)), (-2, (0, 502))]
PAIR = [(5, (511, 0)), (-5, (0, 511))]


def totals(done: HardEvents, entries: list[int]) -> tuple[np.ndarray, float]:  # type: ignore[type-arg]
    """Four-momentum and charge of the particles of some hard entries."""
    assert done.particles is not None and done.origin is not None
    chosen = np.isin(done.origin, entries)
    return done.particles.p4[chosen].sum(axis=0), float(charges(done.particles.pdg_id[chosen]).sum())


def test_two_singlets_and_a_photon_keep_their_momenta_each(model: HadronSource) -> None:
    event = annihilation([QGQ[0], (22, (0, 0)), PAIR[0], QGQ[1], PAIR[1], QGQ[2]])
    done = Hadronize(model, PythiaGun()).step(event, rng=np.random.default_rng(2))
    assert closure(done) < 1e-9
    for entries in ([2, 5, 7], [4, 6], [3]):
        p4, charge = totals(done, entries)
        np.testing.assert_allclose(p4, event.p4[entries].sum(axis=0), atol=1e-9 * 91.2)
        assert abs(charge) < 1e-9
    assert done.notes == {"partons": 5, "chain_partons": 3, "partons_elsewhere": 3}
    assert done.hard_columns["hadrons_from"].tolist() == [-1, -1, 1, -1, 0, 1, 0, 1]
    assert done.particles is not None and done.origin is not None and done.particles.history is not None
    assert (np.diff(done.origin) >= 0).all() and set(done.origin.tolist()) == {2, 3, 4, 5, 6, 7}
    ids = np.abs(done.particles.history.decayed.pdg_id)
    assert ((ids // 100 % 10 == 5) | (ids // 1000 % 10 == 5)).any()


class Photons(HadronSource):
    """A source that puts a photon in the place of each parton of a pair."""

    name = "photons"
    domain = Domain(QUARKS_AND_GLUONS, 0.0, np.inf)
    has_pairs = True

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        raise AssertionError("no partons but those of pairs")

    def draw_pairs(self, pairs: PartonPairs, rng: np.random.Generator) -> ParticleSet:
        half = np.repeat(pairs.mass / 2, 2)
        along = half * np.tile([1.0, -1.0], len(pairs.mass))
        p4 = np.stack([half, 0 * half, 0 * half, along], axis=1)
        return ParticleSet(2 * np.arange(len(pairs.mass) + 1), np.full(len(p4), 22), p4)


def test_hadrons_fly_where_the_partons_of_a_moving_system_do() -> None:
    """Boosts by way of the system's frame turn: the partons have to go the same way as the hadrons."""
    event = annihilation([PAIR[0], (22, (0, 0)), (12, (0, 0)), PAIR[1], (-12, (0, 0))])
    system = np.array([[200.0, 30.0, -80.0, 150.0]])
    event = replace(event, p4=kinematics.boost_to(event.p4, np.broadcast_to(system, event.p4.shape)))
    done = Hadronize(Photons(), PythiaGun()).step(event, rng=np.random.default_rng(1))
    assert done.particles is not None and done.origin is not None
    quarks = [2, 5]
    np.testing.assert_allclose(done.particles.p4[np.isin(done.origin, quarks)], event.p4[quarks], rtol=1e-6)


def test_the_reference_draws_all_singlets_itself() -> None:
    events = HardEvents.concatenate([annihilation(QGQ, seed=k) for k in range(5)])
    done = Hadronize(PythiaGun(), PythiaGun()).step(events, rng=np.random.default_rng(2))
    assert closure(done) < 1e-9 and done.notes == {"partons": 15}
    assert done.particles is not None and done.particles.history is not None
    np.testing.assert_allclose(np.bincount(done.particles.index, charges(done.particles.pdg_id)), 0, atol=1e-9)


def test_pairs_outside_the_models_limits_go_whole_to_pythia(model: HadronSource) -> None:
    event = annihilation([(3, (501, 0)), (-3, (0, 501))], energy=8.0)
    done = Hadronize(model, PythiaGun()).step(event, rng=np.random.default_rng(1))
    assert done.notes == {"partons": 2, "fallback_partons": 2, "partons_elsewhere": 2} and closure(done) < 1e-9


@pytest.mark.parametrize(
    ("flavour", "energy", "inside"),
    [(2, 10.0, True), (2, 9.99, False), (21, 4000.0, True), (21, 4001.0, False), (5, 11.0, False), (4, 10.0, True)],
)
def test_the_models_singlets_are_those_from_10_gev_to_4_tev(
    model: HadronSource, flavour: int, energy: float, inside: bool
) -> None:
    pair = PartonPairs(np.array([[flavour, flavour if flavour == 21 else -flavour]]), np.array([energy]))
    assert model.takes(pair).tolist() == [inside]
    low = PartonPairs(pair.pdg_id, pair.mass, np.array([0.9]))
    assert model.takes(low).tolist() == [False], "showers start at 1 GeV in training"


def test_scalup_is_where_the_shower_of_a_hard_process_starts() -> None:
    def particles(scale: float) -> float:
        events = HardEvents.concatenate([annihilation(PAIR, energy=500.0, scale=scale)] * 60)
        done = Hadronize(PythiaGun(), PythiaGun()).step(events, rng=np.random.default_rng(1))
        assert done.particles is not None and done.notes.get("low_scales", 0) == (120 if 0 < scale < 250 else 0)
        return float(done.particles.counts.mean())

    assert particles(2.0) < particles(0.0) - 5
    assert particles(1e4) == particles(0.0)


def test_events_without_tags_get_the_flow_of_their_flavours(model: HadronSource) -> None:
    bare = [(pdg_id, (0, 0)) for pdg_id, _ in (*PAIR, (13, (0, 0)), (-13, (0, 0)))]
    done = Hadronize(model, PythiaGun()).step(annihilation(bare), rng=np.random.default_rng(1))
    assert done.notes == {"assigned_colours": 1, "partons": 2} and closure(done) < 1e-9
    assert abs(totals(done, [2, 3])[1]) < 1e-9
    with pytest.raises(InvalidEvent, match="event 0: no colour flow joins the partons 2, 2"):
        Hadronize(model, PythiaGun()).step(annihilation([(2, (0, 0)), (2, (0, 0))]), rng=np.random.default_rng(1))


def test_a_singlet_too_light_for_its_flavours_is_an_error_with_its_event(model: HadronSource) -> None:
    light = annihilation([(5, (501, 0)), (-4, (0, 501))], energy=6.9)
    events = HardEvents.concatenate([annihilation(QGQ), replace(light, number=np.array([7]))])
    with pytest.raises(InvalidEvent, match=r"event 7: the colour singlet of partons 5, -4 has a mass of 6.9 GeV"):
        Hadronize(model, PythiaGun()).step(events, rng=np.random.default_rng(1))


def test_partons_joined_to_the_beams_stay_hemispheres(model: HadronSource) -> None:
    event = hard_event(
        [
            (2, -1, (-1, -1), [100.0, 0, 0, 100.0]),
            (-2, -1, (-1, -1), [100.0, 0, 0, -100.0]),
            (2, 1, (0, 1), [100.0, 80.0, 0, 60.0]),
            (-2, 1, (0, 1), [100.0, -80.0, 0, -60.0]),
        ]
    )
    event = replace(event, colours=np.array([[501, 0], [0, 502], [501, 0], [0, 502]]), scale=np.array([9.0]))
    done = Hadronize(model, PythiaGun()).step(event, rng=np.random.default_rng(1))
    assert done.notes == {"partons": 2, "low_scales": 2} and closure(done) < 1e-9


def test_a_run_names_the_file_of_such_an_event(tmp_path: Path) -> None:
    def text(energy: float, first: int, second: int) -> str:
        half = energy / 2
        rows = [
            f"11 -1 0 0 0 0 0 0 {half} {half} 0 0 9",
            f"-11 -1 0 0 0 0 0 0 {-half} {half} 0 0 9",
            f"{first} 1 1 2 501 0 {half} 0 0 {half} 0 0 9",
            f"{second} 1 1 2 0 501 {-half} 0 0 {half} 0 0 9",
        ]
        return "\n".join(["<event>", f"4 1 1.0 {energy} 0.007 0.12", *rows, "</event>", ""])

    path = tmp_path / "light.lhe"
    path.write_text(file(text(91.2, 2, -2), text(6.9, 5, -4)))
    with pytest.raises(InvalidEvent, match=r"light\.lhe, event 1: the colour singlet of partons 5, -4 has a mass of"):
        fastsim.reference(path, tmp_path / "light.h5")


def test_soft_partons_of_powheg_are_pythias_not_pions(model: HadronSource, shared: Path) -> None:
    events = fastsim.read(shared / "lhe" / "powheg-box-v2-hvq.lhe")
    assert isinstance(events, HardEvents)
    done = Hadronize(model, PythiaGun()).step(events, rng=np.random.default_rng(1))
    assert closure(done) < 1e-9 and done.notes["partons"] == 10
    assert done.notes["fallback_partons"] == done.notes["soft_partons"] >= 7
    # systems of less than 4 GeV have no mass for a charmed hadron beside the Z
    lost = np.flatnonzero(done.hard_columns["hadrons_from"] == 2)
    assert set(np.abs(events.pdg_id[lost]).tolist()) <= {4}
