"""Splittings of clustering trees: their surroundings, coordinates and two-body kinematics.

A node X of the tree goes to A and B. This module turns trees into rows for
:class:`generators.hadrons.splitting.SplittingNet` and back: what a splitting may know (:func:`context`), the
coordinates it is described by (:func:`variables`), and the children's momenta from them (:func:`split`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generators.hadrons.clustering import Nodes, cluster
from generators.hadrons.splitting import Splittings
from generators.hadrons.tokens import FLAVOURS, SPECIES_MASS, TokenSample, parton_energy

_EPS = 1e-300
_LOGIT_LIMIT = 16.0
MASS = torch.from_numpy(SPECIES_MASS)


@dataclass(frozen=True)
class Frontier:
    """K nodes about to split, and what is known of their surroundings.

    ``p4`` (K, 4), ``mass`` (K,), ``counts`` (K, S); the sibling's ``sibling`` (K, 4), ``sibling_mass``,
    ``sibling_n``; ``uncle`` (K, 4) is the parent's sibling; ``is_root`` (K,); ``set_index`` (K,) into the
    per-set features ``of_set`` (N, G). For a root, sibling and uncle are the recoiling hemisphere.
    """

    p4: Tensor
    mass: Tensor
    counts: Tensor
    sibling: Tensor
    sibling_mass: Tensor
    sibling_n: Tensor
    uncle: Tensor
    is_root: Tensor
    set_index: Tensor

    def rows(self, rows: Tensor) -> Frontier:
        return Frontier(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def _norm(p: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(p, dim=-1, keepdim=True)
    return length


def _unit(p: Tensor) -> Tensor:
    return p / _norm(p).clamp_min(_EPS)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between unit vectors, accurate when small."""
    return 2 * torch.atan2(_norm(a - b)[:, 0], _norm(a + b)[:, 0])


def basis(nodes: Frontier) -> Tensor:
    """Local axes (K, 3, 3), rows x, y, z: z along the node, x towards its sibling (the root: the parton axis)."""
    z = _unit(nodes.p4[:, 1:])
    axis = torch.zeros_like(z)
    axis[:, 2] = 1.0
    towards = torch.where(nodes.is_root[:, None], axis, _unit(nodes.sibling[:, 1:]))
    x = towards - (towards * z).sum(-1, keepdim=True) * z
    tiny = _norm(x)[:, 0] < 1e-12
    if tiny.any():  # exactly parallel: any direction across will do
        other = torch.zeros_like(z)
        other.scatter_(1, z.abs().argmin(-1, keepdim=True), 1.0)
        fallback = other - (other * z).sum(-1, keepdim=True) * z
        x = torch.where(tiny[:, None], fallback, x)
    x = _unit(x)
    x = _unit(x - (x * z).sum(-1, keepdim=True) * z)  # again: nearly parallel vectors leave rounding along z
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=1)


def set_features(flavour: Tensor, energy: Tensor, total: Tensor, n: Tensor) -> Tensor:
    """What all nodes of a set see: flavour, log E of the parton, and the latent's total momentum, (N, G)."""
    onehot = (flavour[:, None] == torch.tensor(FLAVOURS)).double()
    scaled = total / energy[:, None]
    across = torch.hypot(scaled[:, 1], scaled[:, 2])
    mass2 = (scaled[:, 0] ** 2 - (scaled[:, 1:] ** 2).sum(-1)).clamp_min(1e-12)
    columns = [energy.log(), n.log(), scaled[:, 0], scaled[:, 3], 0.5 * mass2.log(), (across + 1e-4).log()]
    return torch.cat([onehot, torch.stack(columns, -1)], dim=-1)


