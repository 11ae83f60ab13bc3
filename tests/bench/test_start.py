"""The bench of the start measures processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.start import Cost, least, measure, table


def test_costs_are_those_of_the_process(tmp_path: Path) -> None:
    cost = measure(["-c", "sum(range(3_000_000))"], tmp_path)
    assert 0.01 < cost.processor < 60
    assert least(["-c", "pass"], tmp_path, 2) > Cost(0.0, 0.0)
    with pytest.raises(subprocess.CalledProcessError):
        measure(["-c", "raise SystemExit(3)"], tmp_path)
    assert table({"one": Cost(1.24, 2.0)}).splitlines()[-1] == "| one | 1.2 | 2.0 |"
