"""Frozen showers against their own source: same distributions, exact symmetries, energies that scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from fastsim.detector.binning import Binning
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, OutOfDomain
from fastsim.formats.calochallenge import Showers
from fastsim.sources.showers import ShowerSource
from generators.showers.library import ShowerLibrary, symmetries
from metrics.showers.features import shower_features
from tests.helpers.showers import electron_binning, mixed_binning, store, toy_showers

ELECTRON = electron_binning(num_layers=6, num_r=3, num_alpha=8)
PHOTON = replace(ELECTRON, particle="gamma", pid=22)
NUM = 1500


def toys(seed: int, **options: float) -> Showers:
    return toy_showers(NUM, ELECTRON, np.random.default_rng(seed), energy=(1e3, 1e5), **options)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Electrons in two files, and photons, which shower deeper."""
    folder = tmp_path_factory.mktemp("library")
    files = (("e1", toys(1), ELECTRON), ("e2", toys(2), ELECTRON), ("photon", toys(3, depth=1.3), PHOTON))
    return [store(folder / f"{name}.h5", showers, binning) for name, showers, binning in files]


def test_the_library_is_like_its_source(paths: list[Path]) -> None:
    library = ShowerLibrary(paths)
    for pdg_id, depth in ((11, 1.0), (22, 1.3)):
        real = toys(4, depth=depth)
        incidents = Incidents.perpendicular(pdg_id, real.incident / 1e3)
        generated = Showers(real.incident, library.sample(incidents, rng=np.random.default_rng(5)))
        one, other = (shower_features(x, ELECTRON) for x in (real, generated))
        columns = {
            "total": [f.total / f.incident for f in (one, other)],
            "front": [f.energy[:, 0] / f.total for f in (one, other)],
            "centre": [f.centre_phi[:, 2] for f in (one, other)],
            "width": [f.width_eta[:, 2] for f in (one, other)],
        }
        for name, (x, y) in columns.items():  # eight tests at p = 1e-3 with a fixed seed
            assert ks_2samp(x, y).pvalue > 1e-3, (pdg_id, name)


