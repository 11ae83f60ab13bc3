r"""Separation powers between histograms of showers' observables and of their voxels.

S = 1/2 sum_b (h_b - g_b)^2 / (h_b + g_b) of two histograms that each sum to 1 ("triangular discrimination"): 0 where
they are equal, 1 where they share no bin. The bins are the challenge's where it has some:

    E_tot/E_inc             100 bins of [0.5, 1.5]
    E_layer                 39 logarithmic bins from the readout threshold to the largest value of the real sample
    centre eta, phi         100 bins of +-30 mm (datasets 2, 3); +-100 mm, +-500 mm in layers 12, 13 (dataset 1)
    width eta, phi          100 bins of 0 to 30 mm (2, 3); to 100 mm, to 400 mm in layers 12, 13 (1)
    sparsity                19 bins of [0, 1]
    voxel energy            49 logarithmic bins from the readout threshold to the largest voxel of the real sample

Values outside are left out, and the rest normalised to 1, as the challenge does: a model can hide there. What the
challenge has no bins for (centre and width in r, shapes of whole showers; linear bins of any other detector) gets 100
bins between the 0.1% and 99.9% quantiles of the real sample and two open ones beyond; other detectors also get an open
bin on either side of the logarithmic ones (voxels: above only). Give ``edges`` that begin with -inf and end with inf
to count everything.

Weights may have either sign as long as no bin's h + g comes out negative or, with entries, 0. Finite samples of one
distribution have S of about (bins filled) (1/N + 1/N') / 4 > 0: compare it with its null, where labels are permuted.
The bootstrap error holds that noise once more, so it is about twice too large where S is compatible with the null.

References:
    Krause et al. 2024, arXiv:2410.21611 (bins of its evaluate.py). Diefenbacher et al. 2020, arXiv:2009.03796, eq. 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.detector.binning import Binning
from metrics.result import MetricResult
from metrics.sample import Sample, check_alike
from metrics.showers.features import binning_of, observable_groups, showers_of
from metrics.showers.shapes import GROUP
from metrics.statistics.resampling import Draws, Resampling
from metrics.statistics.weights import checked_weights

Floats = NDArray[np.float64]

CHALLENGE = {("photon", 368): 1, ("pion", 533): 1, ("electron", 6480): 2, ("electron", 40500): 3}
"""Dataset of the CaloChallenge by particle and number of voxels."""
READOUT = {1: 10.0, 2: 0.5e-3 / 0.033, 3: 0.5e-3 / 0.033}
"""Readout thresholds of its datasets in MeV; of 2 and 3, 0.5 keV over their sampling fraction of 0.033."""


def separation_power(real: NDArray[Any], generated: NDArray[Any]) -> Floats:
    """Compute S of histograms over the last axis.

    Histograms that are both empty are equal (0); one that is empty shares no bin with one that is not (1). Bins whose
    h + g is not positive do not count.

    Args:
        real, generated: bin contents, whatever they sum to, shape (..., bins).

    Returns:
        S in [0, 1], shape (...).

    >>> float(separation_power(np.array([1, 3]), np.array([2, 2])))
    0.06666666666666667
    """
    totals = [np.sum(x, axis=-1, keepdims=True, dtype=np.float64) for x in (real, generated)]
    filled = [t > 0 for t in totals]
    h, g = (
        np.divide(x, t, out=np.zeros(x.shape), where=f)
        for x, t, f in zip((real, generated), totals, filled, strict=True)
    )
    total = h + g
    terms = np.divide((h - g) ** 2, total, out=np.zeros(total.shape), where=total > 0)
    one_empty = np.squeeze(filled[0] != filled[1], axis=-1)
    return np.where(one_empty, 1.0, 0.5 * terms.sum(axis=-1))


def histogram_edges(real: Sample, *, readout: float | None = None) -> dict[str, Floats]:
    """Choose the edges of the bins of every observable, as the module lists them.

    Args:
        real: sample of showers, from whose values logarithmic bins and bins of other detectors are chosen.
        readout: MeV from which a layer's energy counts; default the challenge's for its datasets, and the 1% quantile
            of the energies above 0 for other detectors.

    Returns:
        Edges by observable, (bins + 1,) each, in its unit.

    Raises:
        ValueError: if the sample is empty, not of showers, or holds NaN or infinity, or ``readout`` is not positive.
    """
    if len(real) == 0:
        raise ValueError("bins need a real sample with events, got an empty one")
    binning = binning_of(real)
    dataset = _dataset(binning)
    edges: dict[str, Floats] = {}
    for group, names in observable_groups(binning).items():
        layers = [layer for layer, _ in binning.parts if layer.binned_in_alpha]
        for i, name in enumerate(names):
            if not np.isfinite(real.observables[name]).all():
                raise ValueError(f"{name!r} holds NaN or infinity: bins need finite values")
            if group == "E_layer":
                inner = _logarithmic(real.observables[name], 40, dataset, readout)
                edges[name] = inner if dataset else np.concatenate([[-np.inf], inner, [np.inf]])
            elif group == "sparsity":
                edges[name] = np.linspace(0.0, 1.0, 20)
            elif dataset is None or group.endswith(" r") or group == GROUP:
                edges[name] = _quantiles(real.observables[name])
            elif group == "E_tot/E_inc":
                edges[name] = np.linspace(0.5, 1.5, 101)
            else:
                wide = dataset == 1 and layers[i].id in (12, 13)
                centre, width = (500.0, 400.0) if wide else (100.0, 100.0) if dataset == 1 else (30.0, 30.0)
                edges[name] = np.linspace(-centre, centre, 101) if "centre" in name else np.linspace(0.0, width, 101)
    return edges


def separations(
    real: Sample,
    generated: Sample,
    edges: Mapping[str, Floats],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """Compute separation powers of observables, and their means over groups of them.

    Args:
        real, generated: samples of the same observables; of showers or of anything else.
        edges: of the bins, by observable: increasing, may begin with -inf and end with inf; the last bin holds its
            upper edge.
        groups: names of observables by group (:func:`metrics.showers.features.observable_groups`); a group of more
            than one gives the mean over it as a result "separation GROUP", and the largest as "largest separation
            GROUP".
        num_bootstrap, num_permutations: resamples of events for the error, and of labels for the null.
        seed: of all that is drawn.

    Returns:
        Results named "separation OBSERVABLE", the means and the largest of groups first.

    Raises:
        ValueError: if the samples differ in their observables, hold NaN, are too small, or a bin is negative.
    """
    check_alike(real, generated)
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    weights = _weights(real, generated)
    by_observable: dict[str, Draws] = {}
    for name, bins in edges.items():
        if name not in real.observables:
            raise ValueError(f"edges for {name!r}, which the samples do not have: {', '.join(real.observables)}")
        if len(bins) < 2 or not (np.diff(bins) > 0).all():
            raise ValueError(f"edges of {name!r} must be two or more and increase")
        contents = []
        for side, sample in enumerate((real, generated)):
            x = sample.observables[name]
            if not np.isfinite(x).all():
                raise ValueError(f"{name!r} holds NaN or infinity: separation powers need finite values")
            contents.append(_block_histogram(resampling, side, np.arange(len(x)), x, bins, weights[side]))
        by_observable[name] = _separate(name, resampling, contents)
    together = {
        group: [by_observable[name] for name in names]
        for group, names in (groups or {}).items()
        if len(names) > 1 and all(name in by_observable for name in names)
    }
    named = {f"separation {group}": Draws.mean(parts) for group, parts in together.items()}
    named |= {f"largest separation {group}": Draws.largest(parts) for group, parts in together.items()}
    named |= {f"separation {name}": draws for name, draws in by_observable.items()}
    return {name: resampling.result(name, draws) for name, draws in named.items()}


def voxel_separation(
    real: Sample,
    generated: Sample,
    *,
    readout: float | None = None,
    num_bootstrap: int = 100,
    num_permutations: int = 200,
    seed: int = 0,
) -> MetricResult:
    """Compute the separation power of the spectra of all voxels' energies; whole showers are resampled.

    Args:
        real, generated: samples that hold their showers.
        readout: as in :func:`histogram_edges`.
        num_bootstrap, num_permutations, seed: as in :func:`separations`.

    Returns:
        S, named "separation voxel energy".

    Raises:
        ValueError: if a sample does not hold its showers, is too small, or has a voxel that is NaN or infinite, or as
            :func:`histogram_edges`.
    """
    check_alike(real, generated)
    resampling = Resampling(
        len(real), len(generated), num_bootstrap=num_bootstrap, num_permutations=num_permutations, seed=seed
    )
    showers = [showers_of(sample) for sample in (real, generated)]
    edges = voxel_edges(real, readout=readout)
    contents = []
    weights = _weights(real, generated)
    for side in (0, 1):
        first = 0
        total = np.zeros((resampling.num_blocks[side], len(edges) - 1))
        for chunk in showers[side].chunks():
            if not np.isfinite(chunk.voxels).all():
                label = ("real", "generated")[side]
                raise ValueError(f"a voxel of the {label} sample is NaN or infinite: spectra need finite energies")
            # voxels below the first edge are most of them and never counted
            counted = chunk.voxels >= np.float32(edges[0])
            event = first + np.repeat(np.arange(len(chunk)), np.count_nonzero(counted, axis=1))
            values = chunk.voxels[counted].astype(np.float64)
            total += _block_histogram(resampling, side, event, values, edges, weights[side])
            first += len(chunk)
        contents.append(total)
    draws = _separate("voxel energy", resampling, contents)
    return resampling.result("separation voxel energy", draws)


def voxel_edges(real: Sample, *, readout: float | None = None) -> Floats:
    """Choose edges in MeV of the bins of the voxel spectrum, as the module lists them.

    Args:
        real: sample that holds its showers.
        readout: as in :func:`histogram_edges`.

    Returns:
        Increasing edges, (bins + 1,).

    Raises:
        ValueError: as :func:`histogram_edges`, or if the sample does not hold its showers.
    """
    showers, dataset = showers_of(real), _dataset(binning_of(real))
    if len(showers) == 0:
        raise ValueError("bins need a real sample with events, got an empty one")
    largest = showers.voxels.max()
    if not np.isfinite(largest):
        raise ValueError("a voxel of the real sample is NaN or infinite: bins need finite energies")
    # the first chunk is enough for a quantile, but not for the largest voxel
    some = np.append(next(showers.chunks()).voxels, largest)
    inner = _logarithmic(some, 50, dataset, readout)
    return inner if dataset else np.append(inner, np.inf)


def _separate(name: str, resampling: Resampling, contents: Sequence[Floats]) -> Draws:
    """Compute the separation power of bin contents of blocks, (blocks, bins) of either side."""
    h, g = (c.sum(axis=0) for c in contents)
    if min(h.min(), g.min()) < 0:
        used = (h != 0) | (g != 0)
        if min(h.sum(), g.sum()) <= 0 or (h / h.sum() + g / g.sum())[used].min() <= 0:
            raise ValueError(f"{name}: negative weights outweigh the others in a bin: use wider bins or more events")
    return resampling.draws(contents[0], contents[1], separation_power)


def _block_histogram(
    resampling: Resampling, side: int, event: NDArray[np.int64], values: Floats, edges: Floats, weights: Floats
) -> Floats:
    """Fill the bins of every block, (blocks, bins), with values that belong to the given events."""
    bins, blocks = len(edges) - 1, resampling.num_blocks[side]
    place = np.searchsorted(edges, values, side="right") - 1
    place[values == edges[-1]] = bins - 1
    inside = (place >= 0) & (place < bins)
    event = event[inside]
    cell = resampling.blocks[side][event] * bins + place[inside]
    content = np.bincount(cell, weights[event], blocks * bins)
    return np.asarray(content.reshape(blocks, bins), dtype=np.float64)


def _weights(real: Sample, generated: Sample) -> tuple[Floats, Floats]:
    return (
        checked_weights("the separation power", "real", real.weights, len(real)),
        checked_weights("the separation power", "generated", generated.weights, len(generated)),
    )


def _dataset(binning: Binning) -> int | None:
    return CHALLENGE.get((binning.particle, binning.num_voxels))


def _logarithmic(values: NDArray[Any], num: int, dataset: int | None, readout: float | None) -> Floats:
    """Choose ``num`` logarithmic edges from the readout threshold to the largest value; two if none is above it."""
    if readout is None:
        positive = values[values > 0]
        default = float(np.quantile(positive, 0.01)) if len(positive) else 1.0
        readout = default if dataset is None else READOUT[dataset]
    if not 0 < readout < np.inf:
        raise ValueError(f"readout is {readout} MeV, must be positive: logarithmic bins begin there")
    # logspace of the challenge's code, which rounds its last edge: the largest value itself may fall outside
    high = max(float(np.max(values)), 1.001 * readout)
    return np.logspace(np.log10(readout), np.log10(high), num if high > 1.001 * readout else 2)


def _quantiles(x: Floats) -> Floats:
    """Choose 101 even edges between the 0.1% and 99.9% quantiles, and open bins beyond."""
    low, high = np.quantile(x, [0.001, 0.999])
    inner = np.linspace(low, high, 101) if high - low > 1e-9 * max(abs(low), abs(high)) else np.array([low])
    return np.concatenate([[-np.inf], inner, [np.inf]])
