"""A region of a Geant4 simulation whose showers a source makes.

A particle that enters the region through its front, and that the source takes, is stopped at the boundary and noted;
Geant4 goes on with all others. The showers are drawn later, for many particles at once, and put where the particles
entered.

Geant4's own interface for this, G4VFastSimulationModel, is not in geant4-pybind. What it has, a stepping action of a
region, is called for the steps that begin in that region. So the actions here belong to the regions around the
calorimeter: they see each particle that crosses the boundary, with the energy that it has there, while in the
calorimeter, where nearly all steps are, no Python runs.

References:
    Agostinelli et al., Geant4: a simulation toolkit, 2003, Nucl. Instrum. Meth. A 506, 250.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastsim.detector.cell_grid import CellGrid
from fastsim.detector.detector import Detector, load_detector
from fastsim.detector.flight import in_layer
from fastsim.detector.hits import Hits
from fastsim.detector.incidents import Incidents
from fastsim.detector.voxel_places import voxel_places
from fastsim.errors import FastsimError, InvalidValue, PipelineError
from fastsim.event import Floats, Ints
from fastsim.extras import library
from fastsim.sources.showers import ShowerSource
from fastsim.sources.source import RNG, generator

TAKEN, PARTICLE, ENERGY, ANGLE, SIDE = "taken", "particle", "energy", "angle", "side"
"""What became of a particle that entered: the source took it, or why it was left to Geant4."""

SPEED_OF_LIGHT = 299.792458
"""In mm/ns."""

_TOLERANCE_MM = 1e-3
_ATTACHED: dict[str, ShowerRegion] = {}
"""By name of the region. Geant4 calls the actions as long as the process lives, but does not own them."""


class Entry(NamedTuple):
    """A particle that was stopped at the front: where, when, and what it was.

    ``position`` in mm and the ``axes`` of the region's volume are in the world; ``theta`` and ``phi`` are the direction
    of flight about these axes in rad, ``energy`` is kinetic in GeV, ``time`` in ns.
    """

    run: int
    event: int
    pdg_id: int
    energy: float
    theta: float
    phi: float
    time: float
    position: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]


class ShowerRegion:
    """A region whose showers a source makes; :func:`hand_over` returns one.

    ``len(region)`` is the number of particles whose showers have not been asked for yet.

    Attributes:
        source: of the showers.
        max_theta: largest angle of a particle that it takes to the normal of the layers, in rad.
        counts: particles that entered so far, by what became of them: the source took them (``taken``), or they were
            left to Geant4 for their species (``particle``), their ``energy``, their ``angle``, or since they came
            through a ``side`` or the back.
    """

    def __init__(self, source: ShowerSource, detector: Detector, max_theta: float, rng: RNG) -> None:
        self.source, self.max_theta, self.counts = source, max_theta, Counter[str]()
        self._rng = generator(rng)
        self._entries: list[Entry] = []
        self._depth = CellGrid(detector).depth
        groups = [section.group for section in detector.sections for _ in range(section.voxels[0])]
        self._group = np.array(groups, dtype=np.int64)
        self._first_layer = np.cumsum(self._group) - self._group
        self._previous: list[tuple[Any, Any]] = []
        self._watches: list[Any] = []
        self._name = ""

    def __len__(self) -> int:
        return len(self._entries)

    def hits(self, batch: int = 500) -> Hits:
        """Draw the showers of all particles that were stopped since the last call, and return their deposits.

        A shower begins where its particle entered. The energy of a voxel is put at a random place in it, in the middle
        of the active medium of its layer, about the particle's line of flight. The source makes showers of particles
        within its own ``max_theta``; those of others are perpendicular ones, moved in each layer to where the particle
        would have flown. The time is that at
        which something as fast as light, along the direction of flight, would have come there.

        Call it as often as memory asks for, between runs or at the end of an event: an event's hits are complete when
        the event is.

        Args:
            batch: showers that the source makes together.

        Raises:
            InvalidValue: if the batch is smaller than 1.
            PipelineError: if the source gives no valid deposits; the particles stay for another call.
        """
        if batch < 1:
            raise InvalidValue(f"batch is {batch}, must be 1 at least")
        entries = self._entries
        parts = [self._drawn(entries[first : first + batch]) for first in range(0, len(entries), batch)]
        self._entries = entries[len(entries) :]
        return Hits.concatenate(parts)

    def detach(self) -> None:
        """Leave all particles to Geant4 again; those stopped before keep their showers."""
        for region, action in self._previous:
            region.SetRegionalSteppingAction(action)
        self._previous.clear()
        _ATTACHED.pop(self._name, None)

    def _drawn(self, entries: list[Entry]) -> Hits:
        """Draw the showers of particles together, (N,), and return the hits of their voxels with energy."""
        pdg_id, energy, theta, phi, time = (
            np.array([getattr(entry, name) for entry in entries])
            for name in ("pdg_id", "energy", "theta", "phi", "time")
        )
        run, event = (np.array([getattr(entry, name) for entry in entries]) for name in ("run", "event"))
        position, axes = (np.array([getattr(entry, name) for entry in entries]) for name in ("position", "axes"))
        own = theta <= self.source.domain.max_theta
        incidents = Incidents(pdg_id, energy, np.where(own, theta, 0.0), np.where(own, phi, 0.0))
        showers = self.source.sample(incidents, rng=self._rng)
        if not np.isfinite(showers).all() or (showers < 0).any():
            raise PipelineError(f"{self.source.name} gave a shower with deposits that are negative or not finite")
        seen = np.where(own, theta, 0.0)  # a circle of a perpendicular shower stays one
        shift = np.where(own, 0.0, np.tan(theta))
        parts = []
        for species in np.unique(pdg_id):
            rows = np.flatnonzero(pdg_id == species)
            shower, voxel = np.nonzero(showers[rows])
            layer, x, y = self._places(int(species), shower, voxel)
            shower = rows[shower]
            depth = self._depth[layer]
            x, y = in_layer(x, y, depth, seen[shower], phi[shower])
            x += depth * (shift * np.cos(phi))[shower]
            y += depth * (shift * np.sin(phi))[shower]
            place = position[shower] + np.einsum("nk,nkx->nx", np.stack([x, y, depth], axis=1), axes[shower])
            late = time[shower] + depth / (SPEED_OF_LIGHT * np.cos(theta[shower]))
            deposit = showers[shower, voxel].astype(np.float64)
            by_model = np.ones(len(shower), np.bool_)
            parts.append(Hits(run[shower], event[shower], layer, place, deposit, late, by_model))
        return Hits.concatenate(parts)

    def _places(self, pdg_id: int, shower: Ints, voxel: Ints) -> tuple[Ints, Floats, Floats]:
        """Draw layer of the detector, x and y in mm in voxels of numbered showers of a particle, (N,) each.

        Each place is uniform over its voxel. But the voxels of a layer share the place along alpha, and those of a
        sector that along r: neighbours keep their distance, and a shower that lies beside the grid of the detector's
        cells has about as many of them as on it. Places of their own would put two voxels into one cell too often.
        """
        places = voxel_places(self.source.binning(pdg_id).layers)
        num = int(shower.max(initial=-1)) + 1
        outwards = self._rng.uniform(size=(num, int(places.sector[-1]) + 1))
        around = self._rng.uniform(size=(num, len(self._group)))
        voxel_layer = places.layer[voxel]
        r, alpha = places.at(voxel, outwards[shower, places.sector[voxel]], around[shower, voxel_layer])
        group = self._group[voxel_layer]
        layer = self._first_layer[voxel_layer]
        if (group > 1).any():
            layer = layer + self._rng.integers(0, group)
        return layer, r * np.cos(alpha), r * np.sin(alpha)

    def _fate(self, pdg_id: int, energy: float, theta: float, behind_front: float) -> str:
        """Say what becomes of a particle that enters ``behind_front`` mm behind the front."""
        domain = self.source.domain
        if behind_front > _TOLERANCE_MM or theta >= math.pi / 2:
            return SIDE
        if pdg_id not in domain.particles:
            return PARTICLE
        if not domain.min_energy <= energy <= domain.max_energy:
            return ENERGY
        return TAKEN if theta <= self.max_theta else ANGLE

    def _watch(self, g4: Any, envelope: Any, around: list[Any], fronts: dict[Any, float]) -> None:
        """Look at the steps that begin in the regions ``around`` the one that holds the volumes of ``fronts``."""
        alive, boundary, stopped = g4.fAlive, g4.fGeomBoundary, g4.fStopAndKill
        unit = [g4.G4ThreeVector(*(float(i == k) for i in range(3))) for k in range(3)]
        manager = g4.G4RunManager.GetRunManager()

        def inside(point: Any) -> Any:
            """Return the volume of the region that a point lies in, with the way from the world to it; or None."""
            history = point.GetTouchable().GetHistory()
            for level in range(history.GetDepth() + 1):
                volume = history.GetVolume(level)
                if volume is not None and (logical := volume.GetLogicalVolume()) in fronts:
                    return logical, history.GetTransform(level)
            return None

        def look(step: Any, point: Any) -> None:
            """Stop the particle of a step that ends at a boundary, and note it, if the source takes it."""
            track = step.GetTrack()
            if track.GetTrackStatus() != alive or (entered := inside(point)) is None:
                return
            if inside(step.GetPreStepPoint()) is not None:  # a region of its own within the calorimeter
                return
            logical, transform = entered
            place, direction = point.GetPosition(), point.GetMomentumDirection()
            axes = [transform.InverseTransformAxis(vector) for vector in unit]
            along = [axis.dot(direction) for axis in axes]
            theta = math.acos(max(-1.0, min(1.0, along[2])))
            pdg_id, energy = track.GetDefinition().GetPDGEncoding(), point.GetKineticEnergy() / g4.GeV
            behind = transform.TransformPoint(place).z - fronts[logical]
            fate = self._fate(pdg_id, energy, theta, behind)
            self.counts[fate] += 1
            if fate != TAKEN:
                return
            run, event = manager.GetCurrentRun().GetRunID(), manager.GetCurrentEvent().GetEventID()
            phi = math.atan2(along[1], along[0])
            time, position = point.GetGlobalTime() / g4.ns, (place.x, place.y, place.z)
            columns = tuple((axis.x, axis.y, axis.z) for axis in axes)
            self._entries.append(Entry(run, event, pdg_id, energy, theta, phi, time, position, columns))
            track.SetTrackStatus(stopped)

        class Watch(g4.G4UserSteppingAction):  # type: ignore[misc]
            def __init__(self, previous: Any) -> None:
                super().__init__()
                self.previous = previous

            def UserSteppingAction(self, step: Any) -> None:
                """Look at a step; Geant4 calls this for each that begins in the action's region."""
                if self.previous is not None:
                    self.previous.UserSteppingAction(step)
                point = step.GetPostStepPoint()
                if point.GetStepStatus() == boundary:
                    look(step, point)

        for region in around:
            previous = region.GetRegionalSteppingAction()
            self._previous.append((region, previous))
            self._watches.append(Watch(previous))
            region.SetRegionalSteppingAction(self._watches[-1])
        self._name = envelope.GetName()
        _ATTACHED[self._name] = self


