"""Sampling calorimeters: what Geant4 builds and which of its cells make a voxel.

A detector is a stack of sections along +z, its front face at z = 0. A section repeats one layer: absorber first, then
the active medium, whose deposits are scored. The active medium is cut into cells of one size, and voxels are made of
them: ``group`` layers in a row count as one, and so do the ``rings`` cells of a ring. Cells lie either in (r, alpha),
a cylinder, or in (x, y), a box. Voxels run r (or x) fastest, then alpha (y), then the layer, as in the CaloChallenge.

A detector is written in TOML; the fields of :class:`Detector` and :class:`Section` are its keys. Of one whose showers
come from elsewhere the binning (.xml) of the CaloChallenge is enough: models can learn its showers, Geant4 makes none.

>>> detector = load_detector("pb-si-ecal")
>>> detector.num_voxels, round(detector.depth_mm), detector.particles
(6480, 126, ('e-', 'e+', 'gamma'))
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer, read_binning
from fastsim.errors import FastsimError
from fastsim.shipped import data_folder

PARTICLES: dict[str, tuple[int, str]] = {
    "e-": (11, "e-"),
    "e+": (-11, "e+"),
    "gamma": (22, "gamma"),
    "pi+": (211, "pi+"),
    "pi-": (-211, "pi-"),
    "K+": (321, "kaon+"),
    "K-": (-321, "kaon-"),
    "K0L": (130, "kaon0L"),
    "p": (2212, "proton"),
    "pbar": (-2212, "anti_proton"),
    "n": (2112, "neutron"),
    "nbar": (-2112, "anti_neutron"),
    "mu-": (13, "mu-"),
    "mu+": (-13, "mu+"),
}
"""PDG id and Geant4's name of each particle, by the name that options and files of fastsim use."""

LEPTONS = ("e-", "e+", "gamma", "mu-", "mu+")
"""Particles for which electromagnetic physics is enough: leptons and the photon."""

PHYSICS = ("em", "FTFP_BERT")
"""Physics lists: electromagnetic alone, or with decays, hadrons and capture at rest."""

STEP_LIMITS = ("Minimal", "UseSafety", "UseSafetyPlus", "UseDistanceToBoundary")
"""Geant4's limits of a step by multiple scattering."""

_ANY_ENERGY = 1e-3, 1e7
"""GeV that a detector is meant for of which the voxels alone are known."""

MAX_CELLS = 1_000_000
"""More cells in a section than this are refused: it takes a slip of the pen to ask for them."""


@dataclass(frozen=True)
class Section:
    """Layers of a detector that are alike. Give ``rings`` and ``num_alpha``, or ``num_x`` and ``num_y``.

    Attributes:
        num_layers: number of layers, each of absorber and active medium.
        absorber_mm, active_mm: thickness of the two in each layer.
        cell_mm: side of a cell: radial in (r, alpha), both sides in (x, y).
        group: layers that make one layer of voxels; divides ``num_layers``.
        rings: width of each ring of voxels in cells, from the axis.
        num_alpha: sectors of alpha in [-pi, pi).
        num_x, num_y: cells across, the axis in their middle.
    """

    num_layers: int
    absorber_mm: float
    active_mm: float
    cell_mm: float
    group: int = 1
    rings: tuple[int, ...] = ()
    num_alpha: int = 0
    num_x: int = 0
    num_y: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rings", tuple(self.rings))
        for name in ("absorber_mm", "active_mm", "cell_mm"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0):
                raise FastsimError(f"section: {name} is {value!r}, must be a positive length")
        counts = [self.num_layers, self.group, self.num_alpha, self.num_x, self.num_y, *self.rings]
        if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
            raise FastsimError("section: num_layers, group, rings, num_alpha, num_x and num_y must be whole numbers")
        if self.num_layers < 1 or self.group < 1 or self.num_layers % self.group:
            raise FastsimError(f"section: {self.num_layers} layers in groups of {self.group}: must divide, 1 at least")
        polar = bool(self.rings) or self.num_alpha != 0
        used, unused = (self.num_alpha, *self.rings), (self.num_x, self.num_y)
        if not polar:
            used, unused = (self.num_x, self.num_y), (0, 0)
        if min(used) < 1 or any(unused) or (polar and not self.rings):
            raise FastsimError("section: give rings and num_alpha, or num_x and num_y, all of them positive")
        if math.prod(self.cells) > MAX_CELLS:
            raise FastsimError(f"section: {math.prod(self.cells):,} cells, at most {MAX_CELLS:,} are allowed")

    @property
    def polar(self) -> bool:
        """Whether the cells lie in (r, alpha)."""
        return bool(self.rings)

    @property
    def depth_mm(self) -> float:
        """Length along z in mm."""
        return self.num_layers * (self.absorber_mm + self.active_mm)

    @property
    def radius_mm(self) -> float:
        """Radius in mm of the cylinder, or of the circle around the box."""
        if self.polar:
            return sum(self.rings) * self.cell_mm
        return math.hypot(self.num_x, self.num_y) * self.cell_mm / 2

    @property
    def cells(self) -> tuple[int, int, int]:
        """Numbers of cells: layers, sectors (or cells in y), rings (or cells in x)."""
        across = (self.num_alpha, sum(self.rings)) if self.polar else (self.num_y, self.num_x)
        return self.num_layers, *across

    @property
    def voxels(self) -> tuple[int, int, int]:
        """Numbers of voxels: layers, sectors (or voxels in y), rings (or voxels in x)."""
        return self.num_layers // self.group, self.cells[1], len(self.rings) if self.polar else self.num_x

    def voxel_of_cell(self) -> NDArray[np.int64]:
        """Return the voxel of each cell, counted from 0 in this section; cells in the order of :attr:`cells`, flat."""
        layer = np.arange(self.num_layers) // self.group
        _, num_middle, num_inner = self.voxels
        inner = np.repeat(np.arange(num_inner), self.rings if self.polar else 1)
        rows = layer[:, None] * num_middle + np.arange(num_middle)
        return np.asarray(rows[:, :, None] * num_inner + inner, dtype=np.int64).reshape(-1)


