"""Whole collisions beside ordinary Pythia: boosted trees, means, and speed, for docs/validation.md.

Hard events of a process are made by Pythia, twice. ``fastsim reference --full`` completes the first file, which is the
real sample; ``fastsim generate --event full`` and once more ``fastsim reference --full`` complete the second one. In
place of a process an LHE file may be named, whose events are taken again and again; all samples have the same ones.

    python -m bench.validation.collisions --processes dijets --num 4000 --folder runs/collisions
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

import fastsim
from bench.endurance import repeated
from examples import make_lhe
from fastsim.collisions import make_rests
from fastsim.event import ParticleSet, RunInfo
from fastsim.event.species import baryon_numbers, charges
from fastsim.formats.events import read_events
from generators.rests.library import RestLibrary
from generators.rests.step import beam_momentum
from metrics import classifier_test
from metrics.hadrons.collisions import FORWARD, collision_observables

PROCESSES = {
    "dijets": ["HardQCD:all = on", "PhaseSpace:pTHatMin = 20."],
    "dijets-200": ["HardQCD:all = on", "PhaseSpace:pTHatMin = 200."],
    "z": ["WeakSingleBoson:ffbar2gmZ = on", "23:mMin = 60.", "23:onMode = off", "23:onIfAny = 13"],
    "z-jet": make_lhe.Z_JET,
    "ttbar": make_lhe.TOP_PAIR,
}
OWN = "own"
"""Rests of a library that has one for each event, made for this event: none comes again."""
MEANS = (
    "particles",
    "charged_0_1",
    "charged_2.5_5",
    "jets_20",
    "jets_30",
    "jet_pt_1",
    "jet_pt_2",
    "dijet_mass",
    "transverse_tracks",
    "transverse_pt",
    "trans_min_pt",
    "forward_particles",
    "forward_leading",
)
"""Observables whose means are shown."""


def named(process: str) -> str:
    """Return what the samples of a process, or of a file, are called."""
    return Path(process).name.partition(".lhe")[0]


def make(process: str, num: int, folder: Path, variants: dict[str, dict[str, Any]], seed: int = 0) -> dict[str, Path]:
    """Make the samples of a process that the folder does not have yet, and print what they cost.

    Args:
        process: one of :data:`PROCESSES`, or the path of an LHE file.
        num: events of a sample.
        folder: of the samples.
        variants: options of ``fastsim.generate`` by the name of the sample.
        seed: other events for another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_lhe.BEAM_ENERGY = 6800.0
    known, source = process in PROCESSES, Path(process)
    process = named(process)
    files = [folder / f"{process}-{k}.lhe.gz" for k in (1, 2)] if known else 2 * [folder / f"{process}.lhe"]
    for k, path in enumerate(files, start=1):
        if not path.exists() and known:
            make_lhe.write(path, [(PROCESSES[process], num)], seed=100 * k + 1000 * seed)
        elif not path.exists():
            repeated(source, path, num)
    samples = {"real": folder / f"{process}-real.h5", "pythia": folder / f"{process}-pythia.h5"}
    samples |= {name: folder / f"{process}-{name}.h5" for name in variants}
    for name, path in samples.items():
        if path.exists():
            continue
        start = time.perf_counter()
        source = files[0] if name == "real" else files[1]
        if name in variants:
            words = {"event": "full", "seed": 10 * seed + 3, "threads": 1, **variants[name]}
            if words["rest"] == OWN:
                made = make_rests(folder / f"{process}-rests.h5", source, num=num, force=True)
                words["rest"] = RestLibrary(made, neighbours=1, whole=True)
            summary = fastsim.generate(source, path, **words)
        else:
            summary = fastsim.reference(source, path, full=True, seed=10 * seed + (1 if name == "real" else 2))
        seconds = time.perf_counter() - start
        print(f"{process} {name}: {1e3 * seconds / summary.events:.2f} ms an event, {summary.notes}", flush=True)
    return samples