def context(nodes: Frontier, axes: Tensor, of_set: Tensor, energy: Tensor) -> Tensor:
    """Features (K, F) in float32 that a splitting is conditioned on.

    Args:
        nodes: K nodes; axes: their :func:`basis`; of_set: :func:`set_features` (N, G);
        energy: of the partons (N,), GeV.
    """
    e_parton = energy[nodes.set_index]
    e, m, n = nodes.p4[:, 0], nodes.mass, nodes.counts.sum(-1).double()
    least = nodes.counts.double() @ MASS
    own, sib, unc = _unit(nodes.p4[:, 1:]), _unit(nodes.sibling[:, 1:]), _unit(nodes.uncle[:, 1:])
    axis = torch.zeros_like(own)
    axis[:, 2] = 1.0

    def local(v: Tensor) -> Tensor:
        # components in the local frame, and the azimuth by itself: a collimated node sees directions by it alone
        inside = torch.einsum("kij,kj->ki", axes, v)
        # (none for a root's uncle, which flies exactly backwards)
        across = inside[:, :2]
        azimuth = torch.where(_norm(across) > 1e-9, _unit(across), torch.zeros_like(across))
        return torch.cat([inside, azimuth], dim=-1)

    angle_sib, angle_unc, angle_axis = _angle(own, sib), _angle(own, unc), _angle(own, axis)
    free = (m - least).clamp_min(1e-6)
    scalars = [
        (e / e_parton).log(),
        e.log(),
        m.log(),
        (m / e).log(),
        n.log(),
        free.log(),
        (free / m).log(),
        (nodes.sibling[:, 0] / e_parton).clamp_min(1e-9).log(),
        (nodes.sibling_mass + 0.01).log(),
        nodes.sibling_n.double().log(),
        (angle_sib + 1e-6).log(),
        (e * angle_sib + 1e-4).log(),
        (nodes.uncle[:, 0] / e_parton).clamp_min(1e-9).log(),
        (angle_unc + 1e-6).log(),
        (angle_axis + 1e-6).log(),
        nodes.p4[:, 3] / e,
        (m / (e * angle_sib + 1e-3)).log(),
        nodes.is_root.double(),
    ]
    return torch.cat([torch.stack(scalars, -1), local(unc), local(axis), of_set[nodes.set_index]], dim=-1).float()


NUM_CONTEXT = 18 + 5 + 5 + len(FLAVOURS) + 6


def recoil(total: Tensor, energy: Tensor) -> Tensor:
    """Four-momentum of the opposite hemisphere, (2E, 0, 0, 0) - total, shape (N, 4)."""
    other = -total
    other[:, 0] = other[:, 0] + 2 * energy
    return other


def breakup(mass: Tensor, m1: Tensor, m2: Tensor) -> Tensor:
    """Momentum p* of a two-body decay in GeV; zero at and below threshold."""
    factors = (mass - m1 - m2) * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
    return factors.clamp_min(0).sqrt() / (2 * mass.clamp_min(_EPS))


def split(nodes: Frontier, axes: Tensor, m_a: Tensor, m_b: Tensor, cos: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    """Four-momenta of A and B, each (K, 4), from the two-body kinematics in the rest frame of the node."""
    p = breakup(nodes.mass, m_a, m_b)
    sin = (1 - cos**2).clamp_min(0).sqrt()
    star = torch.stack([p * sin * phi.cos(), p * sin * phi.sin(), p * cos], -1)
    momentum = _norm(nodes.p4[:, 1:])[:, 0]
    gamma, gamma_beta = nodes.p4[:, 0] / nodes.mass, momentum / nodes.mass
    children = []
    for sign, mass in ((1.0, m_a), (-1.0, m_b)):
        q = sign * star
        e = (p**2 + mass**2).sqrt()
        along = gamma * q[:, 2] + gamma_beta * e
        lab = torch.einsum("kij,ki->kj", axes, torch.stack([q[:, 0], q[:, 1], along], -1))
        children.append(torch.cat([((lab**2).sum(-1) + mass**2).sqrt()[:, None], lab], -1))
    return children[0], children[1]


def _logit(x: Tensor) -> Tensor:
    return (x.log() - (1 - x).log()).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)


def variables(nodes: Frontier, axes: Tensor, a: Tensor, m_a: Tensor, m_b: Tensor, n_a: Tensor, least: Tensor) -> Tensor:
    """The coordinates (K, 4) of splittings into ``a`` (K, 4) and the rest; NaN where one does not exist.

    logit t_B = (m_B - min m_B) / (M - min m_A - min m_B), logit t_A = (m_A - min m_A) / (M - m_B - min m_A),
    logit (1 + cos theta*) / 2, phi*. ``least`` (K, 2) holds min m_A, min m_B.
    """
    n_b = nodes.counts.sum(-1).double() - n_a
    free = (nodes.mass - least.sum(-1)).clamp_min(_EPS)
    t_b = (m_b - least[:, 1]) / free
    t_a = (m_a - least[:, 0]) / (nodes.mass - m_b - least[:, 0]).clamp_min(_EPS)
    q = torch.einsum("kij,kj->ki", axes, a[:, 1:])
    momentum = _norm(nodes.p4[:, 1:])[:, 0]
    along = (nodes.p4[:, 0] * q[:, 2] - momentum * a[:, 0]) / nodes.mass
    across = torch.hypot(q[:, 0], q[:, 1])
    theta = torch.atan2(across, along)
    logit_cos = (-2 * (torch.tan(theta / 2).clamp_min(_EPS)).log()).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    nan = torch.full_like(t_a, torch.nan)
    return torch.stack(
        [
            torch.where(n_b >= 2, _logit(t_b.clamp(1e-9, 1 - 1e-9)), nan),
            torch.where(n_a >= 2, _logit(t_a.clamp(1e-9, 1 - 1e-9)), nan),
            logit_cos,
            torch.atan2(q[:, 1], q[:, 0]),
        ],
        -1,
    )


