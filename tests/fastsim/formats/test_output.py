"""Outputs appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastsim.errors import FastsimError, InvalidEvent, OutputError
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import hdf5, hepmc, lhe, root
from fastsim.formats.atomic import AtomicPath, split_ending, writing
from fastsim.formats.output import open_writer
from tests.helpers.events import with_hadrons

ENDINGS = ["o.hepmc3", "o.hepmc3.gz", "o.hepmc3.zst", "o.h5", "o.root"]


@pytest.fixture(scope="module")
def sample(examples: Path) -> tuple[RunInfo, HardEvents]:
    run, batches = lhe.read(examples / "pp_mixed.lhe.gz")
    return run, with_hadrons(next(batches))


def count(path: Path) -> int:
    """Events in a file, by its ending."""
    if path.suffix == ".root":
        return len(root.read(path)[1])
    if path.suffix == ".h5":
        return sum(map(len, hdf5.read_events(path)[1]))
    return sum(len(sets) for sets, _ in hepmc.read(path))


@pytest.mark.parametrize("name", ENDINGS)
def test_the_name_appears_only_when_complete(tmp_path: Path, sample: tuple[RunInfo, HardEvents], name: str) -> None:
    run, events = sample
    path = tmp_path / name
    with open_writer(path, run) as writer:
        for chunk in events.chunks(10):
            writer.write(chunk)
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert count(path) == len(events)


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("failure", [RuntimeError("boom"), OutputError("disk full")])
def test_a_failure_leaves_nothing(
    tmp_path: Path, sample: tuple[RunInfo, HardEvents], name: str, failure: Exception
) -> None:
    run, events = sample
    with pytest.raises(type(failure)), open_writer(tmp_path / name, run) as writer:
        writer.write(events)
        raise failure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ENDINGS)
def test_a_bad_event_keeps_those_before_it(tmp_path: Path, sample: tuple[RunInfo, HardEvents], name: str) -> None:
    run, events = sample
    stem, ending = split_ending(name)
    with (
        pytest.raises(InvalidEvent, match=r"^x.lhe, event 10: bad; the 10 events before it are in .*partial") as caught,
        open_writer(tmp_path / name, run) as writer,
    ):
        writer.write(events[:10])
        raise InvalidEvent("x.lhe, event 10: bad")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [f"{stem}.partial{ending}"]
    assert count(tmp_path / f"{stem}.partial{ending}") == 10


def test_an_interrupt_keeps_the_events_before_it(tmp_path: Path, sample: tuple[RunInfo, HardEvents]) -> None:
    run, events = sample
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "o.hepmc3.gz", run) as writer:
        writer.write(events[:7])
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["o.partial.hepmc3.gz"]
    assert count(tmp_path / "o.partial.hepmc3.gz") == 7


@pytest.mark.parametrize("error", [InvalidEvent("first event is bad"), KeyboardInterrupt()])
def test_nothing_is_kept_when_nothing_was_written(
    tmp_path: Path, sample: tuple[RunInfo, HardEvents], error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught, open_writer(tmp_path / "o.hepmc3", sample[0]):
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ENDINGS)
def test_an_existing_output_is_refused_without_force(
    tmp_path: Path, sample: tuple[RunInfo, HardEvents], name: str
) -> None:
    run, events = sample
    path = tmp_path / name
    path.write_text("precious")
    with pytest.raises(OutputError, match=rf"{name}: exists already; use --force"):
        open_writer(path, run)
    assert path.read_text() == "precious"
    with pytest.raises(RuntimeError), open_writer(path, run, force=True):
        raise RuntimeError
    assert path.read_text() == "precious"
    with open_writer(path, run, force=True) as writer:
        writer.write(events)
    assert count(path) == len(events)


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "o.h5"
    target = AtomicPath(path)
    path.write_text("of another process")
    with pytest.raises(OutputError, match="exists already"):
        target.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["o.h5"]


def test_pipes_and_devices_are_never_replaced_and_links_stay(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(OutputError, match=r"pipe.h5: is a device or pipe; give the name of a file"):
        AtomicPath(tmp_path / "pipe.h5", force=True)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "o.h5").write_text("old")
    (tmp_path / "link.h5").symlink_to(tmp_path / "real" / "o.h5")
    target = AtomicPath(tmp_path / "link.h5", force=True)
    target.temporary.write_text("new")
    target.commit()
    assert (tmp_path / "link.h5").is_symlink()
    assert (tmp_path / "real" / "o.h5").read_text() == "new"


def test_impossible_places(tmp_path: Path, sample: tuple[RunInfo, HardEvents], monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = sample
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.h5").mkdir()
    for path, message in (
        (tmp_path / "none" / "o.hepmc3", "o.hepmc3: the folder does not exist; create it first"),
        (tmp_path / "file" / "o.hepmc3", "its folder is not a folder"),
        (tmp_path / "folder.h5", "folder.h5: is a folder"),
    ):
        with pytest.raises(OutputError, match=message):
            open_writer(path, run)

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OutputError, match="no permission to write there; choose another folder"):
        open_writer(tmp_path / "o.hepmc3", run)


@pytest.mark.parametrize("name", ["o.txt", "o", "o.gz", "o.hepmc3.zip", ".h5", "o.hepmc2"])
def test_unknown_endings_name_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"the ending does not name a known format; use HepMC3 .hepmc3"):
        open_writer(tmp_path / name, RunInfo())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", [hdf5.EventWriter, root.Writer])
def test_only_hepmc_goes_to_standard_output(writer: type) -> None:
    with pytest.raises(FastsimError, match="cannot be written to standard output; give a file name"):
        writer("-", RunInfo())


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from fastsim.errors import OutputError
from fastsim.formats import lhe
from fastsim.formats.output import open_writer
from tests.helpers.events import with_hadrons
run, batches = lhe.read({example!r})
events = with_hadrons(next(batches))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with open_writer({path!r}, run) as writer:
        for _ in range(40):
            writer.write(events)
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ENDINGS)
def test_a_file_that_cannot_grow_is_one_clear_line(tmp_path: Path, examples: Path, name: str) -> None:
    """A limit on the size of files fails in the same calls as a full disk does, without needing one."""
    code = FULL.format(
        root=str(examples.parents[1]), example=str(examples / "pp_dijet.lhe.gz"), path=str(tmp_path / name)
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == f"{tmp_path / name}: the file would be larger than the system allows; " + (
        "write fewer events a file\n"
    ), result.stderr
    assert (result.returncode, result.stderr) == (0, ""), "HDF5 crashes when the process ends, if writes fail under it"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_so() -> None:
    for error in (OSError(28, "No space left on device"), RuntimeError("can't write (errno = 28, error message)")):
        with pytest.raises(OutputError, match=r"^o.h5: the disk is full; free some space"), writing("o.h5"):
            raise error
    with pytest.raises(OutputError, match="cannot write: Input/output error"), writing("o.h5"):
        raise OSError(5, "Input/output error")
    with pytest.raises(RuntimeError, match="other"), writing("o.h5"):
        raise RuntimeError("other")
