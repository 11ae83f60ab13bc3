"""The density of one splitting of a clustering tree: which tokens go where, and the two-body kinematics.

A node X of n tokens with mass M splits into A and B. Factorised, in the order in which it is sampled:

- kind: A is a single token of species s, or both children are composite (A the one of lower energy);
- content of a composite A: a mixture of products of binomials over species, k_s ~ Bin(c_s, sigma(l_cs)),
  truncated to at least two tokens on either side;
- m_B and m_A, where composite, as fractions of what the masses of their tokens leave free;
- cos(theta*) and phi* of A in the rest frame of X.

The continuous variables have piecewise constant densities on fixed edges (quantiles of the training data),
each conditioned on the ones before. Momentum conservation and mass shells hold by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, logsigmoid, relu, silu

from generators.nn.compiled import compiled

NUM_VARIABLES = 4  # m_B, m_A, cos theta*, phi*
MAX_LOGIT = 12.0
"""Of a token's going to A, in the mixture."""
_PAIRS = [(before, after) for after in range(NUM_VARIABLES) for before in range(after)]


@dataclass(frozen=True)
class Splittings:
    """Training rows: K splittings and the context they depend on.

    ``context`` (K, F); ``counts`` and ``counts_a`` (K, S) tokens by species in X and in A; ``variables``
    (K, 4) in the coordinates of :mod:`generators.hadrons.tree.model`, NaN where a variable does not exist.
    """

    context: Tensor
    counts: Tensor
    counts_a: Tensor
    variables: Tensor

    def __len__(self) -> int:
        return len(self.context)

    def rows(self, rows: Tensor) -> Splittings:
        return Splittings(self.context[rows], self.counts[rows], self.counts_a[rows], self.variables[rows])


_LOG1P = np.log1p(np.arange(256)).astype(np.float32)


