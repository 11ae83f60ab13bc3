"""Draws from a :class:`generators.hadrons.counts.CountModel`, as fast as a processor allows.

Matrix products are torch's, in bfloat16, of all sets at once; between them compiled kernels draw the counts of one type
and write what that changes into the inputs of the next.
"""

from __future__ import annotations

from math import exp, log1p, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, pad, silu

from fastsim.event import Floats, Ints
from generators.hadrons.counts import (
    CORRECTION,
    LAST_BARYON,
    LAST_PION,
    LAST_STRANGE,
    LEAST_SPREAD,
    ORDER,
    SIZE_OFFSET,
    CountModel,
)
from generators.hadrons.tokens import CONTENT, NUM_CONTENT, NUM_GROUPS, SPECIES, TYPE_SPECIES
from generators.nn.compiled import compiled, compiled_sums, compiled_sums_inside
from generators.nn.padding import padded
from generators.nn.sampling import exponentials, pick_logits

Bits = NDArray[np.uint16]
Array = NDArray[np.float32]
_CONTENT = np.concatenate([CONTENT, np.zeros((1, NUM_CONTENT), np.int64)])
"""Quantum numbers of the species and, last, of no hadron."""
_LANES = 16
"""Inputs of products come in multiples of this many."""
_IMPOSSIBLE = -1e9
_MOST_MISSING = 1024
"""Missing quantum numbers beyond this many enter the networks as this many."""
_REACH = 10.0
"""Numbers of tokens whose density falls short of the largest by exp(-10^2 / 2 + 12), or more, are never drawn."""
_A1, _A3, _A5 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04), np.float32(1.48572235717979e-05)
_A7, _A9 = np.float32(5.12229709037114e-08), np.float32(-8.60467152213735e-11)
_A11, _A13 = np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
_B0, _B2, _B4 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03), np.float32(1.18534705686654e-04)
_B6, _TANH_IS_ONE = np.float32(1.19825839466702e-06), np.float32(7.9)
"""Coefficients of tanh as a rational function (Eigen's ``generic_fast_tanh_float``), accurate to a few roundings."""


@compiled_sums_inside
def _bounded(value: np.float32, bound: float) -> np.float32:
    """Return bound tanh(value / bound)."""
    x = min(max(value / np.float32(bound), -_TANH_IS_ONE), _TANH_IS_ONE)
    y = x * x
    above = x * (_A1 + y * (_A3 + y * (_A5 + y * (_A7 + y * (_A9 + y * (_A11 + y * _A13))))))
    below = _B0 + y * (_B2 + y * (_B4 + y * _B6))
    return np.float32(bound) * (above / below)


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
    bits: NDArray[np.int32],
    power: Array,
    rest: Array,
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
        exponentials(logits, num, bits, power, rest, w)
        size[k] = first + _inverted(w, num, u[k])


