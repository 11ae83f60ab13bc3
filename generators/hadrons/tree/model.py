"""The tree model: the hadron set as an angular-ordered tree of two-body splittings, with a likelihood.

    p(tokens | parton) = p(z | parton) * prod over splittings p(content, m_B, m_A, cos theta*, phi* | context)

z holds the species counts and the total four-momentum of the set (:mod:`generators.hadrons.latent`); the
tree is that of :mod:`generators.hadrons.tree.clustering`; each factor is a :class:`SplittingNet`. Splittings whose
ancestors are done are sampled together, in blocks; those of two tokens come last.

References:
    Andreassen, Feige, Frye, Schwartz, JUNIPR: a framework for unsupervised machine learning in particle
    physics, 2018, arXiv:1804.09720 (a density over clustering trees).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, offsets_from_counts
from fastsim.sources.domains import Domain
from generators.hadrons.latent import Latent, LatentModel, total_log_jacobian
from generators.hadrons.source import HadronModel
from generators.hadrons.tokens import SPECIES_MASS, TokenSample, parton_energy
from generators.hadrons.tree.clustering import LEAST_MASS, Nodes
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.sampler import Angles, SplittingSampler
from generators.hadrons.tree.splittings import (
    NUM_CONTEXT,
    breakup,
    context,
    least_mass,
    set_features,
    split,
    splittings,
)
from generators.nn.derived import Derived
from generators.nn.padding import padded

_EPS = 1e-300
_REDRAWS = 12
_BLOCK = 4096  # rows at a time: more leave the processor's cache, fewer cost more calls
_MIN_MASS, _EPS_MASS = 1e-6, 1e-12  # of a composite child over its parent's: where there is room, and at all


def make_net(settings: Mapping[str, Any]) -> SplittingNet:
    """Make a network with the sizes of a config; its constructor refuses unknown names."""
    return SplittingNet(NUM_CONTEXT, torch.from_numpy(SPECIES_MASS), **settings)


def _planted(counts: Ints, total: Floats) -> Nodes:
    """Make trees that are roots only, the first N nodes, with room for all nodes that will grow from them.

    Args:
        counts: (N, S) tokens of each set by species; total: (N, 4) their four-momenta in GeV.
    """
    size = counts.sum(-1)
    num_nodes = int((2 * size - 1).sum())
    roots = np.arange(len(size))
    tree = Nodes(
        p4=np.empty((num_nodes, 4)),
        mass=np.empty(num_nodes),
        counts=np.empty((num_nodes, counts.shape[1]), dtype=np.uint8),
        size=np.zeros(num_nodes, dtype=np.int64),
        left=np.full(num_nodes, -1),
        right=np.full(num_nodes, -1),
        parent=np.full(num_nodes, -1),
        set_index=np.empty(num_nodes, dtype=np.int64),
        roots=roots,
    )
    momentum = np.sqrt((total[:, 1:] ** 2).sum(-1))
    tree.p4[roots], tree.counts[roots], tree.size[roots], tree.set_index[roots] = total, counts, size, roots
    square = (total[:, 0] - momentum) * (total[:, 0] + momentum)
    tree.mass[roots] = np.maximum(np.sqrt(np.maximum(square, 0.0)), LEAST_MASS * total[:, 0])
    return tree


@torch.no_grad()
def sample_tree(
    net: SplittingSampler, flavour: Ints, energy: Floats, counts: Ints, total: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints, Floats]:
    """Draw token sets with the given species counts and total four-momenta.

    Args:
        net: draws from the splitting density; flavour: (N,) of FLAVOURS; energy: (N,) of the partons in GeV;
        counts: (N, S) with at least one token a set; total: (N, 4) in GeV, massive enough for its tokens.

    Returns:
        Set index (M,), species (M,) and p4 (M, 4) of the tokens, grouped by set.

    Raises:
        ValueError: if a set holds more than 255 tokens of one species.
    """
    if counts.max(initial=0) > 255:
        raise ValueError(f"a set holds {counts.max()} tokens of one species: 255 at most")
    tree = _planted(counts, total)
    sizes = tree.size[tree.roots]
    of_set = set_features(flavour, energy, total, sizes)
    # splittings wait for nothing but their ancestors: blocks are full, whatever their depths
    waiting, grown = tree.roots[sizes >= 3], len(tree.roots)
    while len(waiting):
        rows, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
        _split_nodes(net, tree, rows, grown, *context(tree, padded(rows), energy, of_set), rng)
        end = grown + 2 * len(rows)
        waiting = np.concatenate([waiting, grown + np.flatnonzero(tree.size[grown:end] >= 3)])
        grown = end
    pairs = np.flatnonzero(tree.size == 2)
    for start in range(0, len(pairs), _BLOCK):
        rows = pairs[start : start + _BLOCK]
        _split_pairs(net, tree, rows, grown, *context(tree, padded(rows), energy, of_set), rng)
        grown += 2 * len(rows)
    species, p4 = _leaves(tree)
    return np.repeat(tree.roots, sizes), species, p4


def _split_nodes(
    net: SplittingSampler,
    tree: Nodes,
    rows: Ints,
    grown: int,
    features: NDArray[np.float32],
    axes: Floats,
    rng: np.random.Generator,
) -> None:
    """Split the nodes ``rows`` (K,) of three tokens or more into new nodes from ``grown`` on.

    ``features`` and ``axes`` are what :func:`~generators.hadrons.tree.splittings.context` returns for the padded rows;
    what is drawn for the padding is thrown away.
    """
    wide = padded(rows)
    counts, mass = tree.counts[wide], tree.mass[wide]
    hidden = net.encode(features, counts)
    counts_a, both = net.content(hidden, counts, rng)
    hidden = net.with_content(hidden, counts, counts_a)
    least_a, least_b = least_mass(counts_a), least_mass(counts - counts_a)
    heads = net.heads(hidden)
    bins = np.full((len(wide), 2), net.num_bins)
    bins[:, 0], value = net.masses_b(heads, rng)
    m_b, m_a = _child_mass(value, mass, least_a, least_b), least_a
    if len(both):
        bins[both, 1], value = net.masses_a(hidden, bins[:, 0], both, rng)
        m_a[both] = _child_mass(value, mass[both], m_b[both], least_a[both])
    num = len(rows)
    angles = net.angles(heads, bins).rows(slice(num))
    first, second = _directions(net, angles, tree.p4[rows], mass[:num], axes[:num], m_a[:num], m_b[:num], rng)
    _grow(tree, rows, grown, counts[:num], counts_a[:num], m_a[:num], m_b[:num], first, second)


def _split_pairs(
    net: SplittingSampler,
    tree: Nodes,
    rows: Ints,
    grown: int,
    features: NDArray[np.float32],
    axes: Floats,
    rng: np.random.Generator,
) -> None:
    """Split the nodes ``rows`` (K,) of two tokens, for which only angles are free; see :func:`_split_nodes`.

    The token of the first of its species goes to A.
    """
    counts, num = tree.counts[padded(rows)], len(rows)
    counts_a = np.zeros_like(counts)
    counts_a[np.arange(len(counts)), (counts > 0).argmax(1)] = 1
    angles = net.pair_angles(features, counts, counts_a).rows(slice(num))
    counts, counts_a = counts[:num], counts_a[:num]
    m_a, m_b = least_mass(counts_a), least_mass(counts - counts_a)
    first, second = _directions(net, angles, tree.p4[rows], tree.mass[rows], axes[:num], m_a, m_b, rng)
    _grow(tree, rows, grown, counts, counts_a, m_a, m_b, first, second)


def _child_mass(value: Floats, mass: Floats, other: Floats, least: Floats) -> Floats:
    """Return masses (K,) of composite children in GeV.

    Args:
        value: (K,) their variable, the logit of the share of the free mass that they take; mass, other: (K,) masses of
            parents and siblings in GeV; least: (K,) sums of the masses of their tokens in GeV.
    """
    free = np.maximum(mass - other - least, 0.0)
    # photons never share a mass of zero
    floor = np.maximum(np.minimum(_MIN_MASS * mass, 0.5 * free), _EPS_MASS * mass)
    result: Floats = np.maximum(least + free / (1 + np.exp(-value)), floor)
    return result


def _directions(
    net: SplittingSampler,
    angles: Angles,
    p4: Floats,
    mass: Floats,
    axes: Floats,
    m_a: Floats,
    m_b: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Draw four-momenta of A and B, each (K, 4) in GeV, in the hemisphere pz > 0 if one of some draws is."""
    first, second = split(p4, mass, axes, m_a, m_b, *net.draw(angles, rng))
    outside = np.flatnonzero((first[:, 3] <= 0) | (second[:, 3] <= 0))
    if len(outside):
        repeated = np.repeat(outside, _REDRAWS)
        directions = net.draw(angles.rows(repeated), rng)
        redrawn = split(p4[repeated], mass[repeated], axes[repeated], m_a[repeated], m_b[repeated], *directions)
        good = ((redrawn[0][:, 3] > 0) & (redrawn[1][:, 3] > 0)).reshape(len(outside), _REDRAWS)
        chosen = np.arange(len(outside)) * _REDRAWS + good.argmax(1)
        first[outside], second[outside] = redrawn[0][chosen], redrawn[1][chosen]
    return first, second


