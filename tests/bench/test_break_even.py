"""The break-even of two lines, and the files that it is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.break_even import break_even, dijets, line, table
from bench.start import Cost
from fastsim.formats import lhe


def test_lines_and_where_they_meet() -> None:
    few, many, sizes = Cost(2.5, 2.0), Cost(4.5, 3.0), (500, 2500)
    assert line(few, many, sizes, "processor") == pytest.approx((2.0, 0.001))
    assert line(few, many, sizes, "wall") == pytest.approx((1.75, 0.0005))
    assert break_even((2.0, 0.002), (1.0, 0.001)) == float("inf")
    reference = [Cost(2.0, 2.0), Cost(6.0, 6.0)]
    assert table({"generate": [few, many], "reference": reference}, sizes).splitlines()[2] == (
        "| of the processor | 2.00 | 1.00 | 1.00 | 2.00 | 1,000 |"
    )


def test_files_hold_as_many_dijets_as_asked(tmp_path: Path) -> None:
    run, batches = lhe.read(dijets(tmp_path / "a.lhe", 450))
    events = list(batches)
    assert sum(map(len, events)) == 450 and run.processes
    partons = events[0].pdg_id[events[0].status == 1].reshape(-1, 2)
    assert (partons[:200] == partons[200:400]).all()
