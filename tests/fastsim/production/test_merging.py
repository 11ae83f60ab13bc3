"""Slices joined to one file: the events, and where the format allows the bytes, of the run as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastsim
from fastsim.cli import main
from fastsim.errors import FastsimError, OutputError
from fastsim.event import HardEvents
from fastsim.formats import hdf5, root
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.merging import merge
from fastsim.production.store import content_sha256
from fastsim.production.verify import verify
from tests.helpers.events import event, file
from tests.helpers.sources import Spray

NUM = 25
OPTIONS: dict[str, Any] = {"model": Spray(20.0), "seed": 9}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("merging") / "events.lhe"
    path.write_text(file(*[event()] * NUM))
    return path


def slices(source: Any, folder: Path, name: str) -> list[Path]:
    """The run as a whole (``whole`` and the ending), and its three slices, last one first."""
    fastsim.generate(source, folder / f"whole{name}", **OPTIONS, event="hard")
    paths = [folder / f"slice{i}{name}" for i in (2, 0, 1)]
    for path, i in zip(paths, (2, 0, 1), strict=True):
        fastsim.generate(source, path, **OPTIONS, slice=(i, 3), event="hard")
    return paths


@pytest.mark.parametrize("name", [".hepmc3", ".hepmc3.gz"])
def test_text_has_the_bytes_of_the_whole(name: str, events: Path, tmp_path: Path) -> None:
    merged = merge(slices(events, tmp_path, name), tmp_path / f"merged{name}")
    assert merged.events == NUM and merged.first_event == 0 and merged.whole is None
    assert (tmp_path / f"merged{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()
    assert (
        verify(tmp_path / f"merged{name}").sum_weights
        == Manifest.read(manifest_path(tmp_path / f"whole{name}")).sum_weights
    )


@pytest.mark.parametrize("kind", ["events", "gun"])
def test_tables_are_those_of_the_whole(kind: str, events: Path, tmp_path: Path) -> None:
    source = events if kind == "events" else f"flavour=u,g pt=10:80 num={NUM}"
    merge(slices(source, tmp_path, ".h5"), tmp_path / "merged.h5")
    verify(tmp_path / "merged.h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "merged.h5") as merged:
        names: list[str] = []
        whole.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) > 4
        for name in names:
            assert merged[name].dtype == whole[name].dtype and np.array_equal(merged[name][()], whole[name][()]), name
        assert dict(merged.attrs) == dict(whole.attrs)


def test_root_has_the_events_of_the_whole(events: Path, tmp_path: Path) -> None:
    merge(slices(events, tmp_path, ".root"), tmp_path / "merged.root")
    one, other = (root.read(tmp_path / f"{name}.root")[1] for name in ("whole", "merged"))
    assert len(one) == NUM and content_sha256(one) == content_sha256(other)


def test_single_showers_and_their_binning(tmp_path: Path) -> None:
    """The showers of a frozen library, and the XML beside them."""
    from fastsim.detector.detector import load_detector
    from tests.helpers.showers import store, toy_showers

    binning = load_detector("pb-si-ecal").binning("gamma")
    assert binning is not None
    made = toy_showers(20, binning, np.random.default_rng(1), energy=(200.0, 2e5), response=0.2)
    store(tmp_path / "library.h5", made, binning, detector={"name": "pb-si-ecal"}, energy=[0.2, 200.0])
    options: dict[str, Any] = {"detector": "pb-si-ecal", "particle": "gamma", "energy": (1.0, 50.0), "seed": 4}
    fastsim.showers(tmp_path / "whole.h5", **options, num=7, model=tmp_path / "library.h5")
    for i in range(2):
        fastsim.showers(tmp_path / f"{i}.h5", **options, num=7, model=tmp_path / "library.h5", slice=(i, 2))
    merged = merge([tmp_path / "1.h5", tmp_path / "0.h5"], tmp_path / "merged.h5")
    assert merged.events == 7
    verify(tmp_path / "merged.h5")
    assert (tmp_path / "merged.xml").read_text() == (tmp_path / "whole.xml").read_text()


def test_an_empty_slice_and_events_that_were_left_out(tmp_path: Path) -> None:
    """Bad events are missing from the slices, and that is accounted for."""
    bad = event((3, 6, "nan"))
    source = tmp_path / "events.lhe"
    source.write_text(file(event(), event(), bad, bad, bad, event()))
    for i in range(3):
        fastsim.generate(source, tmp_path / f"{i}.h5", **OPTIONS, slice=(i, 3), skip_bad_events=True, event="hard")
    merged = merge([tmp_path / f"{i}.h5" for i in range(3)], tmp_path / "merged.h5")
    assert [Manifest.read(manifest_path(tmp_path / f"{i}.h5")).events for i in range(3)] == [2, 0, 1]
    assert merged.events == 3 and merged.notes["bad_events"] == 3
    events = HardEvents.concatenate(list(hdf5.read_events(tmp_path / "merged.h5")[1]))
    assert events.number.tolist() == [0, 1, 5] and verify(tmp_path / "merged.h5").events == 3


def test_what_does_not_belong_together_is_refused(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = slices(events, tmp_path, ".h5")
    with pytest.raises(FastsimError, match="events 8 to 15 are missing"):
        merge([paths[0], paths[1]], tmp_path / "a.h5")
    with pytest.raises(FastsimError, match="files of one format are joined"):
        merge(paths, tmp_path / "a.hepmc3")
    with pytest.raises(FastsimError, match="is among the files to merge"):
        merge(paths, paths[0])
    with pytest.raises(OutputError, match="exists already"):
        merge(paths, tmp_path / "whole.h5")
    assert main(["merge", *map(str, paths), "-o", str(tmp_path / "all.h5")]) == 0
    assert "25 events of 3 files" in capsys.readouterr().err
