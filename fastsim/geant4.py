"""The engine's models inside Geant4: learned showers in one's own simulation, through geant4-pybind."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from fastsim.sources.source import RNG
from generators.reference.geant4 import apply_settings, data_environment, physics_list

if TYPE_CHECKING:
    from fastsim.detector.detector import Detector
    from fastsim.sources.showers import ShowerSource
    from generators.reference.geant4_region import ShowerRegion
    from generators.reference.geant4_volumes import PlacedDetector

__all__ = ["apply_settings", "attach", "data_environment", "physics_list", "place"]


def attach(
    envelope: Any, model: str | PathLike[str] | ShowerSource, *, max_theta: float, rng: RNG = None
) -> ShowerRegion:
    """Let a model make the showers of particles that enter a calorimeter, in the place of Geant4.

    A particle is stopped where it enters if the model's domain has its species and its energy, if it comes through the
    front face, and if its angle to the normal is at most ``max_theta``. Geant4 goes on with all others. The showers
    are drawn when their hits are asked for (:meth:`ShowerRegion.hits`), many at a time.

    The layers have to lie across the z axis of the envelope's own frame, and to begin at its lowest z. It may be placed
    several times, and turned. What the model does not make is lost: energy that leaves its voxels, through the sides,
    the back, or the front.

    Args:
        envelope: the G4LogicalVolume or G4Region that holds the calorimeter. A volume in the world's region gets a
            region of its own, with the same cuts.
        model: name or card of a model of showers, or a source.
        max_theta: in rad. Beyond the angles that the model was trained at - up to 0.785 for pb-si-cascade, 0 for others
            that ship - it is how far you trust a perpendicular shower that is moved along the direction of flight.
        rng: randomness of the showers: a seed, a Generator, or None for showers that differ from call to call.

    Returns:
        An object whose ``hits()`` are the deposits, and whose ``counts`` say what became of the particles that entered.

    Raises:
        FastsimError: if geant4-pybind is missing, the run manager has threads, Geant4 has no geometry yet (attach after
            ``Initialize()``), or the envelope is not in it, does not fit the model, or has one already.
        InvalidValue: if the angle is not in [0, pi / 2).
    """
    from fastsim.registry import load_showers
    from fastsim.sources.showers import ShowerSource
    from generators.reference.geant4_region import hand_over

    source = model if isinstance(model, ShowerSource) else load_showers(model)
    return hand_over(envelope, source, max_theta=max_theta, rng=rng)


def place(
    detector: str | PathLike[str] | Detector,
    world: Any,
    *,
    front: tuple[float, float, float] = (0.0, 0.0, 0.0),
    name: str = "",
) -> PlacedDetector:
    """Build a detector of fastsim in a world of one's own, with scorers of its cells; in ``Construct()``.

    Args:
        detector: name of one that ships, path of a TOML file, or a detector.
        world: the G4LogicalVolume of the world.
        front: middle of its front face in the world, in mm; the layers lie behind it along z.
        name: of its volume; the detector's by default.

    Returns:
        An object with the ``envelope`` that :func:`attach` takes, the ``hits(event)`` that Geant4 makes in it, and the
        ``cells(hits)`` that hits lie in. Keep it: Geant4 does not.

    Raises:
        FastsimError: if there is no such detector, or Geant4 does not know its materials.
        InvalidValue: if ``front`` is not three finite numbers.
    """
    from fastsim.detector.detector import Detector, load_detector
    from generators.reference.geant4_volumes import PlacedDetector

    target = detector if isinstance(detector, Detector) else load_detector(detector)
    target.check_built("Geant4")
    return PlacedDetector(target, world, front=front, name=name)
