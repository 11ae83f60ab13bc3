"""The reference of calorimeter showers: Geant4 through geant4-pybind, particles onto one detector.

A process initialises Geant4 once, for one detector, and never twice; so this module is used by worker processes only
(:mod:`generators.reference.geant4_workers`). A particle flies to the centre of the front face and starts 1 um before
it. Along the normal of the layers deposits are scored by Geant4's own scorers, so Python runs once for each shower, not
for each step; tilted particles need wider layers (:mod:`generators.reference.geant4_wide`). The detector is surrounded
by its absorber at 1e-25 g/cm3: a vacuum that brings in no other element.

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

from fastsim.detector.detector import Detector
from fastsim.errors import FastsimError
from generators.reference.geant4_volumes import DetectorVolumes, materials
from generators.reference.geant4_wide import WideVolumes, half_width

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

    Args:
        detector: what to build.
        max_theta: largest angle of flight to the normal in rad; 0: particles along the normal only. Showers of both are
            distributed alike at theta = 0, but differ in their bits.
    """

    def __init__(self, detector: Detector, max_theta: float = 0.0) -> None:
        import geant4_pybind as g4

        self.detector = detector
        self._run = g4.G4RunManager()
        self._geometry = _geometry(g4, detector, max_theta)
        self._run.SetUserInitialization(self._geometry)
        self._physics = physics_list(detector)
        self._run.SetUserInitialization(self._physics)
        self._shooter, self._readout = _actions(g4, detector, self._geometry)
        self._actions = _initialization(g4, self._shooter, self._readout)
        self._run.SetUserInitialization(self._actions)
        apply_settings(detector)
        self._run.Initialize()
        self._run.BeamOn(0)  # builds the tables of cross-sections

    def shoot(self, shots: Projectiles) -> NDArray[np.float32]:
        """Simulate N showers and return their deposits in MeV, (N, V)."""
        self._shooter.shots = shots
        self._readout.voxels = np.zeros((len(shots.seeds), self.detector.num_voxels), dtype=np.float64)
        self._run.BeamOn(len(shots.seeds))
        return np.asarray(self._readout.voxels, dtype=np.float32)


def physics_list(detector: Detector) -> Any:
    """Make the physics list of a detector, a ``G4VModularPhysicsList``.

    Photoelectric tables are Livermore's, without fluorescence, as in Geant4's electromagnetic physics option 1.
    """
    import geant4_pybind as g4

    modules = [g4.G4EmStandardPhysics_option1()]
    if detector.physics == "FTFP_BERT":
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


def apply_settings(detector: Detector) -> None:
    """Tell Geant4 how to follow particles in a detector: steps, multiple scattering, cut; before it is initialised."""
    import geant4_pybind as g4

    commands = g4.G4UImanager.GetUIpointer()
    for line in (
        f"/process/eLoss/StepFunction {detector.step_fraction} {detector.step_mm} mm",
        f"/process/msc/StepLimit {detector.msc_step_limit}",
        f"/process/msc/RangeFactor {detector.msc_range_factor}",
        "/process/em/applyCuts false",
        f"/run/setCut {detector.cut_mm} mm",
    ):
        commands.ApplyCommand(line)


def _geometry(g4: Any, detector: Detector, max_theta: float) -> Any:
    """Make the construction of the detector's volumes and scorers."""
    polar = detector.sections[0].polar  # cells in (x, y) are the detector's own, wherever a particle flies
    wide = half_width(detector, max_theta) if max_theta > 0 and polar else None

    class Geometry(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.volumes: DetectorVolumes | WideVolumes
            self.world: tuple[Any, ...] = ()  # Geant4 does not own the objects that Python creates

        def Construct(self) -> Any:
            """Build the world with all sections in it."""
            absorber, _ = materials(g4, detector)
            thin = g4.G4Material("vacuum", 1e-25 * g4.g / g4.cm3, 1, g4.kStateGas)
            thin.AddMaterial(absorber, 1.0)
            half = detector.depth_mm + 1.0
            side = (wide or max(section.radius_mm for section in detector.sections)) + 1.0
            box = g4.G4Box("world", side, side, half)
            world = g4.G4LogicalVolume(box, thin, "world")
            place = g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "world", None, False, 0)
            self.world = (thin, box, world, place)
            if wide is None:
                self.volumes = DetectorVolumes(g4, detector, world)
            else:
                self.volumes = WideVolumes(g4, detector, world, wide)
            return place

        def ConstructSDandField(self) -> None:
            """Attach the scorers to the cells."""
            self.volumes.score()

    return Geometry()


def _actions(g4: Any, detector: Detector, geometry: Any) -> tuple[Any, Any]:
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
            if isinstance(geometry.volumes, WideVolumes):
                geometry.volumes.aim(float(self.shots.theta[number]), float(self.shots.phi[number]))
            g4.HepRandom.setTheSeed(int(self.shots.seeds[number]))
            self.gun.SetParticleDefinition(self.table.FindParticle(self.shots.names[number]))
            self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*direction))
            self.gun.SetParticlePosition(g4.G4ThreeVector(*(-_GAP_MM * component for component in direction)))
            self.gun.SetParticleEnergy(float(self.shots.energy[number]) * g4.GeV)
            self.gun.GeneratePrimaryVertex(event)

    first = np.concatenate([[0], np.cumsum([math.prod(section.voxels) for section in detector.sections])])
    tables = [section.voxel_of_cell() + start for section, start in zip(detector.sections, first, strict=False)]
    voxel_of_cell = np.concatenate(tables)

    class Readout(g4.G4UserEventAction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.voxels = np.zeros((0, detector.num_voxels))

        def EndOfEventAction(self, event: Any) -> None:
            """Add the deposits of an event to its row of voxels."""
            cells, deposits = geometry.volumes.deposits(event)
            np.add.at(self.voxels[event.GetEventID()], voxel_of_cell[cells], deposits)

    return Shooter(), Readout()


def _initialization(g4: Any, shooter: Any, readout: Any) -> Any:
    """Make what registers the two actions with Geant4."""

    class Initialization(g4.G4VUserActionInitialization):  # type: ignore[misc]
        def Build(self) -> None:
            """Register the actions."""
            self.SetUserAction(shooter)
            self.SetUserAction(readout)

    return Initialization()
