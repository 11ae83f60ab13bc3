"""The cells of a detector: where they lie, and which of them holds a place."""

from __future__ import annotations

import math

import numpy as np

from fastsim.detector.detector import Detector
from fastsim.event import Floats, Ints


class CellGrid:
    """All cells of a detector, numbered through: section by section, in each as :attr:`Section.cells` has them.

    Coordinates are those of the detector: x and y from the axis, z from the front face, in mm; layers are counted from
    the front through all sections.

    Attributes:
        num_cells: number of cells.
        depth: z of the middle of the active medium of each layer in mm, (L,).

    >>> from fastsim.detector.detector import load_detector
    >>> grid = CellGrid(load_detector("pb-si-ecal"))
    >>> grid.num_cells, grid.depth[:2].round(2).tolist()
    (6480, [2.65, 5.45])
    >>> grid.cells(np.array([1, 1]), np.array([-10.0, 99.0]), np.array([0.1, 0.0])).tolist()
    [281, -1]
    >>> [values.round(2).tolist() for values in grid.centres(np.array([281]))]
    [[1], [-11.4], [2.27], [5.45]]
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        counts = [math.prod(section.cells) for section in detector.sections]
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.num_cells = int(self._first[-1])
        self._section = np.repeat(np.arange(len(counts)), [section.num_layers for section in detector.sections])
        self._layer_in_section = np.concatenate([np.arange(section.num_layers) for section in detector.sections])
        front, depths = 0.0, []
        for section in detector.sections:
            pitch = section.absorber_mm + section.active_mm
            depths.append(front + pitch * np.arange(1, section.num_layers + 1) - section.active_mm / 2)
            front += section.depth_mm
        self.depth = np.concatenate(depths)

    def cells(self, layer: Ints, x: Floats, y: Floats) -> Ints:
        """Return the cells at N places, -1 beside the detector; arguments have shape (N,)."""
        found = np.full(len(layer), -1, dtype=np.int64)
        for number, section in enumerate(self.detector.sections):
            rows = np.flatnonzero(self._section[layer] == number)
            _, num_middle, num_inner = section.cells
            if section.polar:
                inner = np.floor(np.hypot(x[rows], y[rows]) / section.cell_mm)
                turns = np.arctan2(y[rows], x[rows]) / (2 * np.pi) + 0.5
                middle = np.minimum(np.floor(turns * num_middle), num_middle - 1)
            else:
                inner = np.floor(x[rows] / section.cell_mm + num_inner / 2)
                middle = np.floor(y[rows] / section.cell_mm + num_middle / 2)
            inside = (inner >= 0) & (inner < num_inner) & (middle >= 0) & (middle < num_middle)
            row = self._layer_in_section[layer[rows]] * num_middle + middle
            cell = self._first[number] + row * num_inner + inner
            found[rows[inside]] = cell[inside].astype(np.int64)
        return found

    def centres(self, cell: Ints) -> tuple[Ints, Floats, Floats, Floats]:
        """Return layer, x, y and z of the middles of N cells, (N,) each.

        The middle of a cell in (r, alpha) is that of its ring and of its sector.
        """
        cell = np.asarray(cell, dtype=np.int64)
        layer, x, y = np.zeros(len(cell), np.int64), np.zeros(len(cell)), np.zeros(len(cell))
        first_layer = 0
        for number, section in enumerate(self.detector.sections):
            rows = np.flatnonzero((cell >= self._first[number]) & (cell < self._first[number + 1]))
            _, num_middle, num_inner = section.cells
            row, inner = np.divmod(cell[rows] - self._first[number], num_inner)
            in_section, middle = np.divmod(row, num_middle)
            layer[rows] = first_layer + in_section
            if section.polar:
                r, alpha = (inner + 0.5) * section.cell_mm, -np.pi + (middle + 0.5) * 2 * np.pi / num_middle
                x[rows], y[rows] = r * np.cos(alpha), r * np.sin(alpha)
            else:
                x[rows] = (inner + 0.5 - num_inner / 2) * section.cell_mm
                y[rows] = (middle + 0.5 - num_middle / 2) * section.cell_mm
            first_layer += section.num_layers
        return layer, x, y, self.depth[layer]
