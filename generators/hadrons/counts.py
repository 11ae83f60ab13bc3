"""Which hadrons a set holds: a chain of categorical distributions that keeps every quantum number.

    p(counts | condition) = p(n) p(carrier | n) prod_g p(k_g | ...) p(species | k_g, ...) prod_t p(c_t | c_<t, ...)

with n the number of tokens, k_g the numbers in the groups of rare species, and c_t the counts of the common ones, all
given the condition and what was drawn before. What quantum numbers are still missing is an input of every factor. Each
factor is a known shape times a bounded correction: a Gaussian in sqrt(n), binomials Bin(c; tokens left, p). A softmax
of free logits would leave a thousandth of its probability where there are no data, and so sets of a hundred hadrons
where there are ten. Where
a set has to have given quantum numbers (the second hemisphere of a singlet) the last baryon, the last strange hadron
and the last charged pion are what is missing, and sets in which that is impossible are drawn anew: the total is
exact, and the distribution that of the model given the total.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from generators.hadrons.count_density import add_counts, enter
from generators.hadrons.count_sampler import CountSampler
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
    may_carry,
)
from generators.hadrons.responses import num_responses, responses
from generators.hadrons.tokens import (
    CONTENT,
    FLAVOURS,
    NUM_CONTENT,
    NUM_GROUPS,
    SPECIES,
    TYPE,
    TYPE_CONTENT,
    TYPES,
)
from generators.nn.compiled_network import weights_of
from generators.nn.derived import Derived

Array = NDArray[np.float32]
_ROWS = 4096
"""Conditions of sets whose sizes and carriers are computed at once."""
_SETS = 80
"""Sets whose counts are computed at once: their products are so small that BLAS takes one thread for each."""


def _sampler(model: CountModel) -> CountSampler:
    return CountSampler(weights_of(model))


def _bounded(x: Tensor) -> Tensor:
    """Return corrections whose size is at most :data:`CORRECTION`, which are x where x is small."""
    return CORRECTION * torch.tanh(x / CORRECTION)


def _count_log_probs(out: Tensor, left: Tensor, dim: int) -> Tensor:
    """Compute the log-probabilities of counts 0, 1, ..., limit: corrected binomials among the tokens that are left.

    Args:
        out: log-odds of a token's being of the type, then the corrections, limit + 2 along ``dim``.
        left: tokens left, with the other dimensions of ``out``.
        dim: the dimension of the counts.
    """
    odds, corrections = out.narrow(dim, 0, 1), out.narrow(dim, 1, out.shape[dim] - 1)
    shape = [1] * out.dim()
    shape[dim] = -1
    count = torch.arange(corrections.shape[dim]).view(shape)
    rest = left.unsqueeze(dim) - count
    factorials = torch.lgamma(1 + torch.arange(float(max(corrections.shape[dim], int(left.max()) + 1))))
    choose = -factorials[: corrections.shape[dim]].view(shape) - factorials[rest.clamp(min=0)]
    logits = choose + count * odds + _bounded(corrections)
    return torch.log_softmax(logits.masked_fill(rest < 0, -torch.inf), dim)


class Responses(nn.Module):
    """What parameters of tunes add to the outputs of a :class:`CountModel`; see :mod:`generators.hadrons.responses`.

    Args:
        tune: columns of the condition that are parameters, first and last + 1.
    """

    tune: Tensor

    def __init__(self, tune: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("tune", torch.tensor(tune))
        self._num = tune[1] - tune[0]
        num = num_responses(self._num)
        self.size = nn.Parameter(torch.zeros(2, num))
        self.carrier = nn.Parameter(torch.zeros(len(SPECIES) + 1, self._num))  # each is of few flavours
        self.types = nn.Parameter(torch.zeros(len(TYPES), num))

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what is added to mean and width of sqrt(n) (N, 2), carriers (N, S + 1) and types' odds (T, N)."""
        features = responses(condition, slice(*self.tune.tolist()))
        return features @ self.size.T, features[:, : self._num] @ self.carrier.T, self.types @ features.T


