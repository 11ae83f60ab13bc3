"""How many sigmas each metric sees of a known distortion: the table of docs/metrics.md.

Real and generated samples are independent Pythia jets (u quarks and gluons, 100 to 400 GeV). Each generated sample
is distorted in one way, of a size that the best metrics see and the others may not.

    python -m bench.sensitivity --num 10000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.validation.hadron_document import fill, table
from fastsim.event import Floats, ParticleSet, Partons, offsets_from_counts
from fastsim.event.kinematics import on_shell
from fastsim.event.species import masses
from metrics.evaluation import Evaluation, evaluate
from metrics.hadrons.sample import jet_sample
from metrics.sample import Sample

SEED = 2211
PT_RANGE = (100.0, 400.0)
WRONG_BIN = (100.0, 120.0)
COLUMNS = (
    "fpd",
    "kpd",
    "w1 mass",
    "w1 multiplicity",
    "w1p pt_rel",
    "auc",
    "auc_set",
    "precision",
    "recall",
    "density",
    "coverage",
    "emd_coverage",
    "emd_mmd",
)

Distortion = Callable[[ParticleSet, Partons, np.random.Generator], ParticleSet]


def partons(num: int, rng: np.random.Generator) -> Partons:
    """Draw u quarks and gluons, log-uniform in pT."""
    low, high = np.log(PT_RANGE)
    pt = np.exp(rng.uniform(low, high, num))
    return Partons.from_pt_eta_phi(
        rng.choice([2, 21], num), pt, rng.uniform(-2, 2, num), rng.uniform(-np.pi, np.pi, num)
    )


def scaled(particles: ParticleSet, factor: Floats) -> ParticleSet:
    """Multiply every particle's momentum by a factor (M,), and put it on its mass shell."""
    p4 = particles.p4 * factor[:, None]
    return ParticleSet(particles.offsets, particles.pdg_id, on_shell(p4, masses(particles.pdg_id)))


def smeared(particles: ParticleSet, source: Partons, rng: np.random.Generator) -> ParticleSet:
    """Smear every momentum by 5%."""
    return scaled(particles, np.maximum(rng.normal(1.0, 0.05, len(particles.pdg_id)), 0.1))


def softest_dropped(particles: ParticleSet, source: Partons, rng: np.random.Generator) -> ParticleSet:
    """Leave out the softest particle of every second set."""
    pt = np.hypot(particles.p4[:, 1], particles.p4[:, 2])
    order = np.lexsort((pt, particles.index))
    softest = order[particles.offsets[:-1][(particles.counts > 1) & (rng.uniform(size=len(particles)) < 0.5)]]
    kept = np.ones(len(pt), dtype=bool)
    kept[softest] = False
    counts = np.bincount(particles.index[kept], minlength=len(particles))
    return ParticleSet(offsets_from_counts(counts), particles.pdg_id[kept], particles.p4[kept])


def one_more(particles: ParticleSet, source: Partons, rng: np.random.Generator) -> ParticleSet:
    """Split one photon of every third set into two collinear halves: more particles, the same energy flow."""
    photons = np.flatnonzero(particles.pdg_id == 22)
    chosen, first = np.unique(particles.index[photons], return_index=True)
    rows = photons[first][rng.uniform(size=len(chosen)) < 1 / 3]
    p4 = particles.p4.copy()
    p4[rows] /= 2
    offsets = particles.offsets + np.searchsorted(rows, particles.offsets)
    return ParticleSet(offsets, np.insert(particles.pdg_id, rows, 22), np.insert(p4, rows, p4[rows], axis=0))


def collapsed(particles: ParticleSet, source: Partons, rng: np.random.Generator) -> ParticleSet:
    """Replace half of the sets by the set of the nearest parton among 500: the model repeats itself."""
    pool = rng.choice(len(particles), 500, replace=False)
    pt, flavour = np.hypot(source.p4[:, 1], source.p4[:, 2]), np.abs(source.pdg_id)
    chosen = np.arange(len(particles))
    for row in np.flatnonzero(rng.uniform(size=len(particles)) < 0.5):
        distance = np.abs(np.log(pt[pool] / pt[row])) + 10.0 * (flavour[pool] != flavour[row])
        chosen[row] = pool[np.argmin(distance)]
    return moved(particles, source, chosen)


