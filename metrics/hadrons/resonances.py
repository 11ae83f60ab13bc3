r"""Peaks of resonances and of c hadrons in the masses of combinations of a set's particles, and their areas.

The spectrum of a peak counts combinations of the right particles in bins of mass; where like-sign combinations tell the
combinatorial background, they are subtracted. What is left below the peak is a straight line through a band on each
side. With h_b the counts in bin b, the area

    A = sum_(b in window) h_b - n_window [ (m_R - m_0) / (m_R - m_L) <h>_L + (m_0 - m_L) / (m_R - m_L) <h>_R ]

(<h> the mean of a band, m its middle, m_0 that of the window) is linear in h: sets may be weighted, and its error is
that of a sum over sets. Cuts on z = pT / pT of the parton keep the peaks visible in jets of every pT.

References:
    ALEPH 1998, Phys. Rept. 294, 1 (inclusive resonances in e+e-). Review of Particle Physics 2024 (masses, widths).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.event.kinematics import pt
from metrics.hadrons.candidates import Candidates, combined
from metrics.hadrons.histograms import sum_per_set
from metrics.hadrons.jets import Jets
from metrics.result import MetricResult
from metrics.statistics.resampling import Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Daughter = int | str
"""A PDG id, or the name of another peak whose window holds the daughter's own daughters."""
Channel = tuple[Daughter, ...]

CHUNK = 5_000
"""Sets whose combinations are in memory at a time."""
MIN_SIGNIFICANCE = 3.0
"""A peak whose area in the real sample is fewer standard errors from 0 has no ratio: there is nothing to compare."""


@dataclass(frozen=True)
class Peak:
    """A peak, and how it is made visible.

    Attributes:
        label: what it is, for pictures.
        channels: daughters; one with all charges reversed is another channel.
        like_sign: channels that are subtracted.
        edges: lowest and highest mass and the width of the bins, GeV.
        window: where the peak is, GeV.
        bands: where the background is measured, below and above, GeV.
        z_min: least z of every daughter.
        z_sum: least z of the combination.
        difference: the mass above that of the first daughter, a peak itself, in place of the mass.
    """

    label: str
    channels: tuple[Channel, ...]
    edges: tuple[float, float, float]
    window: tuple[float, float]
    bands: tuple[tuple[float, float], tuple[float, float]]
    like_sign: tuple[Channel, ...] = ()
    z_min: float = 0.01
    z_sum: float = 0.0
    difference: bool = False

    @cached_property
    def bins(self) -> Floats:
        """Edges of the bins in GeV, (bins + 1,)."""
        low, high, width = self.edges
        return np.asarray(np.linspace(low, high, round((high - low) / width) + 1))

    @cached_property
    def area(self) -> Floats:
        """What each bin counts in the area A, (bins,)."""
        centres = 0.5 * (self.bins[1:] + self.bins[:-1])
        inside, left, right = (
            ((low < centres) & (centres < high)).astype(np.float64) for low, high in (self.window, *self.bands)
        )
        m_0, m_left, m_right = (float(centres @ part / part.sum()) for part in (inside, left, right))
        share = (m_right - m_0) / (m_right - m_left)
        background = share * left / left.sum() + (1.0 - share) * right / right.sum()
        return np.asarray(inside - inside.sum() * background)


