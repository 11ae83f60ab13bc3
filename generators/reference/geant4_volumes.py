"""The volumes of a detector in Geant4, and the scorers of its cells.

Deposits are scored by Geant4's own scorers and read once an event: no Python runs in the loop over steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.cell_grid import CellGrid
from fastsim.detector.detector import Detector, Section
from fastsim.detector.hits import Hits
from fastsim.errors import FastsimError, InvalidValue
from fastsim.extras import library


def materials(g4: Any, detector: Detector) -> tuple[Any, Any]:
    """Return the materials of absorber and active medium.

    Raises:
        FastsimError: if Geant4 does not know one of them.
    """
    nist = g4.G4NistManager.Instance()
    found = [nist.FindOrBuildMaterial(name) for name in (detector.absorber, detector.active)]
    for name, material in zip((detector.absorber, detector.active), found, strict=True):
        if material is None:
            raise FastsimError(f"{detector.name}: Geant4 has no material {name!r}")
    return found[0], found[1]


class DetectorVolumes:
    """The sections of a detector, one behind the other along z, in a mother volume.

    Args:
        g4: the module ``geant4_pybind``.
        detector: what to build.
        mother: logical volume to build in.
        front: z of the front face in the frame of the mother, in mm.
        prefix: begins the names of volumes and scorers.

    Raises:
        FastsimError: if Geant4 does not know a material.
    """

    def __init__(self, g4: Any, detector: Detector, mother: Any, *, front: float = 0.0, prefix: str = "") -> None:
        self._g4, self._detector, self._prefix = g4, detector, prefix
        self._objects: list[Any] = []
        self._cells: list[Any] = []
        self._collections: list[tuple[int, int]] = []
        absorber, active = materials(g4, detector)
        for number, section in enumerate(detector.sections):
            self._section(f"{prefix}section-{number}", section, mother, front, absorber, active)
            front += section.depth_mm

    def score(self) -> None:
        """Attach a scorer ``section-I`` to the cells of each section."""
        g4 = self._g4
        manager = g4.G4SDManager.GetSDMpointer()
        for number, (section, cell) in enumerate(zip(self._detector.sections, self._cells, strict=True)):
            scorers = self._keep(g4.G4MultiFunctionalDetector(f"{self._prefix}section-{number}"))
            # copy numbers: the layer 3 levels above the cell, its row 1 above
            scorers.RegisterPrimitive(self._keep(g4.G4PSEnergyDeposit3D("deposit", *section.cells, 3, 1, 0)))
            manager.AddNewDetector(scorers)
            cell.SetSensitiveDetector(scorers)

    def deposits(self, event: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the cells with deposits in an event, numbered as by :class:`CellGrid`, and these in MeV, (N,) each."""
        if not self._collections:  # the collections get their numbers in the first run
            manager, first = self._g4.G4SDManager.GetSDMpointer(), 0
            for number, section in enumerate(self._detector.sections):
                collection = manager.GetCollectionID(f"{self._prefix}section-{number}/deposit")
                self._collections.append((collection, first))
                first += math.prod(section.cells)
        collections = event.GetHCofThisEvent()
        found = [
            (first + cell, float(deposit))
            for collection, first in self._collections
            for cell, deposit in collections.GetHC(collection)
        ]
        return np.array([cell for cell, _ in found], dtype=np.int64), np.array([deposit for _, deposit in found])

    def _keep(self, thing: Any) -> Any:
        """Keep a reference: Geant4 does not own the objects that Python creates."""
        self._objects.append(thing)
        return thing

    def _volume(self, name: str, solid: Any, material: Any) -> Any:
        """Make a logical volume."""
        return self._keep(self._g4.G4LogicalVolume(self._keep(solid), material, name))

    def _slab(self, name: str, section: Section, depth: float, material: Any) -> Any:
        """Make a volume with the section's cross-section, ``depth`` mm long."""
        if section.polar:
            solid = self._g4.G4Tubs(name, 0.0, section.radius_mm, depth / 2, -math.pi, 2 * math.pi)
        else:
            half_x, half_y = (count * section.cell_mm / 2 for count in (section.num_x, section.num_y))
            solid = self._g4.G4Box(name, half_x, half_y, depth / 2)
        return self._volume(name, solid, material)

    def _section(self, name: str, section: Section, mother: Any, front: float, absorber: Any, active: Any) -> None:
        """Place a section whose front lies at z = ``front`` mm: layers of absorber, then active cells."""
        g4 = self._g4
        pitch = section.absorber_mm + section.active_mm
        stack = self._slab(name, section, section.depth_mm, absorber)
        middle = g4.G4ThreeVector(0.0, 0.0, front + section.depth_mm / 2)
        self._keep(g4.G4PVPlacement(None, middle, stack, name, mother, False, 0))
        layer = self._slab(f"{name}-layer", section, pitch, absorber)
        self._keep(g4.G4PVReplica(f"{name}-layer", layer, stack, g4.kZAxis, section.num_layers, pitch))
        medium = self._slab(f"{name}-active", section, section.active_mm, active)
        behind = g4.G4ThreeVector(0.0, 0.0, section.absorber_mm / 2)
        self._keep(g4.G4PVPlacement(None, behind, medium, f"{name}-active", layer, False, 0))
        depth, cell = section.active_mm / 2, section.cell_mm
        if section.polar:
            angle = 2 * math.pi / section.num_alpha
            wedge = g4.G4Tubs(f"{name}-row", 0.0, section.radius_mm, depth, -angle / 2, angle)
            box = g4.G4Tubs(f"{name}-cell", 0.0, cell, depth, -angle / 2, angle)
            axes = (g4.kPhi, section.num_alpha, angle, -math.pi), (g4.kRho, sum(section.rings), cell, 0.0)
        else:
            wedge = g4.G4Box(f"{name}-row", section.num_x * cell / 2, cell / 2, depth)
            box = g4.G4Box(f"{name}-cell", cell / 2, cell / 2, depth)
            axes = (g4.kYAxis, section.num_y, cell, 0.0), (g4.kXAxis, section.num_x, cell, 0.0)
        row = self._volume(f"{name}-row", wedge, active)
        self._keep(g4.G4PVReplica(f"{name}-row", row, medium, *axes[0]))
        leaf = self._volume(f"{name}-cell", box, active)
        self._keep(g4.G4PVReplica(f"{name}-cell", leaf, row, *axes[1]))
        self._cells.append(leaf)


