"""The density of one splitting of a clustering tree: which tokens go where, and the two-body kinematics.

A node X of n tokens with mass M splits into A and B. The density is a product, in the order in which it is sampled:

- content of A: a single token of type s, or a part of the tokens (:mod:`generators.hadrons.tree.sharing`);
  a single token is always A, of composite children A is the one of lower energy;
- m_B and m_A of composite children, as fractions of what the masses of their tokens leave free;
- cos(theta*) and phi* of A in the rest frame of X.

The continuous variables have piecewise constant densities on fixed edges (quantiles of the training data),
each conditioned on the variables before it. Momentum conservation and mass shells hold by construction.

References:
    Andreassen, Feige, Frye, Schwartz, JUNIPR: a framework for unsupervised machine learning in particle
    physics, 2018, arXiv:1804.09720 (a density that factorises over the splittings of a clustering tree).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, relu, silu

from generators.hadrons.tokens import CARRIER
from generators.hadrons.tree.inputs import (
    COS_THETA,
    M_A,
    M_B,
    NO_GATES,
    NUM_VARIABLES,
    PAIRS,
    PHI,
    content_inputs,
    node_inputs,
)
from generators.hadrons.tree.sharing import NUM_NUMBERS
from generators.hadrons.tree.sharing_density import Present, log_prob

_LEAST_SHARED = 4
"""Fewest tokens of a node whose children may both be composite."""


@dataclass(frozen=True)
class Splittings:
    """K splittings and the context that they depend on.

    Attributes:
        context: features of the surroundings, (K, F).
        counts: tokens of each type in X, (K, T).
        counts_a: tokens of each type in A, (K, T).
        least: sums of the masses of the tokens of A and of B in GeV, (K, 2).
        variables: the coordinates of :func:`generators.hadrons.tree.splittings.splittings`, NaN where a variable is not
            free, (K, 4).
    """

    context: Tensor
    counts: Tensor
    counts_a: Tensor
    least: Tensor
    variables: Tensor

    def __len__(self) -> int:
        return len(self.context)

    def rows(self, rows: Tensor) -> Splittings:
        """Return the splittings of the given indices."""
        columns = (self.context, self.counts, self.counts_a, self.least, self.variables)
        return Splittings(*(column[rows] for column in columns))


class Residual(nn.Module):
    """A block x + W2 silu(W1 norm(x)), the identity when new."""

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
    """A block x + relu(W x): faster than :class:`Residual`, which has two products and a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the hidden states (K, width) after the block from those before it."""
        result: Tensor = x + relu(self.linear(x))
        return result


class PairNet(nn.Module):
    """Density of cos(theta*) and phi* of a node of two tokens, for which nothing else is free.

    Args:
        num_inputs: number of inputs, as :meth:`SplittingNet.inputs` returns them.
        width: of every layer.
        num_blocks: blocks of the trunk.
        num_bins: bins of each density.
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
        """Compute the logits (K, num_bins) of phi* given the bin (K,) of cos(theta*)."""
        logits: Tensor = self.phi(relu(self.turn(hidden) + self.previous(cos_bin)))
        return logits


