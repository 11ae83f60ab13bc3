"""Files that are made once on a machine: by one of those who ask for them, and from where the last one was stopped."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from fastsim.errors import OutputError
from fastsim.event import HardEvents
from generators.reference.cache import cached
from generators.reference.library_file import write_library
from generators.reference.minimum_bias import MinimumBiasCard, make_block


def test_of_two_at_once_one_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FASTSIM_CACHE", str(tmp_path / "cache"))
    made: list[Path] = []
    begun = threading.Event()

    def make(path: Path, parts: Path) -> None:
        made.append(path)
        begun.set()
        time.sleep(0.5)
        path.write_text("whole")

    threads = [threading.Thread(target=cached, args=("a.h5", make)) for _ in range(3)]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert cached("a.h5", make).read_text() == "whole"
    assert len(made) == 1 and caplog.text.count("another process makes a.h5; waiting for it") == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.h5"]


def test_what_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are finished are not made again, and the file is the one that is made at once."""
    monkeypatch.setenv("FASTSIM_CACHE", str(tmp_path / "cache"))
    card = MinimumBiasCard(900.0, 300)
    blocks: list[int] = []

    def stopped(card: MinimumBiasCard, first: int) -> HardEvents:
        if len(blocks) == 2:
            raise KeyboardInterrupt
        return going_on(card, first)

    def going_on(card: MinimumBiasCard, first: int) -> HardEvents:
        blocks.append(first)
        return make_block(card, first)

    with pytest.raises(KeyboardInterrupt):
        cached("a.h5", lambda path, parts: write_library(card, stopped, path, keep=parts))
    assert not (tmp_path / "cache" / "a.h5").exists() and blocks == [0, 128]
    cached("a.h5", lambda path, parts: write_library(card, going_on, path, keep=parts, force=True))
    assert blocks == [0, 128, 256]
    write_library(card, make_block, tmp_path / "b.h5")
    assert (tmp_path / "cache" / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.h5"]


def test_a_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTSIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="set FASTSIM_CACHE"):
        cached("a.h5", lambda path, parts: None)
