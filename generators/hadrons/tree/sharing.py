"""How the tokens of a node are shared between its children: one type after another, charges balanced on the way.

Each token of type t goes to A with the odds exp(l_t). Fragmentation compensates charge, baryon number and strangeness
within short distances, so that a child with one baryon is likely to hold an antibaryon too. Hence

    l_t = base_t - sum_j e_tj (a_j q_Aj - b_j q_Bj)

with e_tj the numbers j (charge, baryon number, strangeness) of type t, and q_A, q_B the sums of those of the tokens
that went to A and to B before. Tokens of one type compensate nothing: they repel each other. That k of n go to A has
the probability of the binomial distribution of these odds times exp(-U(k)), normalised,

    U(k) = sum_j e_tj^2 (c_j k (k - 1) + d_j (n - k) (n - k - 1)) / 2

as if each token saw those of its type that went before it. Without it six charged pions of a node are shared out with
the noise of a binomial, and the charges of both sides spread too widely. base, a, b, c and d are a component's of a
mixture, c = d = 0 where it has but a and b; a part that is empty or everything is drawn anew.
"""

from __future__ import annotations

from math import exp, lgamma

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import TYPE_CONTENT, TYPES
from generators.nn.sampling import binomial

NUM_NUMBERS = 3
"""Charge, baryon number and strangeness."""
MAX_LOGIT = 12.0
"""Largest size of a logarithm of odds."""
LOG_FACTORIALS = np.array([lgamma(1.0 + n) for n in range(256)])
"""Logarithms of n! for all numbers of tokens of a type that a node may hold."""
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
    _share(weights, logits, balance, counts, carrier, TYPE_NUMBERS, ORDER, LOG_FACTORIALS, rng, part)
    return part


@compiled_inside
def repulsion(balance: NDArray[np.float32], numbers: Floats) -> tuple[float, float]:
    """Return sum_j e_j^2 c_j and sum_j e_j^2 d_j of a type with numbers e (3,), from a component's balance (12,)."""
    of_a, of_b = 0.0, 0.0
    for j in range(3):
        of_a += numbers[j] * numbers[j] * balance[6 + j]
        of_b += numbers[j] * numbers[j] * balance[9 + j]
    return of_a, of_b


@compiled_inside
def log_weight(k: int, n: int, odds: float, of_a: float, of_b: float) -> float:
    """Return k odds - U(k): the logarithm of the weight of k of n tokens, without the binomial coefficient."""
    return k * odds - 0.5 * (of_a * (k * (k - 1)) + of_b * ((n - k) * (n - k - 1)))


@compiled_inside
def _number(n: int, odds: float, of_a: float, of_b: float, log_factorials: Floats, weights: Floats, u: float) -> int:
    """Draw how many of n tokens of a type go to A; ``weights`` (n + 1 or more,) is working memory, u on [0, 1)."""
    top = -np.inf
    for k in range(n + 1):
        weights[k] = log_weight(k, n, odds, of_a, of_b) - log_factorials[k] - log_factorials[n - k]
        top = max(top, weights[k])
    total = 0.0
    for k in range(n + 1):
        weights[k] = exp(weights[k] - top)
        total += weights[k]
    left, chosen = u * total, 0
    while chosen < n and left >= weights[chosen]:
        left -= weights[chosen]
        chosen += 1
    return chosen


@compiled
def _share(
    weights: NDArray[np.float32],
    logits: NDArray[np.float32],
    balance: NDArray[np.float32],
    counts: NDArray[np.uint8],
    carrier: NDArray[np.float32],
    numbers: Floats,
    order: NDArray[np.int64],
    log_factorials: Floats,
    rng: np.random.Generator,
    part: NDArray[np.uint8],
) -> None:
    """Fill ``part`` (K, T), of zeros, for :func:`share`; ``numbers`` and ``order`` are those of the types."""
    q, of_number = np.empty((2, 3)), np.empty(len(log_factorials))
    repels = balance.shape[2] > 6
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
                    odds = min(max(odds, -MAX_LOGIT), MAX_LOGIT)
                    if repels and number > 1:
                        of_a, of_b = repulsion(balance[k, component], numbers[t])
                        chosen = _number(number, odds, of_a, of_b, log_factorials, of_number, rng.random())
                    else:
                        chosen = binomial(number, 1 / (1 + exp(-odds)), rng.random())
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
