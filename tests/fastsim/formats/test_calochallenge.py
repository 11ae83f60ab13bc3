"""CaloChallenge HDF5: round trip, reading in chunks, and a clear refusal of everything that is not showers."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.formats import calochallenge as module
from fastsim.formats.calochallenge import Showers, check_showers, read_chunks, read_showers, write_showers
from tests.helpers.showers import mixed_binning, toy_showers

BINNING = mixed_binning()


@pytest.fixture
def some(rng: np.random.Generator) -> Showers:
    return toy_showers(23, BINNING, rng)


def _write(path: Path, **data: object) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in data.items():
            file[key] = value
    return path


def test_round_trip_and_layout(tmp_path: Path, some: Showers) -> None:
    path = tmp_path / "s.hdf5"
    write_showers(path, some)
    with h5py.File(path) as file:
        assert sorted(file) == ["incident_energies", "showers"]
        assert file["incident_energies"].shape == (23, 1)
        assert file["showers"].shape == (23, 34)
    again = read_showers(path, BINNING)
    assert np.array_equal(again.incident, some.incident) and np.array_equal(again.voxels, some.voxels)
    assert again.incident.dtype == np.float64 and again.voxels.dtype == np.float32
    with pytest.raises(FastsimError, match="exists already"):
        write_showers(path, some)
    write_showers(path, some[:3], force=True)
    assert len(read_showers(path)) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["s.hdf5"]


def test_directions_are_kept_and_checked(tmp_path: Path, some: Showers, rng: np.random.Generator) -> None:
    direction = np.column_stack([rng.uniform(0, 1, 23), rng.uniform(-4, 4, 23)])
    tilted = Showers(some.incident, some.voxels, direction=direction)
    write_showers(tmp_path / "s.h5", tilted)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["incident_theta"].shape == file["incident_phi"].shape == (23, 1)
    again = read_showers(tmp_path / "s.h5", BINNING)
    assert again == tilted and again[4:6] == tilted[4:6] != some[4:6]
    together = Showers.concatenate([some[:2], tilted[:3]])
    assert together.direction is not None and together.direction[:2].tolist() == [[0, 0], [0, 0]]
    assert Showers.concatenate([some, some]).direction is None
    rows = {"incident_energies": some.incident, "showers": some.voxels}
    theta, phi = direction.T
    for name, more, message in (
        ("one", {"incident_theta": theta}, "incident_phi: no such data set, expected numbers"),
        ("short", {"incident_theta": theta[:5], "incident_phi": phi}, r"incident_theta: \(5,\), expected numbers"),
        ("text", {"incident_theta": theta, "incident_phi": np.full(23, b"x")}, "incident_phi: .* expected numbers"),
        ("flat", {"incident_theta": theta + 1, "incident_phi": phi}, r"shower \d+ has theta .*must be in \[0, pi/2\)"),
        ("nan", {"incident_theta": theta, "incident_phi": phi * np.nan}, "shower 0 has theta .* phi finite"),
    ):
        with pytest.raises(FastsimError, match=message):
            read_showers(_write(tmp_path / f"{name}.h5", **rows, **more))
    with pytest.raises(FastsimError, match=r"direction of shape \(23,\) for 23 showers"):
        Showers(some.incident, some.voxels, direction=theta)


def test_parts_are_bounded_and_whole(tmp_path: Path, some: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_VALUES", 5 * 34 + 1)
    path = tmp_path / "s.hdf5"
    write_showers(path, some)
    chunks = list(read_chunks(path, BINNING))
    assert [len(chunk) for chunk in chunks] == [5, 5, 5, 5, 3] == [len(chunk) for chunk in some.chunks()]
    assert np.array_equal(np.concatenate([chunk.voxels for chunk in chunks]), some.voxels)
    assert [len(p) for p in read_chunks(path, max_events=7)] == [5, 2]
    assert np.array_equal(read_showers(path, max_events=7).incident, some.incident[:7])
    assert len(read_showers(path, max_events=1000)) == 23


def test_other_types_of_the_field_are_read(tmp_path: Path, some: Showers) -> None:
    path = _write(tmp_path / "s.h5", incident_energies=np.float32(some.incident), showers=np.float64(some.voxels))
    again = read_showers(path)
    assert again.incident == pytest.approx(some.incident, rel=1e-6)
    assert np.array_equal(again.voxels, some.voxels)


def test_rows_of_showers(some: Showers) -> None:
    assert np.array_equal(some[some.incident > 1e5].incident, some.incident[some.incident > 1e5])
    assert len(some[np.array([3, 3])]) == 2


@pytest.mark.parametrize("value", [np.nan, -1e-3, np.inf])
def test_bad_voxel_is_refused_with_its_row(
    tmp_path: Path, some: Showers, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(module, "CHUNK_VALUES", 5 * 34)
    voxels = some.voxels.copy()
    voxels[17, 30] = value
    with pytest.raises(FastsimError, match=rf"shower 17 has a voxel of {value:.3g}"):
        check_showers(Showers(some.incident, voxels))
    path = _write(tmp_path / "s.h5", incident_energies=some.incident[:, None], showers=voxels)
    with pytest.raises(FastsimError, match=r"s\.h5: shower 17 has a voxel of"):
        read_showers(path)
    assert len(read_showers(path, max_events=10)) == 10
    with pytest.raises(FastsimError, match="shower 17"):
        write_showers(tmp_path / "new.h5", Showers(some.incident, voxels))
    assert not (tmp_path / "new.h5").exists()


@pytest.mark.parametrize("value", [np.nan, 0.0, -5.0, np.inf])
def test_bad_incident_energy_is_refused_with_its_row(some: Showers, value: float) -> None:
    incident = some.incident.copy()
    incident[4] = value
    with pytest.raises(FastsimError, match=f"shower 4 has an incident energy of {value} MeV"):
        check_showers(Showers(incident, some.voxels))


def test_shapes(some: Showers) -> None:
    with pytest.raises(FastsimError, match=r"shape \(22,\) and voxels of shape \(23, 34\)"):
        Showers(some.incident[:-1], some.voxels)
    with pytest.raises(FastsimError, match=r"expected \(N,\) and \(N, V\)"):
        Showers(some.incident[:, None], some.voxels)
    with pytest.raises(FastsimError, match="showers of 30 voxels, but the binning of photon has 34"):
        check_showers(Showers(some.incident, some.voxels[:, :30]), BINNING)
    check_showers(some[:0], BINNING)


def test_bad_files_are_one_clear_line(tmp_path: Path, some: Showers) -> None:
    energies, voxels = some.incident[:, None], some.voxels
    good = tmp_path / "good.h5"
    write_showers(good, some)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(good.read_bytes()[:-300])
    text = tmp_path / "text.h5"
    text.write_text("not HDF5 at all")
    grouped = tmp_path / "grouped.h5"
    with h5py.File(grouped, "w") as file:
        file["incident_energies"] = energies
        file.create_group("showers")
    cases = [
        (cut, "cannot be read as HDF5: .*truncated"),
        (text, "cannot be read as HDF5: .*signature"),
        (tmp_path / "none.h5", "cannot be read as HDF5: .*No such file"),
        (grouped, "no data set 'showers'"),
        (_write(tmp_path / "a.h5", incident_energies=energies), "no data set 'showers'.* here are: incident_energies"),
        (_write(tmp_path / "b.h5", showers=voxels), "no data set 'incident_energies'"),
        (_write(tmp_path / "c.h5", incident_energies=energies[:-1], showers=voxels), r"shape \(22, 1\) and"),
        (_write(tmp_path / "d.h5", incident_energies=energies, showers=voxels[:, 0]), r"shape \(23,\), expected"),
        (_write(tmp_path / "e.h5", incident_energies=energies, showers=voxels[:, :9]), "9 voxels, but the binning"),
        (_write(tmp_path / "f.h5", incident_energies=energies.astype("S9"), showers=voxels), "expected numbers"),
        (_write(tmp_path / "g.h5", incident_energies=energies[:0], showers=voxels[:0]), "no showers to read"),
    ]
    for path, message in cases:
        with pytest.raises(FastsimError, match=message) as error:
            read_showers(path, BINNING)
        assert path.name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FastsimError, match="max_events is -1"):
        read_showers(good, max_events=-1)


def test_damaged_block_is_one_clear_line(tmp_path: Path, some: Showers) -> None:
    path = tmp_path / "s.h5"
    write_showers(path, some)
    with h5py.File(path) as file:
        block = file["showers"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[block.byte_offset : block.byte_offset + block.size] = bytes(block.size)
    path.write_bytes(data)
    with pytest.raises(FastsimError, match="cannot be read as HDF5"):
        read_showers(path)


def test_a_threshold_empties_voxels_below_it_negative_ones_too(tmp_path: Path, some: Showers) -> None:
    voxels = some.voxels.copy()
    voxels[0, :3] = [-0.5, 0.01, 0.02]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["showers"] = some.incident[:, None], voxels
    with pytest.raises(FastsimError):
        read_showers(tmp_path / "a.h5")
    back = read_showers(tmp_path / "a.h5", threshold=0.015)
    assert np.array_equal(back.voxels, np.where(voxels < np.float32(0.015), 0.0, voxels))
    assert back.voxels[0, 2] == np.float32(0.02)