@cache
def observables(path: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the observables of the events of a file."""
    parts = [collision_observables(particles) for _, particles in _batches(path)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def exactness(path: Path) -> str:
    """Say how many events of a file lose the beams' charge or baryon number, and what is missing of their momentum."""
    num, lost, worst = 0, {"charge": 0, "baryon number": 0}, 0.0
    for run, particles in _batches(path):
        total = beam_momentum(run)
        for name, values_of in (("charge", charges), ("baryon number", baryon_numbers)):
            sums = np.bincount(particles.index, values_of(particles.pdg_id), minlength=len(particles))
            lost[name] += int((np.abs(sums - values_of(np.array(run.beam_pdg_id)).sum()) > 1e-6).sum())
        worst = max(worst, float(np.abs(particles.sums() - total).max()) / total[0])
        num += len(particles)
    counts = ", ".join(f"{name} not kept in {count}" for name, count in lost.items())
    return f"of {num} events {counts}; four-momentum within {worst:.1e} of the beams' energy"


def _batches(path: Path) -> Iterator[tuple[RunInfo, ParticleSet]]:
    run, batches = read_events(path)
    for batch in batches:
        assert batch.particles is not None
        yield run, batch.particles


def rows(process: str, samples: dict[str, Path]) -> Iterator[str]:
    """Yield the rows of the table of a process: a sample, its AUC without and with forward particles, its means."""
    real = observables(samples["real"])
    central = [name for name in real if name not in FORWARD]
    yield "| process | sample | AUC central | with forward | " + " | ".join(MEANS) + " |"
    for name in samples:
        values = observables(samples[name])
        aucs = ["", ""]
        if name != "real":
            for k, columns in enumerate((central, list(real))):
                sides = [np.column_stack([side[c] for c in columns]) for side in (real, values)]
                result = classifier_test(*sides, seed=1).auc
                aucs[k] = f"{result.value:.3f} ± {result.error:.3f}"
        means = []
        for column in MEANS:
            (value, value_error), (true, true_error) = (_mean(side[column]) for side in (values, real))
            ratio = value / true - 1
            error = np.hypot(value_error / true, true_error / true)
            means.append(f"{value:.4g}" if name == "real" else f"{100 * ratio:+.1f} ± {100 * error:.1f}%")
        yield f"| {process} | {name} | {aucs[0]} | {aucs[1]} | " + " | ".join(means) + " |"


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return float(known.mean()), float(known.std() / np.sqrt(len(known)))


def worst(samples: dict[str, Path], name: str) -> Iterator[str]:
    """Yield the observables of a sample that differ most, by the AUC of each alone."""
    real, values = observables(samples["real"]), observables(samples[name])
    areas = {}
    for column in real:
        one, other = (side[column][np.isfinite(side[column])] for side in (real, values))
        ranks = rankdata(np.concatenate([one, other]))
        areas[column] = (ranks[len(one) :].sum() - len(other) * (len(other) + 1) / 2) / (len(one) * len(other))
    for column in sorted(areas, key=lambda c: -abs(areas[c] - 0.5))[:12]:
        yield f"{column}: {areas[column]:.3f}"


def _process(name: str) -> str:
    """Return the name of a process, or the path of a file, or refuse it."""
    if name not in PROCESSES and not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"{name} is no file, and none of {', '.join(PROCESSES)}")
    return name


def main() -> None:
    """Make the samples, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    processes = f"of {', '.join(PROCESSES)}, or LHE files"
    parser.add_argument("--processes", nargs="+", type=_process, default=["dijets"], help=processes)
    parser.add_argument("--num", type=int, default=4000)
    parser.add_argument("--folder", type=Path, required=True, help="of the samples, which are made once")
    parser.add_argument("--seed", type=int, default=0, help="other events for another one; give it another folder")
    parser.add_argument("--model", default="hadron-tree")
    parser.add_argument("--rests", nargs="*", default=["library"], help="library, own, pythia, or a path (.h5)")
    parser.add_argument("--worst", action="store_true", help="also list the observables that differ most")
    arguments = parser.parse_args()
    variants = {
        f"{arguments.model}+{Path(rest).stem}": {"model": arguments.model, "rest": None if rest == "library" else rest}
        for rest in arguments.rests
    }
    for process in arguments.processes:
        samples = make(process, arguments.num, arguments.folder, variants, arguments.seed)
        process = named(process)
        print("\n".join(rows(process, samples)), flush=True)
        for name, path in samples.items():
            print(f"{process} {name}: {exactness(path)}", flush=True)
        if arguments.worst:
            for name in variants:
                print(name, *worst(samples, name), sep="\n  ")


if __name__ == "__main__":
    main()
