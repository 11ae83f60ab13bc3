"""Production of showers: the same bits for any workers and restarts, nothing lost, one clear line for bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.cli import main
from fastsim.detector.binning import read_binning
from fastsim.detector.detector import Detector, Section, load_detector
from fastsim.detector.shower_gun import SHOWERS_PER_CHUNK, ShowerGun
from fastsim.errors import FastsimError, Stopped
from fastsim.formats.calochallenge import read_showers
from fastsim.production.options import RunOptions
from fastsim.production.summary import ShowerSummary
from fastsim.production.verify import verify, verify_together
from generators.reference import geant4_run
from generators.reference.geant4 import DATA_VARIABLE

ECAL = replace(load_detector("pb-si-ecal"), min_energy=0.01)
"""The detector that ships, for energies at which 100 showers take no time."""


@pytest.fixture
def data(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Geant4's data for lead and silicon, as a user would name it."""
    folder = shared / "geant4" / "em"
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return folder


def make_showers(gun: ShowerGun, output: Path, *, num: int, data: Path | None = None, **options: Any) -> ShowerSummary:
    options = {"seed": gun.seed, **options}
    return geant4_run.make_showers(gun, output, num=num, data=data, options=RunOptions(**options))


def gun(detector: Detector = ECAL, particle: str = "e-", low: float = 0.01, high: float = 0.05) -> ShowerGun:
    return ShowerGun(detector, particle, (low, high), seed=11)


def arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    with h5py.File(path) as file:
        return file["incident_energies"][:], file["showers"][:]


def same(first: Path, second: Path) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(second), strict=True))


def test_workers_numbers_and_restarts_do_not_change_a_bit(data: Path, tmp_path: Path) -> None:
    one, two, resumed, fewer = (tmp_path / f"{name}.h5" for name in ("one", "two", "resumed", "fewer"))
    num = 2 * SHOWERS_PER_CHUNK + 30
    seen: list[tuple[int, int | None]] = []
    summary = make_showers(gun(), one, num=num, progress=lambda *now: seen.append(now))
    assert seen == [(100, num), (200, num), (num, num)] and summary.events == summary.computed == num
    make_showers(gun(), two, num=num, workers=2)
    assert one.read_bytes() == two.read_bytes()

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Stopped):
        make_showers(gun(), resumed, num=50, progress=stop)
    parts = tmp_path / "resumed.h5.parts"
    assert (parts / "chunk-000000.npz").is_file() and not resumed.exists()
    with pytest.raises(FastsimError, match=r"parts: holds a run that was stopped; --resume goes on"):
        make_showers(gun(), resumed, num=num)
    with pytest.raises(FastsimError, match=r"holds a run of other settings \(energy\); give the same"):
        make_showers(gun(high=0.06), resumed, num=num, resume=True)
    with pytest.raises(Stopped):
        make_showers(gun(), resumed, num=num, resume=True, progress=stop)  # 50 of chunk 0 were there, 100 now are
    (parts / "chunk-000001.npz").write_bytes(b"PK cut off")
    (parts / "chunk-000002.npz").unlink(missing_ok=True)
    summary = make_showers(gun(), resumed, num=num, resume=True, workers=2)
    assert summary.computed == 130 and resumed.read_bytes() == one.read_bytes() and not parts.exists()

    make_showers(gun(), fewer, num=20)
    assert all(np.array_equal(few, all_[:20]) for few, all_ in zip(arrays(fewer), arrays(one), strict=True))

    slices = [tmp_path / f"slice{i}.h5" for i in range(2)]
    for i, path in enumerate(slices):
        make_showers(gun(), path, num=num, first_event=40, num_events=120, slice=(i, 2))
    assert [m.events for m in verify_together(slices)] == [60, 60] and verify(one).events == num
    for column, whole in enumerate(arrays(one)):
        assert np.array_equal(np.concatenate([arrays(path)[column] for path in slices]), whole[40:160])


def test_chunks_of_a_version_before_are_gone_on_with(data: Path, tmp_path: Path) -> None:
    """It kept no seconds, no lock, and Geant4's logs."""
    whole, output = tmp_path / "whole.h5", tmp_path / "a.h5"
    make_showers(gun(), whole, num=120)
    incident, voxels = arrays(whole)
    parts = tmp_path / "a.h5.parts"
    parts.mkdir()
    with h5py.File(whole) as file:
        (parts / "settings.json").write_text(file.attrs["settings"])
    np.savez_compressed(parts / "chunk-000000.npz", incident=incident[:100, 0], voxels=voxels[:100])
    (parts / "geant4-0.log").write_text("Geant4")
    summary = make_showers(gun(), output, num=120, resume=True)
    assert summary.resumed_events == 100 and output.read_bytes() == whole.read_bytes() and not parts.exists()