@dataclass(frozen=True)
class Detector:
    """A sampling calorimeter, and how Geant4 follows particles in it.

    Attributes:
        name: by which the option ``--detector`` and the files of showers call it.
        absorber, active: materials by Geant4's names (``G4_Pb``).
        sections: from the front to the back.
        physics: one of :data:`PHYSICS`.
        particles: names from :data:`PARTICLES` that the detector is meant for.
        min_energy, max_energy: kinetic energies that it is meant for, in GeV.
        cut_mm: range below which no secondary is made.
        step_fraction, step_mm: a charged particle loses in one step at most this fraction of its range, until the
            range is this short.
        msc_step_limit, msc_range_factor: how multiple scattering limits steps.
        layout: layers of voxels of a detector of which nothing else is known; it has no sections then.
    """

    name: str
    absorber: str
    active: str
    sections: tuple[Section, ...]
    physics: str
    particles: tuple[str, ...]
    min_energy: float
    max_energy: float
    cut_mm: float = 0.1
    step_fraction: float = 0.2
    step_mm: float = 1.0
    msc_step_limit: str = "UseSafety"
    msc_range_factor: float = 0.04
    layout: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sections", "particles", "layout"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if bool(self.sections) and bool(self.layout):
            raise FastsimError(f"detector {self.name!r}: has sections and a layout: give one of them")
        if not self.sections and not self.layout:
            raise FastsimError(f"detector {self.name!r}: has no section")
        if len({section.polar for section in self.sections}) > 1:
            raise FastsimError(f"detector {self.name!r}: sections in (r, alpha) and in (x, y) do not mix")
        if self.physics not in PHYSICS:
            raise FastsimError(f"detector {self.name!r}: physics {self.physics!r} is none of {', '.join(PHYSICS)}")
        unknown = [name for name in self.particles if name not in PARTICLES]
        if unknown or not self.particles:
            raise FastsimError(f"detector {self.name!r}: particles {unknown} are none of {', '.join(PARTICLES)}")
        hadrons = [name for name in self.particles if name not in LEPTONS]
        if self.physics == "em" and hadrons:
            raise FastsimError(f"detector {self.name!r}: physics 'em' has no interactions of {', '.join(hadrons)}")
        for name in ("min_energy", "max_energy", "cut_mm", "step_fraction", "step_mm", "msc_range_factor"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0):
                raise FastsimError(f"detector {self.name!r}: {name} is {value!r}, must be a positive number")
        if self.step_fraction > 1 or self.msc_range_factor > 1:
            raise FastsimError(f"detector {self.name!r}: step_fraction and msc_range_factor are fractions, 1 at most")
        if self.msc_step_limit not in STEP_LIMITS:
            limits = ", ".join(STEP_LIMITS)
            raise FastsimError(f"detector {self.name!r}: msc_step_limit {self.msc_step_limit!r} is none of {limits}")
        if self.min_energy > self.max_energy:
            raise FastsimError(f"detector {self.name!r}: min_energy {self.min_energy} is above {self.max_energy}")

    @property
    def num_voxels(self) -> int:
        """Number of voxels, the length of a shower's vector."""
        own = sum(layer.num_voxels for layer in self.layout)
        return own + sum(math.prod(section.voxels) for section in self.sections)

    @property
    def depth_mm(self) -> float:
        """Length along z in mm."""
        return sum(section.depth_mm for section in self.sections)

    def binning(self, particle: str) -> Binning | None:
        """Return the voxels as the CaloChallenge describes them; None in (x, y), which its XML cannot describe."""
        if self.sections and not self.sections[0].polar:
            return None
        layers = list(self.layout)
        for section in self.sections:
            edges = (0, *np.cumsum(section.rings).tolist())
            r_edges = tuple(round(edge * section.cell_mm, 9) for edge in edges)
            first = len(layers)
            layers += [Layer(first + i, r_edges, section.num_alpha) for i in range(section.voxels[0])]
        return Binning(particle, PARTICLES[particle][0], tuple(layers))

    def check_built(self, what: str) -> None:
        """Refuse a detector of which the voxels alone are known; ``what`` needs to know what it is made of.

        Raises:
            FastsimError: naming both.
        """
        if self.layout:
            raise FastsimError(
                f"detector {self.name}: a binning says nothing of its materials and depths, which {what} needs: give "
                "its description (.toml)"
            )

    def check(self, particle: str, low: float, high: float) -> None:
        """Refuse particles and energies that the detector is not meant for.

        Args:
            particle: a name from :data:`PARTICLES`.
            low, high: lowest and highest kinetic energy in GeV.

        Raises:
            FastsimError: naming the value and what is allowed.
        """
        if particle not in self.particles:
            raise FastsimError(f"{self.name}: particle {particle!r} is none of {', '.join(self.particles)}")
        if not (math.isfinite(low) and math.isfinite(high) and 0 < low <= high):
            raise FastsimError(f"energies {low:g}:{high:g} GeV: must be finite, positive, and the lower one first")
        if low < self.min_energy or high > self.max_energy:
            allowed = f"{self.min_energy:g}:{self.max_energy:g} GeV"
            raise FastsimError(f"{self.name}: energies {low:g}:{high:g} GeV are outside its {allowed}")

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values, as JSON holds them; the layout only if there is one."""
        values = asdict(self)
        if not self.layout:
            del values["layout"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Detector:
        """Make a detector from the values of :meth:`as_dict`.

        Raises:
            FastsimError: if a key is missing or unknown, or a value is wrong.
        """
        built: dict[str, Any] = dict(values)
        for name, kind in (("sections", Section), ("layout", Layer)):
            tables = values.get(name, [])
            if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
                raise FastsimError(f"detector: {name} are objects in a list")
            built[name] = tuple(
                _build(kind, {k: tuple(v) if isinstance(v, list) else v for k, v in t.items()}) for t in tables
            )
        detector = _build(cls, built)
        assert isinstance(detector, Detector)
        return detector


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def available() -> list[str]:
    """Return the names of the detectors that ship.

    >>> available()
    ['copper', 'copper-towers', 'pb-si-ecal']
    """
    folder = data_folder() / "detectors"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_detector(name: str | os.PathLike[str]) -> Detector:
    """Load a detector that ships, by name, or one from a TOML file or a binning (.xml), by path.

    Raises:
        FastsimError: if there is no such detector, or the file does not describe one; the message says why.
    """
    text = os.fspath(name)
    if text in available():
        return _parse((data_folder() / "detectors" / f"{text}.toml").read_text(encoding="utf-8"), text, text)
    path = Path(text)
    if path.suffix == ".xml":
        return _of_binning(path)
    if path.suffix != ".toml":
        raise FastsimError(
            f"no detector {text!r}; there are {', '.join(available())}, or give the path of a .toml file or of a "
            "binning (.xml)"
        )
    try:
        detector = _parse(path.read_text(encoding="utf-8"), path.stem, text)
    except (OSError, UnicodeDecodeError) as error:
        raise FastsimError(f"{text}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if detector.name in available() and detector != load_detector(detector.name):
        raise FastsimError(
            f"{text}: {detector.name} is the name of a detector that ships, and this is another; give it another name"
        )
    return detector


def _of_binning(path: Path) -> Detector:
    """Make the detector of a binning file, by whose name it goes: for all particles, of any energy."""
    if path.stem in available():
        raise FastsimError(f"{path}: {path.stem} is the name of a detector that ships; give the binning another name")
    low, high = _ANY_ENERGY
    layout = read_binning(path).layers
    return Detector(path.stem, "", "", (), "FTFP_BERT", tuple(PARTICLES), low, high, layout=layout)


def _parse(text: str, name: str, place: str) -> Detector:
    """Read a detector from TOML; ``name`` is its name if the text has none, ``place`` names the file in messages."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FastsimError(f"{place}: is not TOML: {error}") from error
    try:
        tables = values.pop("section", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise FastsimError("sections are written [[section]]")
        return Detector.from_dict({"name": name, **values, "sections": tables})
    except FastsimError as error:
        raise FastsimError(f"{place}: {error}") from error


def _build(cls: type[Any], values: dict[str, Any]) -> Any:
    """Make a dataclass from a table.

    Raises:
        FastsimError: if a key is missing or unknown, or a value is wrong.
    """
    known = {field.name for field in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise FastsimError(f"unknown key {unknown[0]!r}; {cls.__name__.lower()} has {', '.join(sorted(known))}")
    try:
        return cls(**values)
    except TypeError as error:  # a key that is missing, or a value of a wrong type
        raise FastsimError(f"{cls.__name__.lower()}: {str(error).replace('__init__() ', '')}") from error