PEAKS: dict[str, Peak] = {
    "pi0": Peak(
        r"$\pi^0\to\gamma\gamma$", ((22, 22),), (0.0, 0.3, 0.005), (0.12, 0.15), ((0.08, 0.11), (0.16, 0.19))
    ),
    "eta": Peak(
        r"$\eta\to\gamma\gamma$", ((22, 22),), (0.3, 0.8, 0.01), (0.52, 0.58), ((0.43, 0.50), (0.60, 0.68)),
        z_min=0.02,
    ),
    "K0S": Peak(
        r"$K^0_S\to\pi\pi$", ((211, -211),), (0.42, 0.58, 0.004), (0.48, 0.516), ((0.44, 0.472), (0.524, 0.556))
    ),
    "rho0": Peak(
        r"$\rho^0\to\pi\pi$", ((211, -211),), (0.28, 1.4, 0.02), (0.68, 0.86), ((0.54, 0.62), (0.92, 1.1)),
        like_sign=((211, 211),), z_sum=0.1,
    ),
    "omega": Peak(
        r"$\omega\to\pi\pi\pi^0$", ((211, -211, "pi0"),), (0.6, 1.0, 0.01), (0.75, 0.81), ((0.66, 0.73), (0.83, 0.90)),
        z_sum=0.1,
    ),
    "K*0": Peak(
        r"$K^{*0}\to K\pi$", ((321, -211),), (0.64, 1.4, 0.02), (0.84, 0.96), ((0.74, 0.82), (0.98, 1.06)),
        like_sign=((321, 211),), z_min=0.005,
    ),
    "K*+": Peak(
        r"$K^{*+}\to K^0_S\pi$", ((310, 211),), (0.64, 1.4, 0.02), (0.84, 0.96), ((0.74, 0.82), (0.98, 1.06)),
        z_min=0.005,
    ),
    "phi": Peak(
        r"$\phi\to KK$", ((321, -321),), (0.988, 1.1, 0.002), (1.008, 1.032), ((0.99, 1.004), (1.036, 1.06)),
        z_min=0.005,
    ),
    "Lambda": Peak(
        r"$\Lambda\to p\pi$", ((2212, -211),), (1.08, 1.16, 0.002), (1.11, 1.122), ((1.092, 1.106), (1.126, 1.14)),
        z_min=0.005,
    ),
    "Sigma0": Peak(
        r"$\Sigma^0\to\Lambda\gamma$", ((3122, 22),), (1.12, 1.3, 0.003), (1.183, 1.201),
        ((1.144, 1.177), (1.207, 1.24)), z_min=0.005,
    ),
    "Sigma(1385)": Peak(
        r"$\Sigma(1385)\to\Lambda\pi$", ((3122, 211), (3122, -211)), (1.25, 1.7, 0.01), (1.34, 1.43),
        ((1.28, 1.33), (1.44, 1.5)), z_min=0.005,
    ),
    "Delta++": Peak(
        r"$\Delta^{++}\to p\pi$", ((2212, 211),), (1.08, 1.6, 0.02), (1.16, 1.3), ((1.08, 1.14), (1.36, 1.5)),
        like_sign=((2212, -211),), z_min=0.005,
    ),
    "D0": Peak(
        r"$D^0\to K\pi$", ((-321, 211),), (1.6, 2.1, 0.01), (1.84, 1.89), ((1.74, 1.82), (1.91, 1.99)), z_min=0.02,
        z_sum=0.1,
    ),
    "D+": Peak(
        r"$D^+\to K\pi\pi$", ((-321, 211, 211),), (1.65, 2.1, 0.01), (1.84, 1.9), ((1.74, 1.82), (1.91, 1.99)),
        z_sum=0.1,
    ),
    "Ds+": Peak(
        r"$D_s\to\phi\pi$", (("phi", 211),), (1.75, 2.2, 0.01), (1.94, 2.0), ((1.89, 1.93), (2.01, 2.09)), z_sum=0.1
    ),
    "Lambda_c": Peak(
        r"$\Lambda_c\to pK\pi$", ((2212, -321, 211),), (2.1, 2.5, 0.01), (2.26, 2.31), ((2.17, 2.25), (2.32, 2.4)),
        z_sum=0.1,
    ),
    "D*+": Peak(
        r"$D^{*+}\to D^0\pi$, $m-m(K\pi)$", (("D0", 211),), (0.139, 0.175, 0.001), (0.143, 0.148),
        ((0.1395, 0.1425), (0.149, 0.155)), z_min=0.0, z_sum=0.1, difference=True,
    ),
    "J/psi": Peak(
        r"$J/\psi\to\ell\ell$", ((11, -11), (13, -13)), (2.8, 3.4, 0.02), (3.04, 3.16), ((2.84, 3.0), (3.2, 3.36)),
    ),
}  # fmt: skip
"""The peaks by name; masses, windows and bands in GeV, chosen on jets of Pythia of 60 to 200 GeV."""