def _surroundings(tree: Nodes, inner: Tensor, total: Tensor, energy: Tensor) -> Frontier:
    """Frontier of the inner nodes of whole trees, as sampling meets them."""
    p4, mass = torch.from_numpy(tree.p4), torch.from_numpy(tree.mass)
    parent, left, right = (torch.from_numpy(x) for x in (tree.parent, tree.left, tree.right))
    size = torch.from_numpy(tree.counts.sum(1, dtype=np.int64))
    index = torch.from_numpy(tree.set_index)[inner]
    other = recoil(total, energy)
    other_mass = (other[:, 0] ** 2 - (other[:, 1:] ** 2).sum(-1)).clamp_min(0).sqrt()
    up = parent[inner]
    is_root = up < 0
    up = up.clamp_min(0)
    sibling = torch.where(left[up] == inner, right[up], left[up]).clamp_min(0)
    above = parent[up]
    below_root = (above < 0) | is_root
    above = above.clamp_min(0)
    uncle = torch.where(left[above] == up, right[above], left[above]).clamp_min(0)
    return Frontier(
        p4=p4[inner],
        mass=mass[inner],
        counts=torch.from_numpy(tree.counts)[inner],
        sibling=torch.where(is_root[:, None], other[index], p4[sibling]),
        sibling_mass=torch.where(is_root, other_mass[index], mass[sibling]),
        sibling_n=torch.where(is_root, torch.ones_like(index), size[sibling]),
        uncle=torch.where(below_root[:, None], other[index], p4[uncle]),
        is_root=is_root,
        set_index=index,
    )


def splittings(sample: TokenSample, *, seed: int = 0) -> tuple[Splittings, Tensor, Frontier]:
    """All splittings of the clustering trees of a sample, with their set (K,) and nodes.

    Each set is mirrored with probability 1/2, an exact symmetry (rotations about the axis leave the rows as
    they are); ``seed`` draws the mirrors.
    """
    mirror = np.random.default_rng(seed).integers(0, 2, len(sample)) * 2.0 - 1.0
    p4 = sample.p4.copy()
    p4[:, 2] *= mirror[sample.index]
    sample = TokenSample(sample.flavour, sample.pt, sample.offsets, sample.species, p4)
    tree = cluster(sample)
    inner = torch.from_numpy(np.flatnonzero(tree.left >= 0))
    energy = torch.from_numpy(parton_energy(sample.flavour, sample.pt))
    total = torch.from_numpy(tree.p4[tree.roots])
    nodes = _surroundings(tree, inner, total, energy)
    n = torch.from_numpy(np.diff(sample.offsets)).double()
    of_set = set_features(torch.from_numpy(sample.flavour), energy, total, n)
    axes = basis(nodes)
    left, right = torch.from_numpy(tree.left)[inner], torch.from_numpy(tree.right)[inner]
    all_counts, all_p4 = torch.from_numpy(tree.counts), torch.from_numpy(tree.p4)
    all_mass = torch.from_numpy(tree.mass)
    size = all_counts.sum(-1, dtype=torch.int64)
    species = all_counts.int().argmax(-1)
    pair = (size[left] == 1) & (size[right] == 1)
    by_energy = all_p4[left, 0] <= all_p4[right, 0]
    same = species[left] == species[right]
    first_is_a = torch.where(
        pair,
        torch.where(same, by_energy, species[left] < species[right]),
        torch.where((size[left] == 1) | (size[right] == 1), size[left] == 1, by_energy),
    )
    a, b = torch.where(first_is_a, left, right), torch.where(first_is_a, right, left)
    least = torch.stack([all_counts[a].double() @ MASS, all_counts[b].double() @ MASS], -1)
    # a leaf's mass is its species', not the rounding of E^2 - p^2
    m_a = torch.where(size[a] == 1, least[:, 0], torch.maximum(all_mass[a], least[:, 0]))
    m_b = torch.where(size[b] == 1, least[:, 1], torch.maximum(all_mass[b], least[:, 1]))
    values = variables(nodes, axes, all_p4[a], m_a, m_b, size[a].double(), least)
    rows = Splittings(context(nodes, axes, of_set, energy), nodes.counts, all_counts[a], values.float())
    return rows, nodes.set_index, nodes