def hand_over(envelope: Any, source: ShowerSource, *, max_theta: float, rng: RNG = None) -> ShowerRegion:
    """Let a source make the showers of particles that enter a region of Geant4.

    Args:
        envelope: a G4LogicalVolume or a G4Region of the geometry.
        source: of the showers.
        max_theta: largest angle to the normal of the layers, in rad.
        rng: randomness of the showers.

    Raises:
        FastsimError: if geant4-pybind is missing, the run manager has threads, Geant4 has no geometry yet, the envelope
            is not in it or does not fit the source, or another source makes its showers.
        InvalidValue: if the angle is not in [0, pi / 2).
    """
    if not (isinstance(max_theta, int | float) and 0 <= max_theta < math.pi / 2):
        raise InvalidValue(f"max_theta is {max_theta!r} rad, must be at least 0 and less than pi / 2")
    g4 = library("geant4_pybind")
    if not isinstance(envelope, g4.G4LogicalVolume | g4.G4Region):
        kind = type(envelope).__name__
        raise FastsimError(f"the envelope is of type {kind}; give the G4LogicalVolume or the G4Region of a calorimeter")
    detector = source.geometry or load_detector(source.detector)
    shower_region = ShowerRegion(source, detector, float(max_theta), rng)
    if isinstance(g4.G4RunManager.GetRunManager(), g4.G4MTRunManager):
        raise FastsimError("a model works with the sequential G4RunManager, not with one of several threads")
    place = g4.G4TransportationManager.GetTransportationManager().GetNavigatorForTracking().GetWorldVolume()
    if place is None:
        raise FastsimError("Geant4 has no geometry yet: attach the model after the run manager's Initialize()")
    world = place.GetLogicalVolume()
    volumes = list(_tree(world, set()))
    region = _region(g4, envelope, world, volumes)
    if region.GetName() in _ATTACHED:
        other = _ATTACHED[region.GetName()].source.name
        raise FastsimError(f"region {region.GetName()}: {other} makes its showers already; detach it first")
    roots = [volume for volume in volumes if volume.IsRootRegion() and volume.GetRegion() is region]
    around = {volume.GetRegion().GetName(): volume.GetRegion() for volume in volumes}
    del around[region.GetName()]
    fronts = {root: _front(g4, root, detector, source) for root in roots}
    shower_region._watch(g4, region, list(around.values()), fronts)
    return shower_region