def _grow(
    tree: Nodes,
    rows: Ints,
    grown: int,
    counts: NDArray[np.uint8],
    counts_a: NDArray[np.uint8],
    m_a: Floats,
    m_b: Floats,
    p4_a: Floats,
    p4_b: Floats,
) -> None:
    """Put the children A and then B of the nodes ``rows`` (K,) into the tree, from node ``grown`` on.

    Args:
        counts, counts_a: (K, S) tokens of the nodes and of A; m_a, m_b: (K,) masses in GeV; p4_a, p4_b: (K, 4) in GeV.
    """
    a, b = slice(grown, grown + len(rows)), slice(grown + len(rows), grown + 2 * len(rows))
    tree.left[rows], tree.right[rows] = np.arange(a.start, a.stop), np.arange(b.start, b.stop)
    tree.mass[a], tree.mass[b], tree.p4[a], tree.p4[b] = m_a, m_b, p4_a, p4_b
    tree.counts[a], tree.counts[b] = counts_a, counts - counts_a
    for children in (a, b):
        tree.parent[children], tree.set_index[children] = rows, tree.set_index[rows]
    tree.size[a] = counts_a.sum(-1)
    tree.size[b] = tree.size[rows] - tree.size[a]


def _leaves(tree: Nodes) -> tuple[Ints, Floats]:
    """Return species (M,) and p4 (M, 4) in GeV of the leaves, grouped by set."""
    leaves = np.flatnonzero(tree.size == 1)
    leaves = leaves[np.argsort(tree.set_index[leaves], kind="stable")]
    return tree.counts[leaves].argmax(-1), tree.p4[leaves]