class PlacedDetector:
    """A detector of fastsim in a world of one's own, in an envelope of its own, its layers along z.

    Args:
        detector: what to build.
        world: logical volume of the world; the envelope is placed in it and filled with its material.
        front: middle of the front face in mm.
        name: of the envelope; begins the names of all that is in it.

    Attributes:
        detector: what was built.
        envelope: logical volume that holds the detector.
        grid: numbers of its cells.

    Raises:
        InvalidValue: if ``front`` is not three finite numbers.
        FastsimError: if Geant4 does not know a material.
    """

    def __init__(
        self, detector: Detector, world: Any, *, front: tuple[float, float, float] = (0.0, 0.0, 0.0), name: str = ""
    ) -> None:
        g4 = library("geant4_pybind")
        self._front = np.asarray(front, dtype=np.float64)
        if self._front.shape != (3,) or not np.isfinite(self._front).all():
            raise InvalidValue(f"front is {front}, must be x, y and z in mm")
        self.detector, self.grid, name = detector, CellGrid(detector), name or detector.name
        half = detector.depth_mm / 2
        sections = detector.sections
        if sections[0].polar:
            solid = g4.G4Tubs(name, 0.0, max(s.radius_mm for s in sections), half, -math.pi, 2 * math.pi)
        else:
            sides = (max(getattr(s, axis) * s.cell_mm / 2 for s in sections) for axis in ("num_x", "num_y"))
            solid = g4.G4Box(name, *sides, half)
        self.envelope = g4.G4LogicalVolume(solid, world.GetMaterial(), name)
        middle = g4.G4ThreeVector(*self._front[:2].tolist(), float(self._front[2]) + half)
        place = g4.G4PVPlacement(None, middle, self.envelope, name, world, False, 0)
        self._objects = (solid, place)  # Geant4 does not own the objects that Python creates
        self._run_manager = g4.G4RunManager
        self._volumes = DetectorVolumes(g4, detector, self.envelope, front=-half, prefix=f"{name}-")
        self._volumes.score()

    def hits(self, event: Any) -> Hits:
        """Return what Geant4 has deposited in the cells in an event; call it at the event's end.

        Places are the middles of the cells, times are not known.
        """
        cell, energy = self._volumes.deposits(event)
        layer, x, y, z = self.grid.centres(cell)
        run = np.full(len(cell), self._run_manager.GetRunManager().GetCurrentRun().GetRunID())
        number = np.full(len(cell), event.GetEventID())
        position = np.stack([x, y, z], axis=1) + self._front
        return Hits(run, number, layer, position, energy, np.full(len(cell), np.nan), np.zeros(len(cell), np.bool_))

    def cells(self, hits: Hits) -> NDArray[np.int64]:
        """Return the cell of each of N hits, (N,), -1 beside the detector; ``hits.summed`` takes them."""
        x, y, _ = (hits.position - self._front).T
        return self.grid.cells(hits.layer, x, y)