class CountModel(nn.Module):
    """p(counts, carrier | condition): categorical distributions, each from a small network.

    A count never exceeds the tokens that are left; the pi0, which come last, are what is left.

    Args:
        num_condition: C, the length of a condition, the inputs about the opposite set included.
        width: of each network.
        max_size: largest number of tokens n.
        max_pions: largest count of pi+ and of pi-.
        max_others: largest count of each other type but pi0.
        tune: columns of the condition that are parameters of tunes which act on means and odds directly, first and
            last + 1 (:mod:`generators.hadrons.responses`); none by default.
    """

    mask: Tensor
    may_carry: Tensor
    group: Tensor
    type_of: Tensor

    def __init__(
        self,
        num_condition: int,
        *,
        width: int,
        max_size: int,
        max_pions: int,
        max_others: int,
        tune: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self._sampler = Derived(_sampler)
        num_types, num_species = len(TYPES), len(SPECIES)
        num_first = num_condition + 2

        def net(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
            )

        self.size = net(num_condition, 2 + max_size)
        self.carrier = net(num_first, num_species + 1)
        self.composition = net(num_first + NUM_CONTENT, num_species)
        self.carrier_code = nn.Embedding(num_species + 1, 4)
        self._num_shared = num_first + 4  # inputs that do not change as counts are drawn
        self._num_known = self._num_shared + 2 + NUM_CONTENT
        num_inputs = self._num_known + 2 * num_types
        self.first = nn.Parameter(torch.randn(num_types, num_inputs, width) / num_inputs**0.5)
        self.first_bias = nn.Parameter(torch.zeros(num_types, width))
        self.entered = nn.Identity()  # what the first layers of the types give passes here, where hooks see it
        self.second = nn.Parameter(torch.randn(num_types, width, width) / width**0.5)
        self.second_bias = nn.Parameter(torch.zeros(num_types, width))
        # types with the same number of outputs share a batched product
        groups = drawn_types(max_pions, max_others)
        self._groups = [(limit, torch.from_numpy(rows)) for limit, rows in groups]
        # log-odds of the binomial first, then corrections
        self.last = nn.ParameterList([torch.zeros(len(rows), width, limit + 2) for limit, rows in self._groups])
        self.last_bias = nn.ParameterList([torch.zeros(len(rows), limit + 2) for limit, rows in self._groups])
        with torch.no_grad():
            for bias in self.last_bias:
                bias[:, 0] = -3.0
        # known[s, t]: whether the count of t is known when that of s is drawn
        known = torch.from_numpy(PLACE[None, :] < PLACE[:, None])
        self.register_buffer("mask", torch.cat([known, known], 1)[..., None], persistent=False)
        self.register_buffer("may_carry", torch.from_numpy(may_carry()), persistent=False)
        group = torch.from_numpy(TYPE[None, :] == np.arange(1, 1 + NUM_GROUPS)[:, None])
        self.register_buffer("group", group, persistent=False)
        type_of = torch.nn.functional.one_hot(torch.from_numpy(TYPE), len(TYPES)).float()
        self.register_buffer("type_of", type_of, persistent=False)
        self.responses: Responses | None = None
        if tune is not None:
            self.responses = Responses(tune)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as every module does; from then on samples use the weights as they are."""
        self._sampler.forget()
        return super().train(mode)

    @staticmethod
    def _columns(n: Tensor) -> Tensor:
        """Encode numbers of tokens (...) as inputs (..., 2)."""
        return torch.stack([torch.log1p(n.float()), n.float() / SIZE_SCALE], -1)

    def _shared(self, condition: Tensor, size: Tensor, carrier: Tensor) -> Tensor:
        return torch.cat([condition, self._columns(size), self.carrier_code(carrier)], -1)

    @staticmethod
    def _count_columns(c: Tensor) -> Tensor:
        """Encode counts of a type (...) as inputs (..., 2)."""
        return torch.stack([torch.log1p(c.float()), c.float() / COUNT_SCALE], -1)

    @staticmethod
    def _need_columns(need: Tensor) -> Tensor:
        """Encode missing quantum numbers as inputs of the same shape."""
        return need / CONTENT_SCALE

    def _moved(self, condition: Tensor) -> tuple[Tensor | None, ...]:
        """Compute what tunes add to sizes (N, 2), carriers (N, S + 1) and types (T, N); None where they add nothing."""
        if self.responses is None:
            return None, None, None
        moved: tuple[Tensor, Tensor, Tensor] = self.responses(condition)
        return moved

    def _size_log_probs(self, condition: Tensor, moved: Tensor | None = None) -> Tensor:
        """Compute the log-probabilities (N, max_size) of 1, 2, ... tokens; ``moved`` is of :meth:`_moved`."""
        out = self.size(condition).float()
        shift, raw = out[:, :1], out[:, 1:2]
        if moved is not None:
            shift, raw = shift + moved[:, :1], raw + moved[:, 1:2]
        root = torch.arange(1.0, out.shape[1] - 1).sqrt()
        shape = (root - SIZE_OFFSET - shift) / (LEAST_SPREAD + nn.functional.softplus(raw))
        return torch.log_softmax(_bounded(out[:, 2:]) - 0.5 * shape**2, -1)

    def size_log_prob(self, condition: Tensor, size: Tensor) -> Tensor:
        """Compute log p(n | condition), (N,), of the numbers of tokens ``size`` (N,), for conditions (N, C)."""
        return self._of_size(condition, size, self._moved(condition)[0])

    def _of_size(self, condition: Tensor, size: Tensor, moved: Tensor | None) -> Tensor:
        sizes = self._size_log_probs(condition, moved)
        return sizes.gather(-1, (size - 1).clamp(max=sizes.shape[-1] - 1)[:, None])[:, 0]

    @torch.no_grad()
    def mean_size(self, condition: Tensor) -> Tensor:
        """Compute the mean numbers of tokens (N,) in float64 for conditions (N, C)."""
        probs = self._size_log_probs(condition, self._moved(condition)[0]).double().exp()
        return probs @ torch.arange(1.0, probs.shape[1] + 1, dtype=torch.float64)

    def log_prob(self, condition: Tensor, counts: Tensor, carrier: Tensor, missing: Tensor, forced: Tensor) -> Tensor:
        """Compute log p(counts, carrier | condition), (N,), of counts of at least one token each.

        Counts above the largest that the networks know count as that.

        Args:
            condition: (N, C).
            counts: of the species, the carrier among them, (N, S).
            carrier: species of the carriers, S for none, (N,).
            missing: quantum numbers that the sets have to have, (N, 8); zero where they are free.
            forced: where they are not, (N,).
        """
        if not torch.is_grad_enabled() and not self.training:
            steps = condition.new_zeros(1, condition.shape[1])
            return self.log_probs(condition, steps, counts, carrier, missing, forced)[0]
        rows, size = torch.arange(len(counts)), counts.sum(-1)
        types, left, need = self._tokens(counts, carrier, missing)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            of_size, of_carrier, of_types = self._moved(condition)
            total = self._of_size(condition, size, of_size)
            first = torch.cat([condition, self._columns(size)], -1)
            total = total + torch.log_softmax(self._carrier_logits(first, of_carrier), -1)[rows, carrier]
            x = self._hidden(self._entered(condition, size, carrier, types, left, need))
            for (limit, chosen), weight, bias in zip(self._groups, self.last, self.last_bias, strict=True):
                out = torch.bmm(x[chosen].transpose(1, 2), weight).float() + bias[:, None]
                if of_types is not None:
                    out = torch.cat([out[..., :1] + of_types[chosen, :, None], out[..., 1:]], -1)
                number = types[:, chosen].clamp(max=limit).T
                log_probs = _count_log_probs(out, left[chosen], 2).gather(2, number[..., None])[..., 0]
                total = total + torch.where(self._drawn(forced)[chosen], log_probs, 0.0).sum(0)
            for group, members, some, k, choose in self._rare(counts, carrier, types):
                logits = self._composition_logits(first[some], need[1 + group, some], self.group[group])
                log_probs = torch.log_softmax(logits, -1)[:, members]
                total = total.index_add(0, some, (k * log_probs).sum(-1) + choose)
        return total

    @torch.no_grad()
    def log_probs(
        self, condition: Tensor, steps: Tensor, counts: Tensor, carrier: Tensor, missing: Tensor, forced: Tensor
    ) -> Tensor:
        """Compute :meth:`log_prob` (V, N) under V conditions without gradients: what these share is computed once.

        Args:
            condition: (N, C).
            steps: what is added to all rows of the condition, (V, C).
            counts: of the species, the carrier among them, (N, S).
            carrier: species of the carriers, S for none, (N,).
            missing: quantum numbers that the sets have to have, (N, 8); zero where they are free.
            forced: where they are not, (N,).
        """
        total, size = torch.empty(len(steps), len(counts)), counts.sum(-1)
        weights = self._density_weights()
        moved = (steps @ self.first[:, : steps.shape[1]]).transpose(0, 1).contiguous().numpy()
        # as many tokens, as many counts that there may be
        for rows in torch.split(torch.argsort(size), max(_SETS, _ROWS // len(steps))):
            given = (condition[rows] + steps[:, None]).flatten(0, 1)
            of_size, of_carrier, of_types = self._moved(given)
            of_sizes = self._of_size(given, size[rows].repeat(len(steps)), of_size)
            first = torch.cat([given, self._columns(size[rows]).repeat(len(steps), 1)], -1)
            carriers = torch.log_softmax(self._carrier_logits(first, of_carrier), -1)
            chosen_carrier = carrier[rows].repeat(len(steps))
            value = of_sizes + carriers.gather(1, chosen_carrier[:, None])[:, 0]
            total[:, rows] = value.view(len(steps), -1)
            first, start = first.view(len(steps), len(rows), -1), 0
            odds = None if of_types is None else of_types.view(-1, len(steps), len(rows))
            for part in torch.split(rows, _SETS):
                own, stop = (condition, counts, carrier, missing, forced), start + len(part)
                of_part = None if odds is None else odds[..., start:stop]
                found = self._counts_log_probs(weights, moved, first[:, start:stop], of_part, *(x[part] for x in own))
                total[:, part] += found
                start = stop
        return total

    def _density_weights(self) -> tuple[Array, ...]:
        """Return weights as the compiled loops of :mod:`generators.hadrons.count_density` take them.

        They are those of shared inputs, their biases, those of the inputs of one type alone and of the counts of
        others, the second layers, their biases, and those of the last layers and theirs by group.
        """
        start, known, num = self._num_shared, self._num_known, len(TYPES)
        in_order = self.first[[0, *ORDER]]
        shared = in_order[:, :start].transpose(0, 1).flatten(1)
        of_counts = in_order[:, known:].view(num, 2, num, -1).permute(2, 1, 0, 3)
        own = self.first[:, start:known], of_counts, self.second, self.second_bias
        last = [x for weight, bias in zip(self.last, self.last_bias, strict=True) for x in (weight.mT, bias)]
        return tuple(x.contiguous().numpy() for x in (shared, self.first_bias[[0, *ORDER]].flatten(), *own, *last))

    def _counts_log_probs(
        self,
        weights: tuple[Array, ...],
        moved: Array,
        first: Tensor,
        odds: Tensor | None,
        condition: Tensor,
        counts: Tensor,
        carrier: Tensor,
        missing: Tensor,
        forced: Tensor,
    ) -> Tensor:
        """Compute the part of :meth:`log_probs` that is of counts, (V, N).

        Args:
            weights: result of :meth:`_density_weights`.
            moved: what the steps add to the first layers, (V, T, width).
            first: conditions plus steps, and the columns of the sizes, (V, N, C + 2).
            odds: what tunes add to the odds of types, (T, V, N).
            condition: see :meth:`log_probs`, and for the others.
            counts: (N, S).
            carrier: (N,).
            missing: (N, 8).
            forced: (N,).
        """
        shared, bias, of_own, of_counts, second, second_bias, *last = weights
        num, num_types, width = len(counts), *second_bias.shape
        given = self._shared(condition, counts.sum(-1), carrier).numpy()
        before = (given @ shared + bias).reshape(num, num_types, width)
        types, left = np.empty((num, num_types), np.int64), np.empty((num_types, num), np.int64)
        need, order = np.empty((num, num_types, NUM_CONTENT), np.float32), np.array([0, *ORDER])
        sets = counts.contiguous().numpy(), carrier.contiguous().numpy(), missing.float().contiguous().numpy()
        content = np.concatenate([CONTENT, np.zeros((1, NUM_CONTENT))], dtype=np.float32)
        scales = float(SIZE_SCALE), float(COUNT_SCALE), float(CONTENT_SCALE)
        enter(*sets, TYPE, content, order, scales, of_own, of_counts, types, left, need, before)
        total = torch.zeros(len(moved), num)
        added = np.zeros((num_types, *total.shape), np.float32) if odds is None else odds.contiguous().numpy()
        factorials = torch.lgamma(1 + torch.arange(1.0 + int(left.max(initial=0)))).numpy()
        drawn = self._drawn(forced).numpy()
        for number, (limit, group) in enumerate(self._groups):
            chosen = group.numpy()
            tokens = np.ascontiguousarray(np.minimum(types.T[chosen], limit))
            of_all = before, moved, second, second_bias, *last[2 * number : 2 * number + 2], added, left
            arrays: list[Any] = [chosen, PLACE, *of_all, tokens, drawn[chosen], factorials, total.numpy()]
            add_counts(*arrays)
        rare = self._rare(counts, carrier, torch.from_numpy(types))
        if rare:  # all groups at once
            some, choose = torch.cat([rows for _, _, rows, *_ in rare]), torch.cat([each for *_, each in rare])
            groups = torch.cat([torch.full_like(rows, group) for group, _, rows, *_ in rare])
            numbers, start = torch.zeros(len(some), len(SPECIES)), 0
            for _, members, rows, k, _ in rare:
                numbers[start : start + len(rows), members] = k
                start += len(rows)
            wanted = torch.from_numpy(need)[some, 1 + groups].repeat(len(moved), 1)
            members = self.group[groups].repeat(len(moved), 1)
            logits = self._composition_logits(first[:, some].flatten(0, 1), wanted, members)
            of_rare = (torch.log_softmax(logits, -1).view(len(moved), len(some), -1) * numbers).sum(-1) + choose
            total.index_add_(1, some, of_rare)
        return total

    def _tokens(self, counts: Tensor, carrier: Tensor, missing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return counts of the types (N, T), tokens left for each (T, N), and what is missing then (T, N, 8)."""
        types, content = self._of_types(counts, carrier)
        order = torch.tensor([0, *ORDER])
        of_order = types[:, order]
        left = (counts.sum(-1)[:, None] - (torch.cumsum(of_order, -1) - of_order))[:, PLACE].T
        running = torch.cumsum(content[:, order], 1) - content[:, order]
        return types, left, (missing[:, None] - running)[:, PLACE].transpose(0, 1)

    def _drawn(self, forced: Tensor) -> Tensor:
        """Return which counts are drawn, (T, N): of ``forced`` sets (N,) the last ones are what is missing."""
        free = torch.ones(len(TYPES), len(forced), dtype=torch.bool)
        free[[LAST_BARYON, LAST_STRANGE, LAST_PION]] = ~forced
        return free

    def _rare(self, counts: Tensor, carrier: Tensor, types: Tensor) -> list[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
        """Return what sets hold of each group of rare species that any holds.

        These are the group, its species (M,), the sets (K,), their numbers (K, M), and the logarithms (K,) of the
        numbers of ways to choose them.
        """
        rest, result = self._without_carrier(counts, carrier), []
        for group in range(NUM_GROUPS):
            some = torch.nonzero(types[:, 1 + group])[:, 0]
            if len(some):
                members = torch.nonzero(self.group[group])[:, 0]
                k = rest[some][:, members].float()
                choose = torch.lgamma(k.sum(-1) + 1) - torch.lgamma(k + 1).sum(-1)
                result.append((group, members, some, k, choose))
        return result

    def _entered(
        self, condition: Tensor, size: Tensor, carrier: Tensor, types: Tensor, left: Tensor, need: Tensor
    ) -> Tensor:
        """Compute what the first layers of the counts' networks give before their activation, (T, width, N)."""
        # inputs of one type alone: tokens left, quantum numbers missing; (T, 10, N)
        own = torch.cat([self._columns(left), self._need_columns(need)], -1).transpose(1, 2)
        encoded = self._count_columns(types).transpose(1, 2).flatten(1)
        return self._before(self._shared(condition, size, carrier), own, encoded)

    def _before(self, shared: Tensor, own: Tensor, encoded: Tensor) -> Tensor:
        """Compute what the first layers of the counts' networks give before their activation, (T, width, N).

        Args:
            shared: inputs of all types, (N, I).
            own: inputs of each type alone, (T, J, N).
            encoded: counts of all types, of which each sees those before it, (N, 2T).
        """
        start, known = self._num_shared, self._num_known
        of_counts = self.first[:, known:] * self.mask
        x = (
            torch.cat([self.first[:, :start], of_counts], 1).transpose(1, 2).flatten(0, 1)
            @ torch.cat([shared, encoded], -1).T
        )
        x = x.view(*self.first_bias.shape, -1)
        x = x + torch.bmm(self.first[:, start:known].transpose(1, 2), own)
        return x + self.first_bias[..., None].to(x.dtype)

    def _hidden(self, before: Tensor) -> Tensor:
        """Compute the hidden states (T, width, N) of the counts' networks from what :meth:`_before` gives."""
        x = silu(self.entered(before))
        x = torch.baddbmm(self.second_bias[..., None].to(x.dtype), self.second.transpose(1, 2).to(x.dtype), x)
        return silu(x, inplace=not torch.is_grad_enabled())

    def _carrier_logits(self, first: Tensor, moved: Tensor | None) -> Tensor:
        """Compute the logits (N, S + 1) of the carriers' species; the inputs begin with the flavour."""
        allowed = self.may_carry[first[:, : len(FLAVOURS)].float().argmax(-1)]
        logits: Tensor = self.carrier(first).float()
        if moved is not None:
            logits = logits + moved
        return logits.masked_fill(~allowed, -torch.inf)

    def _composition_logits(self, first: Tensor, need: Tensor, members: Tensor) -> Tensor:
        """Compute the logits (N, S) of the species of a token in a group of rare ones, whose ``members`` are marked."""
        logits: Tensor = self.composition(torch.cat([first, self._need_columns(need)], -1)).float()
        return logits.masked_fill(~members, -1e9)

    @staticmethod
    def _without_carrier(counts: Tensor, carrier: Tensor) -> Tensor:
        rest = torch.cat([counts, torch.zeros(len(counts), 1, dtype=counts.dtype)], -1)
        return rest.scatter_add(1, carrier[:, None], -torch.ones(len(counts), 1, dtype=counts.dtype))[:, :-1]

    def _of_types(self, counts: Tensor, carrier: Tensor) -> tuple[Tensor, Tensor]:
        """Return counts of the types (N, T), and what the tokens of each type contribute to the content (N, T, 8)."""
        rest, types = self._without_carrier(counts, carrier), self.of_types(counts, carrier)
        content = types[..., None] * torch.from_numpy(TYPE_CONTENT).float()
        table = torch.from_numpy(CONTENT).float()
        for group in range(NUM_GROUPS):
            members = torch.nonzero(self.group[group])[:, 0]
            content[:, 1 + group] = rest[:, members].float() @ table[members]
        content[:, 0] = torch.cat([table, torch.zeros(1, NUM_CONTENT)])[carrier]
        return types, content

    def of_types(self, counts: Tensor, carrier: Tensor | None = None) -> Tensor:
        """Return counts of the types (N, T) from those of the species (N, S).

        The carriers, of the species (N,), S for none, are of a type of their own; if not given, they are as others.
        """
        # exact: numbers of tokens are small
        types = (counts.float() @ self.type_of).long()
        if carrier is not None:
            rows = torch.nonzero(carrier < len(SPECIES))[:, 0]
            types[rows, torch.from_numpy(TYPE)[carrier[rows]]] -= 1
            types[rows, 0] = 1
        return types

    def sample(
        self,
        condition: Tensor,
        rng: np.random.Generator,
        missing: Tensor | None = None,
        max_mass: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw counts and carriers of at least one token a set; see :meth:`CountSampler.sample`.

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
        given = (None if x is None else x.detach().numpy() for x in (missing, max_mass))
        counts, carrier = self._sampler.of(self).sample(condition.detach().float().numpy(), rng, *given)
        return torch.from_numpy(counts), torch.from_numpy(carrier)
