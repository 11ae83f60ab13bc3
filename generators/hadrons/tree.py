"""The tree model: the hadron set as an angular-ordered tree of two-body splittings, with a likelihood.

    p(tokens | parton) = p(z | parton) * prod over splittings p(content, m_B, m_A, cos theta*, phi* | context)

z holds the species counts and the total four-momentum of the set (:mod:`generators.hadrons.latent`); the
tree is that of :mod:`generators.hadrons.clustering`; each factor is a :class:`SplittingNet`. All splittings
of one depth are sampled together, so that a set of 60 tokens costs about 15 network evaluations.

References:
    Andreassen, Feige, Frye, Schwartz, JUNIPR: a framework for unsupervised machine learning in particle
    physics, 2018, arXiv:1804.09720 (a density over clustering trees).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.event import Floats, Ints, offsets_from_counts
from fastsim.pipeline import Domain
from generators.hadrons.branching import (
    MASS,
    NUM_CONTEXT,
    Frontier,
    basis,
    breakup,
    context,
    recoil,
    set_features,
    split,
    splittings,
)
from generators.hadrons.latent import Latent, LatentModel, total_log_jacobian
from generators.hadrons.model import HadronModel
from generators.hadrons.splitting import NUM_VARIABLES, SplittingNet, Splittings
from generators.hadrons.tokens import TokenSample, parton_energy

_EPS = 1e-300
_MAX_REDRAWS = 12
_MIN_MASS = 1e-6  # of a composite child over its parent's, so that photons never share a mass of zero


def make_net(settings: Mapping[str, int]) -> SplittingNet:
    """A network with the sizes of a config; unknown names are refused by its constructor."""
    return SplittingNet(NUM_CONTEXT, MASS, **settings)


@torch.no_grad()
def sample_tree(
    net: SplittingNet, flavour: Tensor, energy: Tensor, counts: Tensor, total: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Token sets with the given species counts and total four-momenta.

    Args:
        net: the splitting density; flavour: (N,) of FLAVOURS; energy: (N,) of the partons in GeV;
        counts: (N, S) with at least one token a set; total: (N, 4) in GeV, massive enough for its tokens.

    Returns:
        Set index (M,), species (M,) and p4 (M, 4) of the tokens, grouped by set.
    """
    size = counts.sum(-1)
    of_set = set_features(flavour, energy, total, size.double())
    mass = (total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)).clamp_min(0).sqrt()
    other = recoil(total, energy)
    other_mass = (other[:, 0] ** 2 - (other[:, 1:] ** 2).sum(-1)).clamp_min(0).sqrt()
    index = torch.arange(len(total))
    nodes = Frontier(
        total,
        mass,
        counts,
        other,
        other_mass,
        torch.ones_like(index),
        other,
        torch.ones(len(index), dtype=torch.bool),
        index,
    )
    out_index, out_species, out_p4 = [], [], []

    def emit(p4: Tensor, content: Tensor, where: Tensor) -> None:
        out_index.append(where)
        out_species.append(content.int().argmax(-1))
        out_p4.append(p4)

    lone = size == 1
    if lone.any():
        emit(total[lone], counts[lone], index[lone])
        nodes = nodes.rows(torch.nonzero(~lone)[:, 0])
    while len(nodes.mass):
        a, b, m_a, m_b, counts_a = _split_once(net, nodes, of_set, energy, rng)
        counts_b = nodes.counts - counts_a
        n_a, n_b = counts_a.sum(-1), counts_b.sum(-1)
        following = []
        for p4, m, c, n, sib, sib_m, sib_n in (
            (a, m_a, counts_a, n_a, b, m_b, n_b),
            (b, m_b, counts_b, n_b, a, m_a, n_a),
        ):
            leaf = n == 1
            emit(p4[leaf], c[leaf], nodes.set_index[leaf])
            inner = ~leaf
            following.append(
                Frontier(
                    p4[inner],
                    m[inner],
                    c[inner],
                    sib[inner],
                    sib_m[inner],
                    sib_n[inner],
                    nodes.sibling[inner],
                    torch.zeros(int(inner.sum()), dtype=torch.bool),
                    nodes.set_index[inner],
                )
            )
        nodes = Frontier(*(torch.cat([getattr(f, k) for f in following]) for k in Frontier.__dataclass_fields__))
    where = torch.cat(out_index)
    order = torch.argsort(where, stable=True)
    return where[order], torch.cat(out_species)[order], torch.cat(out_p4)[order]