@compiled_sums
def _draw_counts(
    out: Array,
    bound: float,
    left: Ints,
    factorials: Array,
    u: Floats,
    logits: Array,
    bits: NDArray[np.int32],
    power: Array,
    rest: Array,
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
        exponentials(logits, num, bits, power, rest, w)
        number[k] = _inverted(w, num, u[k])


@compiled
def _force(wanted: Ints, left: Ints, number: Ints, good: NDArray[np.bool_]) -> None:
    """Fill counts that leave no choice, ``wanted`` (K,), as far as tokens are ``left``; other sets are not ``good``."""
    for k in range(len(wanted)):
        number[k] = min(max(wanted[k], 0), left[k])
        if number[k] != wanted[k]:
            good[k] = False


@compiled
def _take(
    number: Ints,
    species: int,
    content: Ints,
    of_count: Bits,
    of_left: Bits,
    of_need: Bits,
    column: int,
    start: int,
    left: Ints,
    need: Ints,
    counts: Ints,
    inputs: Bits,
) -> None:
    """Take ``number`` (K,) tokens of a type from those that are left, and say so in the inputs of the next networks.

    Args:
        number: tokens of the type, (K,).
        species: of the type; -1 for a group of species, whose tokens have been counted.
        content: quantum numbers of the species, (8,).
        of_count: bfloat16 codes of counts, (C, 2).
        of_left: codes of tokens left, (C, 2).
        of_need: codes of missing quantum numbers from -:data:`_MOST_MISSING` on.
        column: first of two columns of the inputs for the type's count.
        start: first of the columns for tokens left and missing quantum numbers.
        left: tokens left, (K,).
        need: missing quantum numbers, (K, 8).
        counts: of the species, (K, S + 1).
        inputs: bfloat16 codes of the inputs, (P, I).
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


def _forced(kind: int, missing: Ints) -> Ints | None:
    """Return the counts (N,) of a type that missing quantum numbers (N, 8) leave no choice about; None for others."""
    if kind == LAST_BARYON:
        return np.asarray(-(missing[:, :5].sum(-1) // 3))
    if kind == LAST_STRANGE:
        return missing[:, 2].copy()
    if kind == LAST_PION:
        return missing[:, 0].copy()
    return None


def _codes(values: Tensor) -> Bits:
    codes: Bits = values.bfloat16().view(torch.uint16).numpy()
    return codes


class CountSampler:
    """Draws counts and carriers of a model; of the networks of the counts it keeps a copy in bfloat16."""

    def __init__(self, model: CountModel) -> None:
        with torch.no_grad():
            self._model = model
            self._start, known, num_types = model._num_shared, model._num_known, len(model.first)
            # of_counts[t]: what log(1 + count) and the count of each type add, side by side
            of_counts = (model.first[:, known:] * model.mask).view(num_types, 2, num_types, -1)
            of_counts = of_counts.transpose(1, 2).flatten(1, 2)
            first = torch.cat([model.first[:, :known], of_counts], 1).transpose(1, 2)
            first = pad(first, (0, -first.shape[2] % _LANES))  # odd products are slow
            self._first = first.bfloat16().contiguous(), model.first_bias.bfloat16()
            self._second = model.second.transpose(1, 2).bfloat16().contiguous(), model.second_bias.bfloat16()
            self._last = {
                int(t): (weight[k].T.bfloat16().contiguous(), bias[k].bfloat16())
                for (_, rows), weight, bias in zip(model._groups, model.last, model.last_bias, strict=True)
                for k, t in enumerate(rows)
            }
            self._known = known
            self._largest = len(model.size[-1].get_parameter("bias"))
            n = torch.arange(self._largest + 1)
            self._of_left, self._of_count = _codes(model._columns(n)), _codes(model._count_columns(n))
            self._of_need = _codes(model._need_columns(torch.arange(-_MOST_MISSING, _MOST_MISSING + 1)))
            self._factorials = torch.lgamma(1 + n.double()).float().numpy()

    @torch.no_grad()
    def trial(
        self, condition: Tensor, rng: np.random.Generator, missing: Ints | None
    ) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Draw N sets once.

        Args:
            condition: (N, C).
            rng: all randomness.
            missing: quantum numbers (N, 8) that the sets have to have; None where they are free.

        Returns:
            Counts (N, S), carriers (N,), S for none, and which sets have the quantum numbers that they must have.
        """
        model, num = self._model, len(condition)
        wide = padded(np.arange(num))
        condition, size = condition[wide], np.empty(len(wide), np.int64)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model.size(condition).float().numpy()
            _draw_sizes(out, CORRECTION, SIZE_OFFSET, LEAST_SPREAD, rng.random(len(wide)), *self._work(), size)
            first = torch.cat([condition, model._columns(torch.from_numpy(size))], -1)
            logits = model._carrier_logits(first).clamp(min=_IMPOSSIBLE).numpy()
            carrier = pick_logits(logits, rng.random(len(wide)))
            shared = model._shared(condition, torch.from_numpy(size), torch.from_numpy(carrier))
        size, carrier = size[:num], carrier[:num]
        counts = np.zeros((num, len(SPECIES) + 1), np.int64)
        left, need, good = size.copy(), np.zeros((num, NUM_CONTENT), np.int64), np.ones(num, dtype=bool)
        if missing is not None:
            need[:] = missing
        inputs = torch.zeros(len(wide), self._first[0].shape[2], dtype=torch.bfloat16)
        inputs[:, : self._start] = shared
        codes = inputs.view(torch.uint16).numpy()
        has = carrier < len(SPECIES)
        counts[np.arange(num), carrier] = has
        need -= _CONTENT[carrier]
        codes[:num, self._start : self._start + 2] = self._of_left[left]
        codes[:num, self._start + 2 : self._known] = self._of_need[need + _MOST_MISSING]
        state = left, need, counts, codes
        self._take(has.astype(np.int64), 0, -1, *state)
        for kind in ORDER[:-1]:
            wanted = None if missing is None else _forced(kind, need)
            if wanted is None:
                number = self.draw(self._outputs(inputs, kind), left, rng)
            else:
                number = np.empty(num, np.int64)
                _force(wanted, left, number, good)
            if kind <= NUM_GROUPS and number.any():
                self._fill_group(kind - 1, first, need, number, counts, rng)
            self._take(number, kind, -1 if kind <= NUM_GROUPS else int(TYPE_SPECIES[kind]), *state)
        counts[:, int(TYPE_SPECIES[ORDER[-1]])] += left
        if missing is not None:
            good &= (need == 0).all(-1)
        return counts[:, :-1], carrier, good

    def draw(self, out: Array, left: Ints, rng: np.random.Generator) -> Ints:
        """Draw counts (N,) of a type among the tokens ``left`` (N,) from the outputs (N or more, limit + 2) for it."""
        number = np.empty(len(left), np.int64)
        _draw_counts(out, CORRECTION, left, self._factorials, rng.random(len(left)), *self._work(), number)
        return number

    def _work(self) -> tuple[Array, NDArray[np.int32], Array, Array, Array]:
        """Return the working memory of one set, for the compiled draws."""
        power = np.empty(self._largest, np.float32)
        return np.empty_like(power), power.view(np.int32), power, np.empty_like(power), np.empty_like(power)

    def _outputs(self, inputs: Tensor, kind: int) -> Array:
        """Compute log-odds and corrections (P, limit + 2) of the counts of a type."""
        x = silu(linear(inputs, self._first[0][kind], self._first[1][kind]), inplace=True)
        x = silu(linear(x, self._second[0][kind], self._second[1][kind]), inplace=True)
        out: Array = linear(x, *self._last[kind]).float().numpy()
        return out

    def _take(self, number: Ints, kind: int, species: int, left: Ints, need: Ints, counts: Ints, inputs: Bits) -> None:
        """Take ``number`` (N,) tokens of a type; see the function of this name."""
        column, start, content = self._known + 2 * kind, self._start, _CONTENT[species]
        codes = self._of_count, self._of_left, self._of_need
        _take(number, species, content, *codes, column, start, left, need, counts, inputs)

    def _fill_group(
        self, group: int, first: Tensor, need: Ints, number: Ints, counts: Ints, rng: np.random.Generator
    ) -> None:
        """Draw the species of the tokens of a group; ``counts`` and ``need`` are changed in place."""
        rows = np.repeat(np.arange(len(number)), number)
        wide = padded(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self._model._composition_logits(first[wide], torch.from_numpy(need[wide]), group)
        species = pick_logits(logits[: len(rows)].numpy(), rng.random(len(rows)))
        np.add.at(counts, (rows, species), 1)
        np.subtract.at(need, rows, CONTENT[species])
