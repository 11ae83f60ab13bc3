"""A simulation of Geant4 with a tracker, a calorimeter twice, and a model in it; for a process of its own."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.detector.hits import Hits
from fastsim.errors import FastsimError

Vector = tuple[float, float, float]

FRONT = (5.0, -8.0, 30.0)
"""Middle of the front face of the calorimeter, in mm."""
TURNED = (400.0, 0.0, 100.0)
"""The same of its second copy, whose layers lie across x."""


@dataclass(frozen=True)
class Shot:
    """A particle: Geant4's name, kinetic energy in GeV, where from, in mm, and whereto."""

    name: str
    energy: float
    place: Vector = (FRONT[0], FRONT[1], -100.0)
    direction: Vector = (0.0, 0.0, 1.0)


def leaning(angle: float) -> Shot:
    """A soft electron that hits the middle of the front under an angle, from 20 mm before it."""
    direction = (float(np.sin(angle)), 0.0, float(np.cos(angle)))
    x, y, z = (value - 20.0 * along for value, along in zip(FRONT, direction, strict=True))
    return Shot("e-", 1.5, (x, y, z), direction)


PHOTONS = [Shot("gamma", 2.0)] * 30
POSITRONS = [Shot("e+", 0.08)] * 300
MIXED = [
    Shot("gamma", 50.0),
    Shot("gamma", 1.2),
    Shot("gamma", 0.05),
    Shot("mu-", 1.5),
    Shot("gamma", 40.0, (FRONT[0] + 20.0, FRONT[1] - 10.0, -100.0)),
    leaning(0.1),
    leaning(0.3),
    Shot("gamma", 1.5, (FRONT[0] - 150.0, FRONT[1], FRONT[2] + 60.0), (1.0, 0.0, 0.0)),
    Shot("gamma", 1.5, (FRONT[0], FRONT[1], FRONT[2] + 300.0), (0.0, 0.0, -1.0)),
    Shot("gamma", 30.0, (TURNED[0] - 100.0, TURNED[1] + 10.0, TURNED[2]), (1.0, 0.0, 0.0)),
    Shot("gamma", 2.0, (FRONT[0], FRONT[1], FRONT[2] + 20.0)),
    Shot("e+", 1.5),
]
"""Taken; taken; too soft; a muon; taken off the axis; taken at an angle; too large an angle; from the side; from
behind; taken by the second copy; begins within the calorimeter; a positron, taken as an electron."""


