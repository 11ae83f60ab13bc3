"""Memory of long runs: what is sampled, and what is made of it."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import endurance
from fastsim.errors import FastsimError
from fastsim.formats import hdf5, lhe
from tests.helpers.events import event, file

MB = 2**20


def test_a_short_file_is_repeated_as_it_is(tmp_path: Path) -> None:
    short, long = tmp_path / "short.lhe.gz", tmp_path / "long.lhe"
    tail = "<rwgt>\n<wgt id='a'> {} </wgt>\n</rwgt>"
    short.write_bytes(gzip.compress(file(event(tail=tail.format(1.5)), event(tail=tail.format(-2.0))).encode()))
    endurance.repeated(short, long, 5)
    run, batches = lhe.read(long)
    (events,) = batches
    assert run.weight_names == ("nominal", "a")
    assert events.number.tolist() == [0, 1, 2, 3, 4]
    assert events.weights[:, 1].tolist() == [1.5, -2.0, 1.5, -2.0, 1.5]


def test_memory_of_a_command_and_of_what_it_starts() -> None:
    child = "import time; held = bytearray(150 << 20); time.sleep(1)"
    parent = f"import subprocess, sys; held = bytearray(50 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    samples = endurance.watched([sys.executable, "-c", parent])
    own, others = (max(sample[k] for sample in samples) / MB for k in (1, 2))
    assert 50 < own < 140 and 150 < others < 240
    assert endurance.resident(2**22 + 1) == 0, "there are no such ids"
    with pytest.raises(FastsimError, match="exit status 3"):
        endurance.watched([sys.executable, "-c", "raise SystemExit(3)"])


def test_peaks_are_those_of_equally_many_chunks() -> None:
    chunks = [10.0, 11.0, 12.0, 20.0, 30.0]
    samples = [(at, 100, int(at)) for at in np.arange(0.0, 40.0, 0.5)]
    assert endurance.peaks(samples, chunks, 2) == [111, 139], "what was before the first chunk does not count"


def test_numbers_and_weights_are_compared(tmp_path: Path) -> None:
    source, other = tmp_path / "a.lhe", tmp_path / "b.lhe"
    source.write_text(file(event(), event()))
    other.write_text(file(event(), event((0, 2, "3.0"))))
    run, batches = lhe.read(source)
    with hdf5.EventWriter(tmp_path / "a.h5", run) as writer:
        for batch in batches:
            writer.write(batch)
    endurance.check_events(tmp_path / "a.h5", source)
    with pytest.raises(FastsimError, match="weights differ"):
        endurance.check_events(tmp_path / "a.h5", other)