def _split_once(
    net: SplittingNet, nodes: Frontier, of_set: Tensor, energy: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Children of every node: p4 and mass of A and B, and the content of A."""
    axes = basis(nodes)
    hidden = net.encode(context(nodes, axes, of_set, energy), nodes.counts)
    counts_a = net.sample_content(hidden, nodes.counts, rng)
    heads = net.with_content(hidden, nodes.counts, counts_a)
    counts_b = nodes.counts - counts_a
    least_a, least_b = counts_a.double() @ MASS, counts_b.double() @ MASS
    bins = torch.full((len(nodes.mass), NUM_VARIABLES), net.num_bins, dtype=torch.long)
    m_b, m_a = least_b.clone(), least_a.clone()
    rows = torch.nonzero(counts_b.sum(-1) >= 2)[:, 0]
    if len(rows):
        value, bins[rows, 0] = net.sample_variable(heads[0][rows], bins[rows], 0, rng)
        m_b[rows] += torch.sigmoid(value) * (nodes.mass - least_a - least_b).clamp_min(0)[rows]
        m_b[rows] = torch.maximum(m_b[rows], _MIN_MASS * nodes.mass[rows])
    rows = torch.nonzero(counts_a.sum(-1) >= 2)[:, 0]
    if len(rows):
        value, bins[rows, 1] = net.sample_variable(heads[1][rows], bins[rows], 1, rng)
        m_a[rows] += torch.sigmoid(value) * (nodes.mass - least_a - m_b).clamp_min(0)[rows]
        m_a[rows] = torch.maximum(m_a[rows], _MIN_MASS * nodes.mass[rows])
    a, b = torch.zeros_like(nodes.p4), torch.zeros_like(nodes.p4)
    pending = torch.arange(len(nodes.mass))
    for _ in range(_MAX_REDRAWS):
        value, bins[pending, 2] = net.sample_variable(heads[2][pending], bins[pending], 2, rng)
        cos = torch.tanh(value / 2)
        phi, bins[pending, 3] = net.sample_variable(heads[3][pending], bins[pending], 3, rng)
        a[pending], b[pending] = split(nodes.rows(pending), axes[pending], m_a[pending], m_b[pending], cos, phi)
        # the hemisphere is pz > 0: both children must keep to it
        pending = pending[(a[pending, 3] <= 0) | (b[pending, 3] <= 0)]
        if len(pending) == 0:
            break
    return a, b, m_a, m_b, counts_a


class TreeModel(HadronModel):
    """The tree model as a source of hadrons, with the likelihood of a set."""

    kind = "tree"

    def __init__(
        self, name: str, domain: Domain, latent: LatentModel, net: SplittingNet, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(name, domain, latent, settings.get("precision", "bfloat16"))
        self.net, self._settings = net, dict(settings)

    @classmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> TreeModel:
        unknown = set(config) - {"latent", "splitting", "precision"}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}: a tree model takes latent, splitting, precision")
        net = make_net(config.get("splitting", {}))
        return cls(name, domain, LatentModel(**config.get("latent", {})), net, config)

    def config(self) -> dict[str, Any]:
        return dict(self._settings)

    def place(self, flavour: Ints, pt: Floats, latent: Latent, rng: torch.Generator) -> TokenSample:
        """Token sets with the latent's counts and total momentum; see :meth:`HadronModel.place`."""
        energy = torch.from_numpy(parton_energy(flavour, pt))
        counts, total = torch.from_numpy(latent.counts), torch.from_numpy(latent.total)
        _, species, p4 = sample_tree(self.net, torch.from_numpy(flavour), energy, counts, total, rng)
        return TokenSample(flavour, pt, offsets_from_counts(latent.counts.sum(-1)), species.numpy(), p4.numpy())

    @torch.no_grad()
    def log_prob(self, sample: TokenSample) -> Floats:
        """Log-density of token sets given their partons, through their clustering tree, shape (N,).

        The measure is prod_i d^3p_i / 2E_i in GeV^2 for each token, tokens of one species being
        indistinguishable: with dm^2 and the two-body phase space of each splitting,
        prod_i d^3p_i/2E_i = d^4P prod_splittings (p*/4M) dcos dphi prod_inner dm^2. Redraws that keep sampled
        tokens inside the hemisphere, and other trees that sum to the same set, are not in it.

        Args:
            sample: N sets of at least one token each, in the axis frame.
        """
        rows, index, nodes = splittings(sample)
        log_q = torch.cat(
            [self.net.log_prob(rows.rows(r)) for r in torch.split(torch.arange(len(rows)), 16384)]
        ).double()
        result = torch.zeros(len(sample), dtype=torch.float64)
        result.index_add_(0, index, log_q + log_jacobian(rows, nodes))
        latent = Latent.of(sample)
        condition = self.latent_model.condition(sample.flavour, sample.pt)
        features = torch.from_numpy(latent.features).float()
        parts = self.latent_model.log_prob(condition, torch.from_numpy(latent.counts), features)
        energy = parton_energy(sample.flavour, sample.pt)
        # labels of equal tokens: n! / prod of the orderings the tree already sums over
        return np.asarray(
            result.numpy() + (parts["counts"] + parts["total"]).double().numpy() + total_log_jacobian(latent, energy)
        )


def log_jacobian(rows: Splittings, nodes: Frontier) -> Tensor:
    """log of d(coordinates) / [(p*/4M) dcos dphi dm^2 of composite children] for each splitting, (K,).

    Coordinates are those of :func:`variables`; masses in GeV.
    """
    x = rows.variables.double()
    counts_b = nodes.counts - rows.counts_a
    least_a, least_b = rows.counts_a.double() @ MASS, counts_b.double() @ MASS
    free = (nodes.mass - least_a - least_b).clamp_min(_EPS)
    has_b, has_a = counts_b.sum(-1) >= 2, rows.counts_a.sum(-1) >= 2
    t_b = torch.where(has_b, torch.sigmoid(x[:, 0]), torch.zeros_like(free))
    m_b = least_b + t_b * free
    left = free - t_b * free
    t_a = torch.where(has_a, torch.sigmoid(x[:, 1]), torch.zeros_like(free))
    m_a = least_a + t_a * left
    half = torch.tensor(0.5).log()

    def mass_term(present: Tensor, t: Tensor, m: Tensor, span: Tensor) -> Tensor:
        # logit t = x, m = least + t span: dx / dm^2 = 1 / [t (1 - t) span 2m]
        safe = t.clamp(1e-12, 1 - 1e-12)
        term = -(safe.log() + (1 - safe).log() + span.clamp_min(_EPS).log() + m.clamp_min(_EPS).log()) + half
        return torch.where(present, term, torch.zeros_like(term))

    # x = logit((1 + cos)/2): dx / dcos = 2 / (1 - cos^2) = 1 / (2 s (1 - s)), s = (1 + cos)/2
    angle = half - nn.functional.logsigmoid(x[:, 2]) - nn.functional.logsigmoid(-x[:, 2])
    phase_space = (breakup(nodes.mass, m_a, m_b).clamp_min(_EPS) / (4 * nodes.mass)).log()
    return mass_term(has_b, t_b, m_b, free) + mass_term(has_a, t_a, m_a, left) + angle - phase_space
