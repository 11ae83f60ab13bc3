"""Compare one generated sample of showers with a real one: every figure of the validation table, with errors.

The comparison of a second, independent real sample gives the figures of equal samples, with which each is compared.

Both samples are cut at one readout threshold first: deposits below it become 0, as electronics would have it, so that
what no detector sees counts neither for nor against a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from fastsim.formats.calochallenge import Showers
from metrics.classifiers.importance import Importance, importances
from metrics.classifiers.trees import HeldOut, classifier_test
from metrics.distances.frechet import fpd
from metrics.distances.kernel import kpd
from metrics.distances.kolmogorov import ks_distances
from metrics.distances.manifold import prdc
from metrics.distances.wasserstein import w1, wasserstein_1
from metrics.result import MetricResult
from metrics.sample import Sample
from metrics.showers.correlation import correlation_distance, side_distance
from metrics.showers.features import observable_groups, showers_of, showers_sample
from metrics.showers.response import RATIO, response
from metrics.showers.separation import histogram_edges, separations, voxel_separation
from metrics.showers.shapes import shape_observables, shape_vector

Floats = NDArray[np.float64]

READOUT = 0.5e-3
"""MeV deposited in a voxel: as in CaloChallenge datasets 2 and 3, before their division by the sampling fraction."""
CLASSIFIERS = ("auc trees", "auc features", "auc voxels")
"""Boosted trees on all features; the challenge's network on its feature vector, and on the voxels."""
NUM_SEEN, ASKED = 6, 1_000
"""Inputs of the trees whose importance is given, and held-out showers of each sample that are asked for it."""
NUM_BOOTSTRAP = 20
"""Resamples for the error of the mean W1."""


