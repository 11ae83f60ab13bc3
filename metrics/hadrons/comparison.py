"""Compare one generated sample of particle sets with a real one: every figure of the validation table, with errors.

The comparison of a second, independent real sample gives the null of each figure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.distances.kolmogorov import ks_distances
from metrics.distances.wasserstein import w1
from metrics.evaluation import evaluate
from metrics.hadrons.observables import FLOW_EDGES, SPECIES, SPECTRA
from metrics.hadrons.resonances import grouped_ratios
from metrics.hadrons.sample import ETA_REL, PDG_ID, PT_REL, SET, Features
from metrics.result import MetricResult

RARE = 0.1
"""Species with fewer particles than this a set may deviate by 5% in their mean; the others by 1%."""


@dataclass(frozen=True)
class Ratio:
    """Mean of a quantity in generated over its mean in real sets, its error, and the real mean."""

    ratio: float
    error: float
    real: float

    def excess(self, tolerance: float) -> float:
        """Compute how far |ratio - 1| lies beyond the tolerance and two standard errors; negative if within."""
        return abs(self.ratio - 1.0) - tolerance - 2.0 * self.error


@dataclass(frozen=True)
class Comparison:
    """Figures of one generated sample.

    Attributes:
        num: sets on each side.
        max_particles: leading particles that the EFPs were computed from.
        figures: "fpd", "kpd", "auc", "auc_shapes", "w1 OBSERVABLE", of content "content NAME" and "peak NAME", and of
            spectra "w1 pt of SPECIES" and "w1 eta of SPECIES".
        species: ratios of mean multiplicities by |PDG id|, with "all" and "charged".
        flow: ratios of the mean energy flow in bins of Delta R.
    """

    num: int
    max_particles: int
    figures: dict[str, MetricResult]
    species: dict[str, Ratio]
    flow: list[Ratio]

    def species_outside(self) -> list[str]:
        """List species whose mean multiplicity is off by more than 1% (5% if rare) and two standard errors."""
        return [k for k, r in self.species.items() if r.excess(0.05 if r.real < RARE else 0.01) > 0]

    def flow_deviation(self) -> Ratio:
        """Find the bin of the energy flow that deviates most significantly."""
        return max(self.flow, key=lambda r: r.excess(0.0))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """Restore a comparison from what :meth:`to_dict` gives."""
        return cls(
            values["num"],
            values["max_particles"],
            {k: MetricResult(**v) for k, v in values["figures"].items()},
            {k: Ratio(**v) for k, v in values["species"].items()},
            [Ratio(**v) for v in values["flow"]],
        )

    def headline(self) -> str:
        """Write one line: FPD, AUC, species outside their tolerance, energy flow."""
        distance, area, flow = self.figures["fpd"], self.figures["auc"], self.flow_deviation()
        return (
            f"FPD {1e4 * distance.value:.1f} +- {1e4 * distance.error:.1f} e-4, AUC {area.value:.3f} +- "
            f"{area.error:.3f}, species outside: {' '.join(self.species_outside()) or 'none'}, "
            f"flow {100 * (flow.ratio - 1):+.1f} +- {100 * flow.error:.1f}%"
        )


def compare(real: Features, sample: Features, *, seed: int = 0) -> Comparison:
    """Compute all figures of ``sample`` against ``real``.

    Args:
        real: features of the real sets.
        sample: features of generated sets, or of other real sets for the null.
        seed: of partitions, bootstrap and classifier.

    Returns:
        The figures.

    Raises:
        ValueError: if the samples keep different numbers of leading particles.
    """
    if real.max_particles != sample.max_particles:
        raise ValueError(f"EFPs of {real.max_particles} and {sample.max_particles} leading particles do not compare")
    metrics = ("fpd", "kpd", "w1", "auc", "auc_shapes")
    one, other = real.sample(), sample.sample()
    evaluation, _ = evaluate(one, {"sample": other}, metrics=metrics, seed=seed)
    figures = dict(evaluation.results["sample"])
    content = ks_distances(one.content, other.content, prefix="content", seed=seed)
    content += grouped_ratios(real.masses, sample.masses, seed=seed)
    figures |= {result.name: result for result in content}
    for name, ids in SPECTRA.items():
        chosen = [s.particles[np.isin(s.particles[:, PDG_ID], ids)] for s in (real, sample)]
        if min(len(c) for c in chosen) == 0:
            continue
        for column, quantity in ((PT_REL, "pt"), (ETA_REL, "eta")):
            figure = f"w1 {quantity} of {name}"
            figures[figure] = w1(
                chosen[0][:, column],
                chosen[1][:, column],
                real_groups=chosen[0][:, SET],
                generated_groups=chosen[1][:, SET],
                name=figure,
                seed=seed,
            )
    return Comparison(
        min(len(real), len(sample)), real.max_particles, figures, _species(real, sample), _flow(real, sample)
    )


def _mean_ratio(real: NDArray[Any], sample: NDArray[Any]) -> Ratio:
    """Compute the ratio of means of two samples of per-set values; infinite error where the real mean is 0."""
    means = float(np.mean(real, dtype=np.float64)), float(np.mean(sample, dtype=np.float64))
    errors = [float(np.std(v, dtype=np.float64)) / np.sqrt(len(v)) for v in (real, sample)]
    if means[0] <= 0:
        return Ratio(1.0, 1e9, means[0])
    ratio = means[1] / means[0]
    return Ratio(ratio, float(np.hypot(errors[1], ratio * errors[0]) / means[0]), means[0])


def _species(real: Features, sample: Features) -> dict[str, Ratio]:
    """Compute ratios of mean multiplicities."""
    out = {
        "all": _mean_ratio(real.column("multiplicity"), sample.column("multiplicity")),
        "charged": _mean_ratio(real.column("charged"), sample.column("charged")),
    }
    for pdg in sorted({abs(i) for i in SPECIES}):
        columns = [k for k, i in enumerate(SPECIES) if abs(i) == pdg]
        values = [s.counts[:, columns].sum(axis=1, dtype=np.int64) for s in (real, sample)]
        out[str(pdg)] = _mean_ratio(values[0], values[1])
    return out


def _flow(real: Features, sample: Features) -> list[Ratio]:
    """Compute ratios of the mean energy flow."""
    return [_mean_ratio(real.flow[:, k], sample.flow[:, k]) for k in range(len(FLOW_EDGES) - 1)]
