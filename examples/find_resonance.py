"""Look for a resonance among QCD dijets without labels: ANODE on the events of dijets.py, against what labels give.

The data are the QCD events with m_jj from 2.9 to 5 TeV, to which so much signal is added that S/B in the signal region,
3.3 to 3.7 TeV, is 1%, 0.1% and 0. Five quantities are used: m_jj, the lighter jet's mass, the mass difference, and
tau_21 of both jets. Every seed draws the signal events anew and fits the densities anew, on the same background events.

    python -m examples.find_resonance runs/dijets -o runs/resonance --workers 2

makes the events that the folder lacks, and prints the significance improvement eps_S / sqrt(eps_B) at fixed background
efficiencies - means over the seeds, the spread of the seeds, and the error that the number of events leaves - for
ANODE, for boosted trees trained with labels, which say what the five quantities can give, and for a random score. What
is done is kept: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.dijets import data, produce
from fastsim.anomaly import anode
from metrics.classifiers.significance import SignificanceImprovement, significance_improvement

Floats = NDArray[np.float64]
Scores = tuple[Floats, Floats]
"""Of signal and of background events."""

REGION, SIDEBANDS = (3.3, 3.7), (2.9, 5.0)
"""Of m_jj in TeV."""
CUTS = (1e-1, 1e-2, 1e-3)
"""Background efficiencies of the table."""
NUM_FOLDS = 2


@dataclass(frozen=True)
class Sample:
    """Events within the sidebands' limits: masses (N,) and features (N, 4)."""

    mass: Floats
    features: Floats

    @classmethod
    def read(cls, folder: Path, kind: str) -> Sample:
        mass, features = data(folder, kind)
        kept = (mass >= SIDEBANDS[0]) & (mass <= SIDEBANDS[1])
        return cls(mass[kept], features[kept])

    def __getitem__(self, rows: NDArray[Any]) -> Sample:
        return Sample(self.mass[rows], self.features[rows])

    @property
    def in_region(self) -> NDArray[np.bool_]:
        return (self.mass >= REGION[0]) & (self.mass < REGION[1])

    @property
    def columns(self) -> Floats:
        """All five quantities, (N, 5)."""
        return np.column_stack([self.mass, self.features])


def search(background: Sample, signal: Sample, share: float, seed: int, num_steps: int) -> Scores:
    """Add signal to the background, fit, and return scores of signal that was not added and of the background.

    Args:
        background, signal: all events.
        share: S/B in the signal region.
        seed: of what is added, and of the fits.
        num_steps: of the fit to the sidebands.
    """
    rng = np.random.default_rng([seed, round(1e6 * share)])
    num_signal = round(share * background.in_region.sum() * len(signal.mass) / signal.in_region.sum())
    order = rng.permutation(len(signal.mass))
    added, other = signal[order[:num_signal]], signal[order[num_signal:]]
    other = other[other.in_region]
    found = anode(
        np.concatenate([background.features, added.features]),
        np.concatenate([background.mass, added.mass]),
        REGION,
        num_folds=NUM_FOLDS,
        num_steps=num_steps,
        seed=seed,
    )
    # signal that was not added is scored as that which was: by the density of one fold
    fold = rng.integers(NUM_FOLDS, size=len(other.mass))
    scores = found.score(other.features, other.mass)[fold, np.arange(len(fold))]
    return scores, found.scores[found.rows < len(background.mass)]


