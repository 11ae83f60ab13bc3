"""Fluctuations of showers in copper: models against Geant4, many showers of few particles, for docs/calorimeter.md.

The standard deviation of muons is that of the few that radiate, of which :mod:`bench.validation.copper` has too few.
Here Geant4's showers are given, any number a particle, and their energies may be a part of the range:

    fastsim showers --model geant4 --detector copper --particle mu- --energy 10:200 -n 2000 --seed 881311 -o mu-.h5
    python -m bench.validation.copper_spread mu-.h5 mu+.h5 --models copper-cascade copper-towers

They are halved; one half is held against the other (the rows Geant4), and against showers of each model at the other
half's energies, so that all samples of a row have one size. With x the visible over the kinetic energy of a shower, and
r = x over the median of Geant4's at that energy:

- response, standard deviation: ratios to Geant4's of the mean and of the width of x, about a cubic in log E that is
  fitted to Geant4's particles, one by one; core: the ratio of the distances from the 16th to the 84th percentile of r
  (of x about the cubic, where the median is zero somewhere);
- without deposit: share of showers; r > 2, 5, 10: shares of showers, where the median is above zero everywhere; of
  Geant4's first half before the comma;
- correlations: root mean square of the differences of Spearman's correlations of the energies of all pairs of layers,
  of all showers and of those of r > 2; hottest: Kolmogorov distance of the share of the hottest layer in these.

Errors are of one standard deviation, from resampled showers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, rankdata

from bench.validation.copper import DETECTOR, EDGES, FAMILIES, GEANT4, Fractions, draw, fractions, halves, read_real
from bench.validation.hadron_document import fill, table
from bench.validation.showers import refuse_shared
from fastsim.detector.detector import PARTICLES, load_detector
from fastsim.errors import FastsimError
from fastsim.registry import load_showers
from fastsim.shipped import data_folder
from fastsim.sources import cards
from generators.showers.data import trained_on
from generators.showers.regroup import Regrouping

Floats = NDArray[np.float64]

TAILS = (2, 5, 10)
NUM_BINS = 10
"""Of equal numbers of showers, in which medians are taken."""
NUM_RESAMPLED = 200
LEAST, LEAST_HOT = 200, 100
"""Showers of one sample that a row needs, and of r > 2 that their figures need."""
RATIOS = ("response", "standard deviation", "core")
HEAD = (
    *("particles", "GeV", "sample", "showers", *RATIOS, "without deposit, %"),
    *(f"r > {limit}, %" for limit in TAILS),
    *("correlations", "of r > 2", "hottest of r > 2"),
)


class Sample:
    """Showers of one family in a range of energies, all particles together.

    Attributes:
        x: visible over kinetic energy, (N,).
        rest: the same about Geant4's mean at that energy, (N,).
        r: over Geant4's median at that energy, (N,); NaN where that is zero.
        layers: fractions of the energy in each layer, (N, L).
    """

    def __init__(self, parts: Mapping[str, Fractions], reference: Mapping[str, Fractions]) -> None:
        x, rest, r = [], [], []
        for name, part in parts.items():
            log_energy, known = np.log(part.energy), reference[name]
            curve = np.polyfit(np.log(known.energy), known.visible, 3)
            x.append(part.visible)
            rest.append(part.visible - np.polyval(curve, log_energy))
            r.append(part.visible / _median(known, log_energy))
        self.x, self.rest, self.r = (np.concatenate(values) for values in (x, rest, r))
        self.layers = np.concatenate([part.layers for part in parts.values()])

    def __len__(self) -> int:
        return len(self.x)

    def chosen(self, rows: NDArray[np.int64]) -> Sample:
        """Return the showers of the given indices."""
        other = object.__new__(Sample)
        other.x, other.rest, other.r, other.layers = self.x[rows], self.rest[rows], self.r[rows], self.layers[rows]
        return other

    def above(self, limit: float) -> Sample:
        """Return the showers of more than ``limit`` medians."""
        return self.chosen(np.flatnonzero(self.r > limit))


def _median(sample: Fractions, log_energy: Floats) -> Floats:
    """Compute the median of x at energies (N,), linear between bins; NaN everywhere if it is 0 in one of them."""
    order = np.array_split(np.argsort(sample.energy), NUM_BINS)
    medians = np.array([np.median(sample.visible[rows]) for rows in order])
    if medians.min() <= 0:
        return np.full(len(log_energy), np.nan)
    places = [np.log(sample.energy[rows]).mean() for rows in order]
    return np.interp(log_energy, places, medians)


def response(a: Sample, b: Sample) -> float:
    """Compute the ratio of the means of x."""
    return float(b.x.mean() / a.x.mean())


def deviation(a: Sample, b: Sample) -> float:
    """Compute the ratio of standard deviations."""
    return float(b.rest.std() / a.rest.std())


def core(a: Sample, b: Sample) -> float:
    """Compute the ratio of the distances from the 16th to the 84th percentile of r, without a median of x."""
    one, other = (np.subtract(*np.percentile(s.rest if np.isnan(a.r).any() else s.r, [84, 16])) for s in (a, b))
    return float(other / one)


def correlations(a: Sample, b: Sample) -> float:
    """Compute the root mean square of the differences of Spearman's correlations of layers that have energy in both."""
    ranks = [rankdata(s.layers, axis=0) for s in (a, b)]
    some = np.all([r.std(axis=0) > 0 for r in ranks], axis=0)
    one, other = (np.corrcoef(r[:, some], rowvar=False) for r in ranks)
    pairs = np.triu_indices(len(one), 1)
    return float(np.sqrt(np.mean((one[pairs] - other[pairs]) ** 2)))