def _tree(volume: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield a logical volume and all within it, each once."""
    if volume in seen:
        return
    seen.add(volume)
    yield volume
    for number in range(volume.GetNoDaughters()):
        yield from _tree(volume.GetDaughter(number).GetLogicalVolume(), seen)


def _region(g4: Any, envelope: Any, world: Any, volumes: list[Any]) -> Any:
    """Return the region of an envelope; a volume that has none gets one, with the cuts of the world."""
    name, default = envelope.GetName(), world.GetRegion()
    if isinstance(envelope, g4.G4Region):
        if envelope is default:
            raise FastsimError("the envelope is the region of the world; give that of a calorimeter in it")
        if not any(volume.IsRootRegion() and volume.GetRegion() is envelope for volume in volumes):
            raise FastsimError(f"region {name} has no volume in the world")
        return envelope
    if envelope is world:
        raise FastsimError("the envelope is the world; give the volume of a calorimeter in it")
    if envelope not in volumes:
        raise FastsimError(f"volume {name} is not placed in the world")
    if envelope.IsRootRegion():
        return envelope.GetRegion()
    if envelope.GetRegion() is not default:
        within = envelope.GetRegion().GetName()
        raise FastsimError(
            f"volume {name} lies in region {within}: give it a region of its own, with the cuts you want"
        )
    region = g4.G4Region(f"{name}-showers")
    region.AddRootLogicalVolume(envelope)
    return region


def _front(g4: Any, volume: Any, detector: Detector, source: ShowerSource) -> float:
    """Return z of the front face of a volume in its own frame, in mm, if the source's showers fit in it."""
    low, high = g4.G4ThreeVector(), g4.G4ThreeVector()
    volume.GetSolid().BoundingLimits(low, high)
    if high.z - low.z < detector.depth_mm - _TOLERANCE_MM:
        raise FastsimError(
            f"volume {volume.GetName()} is {high.z - low.z:g} mm long along its z axis, but {detector.name}, of whose "
            f"showers {source.name} is, {detector.depth_mm:g} mm; its layers have to lie across z, as the detector's do"
        )
    return float(low.z)
