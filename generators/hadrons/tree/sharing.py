"""How the tokens of a node are shared between its children: one type after another, charges balanced on the way.

Each token of type t goes to A with the odds exp(l_t). Fragmentation compensates charge, baryon number and strangeness
within short distances, so that a child with one baryon is likely to hold an antibaryon too. Hence

    l_t = base_t - sum_j e_tj (a_j q_Aj - b_j q_Bj)

with e_tj the numbers j (charge, baryon number, strangeness) of type t, and q_A, q_B the sums of those of the tokens
that went to A and to B before. base, a and b are a component's of a mixture; a part that is empty or everything is
drawn anew.
"""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import TYPE_CONTENT, TYPES
from generators.nn.sampling import binomial

NUM_NUMBERS = 3
"""Charge, baryon number and strangeness."""
MAX_LOGIT = 12.0
"""Largest size of a logarithm of odds."""
_MAX_TRIES = 1000
_OF_CONTENT = np.array([[-1, 2, -1, 2, -1, -3, -3, -3], [1, 1, 1, 1, 1, 0, 0, 0], [0, 0, -3, 0, 0, 0, 0, 0]]) / 3.0


def numbers_of(content: Ints | Floats) -> Floats:
    """Compute charge, baryon number and strangeness (..., 3) of net numbers of quarks and leptons (..., 8)."""
    return np.asarray(content @ _OF_CONTENT.T)


def _type_numbers() -> Floats:
    """Return the numbers (T, 3) of the types: of groups, what their members share; none of the carrier."""
    numbers = numbers_of(TYPE_CONTENT)
    for name, shared in (("hyperon+", (0, 1, -2)), ("hyperon-", (0, -1, 2)), ("lepton+", (-1, 0, 0))):
        numbers[TYPES.index(name)] = shared
    numbers[TYPES.index("lepton-")] = (1, 0, 0)
    return numbers


TYPE_NUMBERS = _type_numbers()
_LAST = ("213", "-213", "211", "-211")  # what is left of the charge is balanced by these
ORDER = np.array(sorted(range(len(TYPES)), key=lambda t: _LAST.index(TYPES[t]) if TYPES[t] in _LAST else -1))
"""Types in the order in which they are shared out: the carrier first, charged pions last."""


def share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    balance: NDArray[np.float32],
    counts: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw parts of the tokens of nodes, neither empty nor everything, from mixtures.

    Their density is :func:`generators.hadrons.tree.sharing_density.log_prob`.

    A draw of nothing or everything is refused; a node that is refused 1,000 times gives its first token away.

    Args:
        weights: of the components, not negative, (K, C).
        logits: base log-odds, (K, C, T).
        balance: coefficients a and b, (K, C, 6).
        counts: tokens of each type, two or more in all, (K, T).
        carrier: charge, baryon number and strangeness of the carriers of the sets, (K, 3).
        rng: all randomness.

    Returns:
        Tokens of each type in the part, (K, T).
    """
    part = np.zeros_like(counts)
    _share(weights, logits, balance, counts, carrier, TYPE_NUMBERS, ORDER, rng, part)
    return part


@compiled
def _share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    balance: NDArray[np.float32],
    counts: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    numbers: Floats,
    order: NDArray[np.int64],
    rng: np.random.Generator,
    part: NDArray[np.uint8],
) -> None:
    """Fill ``part`` (K, T), of zeros, for :func:`share`; ``numbers`` and ``order`` are those of the types."""
    q = np.empty((2, 3))
    for k in range(len(counts)):
        n, total = 0, 0.0
        for t in range(counts.shape[1]):
            n += counts[k, t]
        for c in range(weights.shape[1]):
            total += weights[k, c]
        for attempt in range(_MAX_TRIES + 1):
            left, component = rng.random() * total, 0
            while component < weights.shape[1] - 1 and left >= weights[k, component]:
                left -= weights[k, component]
                component += 1
            size = 0
            q[:] = 0.0
            for i in range(len(order)):
                t = order[i]
                number = int(counts[k, t])
                if number == 0:
                    continue
                if attempt < _MAX_TRIES:
                    odds = float(logits[k, component, t])
                    for j in range(3):
                        shift = balance[k, component, j] * q[0, j] - balance[k, component, 3 + j] * q[1, j]
                        odds -= numbers[t, j] * shift
                    chosen = binomial(number, 1 / (1 + exp(-min(max(odds, -MAX_LOGIT), MAX_LOGIT))), rng.random())
                else:
                    chosen = min(number, 1 - size)
                part[k, t] = chosen
                size += chosen
                for j in range(3):
                    of_one = carrier[k, j] if t == 0 else numbers[t, j]
                    q[0, j] += chosen * of_one
                    q[1, j] += (number - chosen) * of_one
            if 1 <= size <= n - 1:
                break