def test_particles_files_and_domain(paths: list[Path]) -> None:
    library = ShowerLibrary(paths)
    assert isinstance(library, ShowerSource) and len(library) == 3 * NUM and library.detector == "pb-si-ecal"
    assert library.domain.particles == {11, 22}
    assert (library.domain.min_energy, library.domain.max_energy) == (1.0, 100.0)
    assert library.binning(22).particle == "gamma" and library.binning(11) == ELECTRON
    mixed = Incidents(np.array([22, 11, 22]), np.full(3, 10.0), np.zeros(3), np.zeros(3))
    one, repeated = (library.sample(mixed, rng=np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, repeated) and one.shape == (3, ELECTRON.num_voxels) and one.dtype == np.float32


@pytest.mark.parametrize("energy", [1.0, 100.0])
def test_the_edges_of_the_domain_are_inside(paths: list[Path], energy: float) -> None:
    showers = ShowerLibrary(paths[0]).sample(
        Incidents.perpendicular(11, np.full(50, energy)), rng=np.random.default_rng(1)
    )
    assert showers.sum(1) / (1e3 * energy) == pytest.approx(np.ones(50), rel=0.6)  # sqrt(2 quantum / E) is 0.14


def test_a_shower_comes_back_scaled_turned_and_mirrored(tmp_path: Path) -> None:
    """Of a library of one shower, everything that comes out is known."""
    binning = mixed_binning()
    shower = toy_showers(1, binning, np.random.default_rng(1), energy=(1e4, 1e4))
    library = ShowerLibrary(store(tmp_path / "one.h5", shower, binning, energy=[5.0, 20.0]))
    incidents = Incidents.perpendicular(22, np.full(200, 20.0))
    showers = library.sample(incidents, rng=np.random.default_rng(2))
    cut = [shower.voxels[0][part].reshape(layer.num_alpha, layer.num_r) for layer, part in binning.parts]
    # layers of 6 and 4 sectors turn together by half a turn only
    possible = []
    for step in (1, -1):
        for turn in range(2):
            turned = [np.roll(x[::step], turn * len(x) // 2, axis=0).reshape(-1) for x in cut]
            possible.append(2 * np.concatenate(turned))
    kinds = {int(np.argmin([np.abs(row - p).max() for p in possible])) for row in showers}
    assert kinds == {0, 1, 2, 3}
    assert all(min(np.abs(row - p).max() for p in possible) <= 1e-4 for row in showers)


def test_symmetries_turn_the_axes_and_keep_radii() -> None:
    table = symmetries(ELECTRON)
    assert table.shape == (16, ELECTRON.num_voxels) and len({tuple(row) for row in table}) == 16
    assert (np.sort(table, axis=1) == np.arange(ELECTRON.num_voxels)).all()
    r = np.concatenate([layer.r for layer in ELECTRON.layers])
    angle = np.concatenate([layer.alpha for layer in ELECTRON.layers])
    for row, sign in zip(table, np.repeat([1, -1], 8), strict=True):
        assert np.array_equal(r[row], r)
        shift = np.exp(1j * (sign * angle[row] - angle))
        assert np.allclose(shift, shift[0]), "every voxel turns by the same angle"


@pytest.mark.parametrize(
    ("incidents", "message"),
    [
        (Incidents.perpendicular(211, np.array([10.0])), r"\(pi\+, 10 GeV, .* outside the domain of library: e-"),
        (Incidents.perpendicular(11, np.array([10.0, 0.99])), r"particle 1 .*0\.99 GeV.*1 to 100 GeV"),
        (Incidents.perpendicular(11, np.array([101.0])), "101 GeV"),
        (
            Incidents(np.array([11]), np.array([10.0]), np.array([0.1]), np.zeros(1)),
            r"theta 0\.1 rad.*theta up to 1e-06 rad",
        ),
    ],
)
def test_what_is_outside_is_refused(paths: list[Path], incidents: Incidents, message: str) -> None:
    library = ShowerLibrary(paths[0])
    with pytest.raises(OutOfDomain, match=message):
        library.sample(incidents, rng=np.random.default_rng(1))
    with pytest.raises(OutOfDomain, match=r"no showers of particle 22; it has \[11\]"):
        library.binning(22)


def test_files_that_make_no_library(paths: list[Path], tmp_path: Path) -> None:
    def refused(match: str, name: str, binning: Binning = ELECTRON, **settings: object) -> None:
        few = toy_showers(5, binning, np.random.default_rng(1), energy=(1e3, 1e5))
        with pytest.raises(FastsimError, match=match) as caught:
            ShowerLibrary([paths[0], store(tmp_path / name, few, binning, **settings)])
        assert "\n" not in str(caught.value) and name in str(caught.value)

    refused("do not go with those of", "fewer.h5", electron_binning(num_layers=5, num_r=3, num_alpha=8))
    refused("showers in copper do not go with", "copper.h5", detector={"name": "copper"})
    refused(r"showers at theta 0\.3 rad", "tilted.h5", theta=0.3)
    refused("made by cascade, not by Geant4", "model.h5", model="cascade")
    refused("does not say which detector", "unknown.h5", detector="pb-si-ecal")
    with pytest.raises(FastsimError, match="a library needs a file"):
        ShowerLibrary([])
    with pytest.raises(FastsimError, match="neighbours is 0"):
        ShowerLibrary(paths, neighbours=0)
    (tmp_path / "fewer.xml").unlink()
    with pytest.raises(FastsimError, match=r"fewer\.xml: cannot be read: No such file"):
        ShowerLibrary(tmp_path / "fewer.h5")
    with pytest.raises(FastsimError, match=r"nothing\.h5: no such file"):
        ShowerLibrary(tmp_path / "nothing.h5")
    empty = store(tmp_path / "empty.h5", toys(1)[:0], ELECTRON)
    with pytest.raises(FastsimError, match=r"empty\.h5: no showers to read"):
        ShowerLibrary(empty)