def moved(particles: ParticleSet, source: Partons, chosen: NDArray[Any]) -> ParticleSet:
    """Give every parton the set of another one, scaled to its pT, boosted and turned to its direction.

    Args:
        particles: N sets.
        source: their partons.
        chosen: the set that each parton gets, (N,).
    """
    from fastsim.event.kinematics import delta_phi, eta, p4_from_pt_eta_phi_m, phi, pt

    sets = particles[chosen]
    of, to = chosen[sets.index], sets.index
    parton_pt, parton_eta, parton_phi = pt(source.p4), eta(source.p4), phi(source.p4)
    p4 = p4_from_pt_eta_phi_m(
        pt(sets.p4) * parton_pt[to] / parton_pt[of],
        eta(sets.p4) + parton_eta[to] - parton_eta[of],
        delta_phi(phi(sets.p4) + parton_phi[to], parton_phi[of]),
        masses(sets.pdg_id),
    )
    return ParticleSet(sets.offsets, sets.pdg_id, p4)


def wrong_bin(particles: ParticleSet, source: Partons, rng: np.random.Generator) -> ParticleSet:
    """Make the particles of the partons of 100 to 120 GeV 5% too hard."""
    pt = np.hypot(source.p4[:, 1], source.p4[:, 2])
    return scaled(particles, np.where(pt < WRONG_BIN[1], 1.05, 1.0)[particles.index])


DISTORTIONS: dict[str, Distortion] = {
    "none": lambda particles, source, rng: particles,
    "momenta smeared by 5%": smeared,
    "softest particle dropped (every 2nd set)": softest_dropped,
    "a photon split (every 3rd set)": one_more,
    "half the sets from 500 (mode collapse)": collapsed,
    "5% too hard below 120 GeV (one wrong bin)": wrong_bin,
}


def row(evaluation: Evaluation, sample: str) -> list[str]:
    """Write the sigmas of one sample by column, those beyond 5 in bold; then the worst bin of the AUC."""
    results = evaluation.results[sample]
    cells = [f"{results[name].excess:+.1f}" if name in results else "" for name in COLUMNS]
    cells = [f"**{c}**" if c and float(c) >= 5 else c for c in cells]
    worst = evaluation.worst_bin(sample, "auc")
    return [sample, *cells, "" if worst is None else f"{worst[1].excess:+.1f} ({worst[0]})"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=10_000, help="jets a sample")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where metrics.md is")
    options = parser.parse_args()
    from generators.reference.pythia import PythiaGun

    gun, samples = PythiaGun(), dict[str, Sample]()
    for number, name in enumerate(("real", *DISTORTIONS)):
        rng = np.random.default_rng([SEED, number])
        source = partons(options.num, rng)
        particles = gun.sample(source, rng=rng)
        samples[name] = jet_sample(DISTORTIONS.get(name, DISTORTIONS["none"])(particles, source, rng), source)
        print(f"{name}: {options.num} jets", file=sys.stderr, flush=True)
    real = samples.pop("real")
    evaluation, _ = evaluate(
        real,
        samples,
        metrics=("fpd", "kpd", "w1", "w1p", "auc", "prdc", "emd", "auc_set"),
        bins={"pt": (PT_RANGE[0], WRONG_BIN[1], 160, 240, PT_RANGE[1])},
        seed=SEED,
        progress=lambda done, total: print(f"{done} of {total}", file=sys.stderr, end="\r", flush=True),
    )
    text = table(["distortion", *COLUMNS, "auc, worst bin"], [row(evaluation, name) for name in samples])
    print(text)
    fill(options.docs / "metrics.md", "sensitivity", text)
    for what, why in evaluation.skipped.items():
        print(f"skipped {what}: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
