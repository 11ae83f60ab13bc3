"""Draws from a :class:`generators.hadrons.counts.CountModel`, as fast as a processor allows and without torch.

Networks are compiled, in float32; between them compiled kernels draw the counts of one type and write what that changes
into the inputs of the next.
"""

from __future__ import annotations

from math import exp, log1p, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside, compiled_sums, compiled_sums_inside
from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from generators.hadrons.count_shapes import (
    CONTENT_SCALE,
    CORRECTION,
    COUNT_SCALE,
    LAST_BARYON,
    LAST_PION,
    LAST_STRANGE,
    LEAST_SPREAD,
    ORDER,
    PLACE,
    SIZE_OFFSET,
    SIZE_SCALE,
    drawn_types,
    least_masses,
    may_carry,
)
from generators.hadrons.responses import responses
from generators.hadrons.tokens import (
    CONTENT,
    FLAVOURS,
    NUM_CONTENT,
    NUM_GROUPS,
    SPECIES,
    TYPE,
    TYPE_SPECIES,
    TYPES,
)
from generators.nn.compiled_network import (
    SILU,
    Array,
    CompiledNetwork,
    Weights,
    activation,
    dense,
    linear_step,
    perceptron,
    silu,
    tanh,
)
from generators.nn.sampling import exponentials, pick_logits

_CONTENT = np.concatenate([CONTENT, np.zeros((1, NUM_CONTENT), np.int64)])
"""Quantum numbers of the species and, last, of no hadron."""
_COMMON = np.array(ORDER[NUM_GROUPS:-1])
"""Types that are species of their own, without the last one, which is what is left."""
_IS_FORCED = np.isin(_COMMON, (LAST_BARYON, LAST_STRANGE, LAST_PION))
"""Which of them missing quantum numbers decide, in sets that have to have some."""
_IMPOSSIBLE = -1e9
_MOST_MISSING = 1024
"""Missing quantum numbers beyond this many enter the networks as this many."""
_REACH = 10.0
"""Numbers of tokens whose density falls short of the largest by exp(-10^2 / 2 + 12), or more, are never drawn."""
_ROWS, _FEW_ROWS = 512, 64
"""Sets at a time whose common types are drawn, and whose inputs are gathered: they stay in the processor's cache."""
_MAX_REDRAWS, _SAME = 200, 100
"""Trials of a set that must have given quantum numbers or a mass; up to the second, with the same size and carrier.

How likely these are, given what the set must have, the networks have learned; a trial that also draws them anew would
prefer those with which much is possible: large sets.
"""


@compiled_sums_inside
def _bounded(x: Any, bound: float) -> Any:
    """Return bound tanh(x / bound), all of it in float32."""
    return np.float32(bound) * tanh(x / np.float32(bound))


@compiled_sums_inside
def _inverted(w: Array, num: int, u: float) -> int:
    """Return the index, among the first ``num``, that the cumulative sum of weights has at the share ``u`` of all."""
    total = 0.0
    for c in range(num):
        total += w[c]
    remaining, chosen = u * total, 0
    while chosen < num - 1 and remaining >= w[chosen]:
        remaining -= w[chosen]
        chosen += 1
    return chosen


@compiled_sums
def _draw_sizes(
    out: Array,
    bound: float,
    offset: float,
    spread: float,
    u: Floats,
    logits: Array,
    w: Array,
    size: Ints,
) -> None:
    """Draw numbers of tokens ``size`` (K,) from Gaussians in sqrt(n), times corrections; see :func:`_draw_counts`.

    ``out`` (K, 2 + most) are the mean beyond ``offset``, what sets the width beyond ``spread``, and corrections.
    """
    most = out.shape[1] - 2
    for k in range(len(size)):
        mean, raw = offset + out[k, 0], out[k, 1]
        width = spread + max(raw, 0.0) + log1p(exp(-abs(raw)))
        nearest = max(1.0 - mean, mean - sqrt(most), 0.0)
        reach = sqrt(nearest * nearest + (_REACH * width) ** 2)
        first = min(max(int(max(mean - reach, 0.0) ** 2), 1), most)
        last = max(min(int(max(mean + reach, 0.0) ** 2) + 1, most), first)
        num = last - first + 1
        for c in range(num):
            shape = np.float32((sqrt(first + c) - mean) / width)
            logits[c] = _bounded(out[k, 1 + first + c], bound) - np.float32(0.5) * shape * shape
        exponentials(logits, num, w)
        size[k] = first + _inverted(w, num, u[k])


