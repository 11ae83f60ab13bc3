r"""The voxels of a calorimeter as the CaloChallenge's binning XML describes them.

A file holds one ``Bin`` a particle; in it one ``Layer`` along the particle's direction after the other, cut in
concentric rings by ``r_edges`` (mm) and in ``n_bin_alpha`` equal sectors of alpha in [-pi, pi). One edge alone means a
layer without voxels. A shower is one flat vector: r runs fastest, then alpha, then the layer, so that voxel
``offset + j * num_r + i`` of a layer is ring i of sector j. A voxel lies at the middles of its ring and sector,

    eta = r cos(alpha),   phi = r sin(alpha),

both in mm: the challenge's names for the two axes across the shower. With one sector only, alpha = 0, so that eta = r
and phi = 0 carry no direction: such layers have no centre or width in eta and phi (``Layer.binned_in_alpha``).

References:
    Krause et al. 2024, arXiv:2410.21611 (CaloChallenge 2022; the XMLHandler of its evaluation code).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError

Floats = NDArray[np.float64]

MAX_BYTES = 1_000_000
"""Binning files larger than this are refused unread (the largest of the challenge has 7 kB)."""
MAX_VOXELS = 10_000_000
"""More voxels than this are refused (the challenge's dataset 3 has 40,500)."""


@dataclass(frozen=True)
class Layer:
    """One layer of a binning.

    Attributes:
        id: its number in the file.
        r_edges: edges of its rings in mm; a single one for a layer without voxels.
        num_alpha: number of equal sectors in alpha.
    """

    id: int
    r_edges: tuple[float, ...]
    num_alpha: int

    def __post_init__(self) -> None:
        edges = self.r_edges
        if not edges or not all(math.isfinite(e) and e >= 0 for e in edges):
            raise FastsimError(f"layer {self.id}: r_edges {_text(edges)} must be finite and not negative (mm)")
        if any(high <= low for low, high in pairwise(edges)):
            raise FastsimError(f"layer {self.id}: r_edges {_text(edges)} must increase")
        if self.num_alpha < 1:
            raise FastsimError(f"layer {self.id}: n_bin_alpha is {self.num_alpha}, must be at least 1")

    @property
    def num_r(self) -> int:
        """Number of rings."""
        return len(self.r_edges) - 1

    @property
    def num_voxels(self) -> int:
        """Number of voxels: rings times sectors."""
        return self.num_r * self.num_alpha

    @property
    def binned_in_alpha(self) -> bool:
        """Whether the layer has voxels in more than one sector, hence a centre in eta and phi."""
        return self.num_alpha > 1 and self.num_r > 0

    @cached_property
    def r(self) -> Floats:
        """Middle of each voxel's ring in mm, shape (num_voxels,)."""
        edges = np.array(self.r_edges)
        return np.tile(edges[:-1] + (edges[1:] - edges[:-1]) / 2, self.num_alpha)

    @cached_property
    def alpha(self) -> Floats:
        """Middle of each voxel's sector in rad, shape (num_voxels,)."""
        edges = np.linspace(-np.pi, np.pi, self.num_alpha + 1)
        return np.repeat(edges[:-1] + (edges[1:] - edges[:-1]) / 2, self.num_r)

    @cached_property
    def eta(self) -> Floats:
        """r cos(alpha) of each voxel in mm, shape (num_voxels,)."""
        return np.asarray(self.r * np.cos(self.alpha))

    @cached_property
    def phi(self) -> Floats:
        """r sin(alpha) of each voxel in mm, shape (num_voxels,)."""
        return np.asarray(self.r * np.sin(self.alpha))


@dataclass(frozen=True)
class Binning:
    """The layers that a particle's showers are recorded in; layers without voxels may be among them.

    Attributes:
        particle: its name.
        pid: its PDG id.
        layers: in their order along the particle's direction.

    >>> binning = Binning("electron", 11, (Layer(0, (0.0, 5.0, 10.0), 4), Layer(1, (0.0,), 1), Layer(2, (0.0, 8.0), 1)))
    >>> binning.num_voxels, [(layer.id, voxels) for layer, voxels in binning.parts]
    (9, [(0, slice(0, 8, None)), (2, slice(8, 9, None))])
    """

    particle: str
    pid: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        ids = [layer.id for layer in self.layers]
        if len(set(ids)) < len(ids):
            raise FastsimError(f"binning of {self.particle}: layer ids {ids} are not unique")
        if not 0 < self.num_voxels <= MAX_VOXELS:
            raise FastsimError(f"binning of {self.particle}: {self.num_voxels} voxels, expected 1 to {MAX_VOXELS}")

    @property
    def num_voxels(self) -> int:
        """Length of a shower's vector."""
        return sum(layer.num_voxels for layer in self.layers)

    @cached_property
    def parts(self) -> tuple[tuple[Layer, slice], ...]:
        """Every layer that has voxels, with the slice of a shower's vector that holds them."""
        ends = np.cumsum([layer.num_voxels for layer in self.layers]).tolist()
        return tuple(
            (layer, slice(end - layer.num_voxels, end))
            for layer, end in zip(self.layers, ends, strict=True)
            if layer.num_voxels
        )

    def check(self, num_voxels: int, place: str) -> None:
        """Raise FastsimError if showers have another number of voxels; ``place`` names their file in the message."""
        if num_voxels != self.num_voxels:
            raise FastsimError(
                f"{place}: showers of {num_voxels} voxels, but the binning of {self.particle} has {self.num_voxels}; "
                "give the binning that the showers were recorded in"
            )

    def to_xml(self) -> str:
        """Return the binning as the text of a CaloChallenge XML file, which :func:`read_binning` reads."""
        root = ElementTree.Element("Bins")
        element = ElementTree.SubElement(root, "Bin", pid=str(self.pid), name=self.particle)
        for layer in self.layers:
            edges = _text(layer.r_edges)
            ElementTree.SubElement(element, "Layer", id=str(layer.id), r_edges=edges, n_bin_alpha=str(layer.num_alpha))
        ElementTree.indent(root, "   ")
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def read_binning(path: str | os.PathLike[str], particle: str | None = None) -> Binning:
    """Read a binning of a CaloChallenge XML file.

    Document types and entities are refused, and files larger than ``MAX_BYTES``: a binning needs neither.

    Args:
        path: the file.
        particle: the ``name`` of the ``Bin`` to read; may be left out where there is only one.

    Raises:
        FastsimError: if the file cannot be read, is no binning, or does not hold the particle.
    """
    place = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise FastsimError(f"{place}: larger than {MAX_BYTES:,} bytes; give a CaloChallenge binning XML")
        text = data.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise FastsimError(f"{place}: has a document type or entities, which a binning XML must not have")
        root = ElementTree.fromstring(text)
    except OSError as error:
        raise FastsimError(f"{place}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise FastsimError(f"{place}: is not XML in UTF-8: {error}") from error
    elements = {element.get("name", ""): element for element in root.iter("Bin")}
    if particle is None and len(elements) == 1:
        particle = next(iter(elements))
    if particle not in elements:
        names = ", ".join(sorted(elements)) or "none"
        wanted = "name a particle" if particle is None else f"no particle {particle!r}"
        raise FastsimError(f"{place}: {wanted}; its binnings are for: {names}")
    try:
        element = elements[particle]
        layers = tuple(
            Layer(
                int(layer.attrib["id"]),
                tuple(float(edge) for edge in layer.attrib["r_edges"].split(",")),
                int(layer.attrib["n_bin_alpha"]),
            )
            for layer in element.iter("Layer")
        )
        return Binning(particle, int(element.attrib["pid"]), layers)
    except KeyError as error:
        message = f"attribute {error} is missing; a Bin has pid, a Layer id, r_edges and n_bin_alpha"
        raise FastsimError(f"{place}: {message}") from error
    except ValueError as error:
        raise FastsimError(f"{place}: not a number: {error}") from error
    except FastsimError as error:
        raise FastsimError(f"{place}: {error}") from error


def _text(edges: tuple[float, ...]) -> str:
    """Return edges as the files write them: 0,4.65,9.3."""
    return ",".join(repr(float(edge)).removesuffix(".0") for edge in edges)
