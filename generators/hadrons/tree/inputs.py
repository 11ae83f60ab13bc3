"""What the density of a splitting is a function of: its variables, and the inputs of its networks."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from generators.hadrons.tokens import CARRIER

M_B, M_A, COS_THETA, PHI = range(4)
"""Columns of the continuous variables, in the order in which they are sampled."""
NUM_VARIABLES = 4
PAIRS = [(before, after) for after in range(NUM_VARIABLES) for before in range(after)]
"""Pairs of a variable and one that is drawn after it and depends on it."""

NO_GATES = np.zeros((0, 2), np.int64)
"""Gates of :func:`node_inputs` of a network that has none."""
_LOG1P = np.log1p(np.arange(256)).astype(np.float32)


@compiled
def _fill_inputs(
    context: NDArray[np.float32],
    counts: NDArray[np.uint8],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    gates: NDArray[np.int64],
    log1p: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill the inputs ``out`` (K, F + 2S): standardised context, log(1 + counts), and whether a count is not zero."""
    width, species = context.shape[1], counts.shape[1]
    for k in range(len(context)):
        for i in range(width):
            out[k, i] = (context[k, i] - mean[i]) / std[i]
        for g in range(len(gates)):
            if counts[k, CARRIER] == 0 or context[k, gates[g, 1]] < 0.5:
                out[k, gates[g, 0]] = 0.0
        for s in range(species):
            out[k, width + s] = log1p[counts[k, s]]
            out[k, width + species + s] = 1.0 if counts[k, s] > 0 else 0.0


@compiled
def _fill_content(
    counts: NDArray[np.uint8],
    counts_a: NDArray[np.uint8],
    least: NDArray[np.float32],
    log1p: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill the features ``out`` (K, S + 4) of a content: log(1 + x) of A's counts, and of sizes and least masses.

    The sizes of A and B come first, then their least masses in GeV.
    """
    species = counts.shape[1]
    for k in range(len(counts)):
        n_a, n_b = 0, 0
        for s in range(species):
            a, b = counts_a[k, s], counts[k, s] - counts_a[k, s]
            out[k, s] = log1p[a]
            n_a, n_b = n_a + a, n_b + b
        out[k, species], out[k, species + 1] = log(1.0 + n_a), log(1.0 + n_b)
        out[k, species + 2], out[k, species + 3] = log(1 + least[k, 0]), log(1 + least[k, 1])


def node_inputs(
    context: NDArray[np.float32],
    counts: NDArray[np.uint8],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    gates: NDArray[np.int64] = NO_GATES,
) -> NDArray[np.float32]:
    """Compute the inputs (K, F + 2S) of the first layer from context (K, F), its mean and std, and counts (K, S).

    ``gates`` (G, 2) are columns of the context that are zero but for nodes that hold the carrier of their parton's
    quark, and the columns that say whether this has the flavour that they need.
    """
    out = np.empty((len(context), context.shape[1] + 2 * counts.shape[1]), np.float32)
    _fill_inputs(context, counts, mean, std, gates, _LOG1P, out)
    return out


def content_inputs(
    counts: NDArray[np.uint8], counts_a: NDArray[np.uint8], least: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute the features (K, S + 4) of the content of A: its counts, and sizes and least masses of A and B."""
    out = np.empty((len(counts), counts.shape[1] + 4), np.float32)
    _fill_content(counts, counts_a, least, _LOG1P, out)
    return out
