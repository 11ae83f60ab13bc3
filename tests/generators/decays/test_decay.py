"""Whole chains: conservation, vertices and lifetimes, order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints, ParticleSet
from fastsim.event.kinematics import mass_squared, on_shell
from fastsim.event.species import conjugate
from generators.decays import decay, draw_masses, pythia
from generators.decays.data import particle_data
from generators.decays.table import STABLE, decay_table

PRIMARIES = (111, 211, 213, 221, 223, 331, 333, 313, -323, 311, 2224, -3214, 3334, 413, 421, -521, 513, 5122, 4122, 22)


def sets_of(pdg_id: Ints, rng: np.random.Generator, size: int = 20, scale: float = 10.0) -> ParticleSet:
    """Return particles of these species in sets of ``size``, with masses of their own and normal momenta (GeV)."""
    momenta = np.concatenate([np.zeros((len(pdg_id), 1)), rng.normal(0, scale, (len(pdg_id), 3))], axis=1)
    masses = np.where(pdg_id == 22, 0.0, draw_masses(np.where(pdg_id == 22, 12, pdg_id), rng))
    return ParticleSet(np.arange(0, len(pdg_id) + 1, size), pdg_id, on_shell(momenta, masses))


@pytest.fixture(scope="module")
def primaries() -> ParticleSet:
    return sets_of(np.tile(PRIMARIES, 100), np.random.default_rng(1))


@pytest.fixture(scope="module")
def decayed(primaries: ParticleSet) -> ParticleSet:
    return decay(primaries, np.random.default_rng(2))


def flat_mothers(sets: ParticleSet) -> tuple[Ints, Ints]:
    """Return the rows of the mothers of final and decayed particles among all decayed ones; -1 for primary ones."""
    assert sets.history is not None
    history, offsets = sets.history, sets.history.decayed.offsets
    return (
        np.where(history.mother < 0, -1, history.mother + offsets[sets.index]),
        np.where(history.decayed.mother < 0, -1, history.decayed.mother + offsets[history.decayed.index]),
    )


def test_momentum_and_charge_are_conserved_at_every_vertex(decayed: ParticleSet) -> None:
    assert decayed.history is not None
    old = decayed.history.decayed
    of_final, of_decayed = flat_mothers(decayed)
    assert (of_decayed < np.arange(len(of_decayed))).all()
    mother = np.concatenate([of_final, of_decayed])
    p4 = np.concatenate([decayed.p4, old.p4])
    data = particle_data()
    ids = np.concatenate([decayed.pdg_id, old.pdg_id])
    charge = np.array([0.0 if i == 22 else data[int(i)].charge for i in ids])
    baryon = np.array([0.0 if i == 22 else data[int(i)].baryon_number for i in ids])
    some = mother >= 0
    total = np.zeros_like(old.p4)
    np.add.at(total, mother[some], p4[some])
    assert (np.abs(total - old.p4).max(axis=1) < 1e-12 * old.p4[:, 0]).all()
    for number in (charge, baryon):
        sums = np.bincount(mother[some], weights=number[some], minlength=len(old.pdg_id))
        np.testing.assert_allclose(sums, number[len(of_final) :], atol=1e-9)


def test_final_particles_are_stable_and_on_their_mass_shells(decayed: ParticleSet) -> None:
    table = decay_table(10.0)
    row = np.searchsorted(table.pdg_id, decayed.pdg_id)
    assert (table.action[row] == STABLE).all()
    assert {130, 310, 3122} <= set(np.abs(decayed.pdg_id).tolist())
    off = np.abs(mass_squared(decayed.p4) - table.shape[row, 0] ** 2)
    assert (off < 1e-14 * decayed.p4[:, 0] ** 2).all()


def test_what_decays_does_so_along_its_flight(decayed: ParticleSet) -> None:
    assert decayed.history is not None
    old = decayed.history.decayed
    of_final, of_decayed = flat_mothers(decayed)
    mother = np.concatenate([of_final, of_decayed])
    vertex = np.concatenate([decayed.history.vertex, old.vertex])
    assert not vertex[mother < 0].any()
    some = mother >= 0
    flight = vertex[some] - old.vertex[mother[some]]
    direction = old.p4[mother[some]] / old.p4[mother[some], :1]
    # at 1e-9 of the flight: a flight is the difference of two places
    np.testing.assert_allclose(flight, flight[:, :1] * direction, atol=1e-9 * np.abs(vertex).max())


@pytest.mark.parametrize(
    ("pdg_id", "tau0_max"), [(521, 10.0), (-511, 10.0), (411, 10.0), (15, 10.0), (310, 1000.0), (3122, 1000.0)]
)
def test_proper_lifetimes_are_exponential(pdg_id: int, tau0_max: float) -> None:
    num = 2000
    sets = sets_of(np.full(num, pdg_id), np.random.default_rng(4), size=1)
    after = decay(sets, np.random.default_rng(5), tau0_max=tau0_max)
    assert after.history is not None
    first = flat_mothers(after)[0] == after.history.decayed.offsets[after.index]
    flight = np.full((num, 4), np.nan)
    flight[after.index[first]] = after.history.vertex[first]
    second = flat_mothers(after)[1] == after.history.decayed.offsets[after.history.decayed.index]
    flight[after.history.decayed.index[second]] = after.history.decayed.vertex[second]
    tau = flight[:, 0] * particle_data()[pdg_id].mass / sets.p4[:, 0]
    tau0 = particle_data()[pdg_id].tau0
    assert abs(tau.mean() - tau0) < 4 * tau0 / np.sqrt(num)
    assert abs((tau < np.log(2) * tau0).mean() - 0.5) < 4 * 0.5 / np.sqrt(num)


def test_particles_start_from_their_vertices() -> None:
    rng = np.random.default_rng(6)
    sets = sets_of(np.array([421, 111, 211, -521]), rng, size=4)
    places = rng.normal(0, 1, (4, 4))
    here, there = (decay(sets, np.random.default_rng(7), vertex=v) for v in (None, places))
    assert here.history is not None and there.history is not None
    roots = np.flatnonzero(there.history.decayed.mother < 0)
    np.testing.assert_array_equal(there.history.decayed.vertex[roots], places[[0, 1, 3]])
    np.testing.assert_array_equal(there.history.vertex[there.history.mother < 0][0], places[2])
    shift = there.history.vertex - here.history.vertex
    assert (np.abs(shift[:, None] - places).max(axis=2).min(axis=1) < 1e-12).all()


def test_final_particles_are_in_the_order_of_their_primaries() -> None:
    sets = sets_of(np.array([22, -521, 111, 211, 421, 22]), np.random.default_rng(8), size=6)
    after = decay(sets, np.random.default_rng(9))
    assert after.history is not None
    mother, above = flat_mothers(after)
    root = np.arange(len(above))
    while (above[root] >= 0).any():
        root = np.where(above[root] >= 0, above[root], root)
    primary = {-521: 1, 111: 2, 421: 4}
    decayed = after.history.decayed.pdg_id
    order = [primary[int(decayed[root[m]])] if m >= 0 else {22: 0, 211: 3}[int(i)] for m, i in
             zip(mother[:-1], after.pdg_id[:-1], strict=True)]  # fmt: skip
    assert order == sorted(order) and set(order) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(after.p4[[0, -1]], sets.p4[[0, -1]])


def test_equal_generators_give_equal_decays(primaries: ParticleSet, decayed: ParticleSet) -> None:
    again = decay(primaries, np.random.default_rng(2))
    np.testing.assert_array_equal(again.pdg_id, decayed.pdg_id)
    np.testing.assert_array_equal(again.p4, decayed.p4)
    assert again.history is not None and decayed.history is not None
    np.testing.assert_array_equal(again.history.vertex, decayed.history.vertex)
    assert not np.array_equal(decay(primaries, np.random.default_rng(3)).p4[:100], decayed.p4[:100])


def test_kernels_decay_antiparticles_as_the_conjugates() -> None:
    ids = np.tile([213, 323, 313, 2224, 3214, 3324, 3212], 50)
    sets = sets_of(ids, np.random.default_rng(10), size=1)
    anti = ParticleSet(sets.offsets, -ids, sets.p4)
    one, two = (decay(s, np.random.default_rng(11)) for s in (sets, anti))
    np.testing.assert_array_equal(one.p4, two.p4)
    hadrons = np.abs(one.pdg_id) > 20  # lepton pairs of a pi0 stay as they are
    np.testing.assert_array_equal(conjugate(one.pdg_id)[hadrons], two.pdg_id[hadrons])
    np.testing.assert_array_equal(np.abs(one.pdg_id), np.abs(two.pdg_id))


def test_limits_of_lifetimes() -> None:
    ids = np.repeat([310, 3122, 3112, 3312, 3334, 311, 13, 211, 321, 130, 2112], 20)
    sets = sets_of(ids, np.random.default_rng(12), size=20)
    at_10, at_1000 = (decay(sets, np.random.default_rng(13), tau0_max=x) for x in (10.0, 1000.0))
    assert at_10.history is not None and at_1000.history is not None
    assert set(at_10.history.decayed.pdg_id.tolist()) == {311}
    assert {310, 3122, 3112, 3312, 3334, 311, 111} <= set(at_1000.history.decayed.pdg_id.tolist())
    assert not {13, 211, 321, 130, 2112} & set(np.abs(at_1000.history.decayed.pdg_id).tolist())


def test_others_pass_and_empty_sets_stay() -> None:
    p4 = np.array([[5.0, 0, 0, 3.0], [2.0, 0, 0, 2.0]])
    sets = ParticleSet(np.array([0, 0, 2, 2]), np.array([1_000_020_040, 21]), p4)
    after = decay(sets, np.random.default_rng(0))
    np.testing.assert_array_equal(after.offsets, sets.offsets)
    np.testing.assert_array_equal(after.pdg_id, sets.pdg_id)
    np.testing.assert_array_equal(after.p4, p4)
    assert after.history is not None and len(after.history.decayed.pdg_id) == 0
    assert len(decay(ParticleSet.empty(3), np.random.default_rng(0))) == 3


@pytest.mark.parametrize(
    ("p4", "options", "message"),
    [
        ([[np.nan, 0, 0, 1]], {}, "set 1, particle 0: its p4"),
        ([[5.0, 0, 0, 1]], {"tau0_max": -1.0}, "tau0_max is -1.0"),
        ([[5.0, 0, 0, 1]], {"vertex": np.zeros((2, 4))}, r"vertex has shape \(2, 4\)"),
        ([[5.0, 0, 0, 1]], {"vertex": np.full((1, 4), np.inf)}, "its vertex"),
        ([[1.0, 0, 0, 1.0]], {}, "Pythia failed 20 times to decay a particle with PDG id 521"),
    ],
)
def test_refuses(p4: list[list[float]], options: dict[str, Floats], message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        decay(ParticleSet(np.array([0, 0, 1]), np.array([521]), np.array(p4)), np.random.default_rng(0), **options)  # type: ignore[arg-type]


def test_refuses_a_second_history(decayed: ParticleSet) -> None:
    with pytest.raises(FastsimError, match="history"):
        decay(decayed, np.random.default_rng(0))


def test_a_record_of_few_particles_is_read_as_one_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    pdg_id = np.array([511, -521, 531, 411, -421, 4122, 443, 15])
    mass = np.array([particle_data()[abs(int(i))].mass for i in pdg_id])
    read = []
    for few in (len(pdg_id), 0):
        monkeypatch.setattr(pythia, "_FEW", few)
        read.append([pythia.decay_at_rest(pdg_id, mass, 10.0, np.random.default_rng(seed)) for seed in range(20)])
    for one, other in zip(*read, strict=True):
        for found, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert sum(len(products.source) for products in read[0]) > 20 * 2 * len(pdg_id)
    # some were made away from where their source was: what came from the decays of others
    assert any((np.abs(products.vertex[:, 1:]) > 0).any() for products in read[0])