@compiled_sums
def _draw_counts(
    out: Array,
    bound: float,
    left: Ints,
    factorials: Array,
    u: Floats,
    logits: Array,
    w: Array,
    number: Ints,
) -> None:
    """Draw the counts ``number`` (K,) of one type from binomials among the tokens ``left`` (K,), times corrections.

    ``out`` (K, limit + 2) are log-odds and then corrections before they are bounded, ``factorials`` the logarithms of
    n!; ``u`` (K,) is uniform on [0, 1). The rest is working memory of one set.
    """
    limit = out.shape[1] - 2
    for k in range(len(left)):
        n = left[k]
        num = min(n, limit) + 1
        odds = out[k, 0]
        for c in range(num):
            shape = np.float32(c) * odds - factorials[c] - factorials[n - c]
            logits[c] = shape + _bounded(out[k, 1 + c], bound)
        exponentials(logits, num, w)
        number[k] = _inverted(w, num, u[k])


@compiled
def _take(
    number: Ints,
    species: int,
    content: Ints,
    of_count: Array,
    of_left: Array,
    of_need: Array,
    column: int,
    start: int,
    left: Ints,
    need: Ints,
    counts: Ints,
    inputs: Array,
) -> None:
    """Take ``number`` (K,) tokens of a type from those that are left, and say so in the inputs of the next networks.

    Args:
        number: tokens of the type, (K,).
        species: of the type; -1 for a group of species, or the carrier, whose tokens have been counted.
        content: quantum numbers of the species, (8,).
        of_count: encoded counts, (C, 2).
        of_left: encoded numbers of tokens left, (C, 2).
        of_need: encoded missing quantum numbers from -:data:`_MOST_MISSING` on.
        column: first of two columns of the inputs for the type's count.
        start: first of the columns for tokens left and missing quantum numbers.
        left: tokens left, (K,).
        need: missing quantum numbers, (K, 8).
        counts: of the species, (K, S + 1).
        inputs: of the next networks, (K, I).
    """
    most = len(of_need) // 2
    for k in range(len(number)):
        n = number[k]
        if n == 0:
            continue
        left[k] -= n
        if species >= 0:
            counts[k, species] += n
            for q in range(len(content)):
                need[k, q] -= n * content[q]
        inputs[k, column], inputs[k, column + 1] = of_count[n, 0], of_count[n, 1]
        inputs[k, start], inputs[k, start + 1] = of_left[left[k], 0], of_left[left[k], 1]
        for q in range(len(content)):
            inputs[k, start + 2 + q] = of_need[min(max(need[k, q], -most), most) + most]


@compiled
def _draw_common(
    kinds: Ints,
    places: Ints,
    species: Ints,
    forced: NDArray[np.bool_],
    weights: Array,
    starts: Ints,
    widths: Ints,
    bound: float,
    factorials: Array,
    u: Floats,
    moved: Array,
    content: Ints,
    of_count: Array,
    of_left: Array,
    of_need: Array,
    known: int,
    start: int,
    good: NDArray[np.bool_],
    left: Ints,
    need: Ints,
    counts: Ints,
    inputs: Array,
    own: Array,
    one: Array,
    two: Array,
    out: Array,
    logits: Array,
    w: Array,
    number: Ints,
) -> None:
    """Draw the counts of common types one after another, each given those before.

    Args:
        kinds: the types, (K,); places: of each among all, (K,); species: of each, (K,).
        forced: which of them missing quantum numbers decide, (K,).
        weights: of the networks, one after another; starts: first one of each, (K,); widths: numbers of outputs, (K,).
        bound, factorials: see :func:`_draw_counts`; u: uniform on [0, 1), (K, N).
        moved: what tunes add to the log-odds, (K, N), or (K, 0) for nothing.
        content: quantum numbers of the species, (S + 1, 8); of_count, of_left, of_need: see :func:`_take`.
        known, start: columns of the inputs, see :func:`_take`.
        good: which sets have the quantum numbers that they must have so far, (N,).
        left, need, counts, inputs: see :func:`_take`.
        own: working memory for the inputs of some rows at a time; one, two: for hidden units, (N, W); out: for outputs;
            number: for counts, (N,); the rest: see :func:`_draw_counts`.
    """
    num, width, rows = inputs.shape[0], one.shape[1], len(own) // inputs.shape[1]
    for k in range(len(kinds)):
        column = known + 2 * places[k]  # what is beyond is not known yet
        if forced[k]:
            for i in range(num):
                wanted = _wanted(kinds[k], need[i])
                number[i] = min(max(wanted, 0), left[i])
                if number[i] != wanted:
                    good[i] = False
        else:
            first, shape, outputs = starts[k], width * width, widths[k]
            second = first + (column + 1) * width
            last = second + shape + width
            end = last + width * outputs
            values = out[: num * outputs].reshape(num, outputs)
            in_layer = weights[first : second - width].reshape(column, width)
            for start_row in range(0, num, rows):
                some = min(rows, num - start_row)
                seen = own[: some * column].reshape(some, column)
                for i in range(some):
                    for c in range(column):
                        seen[i, c] = inputs[start_row + i, c]
                dense(seen, in_layer, weights[second - width : second], one[start_row : start_row + some])
            silu(one)
            dense(one, weights[second : second + shape].reshape(width, width), weights[last - width : last], two)
            silu(two)
            dense(two, weights[last:end].reshape(width, outputs), weights[end : end + outputs], values)
            for i in range(moved.shape[1]):
                values[i, 0] += moved[k, i]
            _draw_counts(values, bound, left, factorials, u[k], logits, w, number)
        quarks = content[species[k]]
        _take(number, species[k], quarks, of_count, of_left, of_need, column, start, left, need, counts, inputs)


