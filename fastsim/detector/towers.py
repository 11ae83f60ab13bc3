r"""The towers of a calorimeter around the interaction point.

The front face is a cylinder about the beam, closed by planes across it. Towers are projective: equal steps in
pseudorapidity eta and azimuth phi, their walls pointing to the origin, cut in depth into layers. Every particle flies
straight from the origin (no magnetic field) and is taken to hit its tower along the tower's axis, so that its shower is
that of a particle perpendicular to the layers, moved to where the direction of flight n meets the face, at the distance

    d(n) = min(radius / sin(theta), half_length / |cos(theta)|).

A deposit at depth z along n and (r, alpha) across it lies at x = (d + z) n + r (cos(alpha) e_theta + sin(alpha) e_phi)
and belongs to the tower that x points to.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints

MAX_CELLS = 2**31 - 1
"""More cells than this are refused: their ids are 32-bit integers in files."""


SEGMENTS: dict[str, tuple[int, ...]] = {"copper": (4, 8, 8, 10, 10), "copper-towers": (1, 2, 2, 2, 2)}
"""Layers of voxels in each layer of cells: 4.2, 8.4 and 8.4 radiation lengths, then 2.9 and 5.8 interaction lengths."""


@dataclass(frozen=True)
class Towers:
    """Projective towers. The id of a cell is (layer * num_eta + i_eta) * num_phi + i_phi.

    Attributes:
        detector: name of the detector whose showers they take.
        depths_mm: thickness of each layer of the showers' voxels, from the front.
        segments: how many layers of voxels make each layer of cells, from the front.
        eta_max, num_eta: number of towers in eta, which have equal widths in [-eta_max, eta_max).
        num_phi: number of towers in phi, which have equal widths in [-pi, pi).
        radius_mm, half_length_mm: radius and half the length of the cylinder that is the front face.

    >>> towers = Towers("toy", depths_mm=(10.0, 10.0, 20.0), segments=(2, 1))
    >>> towers.num_layers, towers.num_cells, [round(step, 3) for step in towers.steps]
    (2, 7680, [0.1, 0.098])
    >>> cell = towers.cell(np.array([1.02]), np.array([-3.1]), np.array([1]))
    >>> [values.round(3).tolist() for values in (cell, *towers.centres(cell))]
    [[6400], [1.05], [-3.093], [1]]
    """

    detector: str
    depths_mm: tuple[float, ...]
    segments: tuple[int, ...]
    eta_max: float = 3.0
    num_eta: int = 60
    num_phi: int = 64
    radius_mm: float = 1500.0
    half_length_mm: float = 3000.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths_mm", tuple(float(depth) for depth in self.depths_mm))
        object.__setattr__(self, "segments", tuple(int(count) for count in self.segments))
        if min(self.segments, default=0) < 1 or sum(self.segments) != len(self.depths_mm):
            raise FastsimError(
                f"towers: segments {self.segments} must be positive and share out {len(self.depths_mm)} layers"
            )
        lengths = {"eta_max": self.eta_max, "radius_mm": self.radius_mm, "half_length_mm": self.half_length_mm}
        for name, value in {**lengths, "the least of depths_mm": min(self.depths_mm)}.items():
            if not (math.isfinite(value) and value > 0):
                raise FastsimError(f"towers: {name} is {value:g}, must be positive")
        if self.num_eta < 1 or self.num_phi < 1 or self.num_cells > MAX_CELLS:
            raise FastsimError(
                f"towers: {self.num_eta} x {self.num_phi} in {self.num_layers} layers; must be 1 x 1 at least, "
                f"and {MAX_CELLS:,} cells at most"
            )

    @property
    def num_layers(self) -> int:
        """Number of layers of cells."""
        return len(self.segments)

    @property
    def num_cells(self) -> int:
        """Number of cells; their ids run from 0."""
        return self.num_layers * self.num_eta * self.num_phi

    @property
    def steps(self) -> tuple[float, float]:
        """Size of a tower in eta and phi."""
        return 2 * self.eta_max / self.num_eta, 2 * math.pi / self.num_phi

    def cell(self, eta: Floats, phi: Floats, layer: Ints) -> Ints:
        """Return the ids of the cells at N places, -1 beyond ``eta_max``; arguments and result have shape (N,)."""
        i_eta = np.floor((eta + self.eta_max) / self.steps[0])
        i_phi = np.floor((phi + np.pi) / self.steps[1]).astype(np.int64) % self.num_phi
        inside = (i_eta >= 0) & (i_eta < self.num_eta)
        row = np.where(inside, i_eta, 0).astype(np.int64)
        return np.where(inside, (layer * self.num_eta + row) * self.num_phi + i_phi, -1)

    def centres(self, cell: Ints) -> tuple[Floats, Floats, Ints]:
        """Return eta, phi and layer of the middles of cells, each of the shape of the ids ``cell``."""
        row, i_phi = np.divmod(np.asarray(cell, dtype=np.int64), self.num_phi)
        layer, i_eta = np.divmod(row, self.num_eta)
        eta = -self.eta_max + (i_eta + 0.5) * self.steps[0]
        return eta, -np.pi + (i_phi + 0.5) * self.steps[1], layer

    def distance(self, direction: Floats) -> Floats:
        """Return the distance from the origin to the front face in mm, (N,), along unit vectors (N, 3)."""
        across = np.hypot(direction[:, 0], direction[:, 1])
        with np.errstate(divide="ignore"):
            return np.asarray(np.minimum(self.radius_mm / across, self.half_length_mm / np.abs(direction[:, 2])))

    def locate(self, direction: Floats, layer: Ints, r: Floats, alpha: Floats) -> Ints:
        """Find the cells of N deposits of showers.

        Args:
            direction: directions of flight of the particles, unit vectors (N, 3).
            layer: layers of voxels (N,); a deposit is in the middle of its depth.
            r: distances from the line of flight in mm (N,).
            alpha: angles about it in rad (N,), from the direction of growing theta to that of growing phi.

        Returns:
            Ids of the cells, -1 beyond ``eta_max``, (N,).
        """
        ends = np.cumsum(self.depths_mm)
        along = self.distance(direction) + (ends - np.array(self.depths_mm) / 2)[layer]
        sin = np.hypot(direction[:, 0], direction[:, 1])
        cos = direction[:, 2]
        on_axis = sin == 0
        cos_phi = np.where(on_axis, 1.0, direction[:, 0] / np.where(on_axis, 1.0, sin))
        sin_phi = direction[:, 1] / np.where(on_axis, 1.0, sin)
        to_theta, to_phi = r * np.cos(alpha), r * np.sin(alpha)
        outwards = along * sin + to_theta * cos
        x = outwards * cos_phi - to_phi * sin_phi
        y = outwards * sin_phi + to_phi * cos_phi
        z = along * cos - to_theta * sin
        with np.errstate(divide="ignore"):
            eta = np.arcsinh(z / np.hypot(x, y))
        segment = np.repeat(np.arange(self.num_layers), self.segments)
        return self.cell(eta, np.arctan2(y, x), segment[layer])

    def to_json(self) -> str:
        """Return the towers as text, which files of cells hold and :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Towers:
        """Read towers from the text of :meth:`to_json`.

        Raises:
            FastsimError: if it is no such text.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise FastsimError(f"towers: {text[:80]!r} does not describe any ({error})") from error


def towers_of(detector: Detector, segments: tuple[int, ...] | None = None) -> Towers:
    """Return the towers that a detector's showers are put in.

    Args:
        detector: the detector, whose layers of voxels give the depths.
        segments: how many layers of voxels make each layer of cells; by default as :data:`SEGMENTS` says, or one layer
            of cells for each section.

    Raises:
        FastsimError: if the detector's voxels alone are known.
    """
    detector.check_built("a tower of cells")
    depths = [
        section.group * (section.absorber_mm + section.active_mm)
        for section in detector.sections
        for _ in range(section.voxels[0])
    ]
    by_section = tuple(section.voxels[0] for section in detector.sections)
    return Towers(detector.name, tuple(depths), segments or SEGMENTS.get(detector.name, by_section))


def unit_vectors(p4: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the directions (N, 3) of four-momenta (N, 4), and which have one (N,): a particle at rest has none."""
    size = np.sqrt((p4[:, 1:] ** 2).sum(axis=1))
    moves = size > 0
    return p4[:, 1:] / np.where(moves, size, 1.0)[:, None], moves