def hottest(a: Sample, b: Sample) -> float:
    """Compute the Kolmogorov distance of the share of the hottest layer."""
    return float(ks_2samp(*(s.layers.max(axis=1) / s.x for s in (a, b))).statistic)


def cells(a: Sample, b: Sample, rng: np.random.Generator) -> list[str]:
    """Write the figures of a row; ``a`` is real."""

    def text(of: Callable[[Sample, Sample], float], one: Sample, other: Sample) -> str:
        if min(len(one), len(other)) < LEAST_HOT:
            return ""
        draws = [of(*(s.chosen(rng.integers(0, len(s), len(s))) for s in (one, other))) for _ in range(NUM_RESAMPLED)]
        return f"{of(one, other):.3f} ± {np.std(draws):.3f}"

    def shares(limit: float) -> str:
        if np.isnan(a.r).any():
            return ""
        each = [(np.mean(s.r > limit), len(s)) for s in (a, b)]
        return ", ".join(f"{100 * p:.2f} ± {100 * np.sqrt(p * (1 - p) / n):.2f}" for p, n in each)

    empty = ", ".join(f"{100 * np.mean(s.x == 0):.1f}" for s in (a, b))
    ratios = [text(of, a, b) for of in (response, deviation, core)]
    tails = [shares(limit) for limit in TAILS]
    hot = [s.above(TAILS[0]) for s in (a, b)]
    return [
        str(len(b)),
        *ratios,
        empty,
        *tails,
        text(correlations, a, b),
        text(correlations, *hot),
        text(hottest, *hot),
    ]


def rows(
    name: str, real: Mapping[str, Fractions], first: Mapping[str, Fractions], other: Mapping[str, Fractions]
) -> list[list[str]]:
    """Write the rows of a sample, by family and energies, where there are showers enough.

    Args:
        name: of the sample.
        real: all of Geant4's showers by particle, whose medians and means are the reference.
        first, other: the samples that are compared; ``first`` is Geant4's.
    """
    result = []
    for family, names in FAMILIES.items():
        for low, high in pairwise(EDGES):
            parts = {n: [_between(s[n], low, high) for s in (real, first, other)] for n in names if n in other}
            known = {n: three for n, three in parts.items() if min(len(part.energy) for part in three) >= LEAST}
            if known:
                whole, one, two = ({n: three[k] for n, three in known.items()} for k in range(3))
                figures = cells(Sample(one, whole), Sample(two, whole), np.random.default_rng(1))
                result.append([family, f"{low:g}-{high:g}", name, *figures])
    return result


def _between(sample: Fractions, low: float, high: float) -> Fractions:
    return sample[(sample.energy >= low) & (sample.energy < high)]


def card_figures(table_rows: Sequence[Sequence[str]], source: str, null: str) -> dict[str, cards.Figure]:
    """Compute how far a model's ratios are from Geant4's, as its card holds them; ``null`` names Geant4's rows."""
    figures = {}
    by_place = {(row[2], *row[:2]): dict(zip(HEAD, row, strict=True)) for row in table_rows}
    for (sample, family, energies), row in by_place.items():
        if sample == source:
            for name in RATIOS:
                one, other = (
                    [float(part) for part in each[name].split(" ± ")]
                    for each in (row, by_place[null, family, energies])
                )
                place = f"{name.replace(' ', '-')}-off/{family.split(',')[0]}-{energies}"
                figures[place] = cards.Figure(abs(one[0] - 1), one[1], abs(other[0] - 1), other[1])
    return figures


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", nargs="+", type=Path, help="Geant4's showers in copper (.h5), any particles")
    parser.add_argument("--models", nargs="+", default=["copper-cascade", "copper-towers"], help="names or cards")
    parser.add_argument("--docs", type=Path, help="folder of calorimeter.md, to write the table there, and into cards")
    options = parser.parse_args(words)
    showers, runs = read_real(options.real)
    copper = load_detector(DETECTOR)
    written: list[list[str]] = []
    sources = [load_showers(name) for name in options.models]
    for detector_name in dict.fromkeys(source.detector for source in sources):
        detector = load_detector(detector_name)
        regroup = Regrouping.of(copper, detector)
        real = {n: fractions(detector, PARTICLES[n][0], e, regroup(v)) for n, (e, v) in showers.items()}
        split = {n: halves(sample) for n, sample in real.items()}
        first, second = ({n: s[k] for n, s in split.items()} for k in (0, 1))
        written += rows(f"{GEANT4}, {detector.name}", real, first, second)
        for source in sources:
            if source.detector != detector.name:
                continue
            refuse_shared({"real": runs}, {source.name: trained_on(source.card)})
            drawn = {n: draw(source, detector, PARTICLES[n][0], sample.energy, 1) for n, sample in second.items()}
            written += rows(source.name, real, first, drawn)
    text = table(HEAD, sorted(written, key=lambda row: (row[0], row[1])))
    print(text, end="")
    if options.docs is None:
        return
    fill(options.docs / "calorimeter.md", "copper-spread", text)
    for source in sources:
        if source.name in cards.available(cards.SHOWERS):
            figures = card_figures(written, source.name, f"{GEANT4}, {source.detector}")
            cards.add_figures(data_folder() / "models" / f"{source.name}.json", figures)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