class _Sets:
    """Candidates in some sets, each made once."""

    def __init__(self, jets: Jets) -> None:
        self.num = len(jets)
        self.index = jets.index
        self.scale = jets.parton_pt
        self.pt_rel = np.asarray(jets.pt_rel, dtype=np.float64)
        self.p4 = jets.p4_rel * jets.parton_pt[self.index][:, None]
        self.rows = {int(pdg): np.flatnonzero(jets.pdg_id == pdg) for pdg in np.unique(jets.pdg_id)}
        self.known: dict[tuple[Any, ...], Candidates] = {}

    def of(self, daughter: Daughter, z_min: float) -> Candidates:
        """List what may be a daughter: particles of a PDG id, or combinations in the window of another peak."""
        key = (daughter, z_min)
        if key not in self.known:
            if isinstance(daughter, str):
                name = daughter.removeprefix("-")
                found, value = self.of_peak(PEAKS[name], 1 if name == daughter else -1)
                low, high = PEAKS[name].window
                self.known[key] = found[(low < value) & (value < high)]
            else:
                rows = self.rows.get(daughter, np.zeros(0, dtype=np.int64))
                rows = rows[self.pt_rel[rows] >= z_min]
                self.known[key] = Candidates(self.index[rows], self.p4[rows], rows[:, None])
        return self.known[key]

    def combinations(self, channel: Channel, z_min: float) -> tuple[Candidates, Candidates, Ints]:
        """Combine the daughters of a channel; also the first daughters, and which of them each combination holds."""
        first = self.of(channel[0], z_min)
        if len(channel) == 2:
            other = self.of(channel[1], z_min)
            found, row = combined(first, other, self.num, alike=channel[0] == channel[1])
            return found, first, row
        # three: of two that are alike every pair is made once, and the third is combined with them
        pairs = self.combinations(channel[1:], z_min)[0]
        found, row = combined(first, pairs, self.num)
        return found, first, row

    def of_peak(self, peak: Peak, sign: int, *, like_sign: bool = False) -> tuple[Candidates, Floats]:
        """List the combinations of the channels with all charges times ``sign``, and the mass that the peak is in."""
        parts, values = [], []
        for channel in peak.like_sign if like_sign else peak.channels:
            found, first, row = self.combinations(tuple(_charged(d, sign) for d in channel), peak.z_min)
            value = found.mass - (first.mass[row] if peak.difference else 0.0)
            kept = pt(found.p4) >= peak.z_sum * self.scale[found.index]
            parts.append(found[kept])
            values.append(value[kept])
        order = np.argsort(np.concatenate([p.index for p in parts]), kind="stable")
        return Candidates.concatenate(parts), np.concatenate(values)[order]

    def counts(self, peak: Peak) -> list[tuple[Ints, Floats, float]]:
        """List set, mass and sign of all combinations that the spectrum of a peak counts."""
        out = []
        for like_sign, weight in ((False, 1.0), (True, -1.0)):
            channels = peak.like_sign if like_sign else peak.channels
            if not channels:
                continue
            own = {frozenset(map(str, channel)) for channel in channels}
            reversed_ = {frozenset(str(_charged(d, -1)) for d in channel) for channel in channels}
            for sign in (1,) if own == reversed_ else (1, -1):
                found, value = self.of_peak(peak, sign, like_sign=like_sign)
                out.append((found.index, value, weight))
        return out


_NEUTRAL: tuple[Daughter, ...] = (22, 310, 130, "pi0", "phi")


