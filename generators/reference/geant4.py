"""The reference of calorimeter showers: Geant4 through geant4-pybind, particles onto one detector.

A process initialises Geant4 once, for one detector, and never twice; so this module is used by worker processes only
(:mod:`generators.reference.geant4_workers`). A particle flies to the centre of the front face and starts 1 um before
it. Deposits are scored by Geant4's own scorers, so Python runs once for each shower, not for each step. The detector is
surrounded by its absorber at 1e-25 g/cm3: a vacuum that brings in no other element.

References:
    Agostinelli et al., Geant4: a simulation toolkit, 2003, Nucl. Instrum. Meth. A 506, 250.
    Allison et al., Recent developments in Geant4, 2016, Nucl. Instrum. Meth. A 835, 186.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import Detector, Section
from fastsim.errors import FastsimError

DATA_VARIABLE = "FASTSIM_GEANT4_DATA"
"""Environment variable that names a folder of Geant4's data sets."""

DATA_SETS = {
    "G4LEDATA": "G4EMLOW",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE",
    "G4PARTICLEXSDATA": "G4PARTICLEXS",
    "G4LEVELGAMMADATA": "PhotonEvaporation",
    "G4SAIDXSDATA": "G4SAIDDATA",
    "G4NEUTRONHPDATA": "G4NDL",
    "G4PARTICLEHPDATA": "G4TENDL",
    "G4RADIOACTIVEDATA": "RadioactiveDecay",
    "G4PIIDATA": "G4PII",
    "G4REALSURFACEDATA": "RealSurface",
    "G4ABLADATA": "G4ABLA",
    "G4INCLDATA": "G4INCL",
    "G4CHANNELINGDATA": "G4CHANNELING",
    "G4NUDEXLIBDATA": "G4NUDEXLIB",
    "G4URRPTDATA": "G4URRPT",
}
"""Geant4's environment variables, and the beginning of the name of each data set's folder (its version follows)."""

REQUIRED = {"em": ("G4LEDATA", "G4ENSDFSTATEDATA"), "FTFP_BERT": ("G4LEDATA", "G4ENSDFSTATEDATA", "G4PARTICLEXSDATA")}
"""Data sets without which a physics list does not start."""

_GAP_MM = 1e-3
"""Distance between the start of a particle and the front face."""


def data_environment(
    physics: str, folder: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Find a path for every data variable of Geant4: the bindings ask to download a data set without one.

    Args:
        physics: physics list of the detector, which decides the data sets that must exist.
        folder: folder of the data sets; without it, the folder that ``FASTSIM_GEANT4_DATA`` names, otherwise Geant4's
            own variables and ``GEANT4_DATA_DIR``.
        environment: environment variables.

    Returns:
        The variables, with the path of an absent data set where the physics does not need it.

    Raises:
        FastsimError: if a data set that the physics needs is not found; the message says what to install.
    """
    folder = folder or environment.get(DATA_VARIABLE)
    if folder is not None and not Path(folder).is_dir():
        raise FastsimError(f"Geant4 data: {os.fspath(folder)} is not a folder; give the one that holds G4EMLOW...")
    root = Path(folder or environment.get("GEANT4_DATA_DIR") or ".")
    searched = folder is not None or "GEANT4_DATA_DIR" in environment
    paths = {"GEANT4_DATA_DIR": str(root)}
    for variable, start in DATA_SETS.items():
        own = environment.get(variable) if folder is None else None
        folders = sorted(path for path in root.glob(f"{start}*") if path.is_dir()) if searched and not own else []
        paths[variable] = own or str(folders[-1] if folders else root / start)
    missing = [variable for variable in REQUIRED[physics] if not Path(paths[variable]).is_dir()]
    if missing:
        names = " and ".join(f"{DATA_SETS[variable]} ({variable})" for variable in missing)
        raise FastsimError(
            f"Geant4 data sets not found: {names}; install Geant4's data (geant4-config --install-datasets) and give "
            f"their folder by --geant4-data or {DATA_VARIABLE}, or set Geant4's own variables"
        )
    return paths


@dataclass(frozen=True)
class Projectiles:
    """N particles to shoot.

    Attributes:
        names: of the particles in Geant4, (N,).
        energy: kinetic energies in GeV, (N,).
        theta: angles of flight to the normal of the layers, in rad, (N,).
        phi: azimuths of flight in rad, (N,).
        seeds: one for each shower, (N,).
    """

    names: Sequence[str]
    energy: NDArray[np.float64]
    theta: NDArray[np.float64]
    phi: NDArray[np.float64]
    seeds: Sequence[int]

    def direction(self, number: int) -> tuple[float, float, float]:
        """Return the unit vector of a particle's flight."""
        theta, phi = float(self.theta[number]), float(self.phi[number])
        return math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)


