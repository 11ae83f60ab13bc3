"""The curve of a tagger that is fine-tuned, on drawn features whose answer is known."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import dijets, transfer

DIRECTION = np.array([1.0, -1.0, 0.5, -0.5])


def write_drawn(folder: Path, *, mpi: bool, flip: float) -> None:
    """Write as many features as the example has events: of both kinds the same but for one direction.

    Only the product of that direction with another tells the kinds apart, which forty events do not teach.
    """
    folder.mkdir(exist_ok=True)
    suffix = "-mpi" if mpi else ""
    for sign, kind in ((1.0, "signal"), (-1.0, "background")):
        rng = np.random.default_rng([round(sign) + 1, mpi])
        for number in range(4000 // dijets.CHUNK):
            numbers = rng.normal(size=(dijets.CHUNK, 4))
            numbers[:, 1] = flip * sign * np.abs(numbers[:, 1]) * np.sign(numbers[:, 0])
            # what dijets.scaled makes these numbers of: masses are given by their logarithms
            features = np.concatenate([0.1 * np.exp(numbers[:, :2]), numbers[:, 2:] / 4.0 + 0.5], axis=1)
            np.savez(folder / f"{kind}{suffix}-{number}.npz", mass=np.full(len(numbers), 3.5), features=features)


def run(
    folder: Path, output: Path, seeds: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["transfer", str(folder), "-o", str(output), "--seeds", str(seeds)])
    transfer.main()
    return capsys.readouterr().out.splitlines()


def area(lines: list[str], label: str) -> float:
    """Return the first number of the line that begins with a label."""
    (line,) = [line for line in lines if line.startswith(label)]
    found = re.search(r"\d\.\d+", line[len(label) :])
    assert found is not None
    return float(found[0])


def test_fine_tuning_keeps_what_the_first_sample_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "SIZES", (40,))
    write_drawn(tmp_path / "events", mpi=False, flip=1.0)
    write_drawn(tmp_path / "events", mpi=True, flip=1.0)
    lines = run(tmp_path / "events", tmp_path / "out", 2, monkeypatch, capsys)
    source = area(lines, "without multiparton interactions:")
    kept = area(lines, "as trained without multiparton interactions:")
    scratch, tuned = (area(lines, f"{way}, 40 events") for way in ("from scratch", "fine-tuned"))
    # the kinds do not overlap, and the second sample is drawn as the first: little is lost on it
    assert source > 0.99 and kept == pytest.approx(source, abs=0.005) and tuned > kept - 0.03
    assert scratch < tuned - 0.02
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"from-scratch.svg", "fine-tuned.svg"}
    # what is done is kept
    assert run(tmp_path / "events", tmp_path / "out", 2, monkeypatch, capsys) == lines


def test_fine_tuning_learns_what_is_opposite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the second sample signal looks like the background of the first: as it came the tagger is always wrong."""
    monkeypatch.setattr(transfer, "SIZES", (2000,))
    write_drawn(tmp_path / "events", mpi=False, flip=1.0)
    write_drawn(tmp_path / "events", mpi=True, flip=-1.0)
    lines = run(tmp_path / "events", tmp_path / "out", 1, monkeypatch, capsys)
    assert area(lines, "as trained without multiparton interactions:") < 0.01
    assert area(lines, "fine-tuned, 2000 events") > 0.7
