"""The library baseline against its own source: same distributions, exact symmetries, exact masses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from fastsim.errors import OutOfDomain, WeightsError
from fastsim.event import Floats, ParticleSet, Partons, kinematics, species
from fastsim.event.gun import Gun
from fastsim.formats import hdf5
from fastsim.sources.hadrons import HadronSource
from generators.hadrons.library import Library
from generators.reference.pythia import PythiaGun

GUN = Gun.parse("flavour=u,ubar,g pt=40:200 eta=-2:2 num=1200")


def shot(seed: int) -> tuple[Partons, ParticleSet]:
    rng = np.random.default_rng(seed)
    partons = GUN.partons(rng)
    return partons, PythiaGun().sample(partons, rng=rng)


def observables(partons: Partons, sets: ParticleSet) -> dict[str, Floats]:
    """Multiplicity, summed pT and mass relative to the parton, transverse tilt about it."""
    pt = kinematics.pt(partons.p4)
    total = sets.sums()
    tilt = kinematics.delta_phi(kinematics.phi(total), kinematics.phi(partons.p4))
    return {
        "n": sets.counts.astype(float),
        "pt": np.bincount(sets.index, kinematics.pt(sets.p4), len(sets)) / pt,
        "mass": kinematics.mass(total) / pt,
        "tilt": tilt,
        "charge": np.bincount(sets.index, species.charges(sets.pdg_id), len(sets)) * np.sign(partons.pdg_id),
        "dy": kinematics.rapidity(total) - kinematics.rapidity(partons.p4),
    }


@pytest.fixture(scope="module")
def stored() -> tuple[Partons, ParticleSet]:
    return shot(1)


def test_the_library_is_like_its_source(stored: tuple[Partons, ParticleSet]) -> None:
    real_partons, real = shot(2)
    generated = Library(stored).sample(real_partons, rng=np.random.default_rng(3))
    a, b = observables(real_partons, real), observables(real_partons, generated)
    for key in a:  # six tests at p = 1e-3 with a fixed seed
        assert ks_2samp(a[key], b[key]).pvalue > 1e-3, key


def test_masses_and_axis(stored: tuple[Partons, ParticleSet]) -> None:
    library = Library(stored)
    assert isinstance(library, HadronSource) and len(library) == 1200
    assert library.domain.flavours == {2, -2, 21} and 40 <= library.domain.pt_min < library.domain.pt_max <= 200
    partons = GUN.partons(np.random.default_rng(5))
    sets = library.sample(partons, rng=np.random.default_rng(5))
    m = species.masses(sets.pdg_id)
    assert np.abs(kinematics.mass_squared(sets.p4) - m**2).max() < 1e-9 * sets.p4[:, 0].max() ** 2
    repeated = library.sample(partons, rng=np.random.default_rng(5))
    assert np.array_equal(sets.p4, repeated.p4)
    angle = kinematics.phi(partons.p4)[sets.index]
    along = sets.p4[:, 1] * np.cos(angle) + sets.p4[:, 2] * np.sin(angle)
    # the hemisphere of primary hadrons is kept: few of their products cross its edge
    assert (along < 0).mean() < 0.05 and (along[along < 0] > -2.0).all()


def test_a_set_comes_back_scaled_and_turned() -> None:
    partons = Partons.from_pt_eta_phi(np.array([-2]), np.array([50.0]), np.array([1.0]), np.array([0.5]))
    sets = PythiaGun().sample(partons, rng=np.random.default_rng(1))
    wanted = Partons.from_pt_eta_phi(np.array([2]), np.array([50.0]), np.array([-1.5]), np.array([3.0]))
    back = Library((partons, sets)).sample(wanted, rng=np.random.default_rng(2))
    assert np.array_equal(back.pdg_id, species.conjugate(sets.pdg_id))
    total, expected = kinematics.mass(back.sums()), kinematics.mass(sets.sums())
    assert total == pytest.approx(expected, rel=1e-9)  # one parton's whole set: only turned and boosted
    twice = Partons.from_pt_eta_phi(np.array([-2]), np.array([100.0]), np.array([1.0]), np.array([0.5]))
    scaled = Library((partons, sets)).draw(twice, np.random.default_rng(2))  # outside its domain of one pT
    ratio = np.bincount(scaled.index, kinematics.pt(scaled.p4)) / np.bincount(sets.index, kinematics.pt(sets.p4))
    assert ratio == pytest.approx(2.0, rel=0.2)


def test_file_and_errors(stored: tuple[Partons, ParticleSet], tmp_path: Path) -> None:
    path = tmp_path / "library.h5"
    hdf5.write(path, *stored)
    partons = GUN.partons(np.random.default_rng(5))[:50]
    a, b = (Library(x).sample(partons, rng=np.random.default_rng(5)) for x in (path, stored))
    assert np.array_equal(a.pdg_id, b.pdg_id) and np.allclose(a.p4, b.p4, rtol=1e-4, atol=1e-4)
    with pytest.raises(OutOfDomain, match=r"PDG id 5, .* is outside the domain of library: partons -2, 2, 21"):
        Library(stored).sample(Partons(np.array([5]), partons.p4[:1]), rng=np.random.default_rng(1))
    with pytest.raises(WeightsError, match="holds no sets"):
        Library((partons[:0], ParticleSet.empty()))