class Calorimeter:
    """Geant4, initialised for one detector; a process may hold one only.

    The variables of :func:`data_environment` have to be in the environment before.
    """

    def __init__(self, detector: Detector) -> None:
        import geant4_pybind as g4

        self.detector = detector
        self._run = g4.G4RunManager()
        self._geometry = _geometry(g4, detector)
        self._run.SetUserInitialization(self._geometry)
        self._run.SetUserInitialization(_physics(g4, detector.physics))
        self._shooter, self._readout = _actions(g4, detector)
        self._actions = _initialization(g4, self._shooter, self._readout)
        self._run.SetUserInitialization(self._actions)
        commands = g4.G4UImanager.GetUIpointer()
        for line in (
            f"/process/eLoss/StepFunction {detector.step_fraction} {detector.step_mm} mm",
            f"/process/msc/StepLimit {detector.msc_step_limit}",
            f"/process/msc/RangeFactor {detector.msc_range_factor}",
            "/process/em/applyCuts false",
            f"/run/setCut {detector.cut_mm} mm",
        ):
            commands.ApplyCommand(line)
        self._run.Initialize()
        self._run.BeamOn(0)  # builds the tables of cross-sections

    def shoot(self, shots: Projectiles) -> NDArray[np.float32]:
        """Simulate N showers and return their deposits in MeV, (N, V)."""
        self._shooter.shots = shots
        self._readout.voxels = np.zeros((len(shots.seeds), self.detector.num_voxels), dtype=np.float64)
        self._run.BeamOn(len(shots.seeds))
        return np.asarray(self._readout.voxels, dtype=np.float32)


def _physics(g4: Any, name: str) -> Any:
    """Make the physics list.

    Photoelectric tables are Livermore's, without fluorescence, as in Geant4's electromagnetic physics option 1.
    """
    modules = [g4.G4EmStandardPhysics_option1()]
    if name == "FTFP_BERT":
        modules += [
            g4.G4DecayPhysics(),
            g4.G4HadronElasticPhysics(),
            g4.G4HadronPhysicsFTFP_BERT(),
            g4.G4StoppingPhysics(),
        ]
    parameters = g4.G4EmParameters.Instance()  # the constructor above sets its own defaults
    parameters.SetLivermoreDataDir("livermore")
    parameters.SetFluo(False)
    physics = g4.G4VModularPhysicsList()
    for module in modules:
        physics.RegisterPhysics(module)
    return physics