@compiled
def _inputs(
    context: NDArray[np.float32],
    counts: NDArray[np.uint8],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    log1p: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Standardised context, log(1 + counts), and which counts are not zero, into ``out`` (K, F + 2S)."""
    width, species = context.shape[1], counts.shape[1]
    for k in range(len(context)):
        for i in range(width):
            out[k, i] = (context[k, i] - mean[i]) / std[i]
        for s in range(species):
            out[k, width + s] = log1p[counts[k, s]]
            out[k, width + species + s] = 1.0 if counts[k, s] > 0 else 0.0


@compiled
def _content(
    counts: NDArray[np.uint8],
    counts_a: NDArray[np.uint8],
    masses: NDArray[np.float32],
    log1p: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """log(1 + x) of the counts of A, and of the sizes and least masses (GeV) of A and B, into ``out`` (K, S + 4)."""
    species = counts.shape[1]
    for k in range(len(counts)):
        n_a, n_b, m_a, m_b = 0, 0, 0.0, 0.0
        for s in range(species):
            a, b = counts_a[k, s], counts[k, s] - counts_a[k, s]
            out[k, s] = log1p[a]
            n_a, n_b, m_a, m_b = n_a + a, n_b + b, m_a + a * masses[s], m_b + b * masses[s]
        out[k, species], out[k, species + 1] = log(1.0 + n_a), log(1.0 + n_b)
        out[k, species + 2], out[k, species + 3] = log(1 + m_a), log(1 + m_b)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.outer(silu(self.inner(self.norm(x))))
        return result


class Plain(nn.Module):
    """x + relu(W x): one product where :class:`_Residual` has two and a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + relu(self.linear(x))
        return result


class PairNet(nn.Module):
    """Density of the two angles of a node of two tokens, for which nothing else is free.

    Args:
        num_inputs: of a node; width: of every layer; num_blocks: of the trunk; num_bins: of each density.
    """

    def __init__(self, num_inputs: int, *, width: int, num_blocks: int, num_bins: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(num_inputs, width), nn.ReLU(), *[Plain(width) for _ in range(num_blocks)])
        self.cos = nn.Linear(width, num_bins)
        self.turn = nn.Linear(width, width)
        self.previous = nn.Embedding(num_bins, width)
        nn.init.zeros_(self.previous.weight)
        self.phi = nn.Linear(width, num_bins)

    def phi_logits(self, hidden: Tensor, cos_bin: Tensor) -> Tensor:
        """Logits (K, num_bins) of phi* given the bin (K,) of cos theta*."""
        logits: Tensor = self.phi(relu(self.turn(hidden) + self.previous(cos_bin)))
        return logits


class SplittingNet(nn.Module):
    """Conditional density of a splitting.

    Args:
        num_context: features of the context; num_species: S.
        width: of the trunk; head_width: of each variable's head.
        num_bins: of each continuous density; num_components: of the content mixture.
        plain: layers of one product and ReLU, without normalisation, for speed.
        pair_width: of a network of its own for nodes of two tokens, of ``pair_blocks`` blocks; without it they go
            through this one.
    """

    mean: Tensor
    std: Tensor
    edges: Tensor
    species_mass: Tensor

    def __init__(
        self,
        num_context: int,
        species_mass: Tensor,
        *,
        width: int = 192,
        num_blocks: int = 2,
        head_width: int = 128,
        num_bins: int = 80,
        num_components: int = 16,
        plain: bool = False,
        pair_width: int | None = None,
        pair_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.num_species, self.num_bins, self.num_components = len(species_mass), num_bins, num_components
        self.head_width = head_width
        self.register_buffer("mean", torch.zeros(num_context))
        self.register_buffer("std", torch.ones(num_context))
        self.register_buffer("edges", torch.linspace(-1, 1, num_bins + 1).repeat(NUM_VARIABLES, 1))
        self.register_buffer("species_mass", species_mass.float(), persistent=False)
        self.embed = nn.Linear(num_context + 2 * self.num_species, width)
        if plain:
            self.trunk = nn.Sequential(nn.ReLU(), *[Plain(width) for _ in range(num_blocks)])
        else:
            self.trunk = nn.Sequential(*[_Residual(width) for _ in range(num_blocks)], nn.LayerNorm(width))
        self.kind = nn.Linear(width, 1 + self.num_species)
        self.mixture = nn.Linear(width, num_components * (1 + self.num_species))
        self.content = nn.Linear(self.num_species + 4, width)
        if plain:
            self.content_block = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Plain(width))
        else:
            self.content_block = nn.Sequential(_Residual(width), nn.LayerNorm(width))
        self.heads = nn.Linear(width, NUM_VARIABLES * head_width)
        # one table for each (earlier variable, variable) pair, in the order of _PAIRS
        self.previous = nn.ModuleList([nn.Embedding(num_bins + 1, head_width) for _ in _PAIRS])
        for table in self.previous:
            nn.init.zeros_(table.get_parameter("weight"))
        self.outputs = nn.ModuleList([nn.Linear(head_width, num_bins) for _ in range(NUM_VARIABLES)])
        self.activation = relu if plain else silu
        self.pair: PairNet | None = None
        if pair_width is not None:
            self.pair = PairNet(self.embed.in_features, width=pair_width, num_blocks=pair_blocks, num_bins=num_bins)

    def inputs(self, context: Tensor, counts: Tensor) -> Tensor:
        """What the first layer sees of each splitting, (K, F + 2S)."""
        out = np.empty((len(context), self.embed.in_features), dtype=np.float32)
        _inputs(context.numpy(), counts.numpy(), self.mean.numpy(), self.std.numpy(), _LOG1P, out)
        return torch.from_numpy(out)

    def encode(self, context: Tensor, counts: Tensor) -> Tensor:
        """Hidden state of each splitting, shape (K, width)."""
        hidden: Tensor = self.trunk(self.embed(self.inputs(context, counts).to(self.embed.weight.dtype)))
        return hidden

    def kind_log_probs(self, hidden: Tensor, counts: Tensor) -> Tensor:
        """Log-probabilities (K, 1 + S): composite (needs four tokens), or A a single token of each species."""
        allowed = torch.cat([counts.sum(-1, keepdim=True) >= 4, counts > 0], dim=-1)
        logits = self.kind(hidden).float().masked_fill(~allowed, -torch.inf)
        return torch.log_softmax(logits, dim=-1)

    def components(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mixture log-weights (K, C) and binomial logits (K, C, S) of a composite A."""
        out = self.mixture(hidden).float().view(-1, self.num_components, 1 + self.num_species)
        return torch.log_softmax(out[..., 0], dim=-1), out[..., 1:].clamp(-MAX_LOGIT, MAX_LOGIT)

    def content_log_prob(self, hidden: Tensor, counts: Tensor, counts_a: Tensor) -> Tensor:
        """log P(content of A | composite), truncated to two tokens or more on both sides, shape (K,)."""
        weights, logits = self.components(hidden)
        c, k = counts.float(), counts_a.float()
        choose = torch.lgamma(c + 1) - torch.lgamma(k + 1) - torch.lgamma(c - k + 1)
        # log sigma(l) = l + log sigma(-l)
        none = torch.einsum("ks,kcs->kc", c, logsigmoid(-logits))
        every = none + torch.einsum("ks,kcs->kc", c, logits)
        log_joint = none + torch.einsum("ks,kcs->kc", k, logits)
        odds = logits.exp()
        one = none.exp() * torch.einsum("ks,kcs->kc", c, odds)
        but_one = every.exp() * torch.einsum("ks,kcs->kc", c, 1 / odds)
        inside = (1 - none.exp() - every.exp() - one - but_one).clamp_min(1e-6)
        normaliser = torch.logsumexp(weights + inside.log(), dim=-1)
        return torch.logsumexp(weights + log_joint, dim=-1) + choose.sum(-1) - normaliser

    def content_features(self, counts: Tensor, counts_a: Tensor) -> Tensor:
        """What the content of A adds to the hidden state, before its first layer, (K, S + 4)."""
        out = np.empty((len(counts), self.num_species + 4), dtype=np.float32)
        _content(counts.numpy(), counts_a.numpy(), self.species_mass.numpy(), _LOG1P, out)
        return torch.from_numpy(out)

    def with_content(self, hidden: Tensor, counts: Tensor, counts_a: Tensor) -> Tensor:
        """Hidden state (K, width) once the content of A is known."""
        features = self.content_features(counts, counts_a)
        known: Tensor = self.content_block(hidden + self.content(features.to(self.content.weight.dtype)))
        return known

    def head(self, hidden: Tensor, variable: int) -> Tensor:
        """Input (K, head_width) of one variable's density, from :meth:`with_content`."""
        rows = slice(variable * self.head_width, (variable + 1) * self.head_width)
        return linear(hidden, self.heads.weight[rows], self.heads.bias[rows])

    def tables(self, variable: int) -> list[Tensor]:
        """What the bins of each variable before it add to the head of a variable, (num_bins + 1, head_width) each."""
        return [t.get_parameter("weight") for (_, k), t in zip(_PAIRS, self.previous, strict=True) if k == variable]

    def bin_logits(self, x: Tensor, bins: Tensor, variable: int) -> Tensor:
        """Logits (K, num_bins) of one variable given the bins of those before it.

        Args:
            x: head input (K, head_width); bins: (K, 4), ``num_bins`` where a variable does not exist.
        """
        for k, table in enumerate(self.tables(variable)):
            x = x + embedding(bins[:, k], table)
        logits: Tensor = self.outputs[variable](self.activation(x)).float()
        return logits

    def bins(self, variables: Tensor) -> Tensor:
        """Bin of each variable (K, 4); ``num_bins`` where it is NaN."""
        found = torch.stack(
            [
                torch.bucketize(variables[:, i].contiguous(), self.edges[i, 1:-1].contiguous(), right=True)
                for i in range(NUM_VARIABLES)
            ],
            dim=-1,
        )
        return torch.where(torch.isnan(variables), self.num_bins, found)

    def log_prob(self, batch: Splittings) -> Tensor:
        """Log-density of each splitting in the coordinates of ``batch.variables``, shape (K,)."""
        if self.pair is None:
            return self._log_prob(batch)
        of_pair = batch.counts.sum(-1, dtype=torch.int32) == 2
        pairs, others = torch.nonzero(of_pair)[:, 0], torch.nonzero(~of_pair)[:, 0]
        total = torch.zeros(len(batch)).index_add(0, pairs, self._pair_log_prob(self.pair, batch.rows(pairs)))
        return total.index_add(0, others, self._log_prob(batch.rows(others)))

    def _pair_log_prob(self, net: PairNet, batch: Splittings) -> Tensor:
        bins = self.bins(batch.variables)
        hidden = net.trunk(self.inputs(batch.context, batch.counts))
        log_widths = (self.edges[:, 1:] - self.edges[:, :-1]).log()
        cos = _chosen_log_prob(net.cos(hidden), bins[:, 2], log_widths[2])
        return cos + _chosen_log_prob(net.phi_logits(hidden, bins[:, 2]), bins[:, 3], log_widths[3])

    def _log_prob(self, batch: Splittings) -> Tensor:
        counts, counts_a = batch.counts, batch.counts_a
        n, n_a = counts.sum(-1, dtype=torch.int32), counts_a.sum(-1, dtype=torch.int32)
        hidden = self.encode(batch.context, counts)
        total = torch.zeros(len(batch))
        open_rows = torch.nonzero(n >= 3)[:, 0]
        kinds = self.kind_log_probs(hidden[open_rows], counts[open_rows])
        composite = n_a[open_rows] >= 2
        choice = torch.where(composite, 0, 1 + counts_a[open_rows].int().argmax(-1))
        total = total.index_add(0, open_rows, kinds.gather(1, choice[:, None].long())[:, 0])
        both = torch.nonzero(n_a >= 2)[:, 0]
        total = total.index_add(0, both, self.content_log_prob(hidden[both], counts[both], counts_a[both]))
        hidden = self.with_content(hidden, counts, counts_a)
        bins = self.bins(batch.variables)
        widths = (self.edges[:, 1:] - self.edges[:, :-1]).log()
        for variable in range(NUM_VARIABLES):
            if variable >= 2:  # angles exist for every splitting
                total = total + self._bin_density(self.head(hidden, variable), bins, widths, variable)
                continue
            rows = torch.nonzero(bins[:, variable] < self.num_bins)[:, 0]
            density = self._bin_density(self.head(hidden[rows], variable), bins[rows], widths, variable)
            total = total.index_add(0, rows, density)
        return total

    def _bin_density(self, x: Tensor, bins: Tensor, log_widths: Tensor, variable: int) -> Tensor:
        return _chosen_log_prob(self.bin_logits(x, bins, variable), bins[:, variable], log_widths[variable])

    def loss(self, batch: Splittings) -> Tensor:
        """Negative log-likelihood a splitting."""
        return -self.log_prob(batch).mean()

    def set_scales(self, batch: Splittings) -> None:
        """Fixes normalisation and bin edges from training rows.

        Edges are quantiles, denser in the tails so that no outer bin is wide; phi* has equal bins.
        """
        self.mean.copy_(batch.context.float().mean(0))
        self.std.copy_(batch.context.float().std(0).clamp_min(1e-3))
        tails = torch.tensor([1e-4, 5e-4, 2e-3, 5e-3])
        inner = torch.linspace(0.01, 0.99, self.num_bins - 1 - 2 * len(tails))
        levels = torch.cat([torch.zeros(1), tails, inner, 1 - tails.flip(0), torch.ones(1)]).double()
        for variable in range(NUM_VARIABLES - 1):
            values = batch.variables[:, variable]
            values = values[~torch.isnan(values)].double().sort().values
            edges = torch.quantile(values[:: max(1, len(values) // 1_000_000)], levels).float()
            steps = torch.diff(edges).clamp_min(1e-4)
            self.edges[variable] = torch.cat([edges[:1], edges[0] + torch.cumsum(steps, 0)])
        self.edges[-1] = torch.linspace(-torch.pi, torch.pi, self.num_bins + 1)


def _chosen_log_prob(logits: Tensor, chosen: Tensor, log_widths: Tensor) -> Tensor:
    """Log-density (K,) in the chosen bins (K,) of piecewise constant densities with logits (K, B)."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    return log_probs.gather(1, chosen[:, None])[:, 0] - log_widths[chosen]
