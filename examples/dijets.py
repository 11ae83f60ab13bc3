"""Make the dijets of find_resonance.py: X -> VV -> 4q, and QCD jets at the same masses.

Pythia 8 makes, at 13 TeV, q q' -> W' -> W Z with a W' of 3.5 TeV whose W and Z have 500 and 100 GeV here and go to
quarks - the masses of the LHC Olympics' R&D sample, Kasieczka et al. 2021, arXiv:2101.08320 - and QCD 2 -> 2 scattering
with pT > 1.2 TeV and a mass above 2.7 TeV, with showers and hadronisation. Multiparton interactions are off, which
takes a quarter of the time and stands for jets whose soft radiation has been removed (``--mpi`` puts them back). The
two hardest anti-kt jets (R = 1) have |eta| < 2.5, the harder one pT > 1.2 TeV. There is no detector.

    python -m examples.dijets runs/dijets --workers 2

writes a file for every 2,000 generated events and goes on where it was stopped. ``data`` reads them.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COMMON = ("Print:quiet = on", "Beams:eCM = 13000.", "Random:setSeed = on")
PROCESSES = {
    "background": ("HardQCD:all = on", "PhaseSpace:pTHatMin = 1200.", "PhaseSpace:mHatMin = 2700."),
    "signal": (
        "NewGaugeBoson:ffbar2Wprime = on",
        "34:m0 = 3500.",
        "Wprime:coup2WZ = 1.",
        "34:onMode = off",
        "34:onIfMatch = 23 24",
        # the width of the LHC Olympics' resonance is far below the resolution, as these are
        "34:doForceWidth = on",
        "34:mWidth = 35.",
        "24:m0 = 500.",
        "24:mMin = 480.",
        "24:mMax = 520.",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
        "23:m0 = 100.",
        "23:mMin = 80.",
        "23:mMax = 120.",
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
    ),
}
"""Settings of Pythia for both samples."""
CHUNK = 2000
"""Generated events of a file."""
RADIUS, PT_MIN, ETA_MAX = 1.0, 1200.0, 2.5
"""Of the jets; pT in GeV of the harder one."""
NUM_TEST = 1200
"""Events of each kind that taggers are tested with."""


def make(kind: str, num: int, seed: int, *, mpi: bool = False) -> tuple[Floats, Floats]:
    """Generate events and return those that pass the cuts.

    Args:
        kind: "signal" or "background".
        num: generated events.
        seed: of Pythia.
        mpi: let multiparton interactions happen.

    Returns:
        The mass of the two jets in TeV, (N,), and their features, (N, 4).
    """
    import pythia8mc

    from generators.reference.event_record import read_batch

    pythia = pythia8mc.Pythia("", False)
    settings = (*COMMON, *PROCESSES[kind], f"PartonLevel:MPI = {'on' if mpi else 'off'}", f"Random:seed = {seed + 1}")
    for line in settings:
        if not pythia.readString(line):
            raise ValueError(line)
    if not pythia.init():
        raise RuntimeError(f"Pythia refuses {PROCESSES[kind]}")
    parts = [
        observables(read_batch(pythia.nextBatch(min(500, num - first), errorMode="skip"), history=False))
        for first in range(0, num, 500)
    ]
    return np.concatenate([mass for mass, _ in parts]), np.concatenate([features for _, features in parts])


def observables(particles: Any) -> tuple[Floats, Floats]:
    """Return the mass of the two hardest jets in TeV, (N,), and four features of those that pass the cuts, (N, 4).

    Features are the mass of the lighter jet and the difference of the masses in TeV, and tau_21 of the lighter and of
    the heavier jet.

    Args:
        particles: final particles, a set an event.
    """
    from fastsim.event import kinematics
    from metrics.hadrons.clustering import cluster
    from metrics.hadrons.jets import relative
    from metrics.hadrons.subjettiness import subjettiness

    jets = cluster(particles, radius=RADIUS, pt_min=20.0)
    tau = subjettiness(relative(jets.constituents, jets.axes), num_axes=2, max_particles=60)
    tau_21 = np.divide(tau[:, 1], tau[:, 0], out=np.zeros(len(tau)), where=tau[:, 0] > 0)
    first = np.flatnonzero(jets.event[:-1] == jets.event[1:])
    p4, mass = jets.axes.p4, kinematics.mass(jets.axes.p4) / 1e3
    central = np.abs(kinematics.eta(p4)) < ETA_MAX
    first = first[(kinematics.pt(p4[first]) > PT_MIN) & central[first] & central[first + 1]]
    pair = np.stack([first, first + 1], axis=1)
    pair = np.take_along_axis(pair, np.argsort(mass[pair], axis=1), axis=1)
    light, heavy = pair[:, 0], pair[:, 1]
    features = np.stack([mass[light], mass[heavy] - mass[light], tau_21[light], tau_21[heavy]], axis=1)
    return kinematics.mass(p4[light] + p4[heavy]) / 1e3, features.astype(np.float64)


def write(folder: Path, kind: str, mpi: bool, number: int) -> str:
    """Write a chunk of events unless it is there, and return what was done, if anything."""
    path = folder / f"{kind}{'-mpi' if mpi else ''}-{number}.npz"
    if path.exists():
        return ""
    start = time.process_time()
    mass, features = make(kind, CHUNK, 2 * number + (kind == "signal"), mpi=mpi)
    partial_path = path.with_suffix(".partial.npz")
    np.savez(partial_path, mass=mass, features=features)
    partial_path.replace(path)
    return f"{path}: {len(mass)} events in {time.process_time() - start:.1f} s of processor time"


def produce(
    folder: Path, *, background: int = 100_000, signal: int = 10_000, mpi: bool = False, workers: int = 1
) -> None:
    """Write what a folder lacks of so many generated events of both kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        for kind, num in {"signal": signal, "background": background}.items():
            for done in pool.map(partial(write, folder, kind, mpi), range(-(-num // CHUNK))):
                if done:
                    print(done, flush=True)


def data(folder: str | Path, kind: str, *, mpi: bool = False) -> tuple[Floats, Floats]:
    """Read the events of a folder, chunk by chunk: masses in TeV (N,), and features (N, 4)."""
    chunks, number = [], 0
    while (path := Path(folder) / f"{kind}{'-mpi' if mpi else ''}-{number}.npz").exists():
        with np.load(path) as file:
            chunks.append((file["mass"], file["features"]))
        number += 1
    if not chunks:
        raise FileNotFoundError(f"{folder}: no {kind} events; python -m examples.dijets {folder} makes them")
    return np.concatenate([mass for mass, _ in chunks]), np.concatenate([features for _, features in chunks])


def labelled(
    *, num: int = 4000, seed: int = 1, mpi: bool = False, folder: str = "runs/dijets"
) -> dict[str, dict[str, NDArray[Any]]]:
    """Return events of both kinds for training, validation and test; they are made with Pythia when first asked for.

    Args:
        num: events to learn from, half of each kind; a fifth of them for validation.
        seed: of which events these are. The test events, 1,200 of each kind, are the same for all.
        mpi: of those with multiparton interactions.
        folder: of the events.
    """
    produce(Path(folder), background=4000, signal=4000, mpi=mpi)
    parts: dict[str, list[dict[str, NDArray[Any]]]] = {"train": [], "validation": [], "test": []}
    for label, kind in enumerate(("background", "signal")):
        features = scaled(data(folder, kind, mpi=mpi)[1])
        test, rest = features[:NUM_TEST], features[NUM_TEST:]
        if num // 2 > len(rest):
            raise ValueError(f"num = {num}: {len(rest)} {kind} events are there beside those of the test")
        few = rest[np.random.default_rng([seed, label]).permutation(len(rest))[: num // 2]]
        for name, rows in zip(parts, (few[len(few) // 5 :], few[: len(few) // 5], test), strict=True):
            parts[name].append({"features": rows, "is_signal": np.full(len(rows), label, dtype=np.float32)})
    return {
        name: {key: np.concatenate([part[key] for part in both]) for key in both[0]} for name, both in parts.items()
    }


def scaled(features: Floats) -> NDArray[np.float32]:
    """Return features (N, 4) as numbers of order 1, the same function for all samples: logarithms of masses."""
    masses = np.log(np.maximum(features[:, :2], 1e-3) / 0.1)
    return np.asarray(np.concatenate([masses, 4.0 * (features[:, 2:] - 0.5)], axis=1), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--background", type=int, default=100_000, help="generated QCD events, before the cuts")
    parser.add_argument("--signal", type=int, default=10_000, help="generated events with a W'")
    parser.add_argument("--mpi", action="store_true", help="with multiparton interactions")
    parser.add_argument("--workers", type=int, default=1)
    produce(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