def _geometry(g4: Any, detector: Detector) -> Any:
    """Make the construction of the detector's volumes, and of a scorer ``section-I`` for each section."""

    class Geometry(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.objects: list[Any] = []

        def keep(self, thing: Any) -> Any:
            """Keep a reference: Geant4 does not own the objects that Python creates."""
            self.objects.append(thing)
            return thing

        def Construct(self) -> Any:
            """Build the world with all sections in it."""
            nist = g4.G4NistManager.Instance()
            absorber, active = (nist.FindOrBuildMaterial(name) for name in (detector.absorber, detector.active))
            for name, material in ((detector.absorber, absorber), (detector.active, active)):
                if material is None:
                    raise FastsimError(f"{detector.name}: Geant4 has no material {name!r}")
            thin = self.keep(g4.G4Material("vacuum", 1e-25 * g4.g / g4.cm3, 1, g4.kStateGas))
            thin.AddMaterial(absorber, 1.0)
            half = detector.depth_mm + 1.0
            side = max(section.radius_mm for section in detector.sections) + 1.0
            world = self.volume("world", g4.G4Box("world", side, side, half), thin)
            place = self.keep(g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "world", None, False, 0))
            front = 0.0
            for number, section in enumerate(detector.sections):
                self.section(number, section, world, front, absorber, active)
                front += section.depth_mm
            return place

        def volume(self, name: str, solid: Any, material: Any) -> Any:
            """Make a logical volume."""
            return self.keep(g4.G4LogicalVolume(self.keep(solid), material, name))

        def slab(self, name: str, section: Section, depth: float, material: Any) -> Any:
            """Make a volume with the section's cross-section, ``depth`` mm long."""
            if section.polar:
                solid = g4.G4Tubs(name, 0.0, section.radius_mm, depth / 2, -math.pi, 2 * math.pi)
            else:
                half_x, half_y = (count * section.cell_mm / 2 for count in (section.num_x, section.num_y))
                solid = g4.G4Box(name, half_x, half_y, depth / 2)
            return self.volume(name, solid, material)

        def section(self, number: int, section: Section, world: Any, front: float, absorber: Any, active: Any) -> None:
            """Place a section whose front lies at z = ``front`` mm: layers of absorber, then active cells."""
            name = f"section-{number}"
            pitch = section.absorber_mm + section.active_mm
            stack = self.slab(name, section, section.depth_mm, absorber)
            middle = g4.G4ThreeVector(0.0, 0.0, front + section.depth_mm / 2)
            self.keep(g4.G4PVPlacement(None, middle, stack, name, world, False, 0))
            layer = self.slab(f"{name}-layer", section, pitch, absorber)
            self.keep(g4.G4PVReplica(f"{name}-layer", layer, stack, g4.kZAxis, section.num_layers, pitch))
            medium = self.slab(f"{name}-active", section, section.active_mm, active)
            behind = g4.G4ThreeVector(0.0, 0.0, section.absorber_mm / 2)
            self.keep(g4.G4PVPlacement(None, behind, medium, f"{name}-active", layer, False, 0))
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
            row = self.volume(f"{name}-row", wedge, active)
            self.keep(g4.G4PVReplica(f"{name}-row", row, medium, *axes[0]))
            leaf = self.volume(f"{name}-cell", box, active)
            self.keep(g4.G4PVReplica(f"{name}-cell", leaf, row, *axes[1]))

        def ConstructSDandField(self) -> None:
            """Attach the scorers to the cells."""
            manager = g4.G4SDManager.GetSDMpointer()
            for number, section in enumerate(detector.sections):
                name = f"section-{number}"
                scorers = self.keep(g4.G4MultiFunctionalDetector(name))
                # copy numbers: the layer 3 levels above the cell, its row 1 above
                scorers.RegisterPrimitive(self.keep(g4.G4PSEnergyDeposit3D("deposit", *section.cells, 3, 1, 0)))
                manager.AddNewDetector(scorers)
                self.SetSensitiveDetector(f"{name}-cell", scorers)

    return Geometry()


def _actions(g4: Any, detector: Detector) -> tuple[Any, Any]:
    """Make the action that shoots particles, and the one that reads their showers."""

    class Shooter(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)
            self.table = g4.G4ParticleTable.GetParticleTable()
            self.shots: Projectiles

        def GeneratePrimaries(self, event: Any) -> None:
            """Shoot the particle of an event."""
            number = event.GetEventID()
            direction = self.shots.direction(number)
            g4.HepRandom.setTheSeed(int(self.shots.seeds[number]))
            self.gun.SetParticleDefinition(self.table.FindParticle(self.shots.names[number]))
            self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*direction))
            self.gun.SetParticlePosition(g4.G4ThreeVector(*(-_GAP_MM * component for component in direction)))
            self.gun.SetParticleEnergy(float(self.shots.energy[number]) * g4.GeV)
            self.gun.GeneratePrimaryVertex(event)

    class Readout(g4.G4UserEventAction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.voxels = np.zeros((0, detector.num_voxels))
            self.sections: list[tuple[int, NDArray[np.int64]]] = []

        def EndOfEventAction(self, event: Any) -> None:
            """Add the deposits of an event to its row of voxels."""
            if not self.sections:  # the collections get their numbers in the first run
                manager, first = g4.G4SDManager.GetSDMpointer(), 0
                for number, section in enumerate(detector.sections):
                    table = section.voxel_of_cell() + first
                    self.sections.append((manager.GetCollectionID(f"section-{number}/deposit"), table))
                    first += math.prod(section.voxels)
            shower = self.voxels[event.GetEventID()]
            hits = event.GetHCofThisEvent()
            for collection, voxel_of_cell in self.sections:
                deposits = list(hits.GetHC(collection))
                cells = np.array([cell for cell, _ in deposits], dtype=np.int64)
                np.add.at(shower, voxel_of_cell[cells], [float(deposit) for _, deposit in deposits])

    return Shooter(), Readout()


def _initialization(g4: Any, shooter: Any, readout: Any) -> Any:
    """Make what registers the two actions with Geant4."""

    class Initialization(g4.G4VUserActionInitialization):  # type: ignore[misc]
        def Build(self) -> None:
            """Register the actions."""
            self.SetUserAction(shooter)
            self.SetUserAction(readout)

    return Initialization()