class TreeModel(HadronModel):
    """The tree model as a source of hadrons, with the likelihood of a set."""

    kind = "tree"
    has_extras = False

    def __init__(
        self, name: str, domain: Domain, latent: LatentModel, net: SplittingNet, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(name, domain, latent, settings.get("precision", "bfloat16"))
        self.net, self._settings = net, dict(settings)
        self._sampler = Derived(SplittingSampler)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as every module does; from then on samples use the weights as they are.

        Samples follow every change of weights that torch counts. After one that it does not (through ``weight.data``
        or a NumPy view, see :class:`generators.nn.derived.Derived`), call this or ``eval()``.
        """
        self._sampler.forget()
        return super().train(mode)

    @classmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> TreeModel:
        unknown = set(config) - {"latent", "splitting", "precision"}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}: a tree model takes latent, splitting, precision")
        latent = LatentModel(**config.get("latent", {}))  # first: a seed then gives it the same weights in every model
        return cls(name, domain, latent, make_net(config.get("splitting", {})), config)

    def config(self) -> dict[str, Any]:
        return dict(self._settings)

    def place(self, flavour: Ints, pt: Floats, latent: Latent, rng: torch.Generator) -> TokenSample:
        """Draw token sets with the latent's counts and total momentum; see :meth:`HadronModel.place`."""
        sampler = self._sampler.of(self.net, self.precision)
        numbers = np.random.default_rng(int(torch.randint(2**63 - 1, (1,), generator=rng)))
        # the sampler chooses its precision itself
        with torch.autocast("cpu", enabled=False):
            energy = parton_energy(flavour, pt)
            _, species, p4 = sample_tree(sampler, flavour, energy, latent.counts, latent.total, numbers)
        return TokenSample(flavour, pt, offsets_from_counts(latent.counts.sum(-1)), species, p4)

    @torch.no_grad()
    def log_prob(self, sample: TokenSample) -> Floats:
        """Return the log-density of token sets given their partons, through their clustering tree, shape (N,).

        The measure is prod_i d^3p_i / 2E_i in GeV^2 for each token, tokens of one species being
        indistinguishable: with dm^2 and the two-body phase space of each splitting,
        prod_i d^3p_i/2E_i = d^4P prod_splittings (p*/4M) dcos dphi prod_inner dm^2. Redraws that keep sampled
        tokens inside the hemisphere, and other trees that sum to the same set, are not in it.

        Args:
            sample: N sets in the axis frame, of at least two tokens each (of a single one, the value holds the
                density of a mass that is not free).
        """
        rows, tree, nodes = splittings(sample)
        log_q = torch.cat([self.net.log_prob(rows.rows(r)) for r in torch.split(torch.arange(len(rows)), 16384)])
        terms = log_q.double().numpy() + log_jacobian(rows, tree, nodes)
        latent = Latent.of(sample)
        condition = self.latent_model.condition(sample.flavour, sample.pt)
        features = torch.from_numpy(latent.features).float()
        parts = self.latent_model.log_prob(condition, torch.from_numpy(latent.counts), features)
        energy = parton_energy(sample.flavour, sample.pt)
        of_splittings = np.asarray(np.bincount(tree.set_index[nodes], terms, len(sample)), dtype=np.float64)
        of_latent = (parts["counts"] + parts["total"]).double().numpy() + total_log_jacobian(latent, energy)
        return of_splittings + of_latent


def log_jacobian(rows: Splittings, tree: Nodes, nodes: Ints) -> Floats:
    """Return log of d(coordinates) / [(p*/4M) dcos dphi dm^2 of composite children] for each splitting, (K,).

    Args:
        rows, tree, nodes: from :func:`generators.hadrons.tree.splittings.splittings`; masses in GeV.
    """
    x, mass = rows.variables.double().numpy(), tree.mass[nodes]
    counts_a = rows.counts_a.numpy()
    counts_b = tree.counts[nodes] - counts_a
    least_a, least_b = least_mass(counts_a), least_mass(counts_b)
    free = np.maximum(mass - least_a - least_b, _EPS)
    t_b, t_a = (np.where(np.isnan(x[:, k]), 0.0, 1 / (1 + np.exp(-x[:, k]))) for k in (0, 1))
    m_b = least_b + t_b * free
    left = free - t_b * free
    m_a = least_a + t_a * left

    def mass_term(t: Floats, m: Floats, span: Floats) -> Floats:
        # logit t = x, m = least + t span: dx / dm^2 = 1 / [t (1 - t) span 2m]
        safe = np.clip(t, 1e-12, 1 - 1e-12)
        product = 2 * safe * (1 - safe) * np.maximum(span, _EPS) * np.maximum(m, _EPS)
        return np.where(t > 0, -np.log(product), 0.0)

    # x = logit((1 + cos)/2): dx / dcos = 2 / (1 - cos^2) = 1 / (2 s (1 - s)), s = (1 + cos)/2
    angle = np.logaddexp(0, x[:, 2]) + np.logaddexp(0, -x[:, 2]) - np.log(2)
    phase_space = np.log(np.maximum(breakup(mass, m_a, m_b), _EPS) / (4 * mass))
    result: Floats = mass_term(t_b, m_b, free) + mass_term(t_a, m_a, left) + angle - phase_space
    return result
