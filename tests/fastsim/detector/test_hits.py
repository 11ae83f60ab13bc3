"""Hits keep their events, and add up in cells; cells of a detector and places in it are each other's inverse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastsim.detector.cell_grid import CellGrid
from fastsim.detector.detector import Section, load_detector
from fastsim.detector.hits import Hits
from fastsim.errors import InvalidValue


def make(event: list[int], energy: list[float], *, run: int = 0, by_model: bool = False, time: float = np.nan) -> Hits:
    num = len(event)
    columns = (np.full(num, run), np.array(event), np.arange(num), np.arange(3.0 * num).reshape(num, 3))
    return Hits(*columns, np.array(energy), np.full(num, time), np.full(num, by_model))


def test_events_of_several_parts_stand_together() -> None:
    whole = Hits.concatenate(
        [make([2, 0], [1.0, 2.0]), make([0, 1], [3.0, 4.0], by_model=True), make([0], [5.0], run=1)]
    )
    assert whole.run.tolist() == [0, 0, 0, 0, 1] and whole.event.tolist() == [0, 0, 1, 2, 0]
    assert whole.energy.tolist() == [2.0, 3.0, 4.0, 1.0, 5.0]
    assert whole.by_model.tolist() == [False, True, True, False, False]
    assert repr(whole) == "<Hits: 5 in 4 events>"
    assert len(Hits.concatenate([])) == 0 and repr(Hits.empty()) == "<Hits: 0 in 0 events>"


def test_a_cell_has_one_hit_an_event() -> None:
    hits = Hits.concatenate([make([0, 0, 1, 1], [1.0, 3.0, 4.0, 5.0]), make([0], [2.0], by_model=True, time=6.0)])
    summed = hits.summed(np.array([7, 7, 7, -1, 7]))
    assert summed.event.tolist() == [0, 1] and summed.energy.tolist() == [6.0, 5.0]
    summed = hits.summed(np.array([7, 7, 7, 7, -1]))
    assert summed.event.tolist() == [0, 1] and summed.energy.tolist() == [6.0, 4.0]
    assert summed.by_model.tolist() == [True, False] and summed.time[0] == 6.0 and np.isnan(summed.time[1])
    assert summed.layer[0] == 1, "of the hit of 3 MeV"
    apart = hits.summed(np.array([3, 1, 2, 1, 1]))
    assert apart.energy.tolist() == [3.0, 2.0, 1.0, 9.0]
    assert len(hits.summed(np.full(5, -1))) == 0
    runs = Hits.concatenate([make([0], [1.0]), make([0], [2.0], run=1)]).summed(np.zeros(2, np.int64))
    assert runs.energy.tolist() == [1.0, 2.0]


def test_arrays_of_wrong_shape_are_named() -> None:
    with pytest.raises(InvalidValue, match=r"hits: position has shape \(2,\), expected \(2, 3\)"):
        replace(make([0, 1], [1.0, 2.0]), position=np.zeros(2))
    with pytest.raises(InvalidValue, match=r"hits: energy has shape \(3,\)"):
        replace(make([0, 1], [1.0, 2.0]), energy=np.zeros(3))
    with pytest.raises(InvalidValue, match=r"2 hits, but cells of shape \(1,\)"):
        make([0, 1], [1.0, 2.0]).summed(np.zeros(1, np.int64))


@pytest.mark.parametrize("shape", ["pb-si-ecal", "copper", "boxes"])
def test_the_middle_of_a_cell_lies_in_it(shape: str) -> None:
    detector = load_detector("copper" if shape == "copper" else "pb-si-ecal")
    if shape == "boxes":
        fine = Section(num_layers=3, absorber_mm=2.0, active_mm=0.5, cell_mm=5.0, num_x=4, num_y=7)
        detector = replace(detector, sections=(fine, replace(fine, num_layers=2, cell_mm=8.0, num_x=5)))
    grid = CellGrid(detector)
    cell = np.arange(grid.num_cells)
    layer, x, y, z = grid.centres(cell)
    assert np.array_equal(grid.cells(layer, x, y), cell)
    assert layer.max() + 1 == len(grid.depth) == sum(section.num_layers for section in detector.sections)
    assert (
        (np.diff(grid.depth) > 0).all() and np.array_equal(z, grid.depth[layer]) and grid.depth[-1] < detector.depth_mm
    )
    edge = np.full(1, 1 + max(section.radius_mm for section in detector.sections))
    assert grid.cells(np.zeros(1, np.int64), edge, np.zeros(1)).tolist() == [-1]


def test_sectors_begin_at_minus_pi() -> None:
    """As the voxels do, whose sector 0 lies beside the negative x axis, at negative y."""
    section = load_detector("pb-si-ecal").sections[0]
    grid = CellGrid(load_detector("pb-si-ecal"))
    layer = np.zeros(3, np.int64)
    cells = grid.cells(layer, np.array([-20.0, -20.0, -20.0]), np.array([-0.1, 0.1, 0.0]))
    assert (cells // section.voxels[2]).tolist() == [0, 15, 15] and (cells % section.voxels[2]).tolist() == [4, 4, 4]
