"""Vertices by hand: impact parameters, flight lengths, lifetimes, momentum fractions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import Decayed, History, ParticleSet, Partons
from metrics.hadrons.content import vertex_distances, yield_ratios
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.origins import DISPLACED, Origins, origins
from metrics.hadrons.sample import jet_sample
from tests.helpers.jets import partons_of, toy_sets, with_history


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def floats(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64)


def one_set() -> tuple[ParticleSet, Partons]:
    """Make B- -> D0 mu X: the B- flies 3 mm along x, the D0 on to 4 mm, where two tracks start; a third is prompt."""
    b, d = np.array([50.0, 49.0, 0.0, 5.0]), np.array([20.0, 19.5, 0.0, 2.0])
    vertices = floats([0, 0, 0, 0], [0, 0, 0, 0], [3.1, 3.0, 0, 0.2])
    decayed = Decayed(ints(0, 3), ints(-511, -521, 421), np.stack([b, b, d]), ints(-1, 0, 1), vertices)
    made = floats([4.2, 4.0, 0.0, 0.3], [4.2, 4.0, 0.0, 0.3], [3.1, 3.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0])
    p4 = floats([5.1, 3.0, 4.0, 1.0], [5.1, 4.0, -3.0, 0.0], [20.0, 20.0, 0.0, 0.0], [10.0, 10.0, 0.0, 0.0])
    history = History(decayed, ints(2, 2, 1, -1), made)
    return ParticleSet(ints(0, 4), ints(-321, 211, 13, 211), p4, history), partons_of([-5], [100.0], [0.0], [0.0])


def test_impact_parameters_by_hand() -> None:
    found = origins(*one_set())
    assert found is not None
    # from (4, 0) along (3, 4) / 5: nearest to the beam at 4 - 2.4 * 0.6 = 2.56, -2.4 * 0.8 = -1.92
    np.testing.assert_allclose(found.tracks.d0, [3.2, 2.4, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found.tracks.z0[:2], [0.3 - 2.4 * 1.0 / 5.0, 0.3], atol=1e-6)
    assert found.vertices["tracks_0.1"] == 2
    assert found.vertices["d0_1"] == pytest.approx(3.2)
    assert found.vertices["d0_2"] == pytest.approx(2.4)
    assert found.vertices["displaced_mass"] == pytest.approx(np.sqrt(10.2**2 - 7**2 - 1**2 - 1**2))
    assert found.vertices["displaced_z"] == pytest.approx(np.hypot(7, 1) / 100)


def test_weak_decays_by_hand() -> None:
    found = origins(*one_set())
    assert found is not None
    # the oscillation B0bar -> B- of this toy is no weak decay, and all signs are those of a quark's set
    np.testing.assert_array_equal(found.decays.pdg_id, [511, 521, -421])
    assert found.vertices["flight_b"] == pytest.approx(np.hypot(3.0, 0.2))
    assert found.vertices["flight_c"] == pytest.approx(np.hypot(1.0, 0.1))
    assert found.fractions["x_b"] == pytest.approx(0.49)
    assert found.fractions["x_c"] == pytest.approx(0.195)
    mass_b = np.sqrt(50.0**2 - 49.0**2 - 25.0)
    assert found.decays.ctau[1] == pytest.approx(3.1 * mass_b / 50.0)
    assert found.decays.ctau[0] == 0


def test_a_track_behind_the_primary_vertex_has_negative_d0() -> None:
    history = History(Decayed.empty(1), ints(-1), floats([1.0, -1.0, 0.0, 0.0]))
    sets = ParticleSet(ints(0, 1), ints(211), floats([1.0, 0.0, 1.0, 0.0]), history)
    found = origins(sets, partons_of([1], [100.0], [0.0], [0.0]))
    assert found is not None
    assert found.tracks.d0.tolist() == [-1.0]


@pytest.fixture(scope="module")
def toys() -> list[Origins]:
    rng = np.random.default_rng(3)
    samples = []
    for ctau in (0.4, 0.4, 0.6):
        sets, partons = toy_sets(1500, 8.0, rng)
        samples.append(origins(with_history(sets, partons, rng, ctau=ctau), partons))
    return [sample for sample in samples if sample is not None]


def test_lifetimes_and_their_null(toys: list[Origins]) -> None:
    real, equal, longer = toys
    assert real.decays.ctau.mean() == pytest.approx(0.4, abs=0.04)
    found = {r.name: r for r in vertex_distances(real, longer)}
    assert found["lifetime B+"].value == pytest.approx(1.5, abs=4 * found["lifetime B+"].error)
    assert found["lifetime B+"].excess > 5
    assert found["vertices d0"].excess > 5
    assert found["vertices flight_b"].excess > 5
    assert all(abs(r.sigmas) < 4.5 for r in vertex_distances(real, equal))


def test_yields_of_decayed_species(rng: np.random.Generator, toys: list[Origins]) -> None:
    sets, partons = toy_sets(1500, 8.0, rng)
    jets = relative(sets, partons)
    found = {r.name: r for r in yield_ratios(jets, jets, real_origins=toys[0], generated_origins=toys[1])}
    assert found["decayed B+"].value == 1
    assert found["yield pi+"].value == 1
    assert not any(name.startswith("decayed") for name in (r.name for r in yield_ratios(jets, jets)))
    without = Origins(
        type(toys[1].decays)(np.zeros(1501, int), np.zeros(0, int), np.zeros(0), np.zeros(0)),
        toys[1].tracks,
        toys[1].vertices,
        toys[1].fractions,
    )
    missing = {r.name: r for r in yield_ratios(jets, jets, real_origins=toys[0], generated_origins=without)}
    assert missing["decayed B+"].value == 0


def test_hard_particles_are_compared_by_species(rng: np.random.Generator) -> None:
    num = 3000

    def jets(hard: float) -> Jets:
        """Make sets of two pions and a kaon, of which the first pion has 60% of the pT with a probability."""
        share = np.where(rng.random(num) < hard, 0.6, 0.45)
        pt = 100 * np.stack([share, 0.9 - share, np.full(num, 0.1)], -1).ravel()
        p4 = Partons.from_pt_eta_phi(np.full(3 * num, 1), pt, np.zeros(3 * num), np.zeros(3 * num)).p4
        partons = Partons.from_pt_eta_phi(np.full(num, 2), np.full(num, 100.0), np.zeros(num), np.zeros(num))
        return relative(ParticleSet(np.arange(0, 3 * num + 1, 3), np.tile([211, -211, 321], num), p4), partons)

    real, equal, softer = jets(0.2), jets(0.2), jets(0.1)
    same, other = ({r.name: r for r in yield_ratios(real, each)} for each in (equal, softer))
    assert abs(same["hard pi"].sigmas) < 4
    assert other["hard pi"].value == pytest.approx(0.5, abs=4 * other["hard pi"].error)
    assert abs(other["hard pi"].sigmas) > 5
    assert other["yield pi+"].value == 1  # spectra of all particles hardly see it
    assert "hard K" not in other  # the real sample has none


def test_samples_keep_their_history_in_order(rng: np.random.Generator) -> None:
    sets, partons = toy_sets(60, 6.0, rng)
    known = with_history(sets, partons, rng)
    sample = jet_sample(known, partons)
    assert sample.origins is not None
    assert len(sample.origins) == 60
    assert jet_sample(sets, partons).origins is None
    few = sample[np.array([7, 3])]
    assert few.origins is not None
    np.testing.assert_array_equal(few.origins.vertices["d0_1"], sample.origins.vertices["d0_1"][[7, 3]])
    parts = [origins(known[rows], partons[rows]) for rows in (slice(0, 20), slice(20, 60))]
    joined = Origins.concatenate([p for p in parts if p is not None])
    np.testing.assert_array_equal(joined.tracks.d0, sample.origins.tracks.d0)
    np.testing.assert_array_equal(joined.decays.offsets, sample.origins.decays.offsets)


def test_no_sets_no_particles_and_bad_vertices() -> None:
    partons = partons_of([21, 21], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0])
    empty = ParticleSet(ints(0, 0, 0), ints(), np.zeros((0, 4)), History(Decayed.empty(2), ints(), np.zeros((0, 4))))
    found = origins(empty, partons)
    assert found is not None
    assert not any(column.any() for column in found.vertices.values())
    history = History(Decayed.empty(1), ints(-1), floats([0.0, np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="finite"):
        origins(ParticleSet(ints(0, 1), ints(211), floats([1.0, 1.0, 0.0, 0.0]), history), partons[:1])
    assert DISPLACED == (0.1, 0.5)
