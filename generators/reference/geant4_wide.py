"""The layers of a detector as wide as a tilted particle needs, and the deposits about its line of flight.

The cells of :mod:`generators.reference.geant4_volumes` lie about the detector's axis, and end with it. A tilted
particle leaves them; the voxels of its shower lie about its own line of flight (:mod:`fastsim.detector.flight`), which
differs from shower to shower. (Cells in (x, y) stay where they are.) So here the layers are slabs without cells, and
every step with a deposit in the active medium is noted: Python runs for each, which makes Geant4 slower by a third.

As the detector ends with its cells at theta = 0, and what leaves it is lost, so is here what enters an active layer
further from the line than the outermost ring.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.cell_grid import CellGrid
from fastsim.detector.detector import Detector
from fastsim.detector.flight import across_flight
from generators.reference.geant4_volumes import materials

PIECE_MM = 0.005
"""The deposit of a step that crosses borders of cells is shared out evenly over pieces of about this length.

Geant4 ends its steps at such borders where there are cells: most voxels that get little energy get it so."""

_TOLERANCE_MM = 1e-6
"""Within which a place belongs to the layer that it is the end of."""


def half_width(detector: Detector, max_theta: float) -> float:
    """Return half the side in mm of slabs that hold all showers up to an angle to the normal in rad."""
    radius = max(section.radius_mm for section in detector.sections)
    return (radius + detector.depth_mm * math.sin(max_theta)) / math.cos(max_theta) + 1.0


class WideVolumes:
    """The sections of a detector as slabs, one behind the other along z from z = 0 on, in a mother volume.

    Args:
        g4: the module ``geant4_pybind``.
        detector: what to build.
        mother: logical volume to build in.
        half: half the side of the slabs in mm.

    Raises:
        FastsimError: if Geant4 does not know a material.
    """

    def __init__(self, g4: Any, detector: Detector, mother: Any, half: float) -> None:
        self._g4, self._grid = g4, CellGrid(detector)
        self._objects: list[Any] = []
        self._media: list[Any] = []
        self._steps: list[tuple[float, ...]] = []
        self._theta, self._phi = 0.0, 0.0
        self._direction = (0.0, 0.0, 1.0)
        self._radius = max(section.radius_mm for section in detector.sections)
        absorber, active = materials(g4, detector)
        front = 0.0
        for number, section in enumerate(detector.sections):
            name, pitch = f"section-{number}", section.absorber_mm + section.active_mm
            stack = self._slab(name, half, section.depth_mm, absorber)
            middle = g4.G4ThreeVector(0.0, 0.0, front + section.depth_mm / 2)
            self._keep(g4.G4PVPlacement(None, middle, stack, name, mother, False, 0))
            layer = self._slab(f"{name}-layer", half, pitch, absorber)
            self._keep(g4.G4PVReplica(f"{name}-layer", layer, stack, g4.kZAxis, section.num_layers, pitch))
            medium = self._slab(f"{name}-active", half, section.active_mm, active)
            behind = g4.G4ThreeVector(0.0, 0.0, section.absorber_mm / 2)
            self._keep(g4.G4PVPlacement(None, behind, medium, f"{name}-active", layer, False, 0))
            self._media.append(medium)
            front += section.depth_mm
        self._ends = self._grid.depth + np.concatenate(
            [np.full(section.num_layers, section.active_mm / 2) for section in detector.sections]
        )

    def aim(self, theta: float, phi: float) -> None:
        """Take the direction of flight in rad of the particle that comes next."""
        self._theta, self._phi = theta, phi
        sin = math.sin(theta)
        self._direction = (sin * math.cos(phi), sin * math.sin(phi), math.cos(theta))
        self._steps.clear()

    def score(self) -> None:
        """Note the steps in the active layers."""
        g4, volumes, kill, farthest = self._g4, self, self._g4.fStopAndKill, self._radius**2

        class Steps(g4.G4VSensitiveDetector):  # type: ignore[misc, name-defined]
            def ProcessHits(self, step: Any, history: Any) -> bool:
                """Note a step's deposit; Geant4 calls this for each step that begins in an active layer."""
                point = step.GetPreStepPoint().GetPosition()
                x, y, z = point.x, point.y, point.z
                to_x, to_y, to_z = volumes._direction
                along = x * to_x + y * to_y + z * to_z
                if x * x + y * y + z * z - along * along > farthest:
                    step.GetTrack().SetTrackStatus(kill)
                    return False
                deposit = step.GetTotalEnergyDeposit()
                if deposit > 0:
                    end = step.GetPostStepPoint().GetPosition()
                    volumes._steps.append((deposit, x, y, z, end.x, end.y, end.z))
                return True

        manager = g4.G4SDManager.GetSDMpointer()
        for number, medium in enumerate(self._media):
            steps = self._keep(Steps(f"steps-{number}"))
            manager.AddNewDetector(steps)
            medium.SetSensitiveDetector(steps)

    def deposits(self, event: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the cells about the line of flight with deposits in an event, and these in MeV, (N,) each.

        The cells are numbered by :class:`CellGrid`, and may be named more than once; what lies beside them is left out.
        """
        steps = np.array(self._steps, dtype=np.float64).reshape(-1, 7)
        first, last, deposit = steps[:, 1:4], steps[:, 4:], steps[:, 0]
        cell, end = self._cells(first), self._cells(last)
        crossing = np.flatnonzero(cell != end)
        length = np.linalg.norm((last - first)[crossing], axis=1)
        pieces = np.maximum(np.ceil(length / PIECE_MM), 1).astype(np.int64)
        row = np.repeat(np.arange(len(crossing)), pieces)
        number = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        share = ((number + 0.5) / pieces[row])[:, None]
        step = crossing[row]
        within = cell == end
        cell = np.concatenate([cell[within], self._cells(first[step] + share * (last - first)[step])])
        deposit = np.concatenate([deposit[within], deposit[step] / pieces[row]])
        inside = cell >= 0
        return cell[inside], deposit[inside]

    def _cells(self, place: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cells about the line of flight of places (N, 3) in active layers, in mm; -1 beside them."""
        x, y, z = place.T
        layer = np.minimum(np.searchsorted(self._ends, z - _TOLERANCE_MM), len(self._ends) - 1)
        return self._grid.cells(layer, *across_flight(x, y, z, self._theta, self._phi))

    def _keep(self, thing: Any) -> Any:
        """Keep a reference: Geant4 does not own the objects that Python creates."""
        self._objects.append(thing)
        return thing

    def _slab(self, name: str, half: float, depth: float, material: Any) -> Any:
        """Make a logical volume of a slab ``depth`` mm long."""
        solid = self._keep(self._g4.G4Box(name, half, half, depth / 2))
        return self._keep(self._g4.G4LogicalVolume(solid, material, name))