def with_labels(background: Sample, signal: Sample, seed: int) -> Scores:
    """Train boosted trees with labels on half of the events in the signal region, score the other half, and swap."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(seed)
    samples = [sample[sample.in_region].columns for sample in (signal, background)]
    folds = [rng.permutation(len(x)) % 2 for x in samples]
    scores = [np.empty(len(x)) for x in samples]
    for k in (0, 1):
        train = [x[fold != k] for x, fold in zip(samples, folds, strict=True)]
        labels = np.repeat([1, 0], [len(x) for x in train])
        weights = np.repeat([len(labels) / len(x) / 2 for x in train], [len(x) for x in train])
        trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=seed)
        trees.fit(np.concatenate(train), labels, sample_weight=weights)
        for x, fold, score in zip(samples, folds, scores, strict=True):
            score[fold == k] = trees.decision_function(x[fold == k])
    return scores[0], scores[1]


def at_random(background: Sample, signal: Sample, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return rng.normal(size=signal.in_region.sum()), rng.normal(size=background.in_region.sum())


def table(ways: dict[str, list[SignificanceImprovement]]) -> list[str]:
    """Return lines with the significance improvement of each way at :data:`CUTS`: mean, spread of seeds, statistics."""
    lines = [f"{'':<22}" + "".join(f"{f'eps_B = {cut:g}':>26}" for cut in CUTS)]
    for name, curves in ways.items():
        cells = []
        for k in range(len(CUTS)):
            values = [curve.value[k] for curve in curves]
            spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
            statistical = np.mean([curve.error[k] for curve in curves])
            cells.append(f"{np.mean(values):.2f} +- {spread:.2f} +- {statistical:.2f}")
        lines.append(f"{name:<22}" + "".join(f"{cell:>26}" for cell in cells))
    return [*lines, "+- spread of the seeds, +- error that the number of events leaves a seed"]


def picture(path: Path, ways: dict[str, list[Scores]]) -> None:
    """Draw signal efficiency against significance improvement, with bands of the spread of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (name, scores), colour in zip(
        ways.items(), ("#5790fc", "#f89c20", "#964a8b", "#333333", "#9c9ca1"), strict=False
    ):
        curves = [significance_improvement(*both, num_bootstrap=2) for both in scores]
        values = np.array([curve.value for curve in curves])
        error = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
        cuts, mean = curves[0].background_efficiency, values.mean(axis=0)
        axes.plot(cuts, mean, color=colour, label=name)
        axes.fill_between(cuts, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_yscale("log")
    axes.set_xlabel("background efficiency")
    axes.set_ylabel("significance improvement")
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the events")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/resonance"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.001, 0.0], help="S/B in the signal region")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=2000, help="of the fit to the sidebands")
    parser.add_argument("--workers", type=int, default=1, help="processes that make events")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    produce(args.folder, workers=args.workers)
    background, signal = (Sample.read(args.folder, kind) for kind in ("background", "signal"))
    num = background.in_region.sum()
    print(f"{len(background.mass)} QCD events, {num} in the signal region; signal: {signal.in_region.mean():.0%} in it")
    ways: dict[str, list[Scores]] = {}
    for share in args.shares:
        for seed in range(args.seeds):
            path = args.output / f"anode-{share:g}-{num}-{args.num_steps}-{seed}.npz"
            if not path.exists():
                start = time.process_time()
                scores = search(background, signal, share, seed, args.num_steps)
                np.savez(path, signal=scores[0], background=scores[1])
                print(f"{path}: {time.process_time() - start:.0f} s of processor time", flush=True)
            with np.load(path) as file:
                ways.setdefault(f"ANODE, S/B = {share:g}", []).append((file["signal"], file["background"]))
    ways["trees with labels"] = [with_labels(background, signal, seed) for seed in range(args.seeds)]
    ways["random score"] = [at_random(background, signal, seed) for seed in range(args.seeds)]
    curves = {name: [significance_improvement(*both, CUTS) for both in scores] for name, scores in ways.items()}
    print("\n".join(table(curves)))
    values = {
        name: [{"value": c.value.tolist(), "error": c.error.tolist()} for c in some] for name, some in curves.items()
    }
    (args.output / "significance.json").write_text(json.dumps({"eps_B": CUTS, **values}, indent=2) + "\n")
    picture(args.output / "significance.png", ways)


if __name__ == "__main__":
    main()
