"""Files of showers from a model: the reference's energies, the same bits for any threads and number, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import fastsim
from fastsim.cli import main
from fastsim.detector.binning import Binning, read_binning
from fastsim.detector.detector import load_detector
from fastsim.detector.incidents import Incidents
from fastsim.detector.shower_gun import SHOWERS_PER_CHUNK, ShowerGun
from fastsim.errors import FastsimError
from fastsim.formats.calochallenge import read_showers
from fastsim.production.options import RunOptions
from fastsim.production.shower_run import CHUNK, run_showers
from fastsim.shipped import sha256_of
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.showers.library import ShowerLibrary
from tests.helpers.showers import store, toy_showers

ECAL = load_detector("pb-si-ecal")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photons in the detector that ships."""
    binning = ECAL.binning("gamma")
    assert binning is not None
    showers = toy_showers(60, binning, np.random.default_rng(1), energy=(1e3, 1e5))
    return store(tmp_path_factory.mktemp("library") / "gamma.h5", showers, binning)


def words(output: Path, model: Path | str | None, *more: str, command: str = "showers") -> list[str]:
    options = ["--detector", "pb-si-ecal", "--particle", "gamma", "--energy", "1:100", "--num", "20"]
    return [command, *options, *(() if model is None else ("--model", str(model))), "-o", str(output), *more]


def test_threads_and_numbers_do_not_change_a_bit(library: Path, tmp_path: Path) -> None:
    gun = ShowerGun(ECAL, "gamma", (1.0, 100.0), seed=3)
    one, two, fewer = (tmp_path / f"{name}.h5" for name in ("one", "two", "fewer"))
    seen: list[tuple[int, int | None]] = []
    source = ShowerLibrary(library)
    summary = run_showers(
        source, gun, one, num=CHUNK + 30, options=RunOptions(seed=3, progress=lambda *now: seen.append(now))
    )
    assert seen == [(CHUNK, CHUNK + 30), (CHUNK + 30, CHUNK + 30)] and summary.events == CHUNK + 30
    run_showers(source, gun, two, num=CHUNK + 30, options=RunOptions(seed=3, threads=2))
    assert one.read_bytes() == two.read_bytes()
    run_showers(source, gun, fewer, num=40, options=RunOptions(seed=3))
    many, few = read_showers(one), read_showers(fewer)
    assert np.array_equal(few.voxels, many.voxels[:40]) and np.array_equal(few.incident, many.incident[:40])
    drawn = np.concatenate([gun.draw(chunk)[0] for chunk in range(CHUNK // SHOWERS_PER_CHUNK + 1)])
    assert np.array_equal(many.incident, 1e3 * drawn[: CHUNK + 30]), "the reference's energies"
    assert not np.array_equal(many.voxels[0] / many.incident[0], many.voxels[CHUNK] / many.incident[CHUNK])


def test_command_and_file(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gen.h5"
    assert main(words(output, library, "--seed", "5")) == 0
    assert "library, pb-si-ecal, gamma" in capsys.readouterr().out
    showers = read_showers(output, read_binning(tmp_path / "gen.xml"))
    assert len(showers) == 20 and read_binning(tmp_path / "gen.xml") == ECAL.binning("gamma")
    with h5py.File(output) as file:
        settings = json.loads(file.attrs["settings"])
    assert (
        settings["model"] == "library"
        and settings["seed"] == 5
        and settings["detector"] == json.loads(json.dumps(ECAL.as_dict()))
    )
    assert main(words(output, library)) == 1
    assert "gen.h5: exists already; use --force" in capsys.readouterr().err
    assert main(words(output, library, "--seed", "5", "--force")) == 0
    assert np.array_equal(read_showers(output).voxels, showers.voxels)
    summary = fastsim.generate_showers(
        tmp_path / "api.h5", detector="pb-si-ecal", particle="gamma", energy=2.0, num=3, model=[library]
    )
    assert summary.events == 3 and set(read_showers(tmp_path / "api.h5").incident) == {2000.0}
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {f"{name}.{end}" for name in ("gen", "api") for end in ("h5", "xml", "h5.manifest.json")}
    assert settings["model_sha256"] == sha256_of(library)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--particle", "e-"), 1, "model 'library' makes showers of gamma, not of e-"),
        (("--particle", "pi+"), 1, "particle 'pi+' is none of e-, e+, gamma"),
        (("--energy", "0.05:2"), 1, "energies 0.05:2 GeV are outside its 0.1:100 GeV"),
        (("--theta", "0.2"), 1, "valid up to theta 1e-06 rad, not at 0.2; --model geant4 makes those"),
        (("--detector", "copper"), 1, "makes showers in pb-si-ecal, not in copper"),
        (("--model", "hadron-tree"), 1, "model 'hadron-tree' makes hadrons, not showers"),
        (("--model", "nothing"), 2, "unknown model 'nothing'"),
    ],
)
def test_one_line_for_bad_input(
    more: tuple[str, ...], code: int, message: str, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "a.h5", library, *more)) == code
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert list(tmp_path.iterdir()) == []


def test_options_of_showers_need_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--particle", "e-", "-o", str(tmp_path / "a.h5")]) == 2
    assert "--particle needs --detector" in capsys.readouterr().err
    assert main(["showers", "--particle", "e-", "-o", str(tmp_path / "a.h5")]) == 2
    assert "Missing option '--detector'" in capsys.readouterr().err
    assert main(words(tmp_path / "a.hepmc3", None)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--gun", "flavour=u"), "--gun does not go with --detector"),
        (("--latent",), "--latent does not go with --detector"),
        (("--num-inference-steps", "4"), "--num-inference-steps does not go with --detector"),
    ],
)
def test_the_spelling_of_0_1_goes_on_working(
    more: tuple[str, ...], message: str, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "a.h5", library, *more, command="generate")) == 2
    assert message in capsys.readouterr().err
    for command, name in (("generate", "old"), ("showers", "new")):
        assert main(words(tmp_path / f"{name}.h5", library, command=command)) == 0
        assert ("fastsim showers" in capsys.readouterr().err) == (name == "old")
    assert (tmp_path / "old.h5").read_bytes() == (tmp_path / "new.h5").read_bytes()


