"""Put a learned calorimeter behind a tracker in a simulation of Geant4, and measure what is won.

Ten layers of silicon stand before the lead-silicon calorimeter that the model was trained on. The same particles are
shot twice: Geant4 simulates all of it, then the model makes the showers of the particles that it takes. Printed are the
CPU time of an event on one thread (loading and a first call are not counted), the energy that the calorimeter sees, and
the cells above a threshold.

    python examples/geant4_calorimeter.py --particle gamma --energy 10 --geant4-data DIR

Needs the extra ``geant4``, and Geant4's data sets (docs/calorimeter.md).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import fastsim.geant4
from fastsim.detector.detector import PARTICLES, load_detector
from fastsim.detector.hits import Hits
from fastsim.detector.incidents import Incidents

DETECTOR = "pb-si-ecal"
NUM_LAYERS, LAYER_MM, STEP_MM = 10, 0.3, 50.0
"""Layers of the tracker, their thickness and distance."""
THRESHOLD = 0.02
"""Of a cell, in MeV: a quarter of what a muon leaves in 0.3 mm of silicon."""


class Simulation:
    """Geant4 with a tracker and the calorimeter; a process can hold one only.

    Args:
        particle: name as in options of fastsim.
        energy: kinetic energy in GeV.
        beam: width of the beam in mm.
        seed: of Geant4.
    """

    def __init__(self, particle: str, energy: float, beam: float, seed: int) -> None:
        import geant4_pybind as g4

        detector = load_detector(DETECTOR)

        class Geometry(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
            def Construct(self) -> Any:
                """Build the world, the tracker in it, and the calorimeter behind that."""
                nist = g4.G4NistManager.Instance()
                box = g4.G4Box("world", 150.0, 150.0, 700.0)
                world = g4.G4LogicalVolume(box, nist.FindOrBuildMaterial("G4_Galactic"), "world")
                place = g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "world", None, False, 0)
                sheet = g4.G4Box("silicon", 100.0, 100.0, LAYER_MM / 2)
                silicon = g4.G4LogicalVolume(sheet, nist.FindOrBuildMaterial("G4_Si"), "silicon")
                middles = [g4.G4ThreeVector(0, 0, -STEP_MM * (number + 1)) for number in range(NUM_LAYERS)]
                layers = [
                    g4.G4PVPlacement(None, middle, silicon, "silicon", world, False, number)
                    for number, middle in enumerate(middles)
                ]
                self.calorimeter = fastsim.geant4.place(detector, world)  # its front face at z = 0
                self.objects = (box, world, place, sheet, silicon, layers)  # Geant4 does not own what Python creates
                return place

        class Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.gun = g4.G4ParticleGun(1)
                self.gun.SetParticleDefinition(
                    g4.G4ParticleTable.GetParticleTable().FindParticle(PARTICLES[particle][1])
                )
                self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(0, 0, 1))
                self.gun.SetParticleEnergy(energy * g4.GeV)
                self.rng = np.random.default_rng(seed)

            def GeneratePrimaries(self, event: Any) -> None:
                """Shoot a particle along z."""
                x, y = self.rng.normal(0.0, beam, 2).tolist()
                self.gun.SetParticlePosition(g4.G4ThreeVector(x, y, -STEP_MM * (NUM_LAYERS + 1)))
                self.gun.GeneratePrimaryVertex(event)

        class Readout(g4.G4UserEventAction):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.hits: list[Hits] = []

            def EndOfEventAction(self, event: Any) -> None:
                """Collect what Geant4 has deposited in the calorimeter."""
                self.hits.append(geometry.calorimeter.hits(event))

        class Actions(g4.G4VUserActionInitialization):  # type: ignore[misc]
            def Build(self) -> None:
                """Register the actions."""
                self.SetUserAction(gun)
                self.SetUserAction(readout)

        geometry, physics = Geometry(), fastsim.geant4.physics_list(detector)
        self._run_manager = g4.G4RunManager()
        self._run_manager.SetUserInitialization(geometry)
        self._run_manager.SetUserInitialization(physics)
        gun, readout, actions = Gun(), Readout(), Actions()
        self._run_manager.SetUserInitialization(actions)
        fastsim.geant4.apply_settings(detector)
        g4.G4UImanager.GetUIpointer().ApplyCommand("/process/em/verbose 0")
        g4.HepRandom.setTheSeed(seed)
        self._run_manager.Initialize()
        self._run_manager.BeamOn(0)  # builds the tables of cross-sections
        self.calorimeter = geometry.calorimeter
        self._readout, self._objects = readout, (geometry, physics, gun, actions)

    def shoot(self, num: int) -> Hits:
        """Simulate events, and return what Geant4 has deposited in the calorimeter."""
        self._readout.hits.clear()
        self._run_manager.BeamOn(num)
        return Hits.concatenate(self._readout.hits)


@dataclass(frozen=True)
class Result:
    """Events simulated in one way: CPU ms an event, energies seen in MeV (N,), cells above the threshold (N,)."""

    name: str
    cost: float
    energy: NDArray[np.float64]
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, seconds: float, hits: Hits, num: int, calorimeter: Any) -> Result:
        """Measure the hits of ``num`` events that took some CPU seconds."""
        cells = hits.summed(calorimeter.cells(hits))
        energy = np.asarray(np.bincount(cells.event, cells.energy, minlength=num), dtype=np.float64)
        above = np.bincount(cells.event[cells.energy > THRESHOLD], minlength=num)
        return cls(name, 1e3 * seconds / num, energy, above)

    def row(self) -> str:
        """Return a line of the table; errors are standard errors."""
        num = len(self.energy)
        mean, width, cells = self.energy.mean(), self.energy.std(ddof=1), self.cells.mean()
        error, cells_error = width / num**0.5, self.cells.std(ddof=1) / num**0.5
        ratio = width / mean
        return (
            f"{self.name:<11}{num:>7}{self.cost:>12.3g}{mean:>10.2f} ± {error:<6.2f}"
            f"{100 * ratio:>8.2f} ± {100 * ratio / (2 * num) ** 0.5:<6.2f}{cells:>8.1f} ± {cells_error:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particle", choices=("e-", "e+", "gamma"), default="gamma")
    parser.add_argument("--energy", type=float, default=10.0, help="GeV")
    parser.add_argument("--beam", type=float, default=1.0, help="width of the beam in mm")
    parser.add_argument("--num", type=int, default=50, help="events that Geant4 simulates as a whole")
    parser.add_argument("--num-model", type=int, default=500, help="events with the model")
    parser.add_argument("--model", default="pb-si-cascade", help="name, or path of a card")
    parser.add_argument("--max-theta", type=float, default=0.1, help="of particles that the model takes, in rad")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--geant4-data", help="folder of Geant4's data sets")
    options = parser.parse_args()

    model = fastsim.load_showers(options.model)
    os.environ.update(fastsim.geant4.data_environment("em", options.geant4_data))  # before geant4_pybind is imported
    simulation = Simulation(options.particle, options.energy, options.beam, options.seed)
    model.sample(Incidents.perpendicular(22, np.full(2, 10.0)), rng=1)

    start = time.process_time()
    hits = simulation.shoot(options.num)
    spent = time.process_time() - start
    full = Result.of("Geant4", spent, hits, options.num, simulation.calorimeter)

    fast = fastsim.geant4.attach(simulation.calorimeter.envelope, model, max_theta=options.max_theta, rng=options.seed)
    start = time.process_time()
    hits = simulation.shoot(options.num_model)
    in_geant4 = time.process_time() - start
    hits = Hits.concatenate([hits, fast.hits()])  # one collection, whoever made them
    spent = time.process_time() - start
    learned = Result.of(model.name[:10], spent, hits, options.num_model, simulation.calorimeter)

    print(f"{options.particle} of {options.energy:g} GeV behind {NUM_LAYERS} layers of {LAYER_MM} mm silicon")
    print(f"{'':<11}{'events':>7}{'CPU ms':>12}{'MeV seen':>15}{'width, %':>18}{'cells':>13}")
    print(full.row())
    print(learned.row())
    print(f"the whole simulation is {full.cost / learned.cost:.1f} times faster")
    print(f"of the {learned.cost:.3g} ms, Geant4 takes {1e3 * in_geant4 / options.num_model:.3g}")
    share = hits.energy[hits.by_model].sum() / hits.energy.sum()
    print(f"particles that entered: {dict(fast.counts)}; the model made {100 * share:.1f}% of the energy")
    sys.stdout.flush()
    os._exit(0)  # Geant4's destructors crash in the order that Python calls them


if __name__ == "__main__":
    main()