@dataclass(frozen=True)
class ShowerComparison:
    """Figures of one generated sample.

    Attributes:
        num: showers on each side.
        readout: threshold in MeV.
        figures: results by name, as :func:`compare_showers` lists them.
        seconds: CPU seconds of each step (the machine may be busy with other work).
        seen: what boosted trees look at most, the area under their curve that is lost without it.
    """

    num: int
    readout: float
    figures: dict[str, MetricResult]
    seconds: dict[str, float]
    seen: tuple[Importance, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {**asdict(self), "figures": {name: r.to_dict() for name, r in self.figures.items()}}

    def join(self, *others: ShowerComparison) -> ShowerComparison:
        """Put the figures of other comparisons of the same samples beside these."""
        every = (self, *others)
        figures = {name: result for each in every for name, result in each.figures.items()}
        seconds = {step: spent for each in every for step, spent in each.seconds.items()}
        return replace(self, figures=figures, seconds=seconds, seen=tuple(i for each in every for i in each.seen))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShowerComparison:
        """Restore a comparison from what :meth:`to_dict` gives."""
        figures = {name: MetricResult(**r) for name, r in values["figures"].items()}
        seen = tuple(Importance(**i) for i in values.get("seen", ()))
        return cls(**{**values, "figures": figures, "seen": seen})


def read_out(showers: Showers, readout: float = READOUT) -> Showers:
    """Set deposits below ``readout`` (MeV) to 0, in a copy.

    Args:
        showers: N showers, which stay as they are.
        readout: threshold in MeV.
    """
    voxels = np.where(showers.voxels < readout, np.float32(0), showers.voxels)
    return Showers(showers.incident, voxels, direction=showers.direction)


def compare_showers(
    real: Showers,
    generated: Showers,
    binning: Binning,
    *,
    readout: float = READOUT,
    classifiers: Sequence[str] = CLASSIFIERS,
    other_figures: bool = True,
    num_epochs: int = 50,
    seed: int = 0,
    log: Callable[[str, float], None] = lambda step, seconds: None,
) -> ShowerComparison:
    """Compute every figure of one generated sample.

    Args:
        real, generated: N and N' showers, with incident energies from one distribution.
        binning: of their voxels.
        readout: threshold in MeV, of both.
        classifiers: of :data:`CLASSIFIERS`.
        other_figures: also all that no classifier gives.
        num_epochs: of the networks at most.
        seed: of all that is drawn.
        log: called with the name and the CPU seconds of each step.

    Returns:
        The figures: "fpd", "kpd" and "precision", "recall", "density", "coverage" of the challenge's feature vector;
        "separation GROUP" (mean over the layers) and "largest separation GROUP" (the worst layer), "separation
        E_tot/E_inc" and "separation voxel energy"; "shape NAME" and "fpd shapes" of whole showers; "layer correlations"
        and, where layers have sides, "side correlations"; "w1 E_tot/E_inc" and "w1 E_layer" (mean over
        the layers), in standard deviations of the real sample; "response", "resolution" and "core resolution", ratios
        of generated to real; the chosen classifiers.

    Raises:
        ValueError: if a sample is too small: FPD needs 240 showers.
    """
    one, other = (showers_sample(read_out(showers, readout), binning) for showers in (real, generated))
    others: dict[str, Callable[[], list[MetricResult]]] = {
        "fpd": lambda: [fpd(one.embedding, other.embedding, seed=seed)],
        "kpd": lambda: [kpd(one.embedding, other.embedding, seed=seed)],
        "prdc": lambda: list(prdc(one.embedding, other.embedding, seed=seed).values()),
        "separation": lambda: _separations(one, other, binning, readout, seed),
        "shapes": lambda: _shapes(one, other, seed),
        "correlation": lambda: _correlations(one, other, binning, seed),
        "w1": lambda: _w1(one, other, binning, seed),
        "response": lambda: _response(one, other, seed),
    }
    seen: list[Importance] = []
    steps = others if other_figures else {}
    steps |= {name: _classifier(name, one, other, num_epochs, seed, seen) for name in classifiers}
    figures: dict[str, MetricResult] = {}
    seconds: dict[str, float] = {}
    for step, compute in steps.items():
        start = time.process_time()
        results = compute()
        seconds[step] = time.process_time() - start
        figures.update({r.name: r for r in results})
        log(step, seconds[step])
    return ShowerComparison(min(len(one), len(other)), readout, figures, seconds, tuple(seen))


def _separations(real: Sample, generated: Sample, binning: Binning, readout: float, seed: int) -> list[MetricResult]:
    """Compute separation powers of the visible energy, of each group of features, and of the voxels."""
    groups = observable_groups(binning)
    powers = separations(real, generated, histogram_edges(real, readout=readout), groups=groups, seed=seed)
    several = [group for group, names in groups.items() if len(names) > 1]
    results = [powers[f"separation {RATIO}"]]
    results += [powers[f"{which}separation {group}"] for group in several for which in ("", "largest ")]
    return [*results, voxel_separation(real, generated, readout=readout, seed=seed)]


def _shapes(real: Sample, generated: Sample, seed: int) -> list[MetricResult]:
    """Compute Kolmogorov distances of the shapes of whole showers, and FPD of all of them."""
    results = ks_distances(shape_observables(real), shape_observables(generated), prefix="shape", seed=seed)
    return [*results, replace(fpd(shape_vector(real), shape_vector(generated), seed=seed), name="fpd shapes")]


def _correlations(real: Sample, generated: Sample, binning: Binning, seed: int) -> list[MetricResult]:
    """Compute the distances of the correlations of the layers' energies and, where they have any, sides."""
    results = [correlation_distance(real, generated, seed=seed)]
    sided = sum(layer.binned_in_alpha for layer, _ in binning.parts)
    return [*results, side_distance(real, generated, seed=seed)] if sided > 1 else results


def _w1(real: Sample, generated: Sample, binning: Binning, seed: int) -> list[MetricResult]:
    """Compute W1 of the visible energy and (mean) of the layers' energies, in the real standard deviations."""
    scale = real.observables[RATIO].std()
    total = w1(real.observables[RATIO] / scale, generated.observables[RATIO] / scale, name=f"w1 {RATIO}", seed=seed)
    names = observable_groups(binning)["E_layer"]
    columns = [np.stack([s.observables[name] for name in names], axis=1) for s in (real, generated)]
    spread = columns[0].std(axis=0)
    columns = [c[:, spread > 0] / spread[spread > 0] for c in columns]

    def mean(x: Floats, y: Floats) -> float:
        return float(np.mean([wasserstein_1(a, b) for a, b in zip(x.T, y.T, strict=True)]))

    rng = np.random.default_rng(seed)
    draws = [mean(*(c[rng.integers(len(c), size=len(c))] for c in columns)) for _ in range(NUM_BOOTSTRAP)]
    pooled = np.concatenate(columns)
    orders = [rng.permutation(len(pooled)) for _ in range(NUM_BOOTSTRAP)]
    null = [mean(pooled[order[: len(real)]], pooled[order[len(real) :]]) for order in orders]
    layers = MetricResult(
        "w1 E_layer",
        mean(*columns),
        float(np.std(draws, ddof=1)),
        float(np.mean(null)),
        float(np.std(null, ddof=1)),
        len(real),
        len(generated),
        seed,
    )
    return [total, layers]


def _response(real: Sample, generated: Sample, seed: int) -> list[MetricResult]:
    """Compute ratios of generated to real response and resolutions, of all energies of the samples together."""
    energy = np.concatenate([real.condition["energy"], generated.condition["energy"]])
    edges = np.array([energy.min(), energy.max() * (1 + 1e-9)])
    if edges[0] * (1 + 1e-6) >= edges[1]:  # one energy
        edges = np.array([edges[0] / 2, edges[0] * 2])
    one, other = (response(s, edges, seed=seed) for s in (real, generated))
    results = []
    for name, column in (("response", "response"), ("resolution", "resolution"), ("core resolution", "robust")):
        value, error = ([float(getattr(r, part)[0]) for r in (one, other)] for part in (column, f"{column}_error"))
        relative = float(np.hypot(error[0] / value[0], error[1] / value[1]))
        ratio = value[1] / value[0]
        results.append(MetricResult(name, ratio, ratio * relative, 1.0, relative, len(real), len(generated), seed))
    return results


def _classifier(
    name: str, real: Sample, generated: Sample, num_epochs: int, seed: int, seen: list[Importance]
) -> Callable[[], list[MetricResult]]:
    """Make the function that trains the classifier of a name; what trees look at is added to ``seen``."""

    def compute() -> list[MetricResult]:
        if name == "auc trees":
            test = classifier_test(real.classifier_inputs(), generated.classifier_inputs(), seed=seed)
            if test.held_out is not None:
                asked = (side[:ASKED] for side in (test.held_out.real, test.held_out.generated))
                held_out = HeldOut(test.held_out.model, test.held_out.names, *asked)
                seen.extend(importances(held_out, num=NUM_SEEN, seed=seed))
        elif name == "auc features":
            from metrics.classifiers.voxels import mlp_auc

            test = mlp_auc(real.embedding, generated.embedding, num_epochs=num_epochs, seed=seed, num_threads=1)
        elif name == "auc voxels":
            from metrics.classifiers.voxels import voxel_auc

            events = showers_of(real), showers_of(generated)
            test = voxel_auc(*events, num_epochs=num_epochs, seed=seed, num_threads=1)
        else:
            raise ValueError(f"no classifier {name!r}; there are {', '.join(CLASSIFIERS)}")
        return [replace(test.auc, name=name)]

    return compute
