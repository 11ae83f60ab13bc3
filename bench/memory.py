"""Peak memory of a whole ``fastsim evaluate`` of two files of toy jets: a line for docs/metrics.md.

    OMP_NUM_THREADS=1 python -m bench.memory --num 1000000

The sets are drawn by NumPy (Poisson multiplicity, exponential in pT, Gaussian about the parton): memory depends on how
many particles there are and not on their physics. The command runs in a process of its own, whose peak resident memory
the kernel reports when it ends.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fastsim.event import ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.event.species import masses
from fastsim.formats import hdf5

CHUNK = 50_000
SPECIES = (22, 22, 211, -211, 321, -321, 130, 2212, -2212, 2112, 3122, -11, 12)


def write_sets(path: Path, num: int, mean: float, rng: np.random.Generator) -> None:
    """Write a file in the gun layout with ``num`` sets of Poisson(``mean``) particles.

    Their partons have 200 to 600 GeV.
    """
    with hdf5.Writer(path) as file:
        for first in range(0, num, CHUNK):
            size = min(CHUNK, num - first)
            pt, eta = np.exp(rng.uniform(np.log(200), np.log(600), size)), rng.uniform(-2, 2, size)
            phi = rng.uniform(-np.pi, np.pi, size)
            counts = rng.poisson(mean, size)
            index = np.repeat(np.arange(size), counts)
            pdg_id = rng.choice(SPECIES, len(index))
            p4 = p4_from_pt_eta_phi_m(
                pt[index] * rng.exponential(1.0 / mean, len(index)),
                eta[index] + rng.normal(0.0, 0.2, len(index)),
                phi[index] + rng.normal(0.0, 0.2, len(index)),
                masses(pdg_id),
            )
            partons = Partons.from_pt_eta_phi(rng.choice([1, -1, 2, 3, 21], size), pt, eta, phi)
            file.write(partons, ParticleSet(offsets_from_counts(counts), pdg_id, p4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1_000_000, help="jets of each of the two files")
    parser.add_argument("--mean", type=float, default=30.0, help="mean number of particles of a jet")
    parser.add_argument("--metrics", help="as of fastsim evaluate; default: the quick ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("real.h5", "generated.h5")]
        for path, seed in zip(paths, (1, 2), strict=True):
            write_sets(path, options.num, options.mean, np.random.default_rng(seed))
        words = [sys.executable, "-m", "fastsim.cli", "evaluate", *map(str, paths)]
        start = time.perf_counter()
        subprocess.run(words + (["--metrics", options.metrics] if options.metrics else []), check=True)
        minutes = (time.perf_counter() - start) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"2 x {options.num:,} jets of {options.mean:g} particles: peak {peak:.2f} GiB, {minutes:.0f} minutes")


if __name__ == "__main__":
    main()