@compiled_inside
def _wanted(kind: int, need: Ints) -> int:
    """Return the count of a type that missing quantum numbers (8,) leave no choice about."""
    wanted: int = need[2] if kind == LAST_STRANGE else need[0]
    if kind == LAST_BARYON:
        wanted = -((need[0] + need[1] + need[2] + need[3] + need[4]) // 3)
    return wanted


def _columns(n: Ints, scale: float) -> Array:
    """Encode counts (C,) as inputs (C, 2)."""
    columns: Array = np.stack([np.log1p(n), n / scale], -1).astype(np.float32)
    return columns


class CountSampler:
    """Draws counts and carriers.

    Args:
        weights: of the :class:`~generators.hadrons.counts.CountModel`, by name.
    """

    def __init__(self, weights: Weights) -> None:
        names = ("size", "carrier", "composition")
        self._size, self._carrier, self._composition = (
            CompiledNetwork(perceptron(weights, name, SILU)) for name in names
        )
        self._carrier_code = weights["carrier_code.weight"]
        first, num_types = weights["first"], len(TYPES)
        self._num_inputs = first.shape[1]
        self._known = self._num_inputs - 2 * num_types
        self._start = self._known - 2 - NUM_CONTENT
        # what log(1 + count) and the count of each type known before add, side by side, in the order of the types
        of_counts = first[:, self._known :].reshape(num_types, 2, num_types, -1)[:, :, np.argsort(PLACE)]
        of_counts = of_counts.transpose(0, 2, 1, 3).reshape(num_types, 2 * num_types, -1)
        first = np.concatenate([first[:, : self._known], of_counts], 1)
        lasts = [weights[f"last.{k}"] for k in range(sum(name.startswith("last.") for name in weights))]
        limits = {last.shape[0]: last.shape[2] - 2 for last in lasts}  # charged pions are two
        groups = drawn_types(limits.get(2, max(limits.values())), limits[max(limits)])
        networks = {
            int(t): [
                linear_step(first[t][: self._seen(int(t))].T, weights["first_bias"][t]),
                *activation(SILU),
                linear_step(weights["second"][t].T, weights["second_bias"][t]),
                *activation(SILU),
                linear_step(last[place].T, weights[f"last_bias.{k}"][place]),
            ]
            for k, ((_, rows), last) in enumerate(zip(groups, lasts, strict=True))
            for place, t in enumerate(rows)
        }
        self._networks = {t: CompiledNetwork(networks[t]) for t in ORDER[:NUM_GROUPS]}
        common = [np.concatenate([step[2] for step in networks[t]]) for t in _COMMON.tolist()]
        starts = np.append(0, np.cumsum([len(each) for each in common]))[:-1]
        self._common = np.concatenate(common), starts, np.array([networks[t][-1][1] for t in _COMMON.tolist()])
        self._width = first.shape[2]
        largest = self._largest = len(weights["size.4.bias"])
        n = np.arange(largest + 1)
        self._of_left, self._of_count = _columns(n, SIZE_SCALE), _columns(n, COUNT_SCALE)
        self._of_need = (np.arange(-_MOST_MISSING, _MOST_MISSING + 1) / CONTENT_SCALE).astype(np.float32)
        self._factorials = np.append(0.0, np.cumsum(np.log(n[1:]))).astype(np.float32)
        self._may_carry = may_carry()
        self._groups = TYPE[None, :] == np.arange(1, 1 + NUM_GROUPS)[:, None]
        names = ("size", "carrier", "types")
        self._responses = [weights[f"responses.{name}"].T for name in names] if "responses.tune" in weights else None
        self._tune = slice(*weights.get("responses.tune", np.zeros(2, np.int64)).tolist())

    def sample(
        self,
        condition: Array,
        rng: np.random.Generator,
        missing: Ints | None = None,
        max_mass: Floats | None = None,
    ) -> tuple[Ints, Ints]:
        """Draw counts and carriers of at least one token a set.

        Args:
            condition: (N, C).
            rng: all randomness.
            missing: quantum numbers (N, 8) that the sets have to have; by default they are free.
            max_mass: what the least masses of the tokens may sum up to, in GeV, (N,).

        Returns:
            Counts of the species (N, S), and species of the carriers (N,), S for none.

        Raises:
            FastsimError: if a set could not be drawn in 200 trials.
        """
        counts, carrier, rows = self.attempt(condition, rng, missing, max_mass)
        if len(rows):
            raise impossible(len(rows), len(condition))
        return counts, carrier

    def attempt(
        self, condition: Array, rng: np.random.Generator, missing: Ints | None, max_mass: Floats | None
    ) -> tuple[Ints, Ints, Ints]:
        """Draw as :meth:`sample` does; also return the rows (K,) of the sets that could not be drawn in 200 trials."""
        counts = np.zeros((len(condition), len(SPECIES)), np.int64)
        carrier, rows = np.zeros(len(condition), np.int64), np.arange(len(condition))
        size = np.zeros_like(carrier)
        for number in range(_MAX_REDRAWS):
            need = None if missing is None else missing[rows]
            if number == 0 or number >= _SAME:
                size[rows], carrier[rows] = self.first(condition[rows], rng)
            counts[rows], good = self.trial(condition[rows], size[rows], carrier[rows], rng, need)
            if max_mass is not None:
                good &= least_masses(counts[rows]) < max_mass[rows]
            rows = rows[~good]
            if len(rows) == 0:
                break
        return counts, carrier, rows

    def first(self, condition: Array, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw the numbers of tokens (N,) of N sets and the species of their carriers (N,), S for none."""
        num, size = len(condition), np.empty(len(condition), np.int64)
        out = self._size(condition)
        if self._responses is not None:
            out[:, :2] += responses(condition, self._tune) @ self._responses[0]
        _draw_sizes(out, CORRECTION, SIZE_OFFSET, LEAST_SPREAD, rng.random(num), *self._work(), size)
        flavour = condition[:, : len(FLAVOURS)].argmax(1)
        logits = self._carrier(np.concatenate([condition, self._of_left[size]], 1))
        if self._responses is not None:
            logits = logits + condition[:, self._tune] @ self._responses[1]
        return size, pick_logits(np.where(self._may_carry[flavour], logits, np.float32(_IMPOSSIBLE)), rng.random(num))

    def trial(
        self, condition: Array, size: Ints, carrier: Ints, rng: np.random.Generator, missing: Ints | None
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Draw N sets once.

        Args:
            condition: (N, C).
            size: numbers of tokens, (N,).
            carrier: species of the carriers, S for none, (N,).
            rng: all randomness.
            missing: quantum numbers (N, 8) that the sets have to have; None where they are free.

        Returns:
            Counts (N, S), and which sets have the quantum numbers that they must have.
        """
        num = len(condition)
        first = np.concatenate([condition, self._of_left[size]], 1)
        counts = np.zeros((num, len(SPECIES) + 1), np.int64)
        left, need, good = size.copy(), np.zeros((num, NUM_CONTENT), np.int64), np.ones(num, dtype=bool)
        if missing is not None:
            need[:] = missing
        inputs = np.zeros((num, self._num_inputs), np.float32)
        inputs[:, : first.shape[1]] = first
        inputs[:, first.shape[1] : self._start] = self._carrier_code[carrier]
        has = carrier < len(SPECIES)
        counts[np.arange(num), carrier] = has
        need -= _CONTENT[carrier]
        inputs[:, self._start : self._start + 2] = self._of_left[left]
        inputs[:, self._start + 2 : self._known] = self._of_need[need + _MOST_MISSING]
        state = left, need, counts, inputs
        self._take(has.astype(np.int64), 0, -1, state)
        moved = np.zeros((num, 0), np.float32)
        if self._responses is not None:
            moved = responses(condition, self._tune) @ self._responses[2]
        for kind in ORDER[:NUM_GROUPS]:
            out = self._outputs(inputs, kind)
            if moved.shape[1]:
                out[:, 0] += moved[:, kind]
            number = self.draw(out, left, rng.random(num))
            if number.any():
                self._fill_group(kind - 1, first, need, number, counts, rng)
                self._take(number, kind, -1, state)
        of_common = (
            np.ascontiguousarray(moved[:, _COMMON].T) if moved.shape[1] else np.zeros((len(_COMMON), 0), np.float32)
        )
        self._draw_common(rng.random((len(_COMMON), num)), of_common, state, good, forced=missing is not None)
        counts[:, int(TYPE_SPECIES[ORDER[-1]])] += left
        if missing is not None:
            good &= (need == 0).all(-1)
        return counts[:, :-1], good

    def draw(self, out: Array, left: Ints, u: Floats) -> Ints:
        """Draw counts (N,) of a type among the tokens ``left`` (N,) from the outputs (N, limit + 2) for it.

        ``u`` (N,) is uniform on [0, 1).
        """
        number = np.empty(len(left), np.int64)
        _draw_counts(out, CORRECTION, left, self._factorials, u, *self._work(), number)
        return number

    def _draw_common(
        self, u: Floats, moved: Array, state: tuple[Ints, Ints, Ints, Array], good: NDArray[np.bool_], *, forced: bool
    ) -> None:
        """Draw the counts of all common types but the last; what ``good`` and ``state`` hold is changed in place."""
        (left, need, counts, inputs), (logits, w) = state, self._work()
        own = np.empty(_FEW_ROWS * self._num_inputs, np.float32)
        one, two = np.empty((2, _ROWS, self._width), np.float32)
        out, number = np.empty(_ROWS * int(self._common[2].max()), np.float32), np.empty(_ROWS, np.int64)
        for start in range(0, len(good), _ROWS):
            rows = slice(start, start + _ROWS)
            num = len(good[rows])
            _draw_common(
                _COMMON,
                PLACE[_COMMON],
                TYPE_SPECIES[_COMMON],
                _IS_FORCED & forced,
                *self._common,
                CORRECTION,
                self._factorials,
                np.ascontiguousarray(u[:, rows]),
                np.ascontiguousarray(moved[:, rows]),
                _CONTENT,
                self._of_count,
                self._of_left,
                self._of_need,
                self._known,
                self._start,
                good[rows],
                left[rows],
                need[rows],
                counts[rows],
                inputs[rows],
                own,
                one[:num],
                two[:num],
                out,
                logits,
                w,
                number[:num],
            )

    def _work(self) -> tuple[Array, Array]:
        """Return the working memory of one set, for the compiled draws."""
        logits, w = np.empty((2, self._largest), np.float32)
        return logits, w

    def _outputs(self, inputs: Array, kind: int) -> Array:
        """Compute log-odds and corrections (N, limit + 2) of the counts of a type."""
        return self._networks[kind](np.ascontiguousarray(inputs[:, : self._seen(kind)]))

    def _seen(self, kind: int) -> int:
        """Return how many of the inputs, the first ones, the network of a type sees: not the counts of later types."""
        return self._known + 2 * int(PLACE[kind])

    def _take(self, number: Ints, kind: int, species: int, state: tuple[Ints, Ints, Ints, Array]) -> None:
        column, of_codes = self._seen(kind), (self._of_count, self._of_left, self._of_need)
        left, need, counts, inputs = state
        _take(number, species, _CONTENT[species], *of_codes, column, self._start, left, need, counts, inputs)

    def _fill_group(
        self, group: int, first: Array, need: Ints, number: Ints, counts: Ints, rng: np.random.Generator
    ) -> None:
        """Draw the species of the tokens of a group; ``counts`` and ``need`` are changed in place."""
        rows = np.repeat(np.arange(len(number)), number)
        given = np.concatenate([first[rows], need[rows] / CONTENT_SCALE], 1, dtype=np.float32)
        logits = np.where(self._groups[group], self._composition(given), np.float32(_IMPOSSIBLE))
        species = pick_logits(logits, rng.random(len(rows)))
        np.add.at(counts, (rows, species), 1)
        np.subtract.at(need, rows, CONTENT[species])


def impossible(num: int, of: int) -> FastsimError:
    """Return the error of ``num`` of ``of`` sets that could not be drawn."""
    return FastsimError(
        f"{num} of {of} sets of hadrons could not be drawn with the quantum numbers and the mass that they must have: "
        "the system is too light for its flavours"
    )