class Leaning(ShowerSource):
    """A source that writes theta and phi into the first two voxels."""

    name, detector = "leaning", "pb-si-ecal"
    domain = ShowerDomain(frozenset({22}), 1.0, 100.0, 0.7)

    def binning(self, pdg_id: int) -> Binning:
        binning = ECAL.binning("gamma")
        assert binning is not None
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        voxels = np.zeros((len(incidents), ECAL.num_voxels), np.float32)
        voxels[:, 0], voxels[:, 1] = incidents.theta, incidents.phi
        return voxels


def test_directions_are_drawn_for_each_shower_and_written(tmp_path: Path) -> None:
    gun = ShowerGun(ECAL, "gamma", (1.0, 100.0), (0.1, 0.7), (0.0, 6.2), seed=3)
    straight = ShowerGun(ECAL, "gamma", (1.0, 100.0), seed=3)
    assert np.array_equal(gun.draw(7)[0], straight.draw(7)[0]) and gun.draw(7)[1] == straight.draw(7)[1], (
        "seeds are those of any range"
    )
    whole, part = tmp_path / "whole.h5", tmp_path / "part.h5"
    run_showers(Leaning(), gun, whole, num=CHUNK + 30, options=RunOptions(seed=3, threads=2))
    run_showers(Leaning(), gun, part, num=CHUNK + 30, options=RunOptions(seed=3, first_event=CHUNK - 5, num_events=20))
    showers, some = read_showers(whole), read_showers(part)
    assert showers.direction is not None and some.direction is not None
    np.testing.assert_allclose(showers.direction, showers.voxels[:, :2], rtol=1e-6)
    assert np.array_equal(some.direction, showers.direction[CHUNK - 5 : CHUNK + 15])
    theta, phi = showers.direction.T
    assert 0.1 <= theta.min() < 0.13 and 0.67 < theta.max() <= 0.7 and abs(theta.mean() - 0.4) < 0.03
    assert 0.0 <= phi.min() < 0.3 and 5.9 < phi.max() <= 6.2
    numbers = range(CHUNK // SHOWERS_PER_CHUNK + 1)
    drawn = [np.concatenate([gun.directions(number)[k] for number in numbers])[: CHUNK + 30] for k in (0, 1)]
    assert np.array_equal(showers.direction, np.column_stack(drawn)), "those of Geant4"
    assert np.array_equal(showers.incident, 1e3 * np.concatenate([straight.draw(n)[0] for n in numbers])[: CHUNK + 30])
    with h5py.File(whole) as file:
        settings = json.loads(file.attrs["settings"])
    assert settings["theta"] == [0.1, 0.7] and settings["phi"] == [0.0, 6.2]
    with pytest.raises(FastsimError, match=r"valid up to theta 0.7 rad, not at 0.8"):
        run_showers(
            Leaning(), ShowerGun(ECAL, "gamma", (1, 2), (0.0, 0.8)), tmp_path / "a.h5", num=5, options=RunOptions()
        )
    with pytest.raises(
        FastsimError, match=r"whole.h5: showers at theta 0\.7 rad; a library needs those along the normal"
    ):
        ShowerLibrary(whole)


def test_one_direction_along_the_normal_is_not_written(library: Path, tmp_path: Path) -> None:
    for name, theta in (("one", 0.0), ("two", (0.0, 0.0))):
        fastsim.showers(
            tmp_path / f"{name}.h5",
            detector="pb-si-ecal",
            particle="gamma",
            energy=2.0,
            num=3,
            model=library,
            theta=theta,
        )
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    with h5py.File(tmp_path / "one.h5") as file:
        assert sorted(file) == ["incident_energies", "showers"]
        assert json.loads(file.attrs["settings"])["theta"] == 0.0


class Broken(ShowerSource):
    """A source whose showers no calorimeter records."""

    name, detector = "broken", "pb-si-ecal"
    domain = ShowerDomain(frozenset({22}), 1.0, 10.0)

    def binning(self, pdg_id: int) -> Binning:
        binning = ECAL.binning("gamma")
        assert binning is not None
        return binning

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        voxels = rng.normal(size=(len(incidents), ECAL.num_voxels)).astype(np.float32)
        return np.maximum(voxels, np.where(np.arange(ECAL.num_voxels) == 7, -1.0, 0.0)).astype(np.float32)


def test_nothing_is_written_of_what_a_model_makes_wrong(tmp_path: Path) -> None:
    gun = ShowerGun(ECAL, "gamma", (1.0, 10.0))
    with pytest.raises(FastsimError, match=r"broken: shower \d+ has a voxel of -"):
        run_showers(Broken(), gun, tmp_path / "a.h5", num=5, options=RunOptions())
    with pytest.raises(FastsimError, match=r"valid from 1 to 10 GeV, not for 1:20; --model geant4 makes those"):
        run_showers(Broken(), ShowerGun(ECAL, "gamma", (1.0, 20.0)), tmp_path / "a.h5", num=5, options=RunOptions())
    with pytest.raises(FastsimError, match=r"a\.txt: showers are written as HDF5"):
        run_showers(Broken(), gun, tmp_path / "a.txt", num=5, options=RunOptions())
    assert list(tmp_path.iterdir()) == []