def _charged(daughter: Daughter, sign: int) -> Daughter:
    """Reverse the charges of a daughter if ``sign`` is -1."""
    if sign == 1 or daughter in _NEUTRAL:
        return daughter
    if isinstance(daughter, str):
        return daughter.removeprefix("-") if daughter.startswith("-") else f"-{daughter}"
    return -daughter


def mass_spectra(
    jets: Jets, *, weights: NDArray[Any] | None = None, groups: Ints | None = None, num_groups: int = 0
) -> dict[str, Floats]:
    """Count the combinations of every peak in bins of mass, like-sign ones negative.

    Args:
        jets: N sets relative to their partons.
        weights: of the sets, of either sign, (N,); default 1.
        groups: the group that each set is counted in, (N,); default one a set.
        num_groups: G, with ``groups``.

    Returns:
        By name of :data:`PEAKS`, sums of weights, (G, bins).
    """
    w = np.ones(len(jets)) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.arange(len(jets)) if groups is None else groups
    size = len(jets) if groups is None else num_groups
    spectra = {name: np.zeros((size, len(peak.bins) - 1)) for name, peak in PEAKS.items()}
    for first in range(0, len(jets), CHUNK):
        sets = _Sets(jets[first : first + CHUNK])
        for name, peak in PEAKS.items():
            width = len(peak.bins) - 1
            for index, value, sign in sets.counts(peak):
                place = np.searchsorted(peak.bins, value, side="right") - 1
                inside = (place >= 0) & (place < width)
                flat = group[first + index[inside]] * width + place[inside]
                spectra[name] += sign * np.bincount(flat, w[first + index[inside]], size * width).reshape(size, width)
    return spectra