def simulate(data: Path, output: Path) -> None:
    """Run all and write the hits of each run as ``NAME.npz``, what else there is to say as ``said.json``."""
    try:
        (output / "said.json").write_text(json.dumps(_simulate(data, output)))
        os._exit(0)  # Geant4's destructors crash in the order that Python calls them
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _simulate(data: Path, output: Path) -> dict[str, Any]:
    import fastsim.geant4
    from fastsim.detector.detector import load_detector

    os.environ.update(fastsim.geant4.data_environment("em", data))
    import geant4_pybind as g4

    errors: dict[str, str] = {}

    def refused(name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except FastsimError as error:
            errors[name] = str(error)

    if os.fork() == 0:  # a process has one run manager
        threads = g4.G4MTRunManager()
        loose = g4.G4LogicalVolume(g4.G4Box("loose", 1.0, 1.0, 1.0), None, "loose")
        refused("threads", lambda: fastsim.geant4.attach(loose, "pb-si-cascade", max_theta=0.1))
        (output / "threads.json").write_text(json.dumps(errors))
        del threads
        os._exit(0)
    os.wait()
    errors.update(json.loads((output / "threads.json").read_text()))

    shots: list[Shot] = []
    found: list[Hits] = []

    class Geometry(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
        def Construct(self) -> Any:
            nist = g4.G4NistManager.Instance()
            vacuum, si = (nist.FindOrBuildMaterial(name) for name in ("G4_Galactic", "G4_Si"))
            box = g4.G4Box("world", 900.0, 300.0, 500.0)
            self.world = g4.G4LogicalVolume(box, vacuum, "world")
            place = g4.G4PVPlacement(None, g4.G4ThreeVector(), self.world, "world", None, False, 0)
            sheet = g4.G4Box("tracker", 100.0, 100.0, 0.15)
            self.tracker = g4.G4LogicalVolume(sheet, si, "tracker")
            layers = [
                g4.G4PVPlacement(None, g4.G4ThreeVector(0, 0, z), self.tracker, "tracker", self.world, False, number)
                for number, z in enumerate((-40.0, -20.0))
            ]
            self.calorimeter = fastsim.geant4.place("pb-si-ecal", self.world, front=FRONT)
            turn = g4.G4RotationMatrix()
            turn.rotateY(-np.pi / 2)  # Geant4 takes the inverse of what turns the volume
            middle = g4.G4ThreeVector(TURNED[0] + self.calorimeter.detector.depth_mm / 2, TURNED[1], TURNED[2])
            copy = g4.G4PVPlacement(turn, middle, self.calorimeter.envelope, "turned", self.world, False, 1)
            self.alone = g4.G4LogicalVolume(sheet, si, "alone")
            self.objects = (box, place, sheet, layers, turn, copy)
            return place

    class Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)
            self.table = g4.G4ParticleTable.GetParticleTable()

        def GeneratePrimaries(self, event: Any) -> None:
            shot = shots[event.GetEventID()]
            self.gun.SetParticleDefinition(self.table.FindParticle(shot.name))
            self.gun.SetParticlePosition(g4.G4ThreeVector(*shot.place))
            self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*shot.direction))
            self.gun.SetParticleEnergy(shot.energy * g4.GeV)
            self.gun.GeneratePrimaryVertex(event)

    class Readout(g4.G4UserEventAction):  # type: ignore[misc]
        def EndOfEventAction(self, event: Any) -> None:
            found.append(geometry.calorimeter.hits(event))

    class Count(g4.G4UserSteppingAction):  # type: ignore[misc]
        steps = 0

        def UserSteppingAction(self, step: Any) -> None:
            self.steps += 1

    class Actions(g4.G4VUserActionInitialization):  # type: ignore[misc]
        def Build(self) -> None:
            self.SetUserAction(gun)
            self.SetUserAction(readout)

    def run(particles: Sequence[Shot]) -> Hits:
        shots[:] = particles
        found.clear()
        manager.BeamOn(len(particles))
        return Hits.concatenate(found)

    def write(name: str, hits: Hits) -> None:
        np.savez(
            output / f"{name}.npz",
            cells=geometry.calorimeter.cells(hits),
            **{field.name: getattr(hits, field.name) for field in fields(hits)},
        )

    detector = load_detector("pb-si-ecal")
    geometry, physics = Geometry(), fastsim.geant4.physics_list(detector)
    manager = g4.G4RunManager()
    manager.SetUserInitialization(geometry)
    manager.SetUserInitialization(physics)
    gun, readout, actions, count = Gun(), Readout(), Actions(), Count()
    manager.SetUserInitialization(actions)
    fastsim.geant4.apply_settings(detector)
    g4.HepRandom.setTheSeed(5)
    model = fastsim.load_showers("pb-si-cascade")

    def attach(envelope: Any, max_theta: Any = 0.2) -> Any:
        return fastsim.geant4.attach(envelope, model, max_theta=max_theta, rng=2)

    loose = g4.G4LogicalVolume(g4.G4Box("loose", 1.0, 1.0, 1.0), None, "loose")
    refused("early", lambda: attach(loose))
    manager.Initialize()
    write("photons", run(PHOTONS))
    write("positrons", run(POSITRONS))

    envelope = geometry.calorimeter.envelope
    refused("world", lambda: attach(geometry.world))
    refused("world-region", lambda: attach(geometry.world.GetRegion()))
    refused("type", lambda: attach("pb-si-ecal"))
    refused("loose", lambda: attach(geometry.alone))
    refused("empty-region", lambda: attach(g4.G4Region("empty")))
    refused("short", lambda: attach(geometry.tracker))
    refused("angle", lambda: attach(envelope, 1.6))
    refused("nan", lambda: attach(envelope, float("nan")))
    refused("text", lambda: attach(envelope, "0.1"))
    world = geometry.world.GetRegion()
    world.SetRegionalSteppingAction(count)
    region = attach(envelope)
    refused("twice", lambda: attach(envelope))

    write("photons-fast", Hits.concatenate([run(PHOTONS), region.hits()]))
    write("positrons-fast", Hits.concatenate([run(POSITRONS), region.hits()]))
    before = dict(region.counts)
    both = [run(MIXED), run(MIXED[:2])]
    waiting = len(region)
    write("mixed", Hits.concatenate([*both, region.hits(batch=3)]))
    said = {
        "waiting": [waiting, len(region), len(region.hits())],
        "counts": {key: number - before.get(key, 0) for key, number in region.counts.items()},
        "steps": count.steps,
    }
    region.detach()
    write("detached", Hits.concatenate([run(PHOTONS[:3]), region.hits()]))
    said["restored"] = world.GetRegionalSteppingAction() is count
    attach(envelope.GetRegion()).detach()
    return {**said, "errors": errors}