class SplittingNet(nn.Module):
    """Conditional density of a splitting.

    Args:
        num_context: F, number of features of the context.
        num_species: S, number of types of tokens.
        carrier: columns of the context that hold charge, baryon number and strangeness of the carrier.
        width: of the trunk.
        num_blocks: blocks of the trunk.
        head_width: of each continuous variable's head.
        num_bins: bins of each continuous density.
        num_components: components of the mixture of contents.
        plain: use blocks of one product and ReLU, without normalisation, for speed.
        pair_width: width of a network of its own for nodes of two tokens; without it they go through this one.
        pair_blocks: blocks of that network.
        gates: columns of the context that are inputs of nodes with the carrier of a quark of one flavour alone, zero in
            others, and the columns that say whether the parton has this flavour.
    """

    mean: Tensor
    std: Tensor
    edges: Tensor
    gates: Tensor | None

    def __init__(
        self,
        num_context: int,
        num_species: int,
        carrier: slice,
        *,
        width: int = 192,
        num_blocks: int = 2,
        head_width: int = 128,
        num_bins: int = 80,
        num_components: int = 16,
        plain: bool = False,
        pair_width: int | None = None,
        pair_blocks: int = 1,
        gates: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.num_species, self.num_bins, self.num_components = num_species, num_bins, num_components
        self.head_width, self.carrier = head_width, carrier
        self.register_buffer("mean", torch.zeros(num_context))
        self.register_buffer("std", torch.ones(num_context))
        self.register_buffer("edges", torch.linspace(-1, 1, num_bins + 1).repeat(NUM_VARIABLES, 1))
        self.register_buffer("gates", torch.tensor(gates) if gates else None)
        self.embed = nn.Linear(num_context + 2 * self.num_species, width)
        if plain:
            self.trunk = nn.Sequential(nn.ReLU(), *[Plain(width) for _ in range(num_blocks)])
        else:
            self.trunk = nn.Sequential(*[Residual(width) for _ in range(num_blocks)], nn.LayerNorm(width))
        self.kind = nn.Linear(width, 1 + self.num_species)
        self.mixture = nn.Linear(width, num_components * (1 + self.num_species))
        self.balance = nn.Linear(width, num_components * 2 * NUM_NUMBERS)
        nn.init.zeros_(self.balance.weight)
        nn.init.zeros_(self.balance.bias)
        self.content = nn.Linear(self.num_species + 4, width)
        if plain:
            self.content_block = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Plain(width))
        else:
            self.content_block = nn.Sequential(Residual(width), nn.LayerNorm(width))
        self.heads = nn.Linear(width, NUM_VARIABLES * head_width)
        # one table for each (earlier variable, variable) pair, in the order of PAIRS
        self.previous = nn.ModuleList([nn.Embedding(num_bins + 1, head_width) for _ in PAIRS])
        for table in self.previous:
            nn.init.zeros_(table.get_parameter("weight"))
        self.outputs = nn.ModuleList([nn.Linear(head_width, num_bins) for _ in range(NUM_VARIABLES)])
        self.activation = relu if plain else silu
        self.pair: PairNet | None = None
        if pair_width is not None:
            self.pair = PairNet(self.embed.in_features, width=pair_width, num_blocks=pair_blocks, num_bins=num_bins)

    def inputs(self, context: Tensor, counts: Tensor) -> Tensor:
        """Compute the inputs (K, F + 2S) of the first layer from context (K, F) and counts (K, S)."""
        gates = torch.from_numpy(NO_GATES) if self.gates is None else self.gates
        arrays = (context.detach(), counts, self.mean, self.std, gates)
        inputs = torch.from_numpy(node_inputs(*(x.numpy() for x in arrays)))
        if context.requires_grad:  # compiled code has no gradients
            standardised = (context - self.mean) / self.std
            if self.gates is not None:
                standardised = torch.where(self.closed(context.detach(), counts), 0.0, standardised)
            inputs = torch.cat([standardised, inputs[:, context.shape[1] :]], -1)
        return inputs

    def closed(self, context: Tensor, counts: Tensor) -> Tensor:
        """Return which columns of the context (K, F) are no inputs of nodes with counts (K, S), (K, F)."""
        result = torch.zeros(context.shape, dtype=torch.bool)
        if self.gates is not None:
            columns, flavours = self.gates.T
            result[:, columns] = (counts[:, CARRIER, None] == 0) | (context[:, flavours] < 0.5)
        return result

    def encode(self, context: Tensor, counts: Tensor) -> Tensor:
        """Compute the hidden states (K, width) of splittings with the given context (K, F) and counts (K, S)."""
        hidden: Tensor = self.trunk(self.first(context, counts))
        return hidden

    def first(self, context: Tensor, counts: Tensor) -> Tensor:
        """Compute the results (K, width) of the first layer."""
        first: Tensor = self.embed(self.inputs(context, counts).to(self.embed.weight.dtype))
        return first

    def kind_log_probs(self, hidden: Tensor, counts: Tensor) -> Tensor:
        """Compute log-probabilities (K, 1 + S): A from the mixture (four tokens or more), or one token of each type."""
        logits = self.kind(hidden).float().masked_fill(~self.allowed_kinds(counts), -torch.inf)
        return torch.log_softmax(logits, dim=-1)

    @staticmethod
    def is_shared(sizes: Tensor) -> Tensor:
        """Return which nodes may have two composite children, (K,), from their numbers of tokens (K,)."""
        return sizes >= _LEAST_SHARED

    def allowed_kinds(self, counts: Tensor) -> Tensor:
        """Return which kinds of :meth:`kind_log_probs` nodes with the given counts (K, S) may have, (K, 1 + S)."""
        return torch.cat([self.is_shared(counts.sum(-1, keepdim=True)), counts > 0], dim=-1)

    def components(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the mixture of contents: log-weights (K, C), base log-odds (K, C, S) and balances (K, C, 6)."""
        out = self.mixture(hidden).float().view(-1, self.num_components, 1 + self.num_species)
        return torch.log_softmax(out[..., 0], dim=-1), out[..., 1:], self._balances(hidden)

    def _balances(self, hidden: Tensor) -> Tensor:
        balances: Tensor = self.balance(hidden).float()
        return balances.view(-1, self.num_components, 2 * NUM_NUMBERS)

    def mixture_by_type(self) -> tuple[Tensor, Tensor]:
        """Return weights (1 + S, width, C) and biases (1 + S, C) of the mixture: of its weights, then of each type."""
        weight = self.mixture.weight.view(self.num_components, 1 + self.num_species, -1).permute(1, 2, 0)
        return weight.contiguous(), self.mixture.bias.view(self.num_components, -1).T.contiguous()

    def log_content(self, hidden: Tensor, present: Present, by_type: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the log-probabilities (K,) that the mixture gives to contents of A, on either side if a single token.

        Of the log-odds those of the types that a node has are computed: most nodes have few. Without gradients.

        Args:
            hidden: of nodes of four tokens or more, (K, width).
            present: what these hold, and what of it A has.
            by_type: result of :meth:`mixture_by_type`.
        """
        weight, bias = by_type
        hidden = hidden.float()
        components = linear(hidden, weight[0].T, bias[0])
        return present.log_content(
            components.float(), present.outputs(hidden, weight[1:], bias[1:]), self._balances(hidden)
        )

    def log_widths(self) -> Tensor:
        """Return the logarithms of the widths of the bins of the variables, (4, num_bins)."""
        return (self.edges[:, 1:] - self.edges[:, :-1]).log()

    @property
    def normalised(self) -> Residual | None:
        """The first block of a trunk whose blocks begin with a normalisation."""
        first = self.trunk[0]
        return first if isinstance(first, Residual) else None

    def content_log_prob(self, hidden: Tensor, context: Tensor, counts: Tensor, counts_a: Tensor) -> Tensor:
        """Compute log P(counts_a), (K,), of nodes of three tokens or more.

        What the mixture makes of a single token, on either side, counts as a single A.
        """
        kinds = self.kind_log_probs(hidden, counts)
        single = counts_a.sum(-1, dtype=torch.int32) == 1
        chosen = kinds.gather(1, 1 + counts_a.int().argmax(-1, keepdim=True).long())[:, 0]
        total = torch.where(single, chosen, -torch.inf)
        shared = torch.nonzero(self.is_shared(counts.sum(-1, dtype=torch.int32)))[:, 0]
        carrier = context[shared, self.carrier].float()
        if not torch.is_grad_enabled():
            present = Present(counts[shared], counts_a[shared], carrier)
            of_mixture = self.log_content(hidden[shared], present, self.mixture_by_type()) + kinds[shared, 0]
            return total.index_put((shared,), torch.logaddexp(total[shared], of_mixture))
        weights, logits, balance = self.components(hidden[shared])
        of_a = log_prob(weights, logits, balance, counts[shared], counts_a[shared], carrier)
        # a single token may be what is left of the mixture's part
        alone = torch.nonzero(single[shared])[:, 0]
        rest = (counts - counts_a)[shared][alone]
        nodes = weights[alone], logits[alone], balance[alone], counts[shared][alone]
        of_rest = log_prob(*nodes, rest, carrier[alone])
        of_mixture = of_a.index_put((alone,), torch.logaddexp(of_a[alone], of_rest)) + kinds[shared, 0]
        return total.index_put((shared,), torch.logaddexp(total[shared], of_mixture))

    def content_features(self, counts: Tensor, counts_a: Tensor, least: Tensor) -> Tensor:
        """Compute the features (K, S + 4) of the content of A: its counts, and sizes and least masses of A and B."""
        return torch.from_numpy(content_inputs(counts.numpy(), counts_a.numpy(), least.numpy()))

    def with_content(self, hidden: Tensor, counts: Tensor, counts_a: Tensor, least: Tensor) -> Tensor:
        """Compute the hidden states (K, width) once the content of A is known."""
        known: Tensor = self.content_block(hidden + self.of_content(counts, counts_a, least))
        return known

    def of_content(self, counts: Tensor, counts_a: Tensor, least: Tensor) -> Tensor:
        """Compute what the content of A adds to the hidden states, (K, width)."""
        features = self.content_features(counts, counts_a, least)
        added: Tensor = self.content(features.to(self.content.weight.dtype))
        return added

    def head(self, hidden: Tensor, variable: int) -> Tensor:
        """Compute the input (K, head_width) of one variable's density from the result of :meth:`with_content`."""
        rows = slice(variable * self.head_width, (variable + 1) * self.head_width)
        return linear(hidden, self.heads.weight[rows], self.heads.bias[rows])

    def tables(self, variable: int) -> list[Tensor]:
        """Return what the bins of each earlier variable add to a variable's head, (num_bins + 1, head_width) each."""
        return [t.get_parameter("weight") for (_, k), t in zip(PAIRS, self.previous, strict=True) if k == variable]

    def bin_logits(self, x: Tensor, bins: Tensor, variable: int) -> Tensor:
        """Compute the logits (K, num_bins) of one variable given the bins of the variables before it.

        Args:
            x: result of :meth:`head`, (K, head_width).
            bins: result of :meth:`bins`, (K, 4).
            variable: the variable's column.
        """
        for k, table in enumerate(self.tables(variable)):
            x = x + embedding(bins[:, k], table)
        logits: Tensor = self.outputs[variable](self.activation(x)).float()
        return logits

    def bins(self, variables: Tensor) -> Tensor:
        """Find the bins (K, 4) of variables (K, 4); ``num_bins`` where a variable is NaN."""
        bins = torch.stack(
            [
                torch.bucketize(variables[:, i].contiguous(), self.edges[i, 1:-1].contiguous(), right=True)
                for i in range(NUM_VARIABLES)
            ],
            dim=-1,
        )
        return torch.where(torch.isnan(variables), self.num_bins, bins)

    def log_prob(self, batch: Splittings) -> Tensor:
        """Compute the log-density (K,) of splittings in the coordinates of ``batch.variables``."""
        if self.pair is None:
            return self._log_prob(batch)
        pairs, others = self.by_network(batch)
        of_pairs = batch.rows(pairs)
        hidden = self.pair.trunk(self.inputs(of_pairs.context, of_pairs.counts))
        total = torch.zeros(len(batch)).index_add(
            0, pairs, self._pair_log_prob(self.pair, hidden, self.bins(of_pairs.variables))
        )
        return total.index_add(0, others, self._log_prob(batch.rows(others)))

    @staticmethod
    def by_network(batch: Splittings) -> tuple[Tensor, Tensor]:
        """Return the rows of splittings of two tokens, and of others."""
        of_pair = batch.counts.sum(-1, dtype=torch.int32) == 2
        return torch.nonzero(of_pair)[:, 0], torch.nonzero(~of_pair)[:, 0]

    def _pair_log_prob(self, net: PairNet, hidden: Tensor, bins: Tensor) -> Tensor:
        """Compute the log-density (K,) of nodes of two tokens from hidden states (K, W) and bins (K, 4)."""
        log_widths = self.log_widths()
        cos_bins = bins[:, COS_THETA]
        cos = _chosen_log_prob(net.cos(hidden), cos_bins, log_widths[COS_THETA])
        return cos + _chosen_log_prob(net.phi_logits(hidden, cos_bins), bins[:, PHI], log_widths[PHI])

    def _log_prob(self, batch: Splittings) -> Tensor:
        """Compute the log-density (K,) of splittings that have no network of their own."""
        hidden = self.trunk(self.first(batch.context, batch.counts))
        # of two tokens, A is the one whose type comes first
        rows = torch.nonzero(batch.counts.sum(-1, dtype=torch.int32) > 2)[:, 0]
        more = batch.rows(rows)
        content = self.content_log_prob(hidden[rows], more.context, more.counts, more.counts_a)
        total = torch.zeros(len(batch)).index_add(0, rows, content)
        hidden = self.with_content(hidden, batch.counts, batch.counts_a, batch.least)
        bins, log_widths = self.bins(batch.variables), self.log_widths()
        for variable in range(NUM_VARIABLES):
            if variable in (COS_THETA, PHI):  # angles are free in every splitting
                total = total + self._bin_density(self.head(hidden, variable), bins, log_widths, variable)
                continue
            free = torch.nonzero(bins[:, variable] < self.num_bins)[:, 0]
            x = self.head(hidden[free], variable)
            total = total.index_add(0, free, self._bin_density(x, bins[free], log_widths, variable))
        return total

    def _bin_density(self, x: Tensor, bins: Tensor, log_widths: Tensor, variable: int) -> Tensor:
        return _chosen_log_prob(self.bin_logits(x, bins, variable), bins[:, variable], log_widths[variable])

    def loss(self, batch: Splittings) -> Tensor:
        """Compute the mean negative log-likelihood of a splitting."""
        return -self.log_prob(batch).mean()

    def set_scales(self, batch: Splittings) -> None:
        """Set the standardisation of the context and the edges of the bins from training rows.

        Edges are quantiles, denser in the tails so that no outer bin is wide; phi* has equal bins.
        """
        self.mean.copy_(batch.context.float().mean(0))
        self.std.copy_(batch.context.float().std(0).clamp_min(1e-3))
        tails = torch.tensor([1e-4, 5e-4, 2e-3, 5e-3])
        inner = torch.linspace(0.01, 0.99, self.num_bins - 1 - 2 * len(tails))
        levels = torch.cat([torch.zeros(1), tails, inner, 1 - tails.flip(0), torch.ones(1)]).double()
        for variable in (M_B, M_A, COS_THETA):
            values = batch.variables[:, variable]
            values = values[~torch.isnan(values)].double().sort().values
            edges = torch.quantile(values[:: max(1, len(values) // 1_000_000)], levels).float()
            steps = torch.diff(edges).clamp_min(1e-4)
            self.edges[variable] = torch.cat([edges[:1], edges[0] + torch.cumsum(steps, 0)])
        self.edges[PHI] = torch.linspace(-torch.pi, torch.pi, self.num_bins + 1)


def _chosen_log_prob(logits: Tensor, chosen: Tensor, log_widths: Tensor) -> Tensor:
    """Compute the log-density (K,) in the chosen bins (K,) of piecewise constant densities with logits (K, B)."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    return log_probs.gather(1, chosen[:, None])[:, 0] - log_widths[chosen]