def grouped_spectra(jets: Jets, *, size: int = 20) -> NDArray[np.float32]:
    """Put the mass spectra of groups of sets side by side: what a comparison of peaks needs, small enough to keep.

    Args:
        jets: N sets relative to their partons.
        size: sets in a group, one after another; the last group may have fewer.

    Returns:
        Spectra of all :data:`PEAKS` in their order, then the number of sets, shape (groups, bins + 1).
    """
    groups = np.arange(len(jets)) // size
    num = -(-len(jets) // size)
    spectra = mass_spectra(jets, groups=groups, num_groups=num)
    columns = [*spectra.values(), sum_per_set(groups, np.ones(len(jets)), num)[:, None]]
    return np.asarray(np.concatenate(columns, axis=1), dtype=np.float32)


def grouped_ratios(real: NDArray[Any], generated: NDArray[Any], *, seed: int = 0) -> list[MetricResult]:
    """Compute what :func:`peak_ratios` does from :func:`grouped_spectra` of both samples.

    Args:
        real, generated: spectra of groups of sets, (groups, bins + 1).
        seed: of all that is drawn.

    Returns:
        The results; ``num_real`` and ``num_generated`` count sets.
    """
    resampling = Resampling(len(real), len(generated), seed=seed)
    sums: list[dict[str, Floats]] = [{}, {}]
    for side, spectra in enumerate((real, generated)):
        first = 0
        for name, peak in PEAKS.items():
            area = spectra[:, first : first + len(peak.area)] @ peak.area
            sums[side][name] = resampling.sums(side, np.stack([area, spectra[:, -1]], axis=1))
            first += len(peak.area)
    num_real, num_generated = (int(spectra[:, -1].sum()) for spectra in (real, generated))
    return [
        replace(result, num_real=num_real, num_generated=num_generated)
        for result in ratios(sums[0], sums[1], resampling, "peak")
    ]


def pairs_in_windows(jets: Jets) -> Floats:
    """Count the combinations in the window of each peak, like-sign ones subtracted, shape (N, number of peaks)."""
    out = np.zeros((len(jets), len(PEAKS)))
    for first in range(0, len(jets), CHUNK):
        sets = _Sets(jets[first : first + CHUNK])
        for column, peak in enumerate(PEAKS.values()):
            for index, value, sign in sets.counts(peak):
                inside = (peak.window[0] < value) & (value < peak.window[1])
                out[first : first + CHUNK, column] += sign * np.bincount(index[inside], minlength=sets.num)
    return out


def peak_ratios(
    real: Jets,
    generated: Jets,
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: NDArray[Any] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> list[MetricResult]:
    """Compute the ratio of generated to real area of every peak that the real sample has.

    Args:
        real, generated: N and N' sets.
        real_weights, generated_weights: event weights of either sign, (N,) and (N',).
        num_bootstrap, num_permutations: resamples of sets for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Results "peak NAME": 1 for equal samples, 0 without a peak. Peaks whose area in the real sample is within
        :data:`MIN_SIGNIFICANCE` standard errors of 0 are left out.

    Raises:
        ValueError: if a sample has fewer than 2 sets, holds NaN or infinity, or its weights have no positive sum.
    """
    for label, jets in (("real", real), ("generated", generated)):
        if not all(np.isfinite(column).all() for column in (jets.pt_rel, jets.pz_rel, jets.phi_rel, jets.m_rel)):
            raise ValueError(f"the {label} sets hold NaN or infinity: masses need finite momenta")
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    sums = []
    for side, (jets, given) in enumerate(((real, real_weights), (generated, generated_weights))):
        w = checked_weights("a peak", "real" if side == 0 else "generated", given, len(jets))
        blocks, num_blocks = resampling.blocks[side], resampling.num_blocks[side]
        spectra = mass_spectra(jets, weights=w, groups=blocks, num_groups=num_blocks)
        total = sum_per_set(blocks, w, num_blocks)
        sums.append({name: np.stack([h @ PEAKS[name].area, total], axis=1) for name, h in spectra.items()})
    return ratios(sums[0], sums[1], resampling, "peak")


def ratios(
    real: Mapping[str, Floats], generated: Mapping[str, Floats], resampling: Resampling, prefix: str
) -> list[MetricResult]:
    """Compute ratios of generated to real means per event, where the real mean is not compatible with 0.

    R = 1 + (g - h) / h_0 with means g and h of a resample and the real mean h_0 of the whole sample: linear, so that
    neither error nor null is spoiled by small denominators; the error then holds that of the ratio to first order.

    Args:
        real, generated: sums of the quantity and of the weights over each block, (blocks, 2), by name.
        resampling: the blocks.
        prefix: of the results' names, "PREFIX NAME".

    Returns:
        The results; for what is as likely 0 in the real sample, none.
    """
    results = []
    for name, sums in real.items():
        if name not in generated:
            continue
        mean, error = _mean(sums)
        if not mean > max(MIN_SIGNIFICANCE * error, 0.0):
            continue
        ratio = _mean(generated[name])[0] / mean

        def statistic(one: Floats, other: Floats, mean: float = mean, ratio: float = ratio) -> Floats:
            return np.asarray(1.0 + (other[:, 0] / other[:, 1] - one[:, 0] / one[:, 1]) / mean)

        def propagated(one: Floats, other: Floats, mean: float = mean, ratio: float = ratio) -> Floats:
            return np.asarray((other[:, 0] / other[:, 1] - ratio * one[:, 0] / one[:, 1]) / mean)

        draws = resampling.draws(sums, generated[name], statistic)
        error_draws = resampling.draws(sums, generated[name], propagated).bootstrap
        results.append(
            resampling.result(f"{prefix} {name}", type(draws)(draws.value, error_draws, draws.null), worse="both")
        )
    return results


def _mean(sums: Floats) -> tuple[float, float]:
    """Compute the mean per unit of weight of sums over blocks (blocks, 2), and its error from the blocks' spread."""
    value, weight = sums.sum(axis=0)
    mean = float(value / weight)
    residual = sums[:, 0] - mean * sums[:, 1]
    return mean, float(np.sqrt(np.sum(residual**2)) / abs(weight))
