"""Geant4's showers in the detectors that ship: sampling fraction, resolution, shower maximum, e/pi and cost.

Prints the Markdown tables of docs/calorimeter.md. One worker; the time a GeV includes the start of Geant4.

    python bench/geant4.py --geant4-data DIR
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.detector import load_detector
from fastsim.detector.shower_gun import ShowerGun
from fastsim.formats.calochallenge import read_showers
from fastsim.production.options import RunOptions
from generators.reference.geant4_run import make_showers

ECAL_RUNS = (("e-", 1, 300), ("e-", 10, 100), ("e-", 50, 40), ("e-", 100, 25), ("gamma", 10, 100), ("e+", 10, 60))
"""Particle, energy in GeV, showers at ``--scale 1``."""
COPPER_RUNS = (("e-", 2, 100), ("pi-", 2, 300), ("e-", 10, 40), ("pi-", 10, 120), ("e-", 50, 15), ("pi-", 50, 40))
RADIATION_LENGTH = {"G4_Pb": 5.612, "G4_Si": 93.70, "G4_Cu": 14.36}
"""In mm (Particle Data Group)."""


@dataclass(frozen=True)
class Result:
    """What one run gives.

    Attributes:
        fraction: visible fraction of the incident energy.
        error: its standard error.
        width: relative standard deviation of the visible energy.
        width_error: its standard error.
        maximum: depth of the shower maximum in radiation lengths.
        cost: wall time in ms a GeV.
    """

    fraction: float
    error: float
    width: float
    width_error: float
    maximum: float
    cost: float


def measure(name: str, particle: str, energy: float, num: int, data: Path | None, folder: Path) -> Result:
    """Shoot ``num`` particles at a detector and measure their showers."""
    detector = load_detector(name)
    output = folder / f"{name}-{particle}-{energy}.h5"
    summary = make_showers(
        ShowerGun(detector, particle, (energy, energy), seed=1), output, num=num, options=RunOptions(), data=data
    )
    showers = read_showers(output)
    ratio = showers.voxels.sum(1) / showers.incident
    front = detector.sections[0]  # where the maximum of electrons and photons lies
    num_layers, per_layer = front.voxels[0], front.voxels[1] * front.voxels[2]
    profile = showers.voxels[:, : num_layers * per_layer].reshape(num, num_layers, per_layer).sum(2).mean(0)
    step = front.absorber_mm / RADIATION_LENGTH[detector.absorber] + front.active_mm / RADIATION_LENGTH[detector.active]
    return Result(
        float(ratio.mean()),
        float(ratio.std() / math.sqrt(num)),
        float(ratio.std() / ratio.mean()),
        float(ratio.std() / ratio.mean() / math.sqrt(2 * num)),
        _maximum(profile) * step,
        1e3 * summary.seconds / (energy * num),
    )


def _maximum(profile: NDArray[Any]) -> float:
    """Find the depth of the maximum in layers, by a parabola through the logarithm around the highest layer."""
    top = int(np.clip(np.argmax(profile), 3, len(profile) - 4))
    around = np.arange(top - 3, top + 4)
    a, b, _ = np.polyfit(around + 0.9, np.log(np.maximum(profile[around], 1e-9)), 2)
    return float(-b / (2 * a)) if a < 0 else float(top + 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of showers")
    parser.add_argument("--geant4-data", type=Path, help="folder of Geant4's data sets")
    parser.add_argument("--copper-data", type=Path, help="another one for copper")
    options = parser.parse_args()
    scale, data = options.scale, options.geant4_data
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| particle | GeV | showers | visible fraction | resolution x sqrt(E/GeV) | maximum (X0) | ms/GeV |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for particle, energy, showers in ECAL_RUNS:
            num = max(10, round(scale * showers))
            r = measure("pb-si-ecal", particle, energy, num, data, folder)
            root = 100 * math.sqrt(energy)
            print(
                f"| {particle} | {energy} | {num} | {100 * r.fraction:.3f} ± {100 * r.error:.3f}% "
                f"| {root * r.width:.1f} ± {root * r.width_error:.1f}% | {r.maximum:.1f} | {r.cost:.1f} |",
                flush=True,
            )
        print("\n| particle | GeV | showers | visible fraction | resolution | e/pi | ms/GeV |")
        print("|---|---|---|---|---|---|---|", flush=True)
        electrons: dict[int, Result] = {}
        for particle, energy, showers in COPPER_RUNS:
            num = max(10, round(scale * showers))
            r = measure("copper", particle, energy, num, options.copper_data or data, folder)
            compared = ""
            if particle == "e-":
                electrons[energy] = r
            else:
                e = electrons[energy]
                quotient = e.fraction / r.fraction
                error = quotient * math.hypot(e.error / e.fraction, r.error / r.fraction)
                compared = f"{quotient:.3f} ± {error:.3f}"
            print(
                f"| {particle} | {energy} | {num} | {100 * r.fraction:.2f} ± {100 * r.error:.2f}% "
                f"| {100 * r.width:.1f} ± {100 * r.width_error:.1f}% | {compared} | {r.cost:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