def test_hadrons_do_not_remember_the_showers_before_them(shared: Path, tmp_path: Path) -> None:
    copper = gun(load_detector("copper"), "pi-", 0.1, 0.3)
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    for path, workers in ((one, 1), (two, 2)):
        make_showers(copper, path, num=110, workers=workers, data=shared / "geant4" / "copper")
    assert same(one, two) and arrays(one)[1].any()


def test_file_is_the_challenges(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "showers.h5"
    summary = make_showers(gun(), output, num=150)
    incident, voxels = arrays(output)
    assert incident.shape == (150, 1) and incident.dtype == np.float64 and voxels.dtype == np.float32
    assert incident.min() >= 10.0 and incident.max() <= 50.0 and len(np.unique(incident)) == 150
    binning = read_binning(tmp_path / "showers.xml")
    assert binning == ECAL.binning("e-")
    showers = read_showers(output, binning)
    visible = showers.voxels.sum(1)[showers.voxels.any(1)]
    assert len(np.unique(visible)) == len(visible) > 100, "every shower has a seed of its own"
    assert summary.visible == pytest.approx(float(voxels.sum(dtype=np.float64)))
    assert [name for name, _ in summary.rows()] == ["output", "source", "showers", "visible energy", "time"]
    with h5py.File(output) as file:
        settings = json.loads(file.attrs["settings"])
    assert settings["seed"] == 11 and settings["detector"]["name"] == "pb-si-ecal" and settings["particle"] == "e-"
    names = ["showers.h5", "showers.h5.manifest.json", "showers.xml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_energies_are_log_uniform() -> None:
    shots = gun(load_detector("pb-si-ecal"), low=1.0, high=100.0)
    energies = np.concatenate([shots.draw(chunk)[0] for chunk in range(50)])
    counts = np.histogram(np.log10(energies), bins=10, range=(0, 2))[0]
    assert counts.sum() == 5000 and ((counts - 500) ** 2 / 500).sum() < 27.9, "chi2 of 9 degrees, p = 0.001"
    seeds = [seed for chunk in range(50) for seed in shots.draw(chunk)[1]]
    assert len(set(seeds)) == 5000
    assert (gun(low=0.02, high=0.02).draw(0)[0] == 0.02).all()


def test_cells_in_x_and_y(data: Path, tmp_path: Path) -> None:
    """A particle that flies towards -x and +y ends up there; x runs fastest."""
    box = Section(num_layers=6, absorber_mm=5.0, active_mm=1.0, cell_mm=10.0, group=2, num_x=8, num_y=6)
    detector = replace(ECAL, name="box", sections=(box,))
    output = tmp_path / "box.h5"
    shots = ShowerGun(detector, "e-", (0.5, 0.5), theta=0.7, phi=2.3)
    make_showers(shots, output, num=20)
    deposits = arrays(output)[1].sum(0, dtype=np.float64).reshape(3, 6, 8)
    x, y = (np.arange(8) - 3.5) * 10, (np.arange(6) - 2.5) * 10
    way = np.tan(0.7) * 17.0, 2.3  # the middle of the second pair of layers is 17 mm or so deep
    assert deposits[1].sum(0) @ x / deposits[1].sum() == pytest.approx(way[0] * np.cos(way[1]), abs=4.0)
    assert deposits[1].sum(1) @ y / deposits[1].sum() == pytest.approx(way[0] * np.sin(way[1]), abs=4.0)
    assert not (tmp_path / "box.xml").exists()


def test_what_geant4_says_reaches_the_user(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    for absorber, message in (
        ("G4_Pbb", r"did not start: pb-si-ecal: Geant4 has no material 'G4_Pbb'; its log is (\S+\.log)"),
        ("G4_W", r"Geant4 stopped: G4Exception : \w+ issued by .*; its log is (\S+\.log), .*kept for --resume"),
    ):
        with pytest.raises(FastsimError, match=message) as error:
            make_showers(gun(replace(ECAL, absorber=absorber)), output, num=1)
        match = re.search(message, str(error.value))
        assert match and "Geant4" in Path(match[1]).read_text() and "\n" not in str(error.value)
        assert list(tmp_path.iterdir()) == [], "nothing was finished"


def test_without_the_bindings(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("generators.reference.geant4_run.version", missing)
    with pytest.raises(FastsimError, match=r"geant4-pybind is not installed: pip install 'fastsim-hep\[geant4\]'"):
        make_showers(gun(), tmp_path / "a.h5", num=1)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    (tmp_path / "a.xml").write_text("mine")
    with pytest.raises(FastsimError, match=r"a\.xml: exists already; use --force"):
        make_showers(gun(), output, num=1)
    with pytest.raises(FastsimError, match=r"the folder does not exist"):
        make_showers(gun(), tmp_path / "none" / "a.h5", num=1)
    with pytest.raises(FastsimError, match=r"a\.hepmc3: showers are written as HDF5"):
        make_showers(gun(), tmp_path / "a.hepmc3", num=1)
    (tmp_path / "b.h5.parts").mkdir()
    (tmp_path / "b.h5.parts" / "mine").write_text("mine")
    for flag in ("force", "resume"):
        with pytest.raises(FastsimError, match=r"b\.h5\.parts: .*remove"):
            make_showers(gun(), tmp_path / "b.h5", num=1, data=None, **{flag: True})
    assert (tmp_path / "b.h5.parts" / "mine").read_text() == (tmp_path / "a.xml").read_text() == "mine"


GOOD = {"--detector": "pb-si-ecal", "--particle": "e-", "--energy": "1:100", "--num": "5"}


def words(output: Path, *more: str, **changed: str | None) -> list[str]:
    options = {**GOOD, **{f"--{name}": value for name, value in changed.items()}}
    pairs = [word for name, value in options.items() if value is not None for word in (name, value)]
    return ["reference", *pairs, "-o", str(output), *more]


@pytest.mark.parametrize(
    ("changed", "more", "code", "message"),
    [
        ({"detector": "atlas"}, (), 1, "no detector 'atlas'; there are copper, copper-towers, pb-si-ecal"),
        ({"particle": "pi+"}, (), 1, "particle 'pi+' is none of e-, e+, gamma"),
        ({"energy": "0:100"}, (), 1, "must be finite, positive"),
        ({"energy": "-1"}, (), 1, "must be finite, positive"),
        ({"energy": "nan"}, (), 1, "must be finite, positive"),
        ({"energy": "1:500"}, (), 1, "energies 1:500 GeV are outside its 0.1:100 GeV"),
        ({"energy": "many"}, (), 2, "is not LOW:HIGH or one energy"),
        ({"num": "0"}, (), 2, "--num"),
        ({"num": "200000000"}, (), 1, "num is 200000000, must be 1 to 100,000,000"),
        ({}, ("--theta", "1.6"), 1, "theta must be in [0, pi/2) rad"),
        ({}, ("--theta", "nan"), 1, "theta must be in [0, pi/2) rad"),
        ({}, ("--theta", "0.5:0.2"), 1, "direction theta=0.5:0.2, phi=0: theta must be in [0, pi/2) rad"),
        ({}, ("--theta", "0:0.5", "--phi", "1:inf"), 1, "phi finite, and the lower one first"),
        ({}, ("--theta", "steep"), 2, "'steep' is not LOW:HIGH or one angle in rad, for example 0:0.78"),
        ({}, ("--geant4-data", "nowhere"), 1, "Geant4 data: nowhere is not a folder"),
        ({}, ("--gun", "flavour=u"), 2, "--gun does not go with --detector"),
        ({}, ("--full",), 2, "--full does not go with --detector"),
        ({}, ("--first-event", "5"), 1, "first shower 5 asked, but there are 5 (numbered from 0)"),
        ({}, ("--slice", "2/2"), 2, "is not a slice of a run: write i/n"),
        ({"particle": None, "num": None}, (), 2, "--detector needs --particle, --num too"),
        ({"detector": None}, (), 2, "--particle needs --detector"),
    ],
)
def test_one_line_for_bad_input(
    changed: dict[str, str | None],
    more: tuple[str, ...],
    code: int,
    message: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(tmp_path / "a.h5", *more, **changed)) == code
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert list(tmp_path.iterdir()) == []


def test_command_without_data_and_with(shared: Path, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("G4", "GEANT4", "FASTSIM_GEANT4"))}
    command = [sys.executable, "-m", "fastsim.cli", *words(tmp_path / "a.h5", energy="1")]
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not done.stdout
    assert "not found: G4EMLOW (G4LEDATA) and G4ENSDFSTATE (G4ENSDFSTATEDATA); install" in done.stderr
    command += ["--geant4-data", str(shared / "geant4" / "em")]
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr
    assert all("goes on working" in line for line in done.stderr.splitlines())  # the hint at the new spelling
    assert "Geant4 version" not in done.stdout and "visible energy" in done.stdout
    assert arrays(tmp_path / "a.h5")[0].tolist() == [[1000.0]] * 5
