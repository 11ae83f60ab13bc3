"""Showers in the voxels of a coarser read-out of the same calorimeter, so that Geant4's showers of one serve both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from fastsim.event import Ints


@dataclass(frozen=True)
class Regrouping:
    """A map from the V voxels of a read-out to the voxels of a coarser one.

    Attributes:
        voxel: the coarser voxel that each of the finer ones is part of, (V,).
        num_voxels: number of coarser voxels.
    """

    voxel: Ints
    num_voxels: int

    @classmethod
    def of(cls, fine: Detector, coarse: Detector) -> Self:
        """Find the map from the voxels of one detector to those of another.

        Raises:
            FastsimError: if the detectors differ in more than their voxels, or a voxel of ``fine`` does not lie in one
                voxel of ``coarse``.
        """
        if _structure(fine) != _structure(coarse) or not fine.sections[0].polar:
            raise FastsimError(f"{fine.name} and {coarse.name} differ in more than their voxels in (r, alpha)")
        parts, first = [], 0
        for number, (old, new) in enumerate(zip(fine.sections, coarse.sections, strict=True), start=1):
            (num_layers, num_alpha, _), (_, num_coarse_alpha, num_rings) = old.voxels, new.voxels
            edges, coarse_edges = (np.round(np.cumsum(s.rings) * s.cell_mm, 9) for s in (old, new))
            nested = np.isin(coarse_edges, edges).all() and edges[-1] == coarse_edges[-1]
            if new.group % old.group or num_alpha % num_coarse_alpha or not nested:
                raise FastsimError(f"section {number}: voxels of {fine.name} do not make up those of {coarse.name}")
            layer = np.arange(num_layers) // (new.group // old.group)
            alpha = np.arange(num_alpha) // (num_alpha // num_coarse_alpha)
            ring = np.searchsorted(coarse_edges, edges)
            rows = layer[:, None] * num_coarse_alpha + alpha
            parts.append((first + rows[:, :, None] * num_rings + ring).reshape(-1))
            first += int(np.prod(new.voxels))
        return cls(np.concatenate(parts), first)

    def __call__(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add up the deposits (N, V) of the finer read-out, (N, num_voxels)."""
        order = np.argsort(self.voxel, kind="stable")
        starts = np.searchsorted(self.voxel[order], np.arange(self.num_voxels))
        return np.add.reduceat(voxels[:, order], starts, axis=1, dtype=np.float64).astype(np.float32)


def _structure(detector: Detector) -> list[object]:
    """Return all that decides a shower; that Geant4's steps end at the edges of cells is neglected."""
    names = ("absorber", "active", "physics", "cut_mm", "step_fraction", "step_mm", "msc_step_limit")
    sections = [(s.polar, s.num_layers, s.absorber_mm, s.active_mm) for s in detector.sections]
    return [*(getattr(detector, name) for name in (*names, "msc_range_factor")), *sections]
