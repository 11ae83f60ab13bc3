"""Every source of showers keeps one contract: Geant4, a library, each model that ships, a made-up source."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim import registry
from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.sources import cards
from fastsim.sources.showers import ShowerSource
from generators.showers.library import ShowerLibrary
from tests.helpers.showers import SMALL, ToySource, store, toy_showers


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> dict[str, Callable[[], ShowerSource]]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "small.toml").write_text(SMALL)
    binning = load_detector("pb-si-ecal").binning("gamma")
    assert binning is not None
    showers = toy_showers(40, binning, np.random.default_rng(1), energy=(1e3, 1e5))
    stored = store(folder / "library.h5", showers, binning)
    ecal, data = load_detector("pb-si-ecal"), shared / "geant4" / "em"
    return {
        "toy": lambda: ToySource(folder / "small.toml"),
        "library": lambda: ShowerLibrary(stored),
        "geant4": lambda: registry.geant4_showers(ecal, data=data, workers=1),
        **{name: lambda name=name: fastsim.load_showers(name) for name in NAMES},  # type: ignore[misc]
    }


NAMES = cards.available(cards.SHOWERS)


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, ShowerSource]]:
    sources: dict[str, ShowerSource] = {}
    yield sources
    for source in sources.values():
        source.close()


@pytest.fixture(params=["toy", "library", "geant4", *NAMES])
def source(
    request: pytest.FixtureRequest, made: dict[str, ShowerSource], makers: dict[str, Callable[[], ShowerSource]]
) -> ShowerSource:
    """Each source once, whatever the tests."""
    name: str = request.param
    if name not in made:
        made[name] = makers[name]()
    return made[name]


def incidents(source: ShowerSource, num: int = 6) -> Incidents:
    """Photons of a few GeV, which all sources take."""
    low = max(1.0, source.domain.min_energy)
    return Incidents.perpendicular(22, np.geomspace(1.01 * low, 3.0 * low, num))


def test_one_shower_a_particle_in_the_voxels_of_the_binning(source: ShowerSource) -> None:
    particles = incidents(source)
    showers = source.sample(particles, rng=1)
    assert showers.shape == (6, source.binning(22).num_voxels) and showers.dtype == np.float32
    assert np.isfinite(showers).all() and (showers >= 0).all() and (showers.sum(1) > 0).all()


def test_a_seed_decides_and_none_does_not(source: ShowerSource) -> None:
    particles = incidents(source)
    first = source.sample(particles, rng=1)
    assert np.array_equal(first, source.sample(particles, rng=1))
    assert np.array_equal(first, source.sample(particles, seed=1))
    assert np.array_equal(first, source.sample(particles, rng=np.random.default_rng(1)))
    assert not np.array_equal(first, source.sample(particles, rng=2))
    assert not np.array_equal(source.sample(particles), source.sample(particles))
    with pytest.raises(FastsimError, match="give a Generator, a seed, or None"):
        source.sample(particles, rng=-1)


def test_what_is_outside_the_domain_is_refused_alike(source: ShowerSource) -> None:
    inside = incidents(source)
    zeros, energy = np.zeros(6), inside.energy.copy()
    energy[2] = 1e7
    pdg_id, theta = inside.pdg_id.copy(), zeros.copy()
    pdg_id[2], theta[2] = 12, 1.55
    for outside in (
        Incidents(inside.pdg_id, energy, zeros, zeros),
        Incidents(pdg_id, inside.energy, zeros, zeros),
        Incidents(inside.pdg_id, inside.energy, theta, zeros),
    ):
        assert source.domain.contains(outside).tolist() == [True, True, False, True, True, True]
        with pytest.raises(OutOfDomain, match=rf"particle 2 \(.* is outside the domain of {source.name}: "):
            source.sample(outside, rng=1)


def test_nothing_in_nothing_out(source: ShowerSource) -> None:
    assert source.sample(incidents(source, 6)[:0], rng=1).shape == (0, source.binning(22).num_voxels)


def test_a_copy_for_another_process_is_the_same(source: ShowerSource) -> None:
    if source.owns_processes:
        return  # runs never send it: they leave the processes to it
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.sample(incidents(source), rng=3), source.sample(incidents(source), rng=3))


def test_threads_do_not_meet(source: ShowerSource) -> None:
    particles = incidents(source, 3)
    alone = [source.sample(particles, rng=seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda seed: source.sample(particles, rng=seed), range(3)))
    assert all(map(np.array_equal, alone, together))


def test_a_repr_says_name_kind_and_domain(source: ShowerSource) -> None:
    said = repr(source)
    assert source.name in said and source.kind in said and str(source.domain) in said and "\n" not in said
    assert source.detector
