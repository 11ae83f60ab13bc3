"""Where a tree model's jet charges come from: its latent, how splittings share out charges, and the pairs at the end.

Primary hadrons of Pythia are clustered, and parts of them are drawn anew by the model, everything else being Pythia's:

- the spread of the jet charge sum q z^0.5 after decays: of the model, and of the model given Pythia's latents (counts,
  carrier and total four-momentum);
- the variance of the jet charge of the primary hadrons over Pythia's, and the Kolmogorov distance of the gap in
  rapidity from the leading baryon to the leading antibaryon after decays, with Pythia's splittings of large nodes;
- the product of the charges of the two sides of a node whose sides both hold more than one token, by the node's size;
- the order of charges in nodes of two tokens, which split last and do not see each other's: products of their jet
  charges sum q z^0.5 with that of all else, and among each other, over the variance of the set's.

    python -m bench.validation.splittings --models hadron-tree --flavours 1 2 3 --pt 60 200 --num 15000
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from scipy.stats import ks_2samp

import fastsim
from fastsim.event import Floats, Ints, Partons
from fastsim.event.species import charges
from generators.decays import decay
from generators.hadrons.gun import token_sample
from generators.hadrons.tokens import CARRIER, IDS, TokenSample, parton_energy, to_particles
from generators.hadrons.tree.context import context, set_features
from generators.hadrons.tree.growth import grow, planted, shared, split_nodes, split_pairs
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.sampler import CompiledSampler
from generators.hadrons.tree.sharing import TYPE_NUMBERS
from generators.hadrons.tree.splittings import split, splittings
from generators.hadrons.tree.train import resample
from generators.nn.compiled_network import weights_of
from metrics.hadrons.charges import CHARGES, charge_observables
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.quantum_numbers import QUANTUM_NUMBERS, quantum_number_observables

AT_LEAST = (3, 4, 6, 8, 12, 256)
"""Tokens of the nodes from which on splittings are Pythia's."""
SIZES = ((4, 5), (6, 8), (9, 14), (15, 255))
_ROWS = 4096
_JET_CHARGE, _GAP = list(CHARGES).index("jet_charge_0.5"), list(QUANTUM_NUMBERS).index("baryon_gap")


def made(flavours: list[int], pt: tuple[float, float], num: int, seed: int) -> TokenSample:
    """Make both hemispheres of ``num`` pairs of Pythia, pT in GeV uniform in its logarithm."""
    rng = np.random.default_rng(seed)
    return token_sample(rng.choice(flavours, num), np.exp(rng.uniform(np.log(pt[0]), np.log(pt[1]), num)), seed=seed)


def judged(sample: TokenSample, seed: int) -> Jets:
    """Return sets after decays, relative to their partons."""
    none = np.zeros(len(sample))
    partons = Partons.from_pt_eta_phi(sample.flavour, sample.pt, none, none)
    return relative(decay(to_particles(sample, partons), np.random.default_rng(seed)), partons)


def jet_charges(sample: TokenSample, seed: int) -> Floats:
    """Return the jet charges (N,) of sets after decays."""
    return np.asarray(charge_observables(judged(sample, seed))[:, _JET_CHARGE])


def baryon_gaps(sample: TokenSample) -> Floats:
    """Return the distances in rapidity between leading baryon and antibaryon of the sets (G,) that have both."""
    gaps = quantum_number_observables(judged(sample, 1))[:, _GAP]
    return np.asarray(gaps[gaps > 0])


def spreads(model: PrimaryTree, sample: TokenSample) -> dict[str, Floats]:
    """Return the jet charges of Pythia, twice with decays of their own, of a model, and of it given latents."""
    none = np.zeros(len(sample))
    partons = Partons.from_pt_eta_phi(sample.flavour, sample.pt, none, none)
    own = charge_observables(relative(model.sample(partons, rng=1), partons))[:, _JET_CHARGE]
    given = jet_charges(resample(model.net, sample, 2), 3)
    pythia = jet_charges(sample, 1)
    return {"Pythia": pythia, "Pythia, decayed anew": jet_charges(sample, 2), "model": own, "given latents": given}


class Splits:
    """The nodes of Pythia's sets that split, and what a model draws for them.

    Args:
        sample: the sets.
    """

    def __init__(self, sample: TokenSample) -> None:
        self.sample = sample
        rows, self.tree, self.nodes = splittings(sample)
        self.counts, self.counts_a, self.least = rows.counts.numpy(), rows.counts_a.numpy(), rows.least.double().numpy()
        self.energy = parton_energy(sample.flavour, sample.pt)
        known = sample.flavour, self.energy, self.tree.p4[self.tree.roots], sample.counts, sample.scale / sample.pt
        self._of_set = set_features(*known, sample.carriers, sample.tune)
        self.size, self.charge = self.tree.size[self.nodes], self.tree.numbers[self.nodes, 0]
        carriers = np.where(sample.carrier, charges(IDS)[sample.species], 0.0)
        tree, left, right = self.tree, self.tree.left[self.nodes], self.tree.right[self.nodes]
        first, second = ((tree.counts[child] == self.counts_a).all(1) for child in (left, right))
        # of two children with the same tokens A is the one of lower energy
        left_is_a = np.where(first & second, tree.p4[left, 0] <= tree.p4[right, 0], first)
        self.a, self.b = np.where(left_is_a, left, right), np.where(left_is_a, right, left)
        self._order = self._ordered()
        self._carrier = np.bincount(sample.index, carriers, len(sample))[self.tree.set_index[self.nodes]]

    def charge_of(self, counts: Ints, rows: Ints) -> Floats:
        """Return the charges (K,) of parts (K, T) of the nodes at the places ``rows``."""
        return np.asarray(counts @ TYPE_NUMBERS[:, 0] + counts[:, CARRIER] * self._carrier[rows])

    def _ordered(self) -> Ints:
        """Return the tokens (M,) so that those of every node stand together, those of A before those of B."""
        tree, sample = self.tree, self.sample
        start = np.zeros(len(tree.size), np.int64)
        start[tree.roots] = sample.offsets[:-1]
        # a set's leaves are its tokens; its inner nodes follow, each after its children
        for k in np.argsort(-self.nodes, kind="stable"):
            start[self.a[k]] = start[self.nodes[k]]
            start[self.b[k]] = start[self.nodes[k]] + tree.size[self.a[k]]
        leaves = np.flatnonzero(tree.size == 1)
        order = np.empty(len(leaves), np.int64)
        order[start[leaves]] = np.arange(len(leaves))
        return order

    def regrown(self, net: CompiledSampler, at_least: int, rng: np.random.Generator) -> Floats:
        """Draw the momenta (M, 4) of the tokens, splittings of nodes of ``at_least`` tokens or more being Pythia's."""
        sample, tree, order = self.sample, self.tree, self._order
        growth = planted(sample, sample.type_counts(), tree.p4[tree.roots], rng)
        growth = replace(growth, kinds=sample.types[order], ids=order, masses=sample.mass[order])
        grown, own = growth.tree, np.full(len(growth.tree.size), -1)
        own[grown.roots] = tree.roots
        place = np.full(len(tree.size), -1)
        place[self.nodes] = np.arange(len(self.nodes))
        waiting, end = grown.roots[sample.counts >= 3], len(grown.roots)
        while len(waiting):
            rows, waiting = waiting[:_ROWS], waiting[_ROWS:]
            known = (own[rows] >= 0) & (grown.size[rows] >= at_least)
            for kept, some in ((True, rows[known]), (False, rows[~known])):
                if len(some) == 0:
                    continue
                first, end = end, end + 2 * len(some)
                if kept:
                    k = place[own[some]]
                    a, b, least = self.a[k], self.b[k], shared(growth, some, self.counts_a[k], len(some))
                    own[first:end] = np.concatenate([a, b])
                    m_a, m_b = (
                        np.where(tree.size[node] == 1, floor, np.maximum(tree.mass[node], floor))
                        for node, floor in ((a, least[:, 0]), (b, least[:, 1]))
                    )
                    grow(growth, some, first, self.counts_a[k], least, m_a, m_b, tree.p4[a], tree.p4[b])
                else:
                    seen = context(grown, net.padded(some), self.energy, self._of_set)
                    split_nodes(net, growth, some, first, *seen, rng)
                waiting = np.concatenate([waiting, first + np.flatnonzero(grown.size[first:end] >= 3)])
        pairs = np.flatnonzero(grown.size == 2)
        for some in np.split(pairs, range(_ROWS, len(pairs), _ROWS)):
            seen = context(grown, net.padded(some), self.energy, self._of_set)
            split_pairs(net, growth, some, end, *seen, rng)
            end += 2 * len(some)
        leaves = np.flatnonzero(grown.size == 1)
        p4 = np.empty((len(order), 4))
        p4[growth.ids[growth.start[leaves]]] = grown.p4[leaves]
        return p4

    def primary_charges(self, p4: Floats) -> Floats:
        """Return the jet charges of single tokens (M,) with momenta (M, 4) in GeV."""
        sample = self.sample
        return np.asarray(charges(IDS)[sample.species] * np.sqrt(p4[:, 0] / self.energy[sample.index]))

    def squares(self) -> float:
        """Return what the variance of the jet charge would be if charges did not compensate each other, over itself."""
        single, index = self.primary_charges(self.sample.p4), self.sample.index
        return float((single**2).sum() / len(self.sample) / np.bincount(index, single, len(self.sample)).var())

    def contents(self, net: CompiledSampler, rows: Ints, rng: np.random.Generator) -> Ints:
        """Draw tokens of A (K, T) for nodes of three tokens or more."""
        parts = []
        for some in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            features, _ = context(self.tree, self.nodes[some], self.energy, self._of_set)
            hidden = net.encode(features, self.counts[some])
            parts.append(net.content(hidden, features, self.counts[some], rng)[0])
        return np.concatenate(parts)

    def pairs(self, net: CompiledSampler, rows: Ints, rng: np.random.Generator) -> Floats:
        """Draw the energies (K, 2) in GeV of both tokens of nodes of two."""
        parts = []
        for some in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            nodes, least = self.nodes[some], self.least[some]
            features, axes = context(self.tree, nodes, self.energy, self._of_set)
            angles = net.pair_angles(features, self.counts[some], self.counts_a[some], least)
            masses = self.tree.mass[nodes], axes, least[:, 0].copy(), least[:, 1].copy()
            a, b = split(self.tree.p4[nodes], *masses, *net.draw(angles, rng))
            parts.append(np.stack([a[:, 0], b[:, 0]], -1))
        return np.concatenate(parts)


def variances(splits: Splits, net: CompiledSampler) -> list[str]:
    """Return variances of the jet charge over Pythia's, and distances of baryon gaps, for each of :data:`AT_LEAST`."""
    sample, num = splits.sample, len(splits.sample)
    own, gaps = np.bincount(sample.index, splits.primary_charges(sample.p4), num), baryon_gaps(sample)
    texts = []
    for at_least in AT_LEAST:
        p4 = splits.regrown(net, at_least, np.random.default_rng(4))
        excess = np.bincount(sample.index, splits.primary_charges(p4), num) ** 2 - own**2
        of_charge = f"{1 + excess.mean() / own.var():.3f} ± {excess.std() / num**0.5 / own.var():.3f}"
        test = ks_2samp(gaps, baryon_gaps(replace(sample, p4=p4))).statistic
        texts.append(f"{of_charge}, baryon gap: KS {test:.4f}")
    return texts


def shared_charges(splits: Splits, net: CompiledSampler) -> list[str]:
    """Return the columns of the mean product of the charges of two composite sides, Pythia's and the model's."""
    columns = []
    for low, high in SIZES:
        rows = np.flatnonzero((splits.size >= low) & (splits.size <= high))
        found = []
        for part in (splits.counts_a[rows], splits.contents(net, rows, np.random.default_rng(1))):
            num = part.sum(1, dtype=int)
            both = np.flatnonzero((num > 1) & (splits.size[rows] - num > 1))
            one = splits.charge_of(part[both], rows[both])
            product = one * (splits.charge[rows[both]] - one)
            found.append(f"{product.mean():.3f} ± {product.std() / max(len(product), 1) ** 0.5:.3f}")
        columns.append(", ".join(found))
    return columns


def ordered_pairs(splits: Splits, net: CompiledSampler) -> tuple[str, str]:
    """Return twice the products of the jet charges of pairs and of all else, and of pairs among each other.

    Both are sums over a set, over the variance of its jet charge, with all pairs drawn anew: Pythia's and the model's.
    """
    sample, num = splits.sample, len(splits.sample)
    rows = np.flatnonzero(splits.size == 2)
    of = splits.tree.set_index[splits.nodes[rows]]
    whole = np.bincount(sample.index, splits.primary_charges(sample.p4), num)
    one = splits.charge_of(splits.counts_a[rows], rows)
    other = splits.charge[rows] - one
    own_energies = np.stack([splits.tree.p4[child[rows], 0] for child in (splits.a, splits.b)], -1)
    found: list[tuple[Floats, Floats, Floats]] = []
    for energies in (own_energies, splits.pairs(net, rows, np.random.default_rng(2))):
        z = np.sqrt(energies / splits.energy[of, None])
        own = one * z[:, 0] + other * z[:, 1]
        sums: Floats = np.bincount(of, own, num).astype(np.float64)
        rest = whole - sums if not found else found[0][2]
        found.append((2 * sums * rest, sums**2 - np.bincount(of, own**2, num), rest))
    texts = []
    for pythia, model in ((found[0][k], found[1][k]) for k in (0, 1)):
        scale = 1 / (num**0.5 * whole.std() ** 2)
        means = f"{pythia.mean() / whole.var():.3f}, {model.mean() / whole.var():.3f}"
        texts.append(f"{means}; difference {(model - pythia).mean() / whole.var():+.4f}")
        texts[-1] += f" ± {(model - pythia).std() * scale:.4f}"
    return texts[0], texts[1]


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", default=["hadron-tree", "hadron-tree-small"], help="names or cards")
    parser.add_argument("--flavours", nargs="+", type=int, default=[1, 2, 3], help="PDG ids of partons")
    parser.add_argument("--pt", nargs=2, type=float, default=(60.0, 200.0), help="range of pT in GeV")
    parser.add_argument("--num", type=int, default=15_000, help="pairs of Pythia")
    parser.add_argument("--seed", type=int, default=99_100, help="seed of Pythia's pairs")
    options = parser.parse_args()
    sample = made(options.flavours, tuple(options.pt), options.num, options.seed)
    splits = Splits(sample)
    for name in options.models:
        model = fastsim.load_model(name)
        if not isinstance(model, PrimaryTree):
            raise SystemExit(f"{name} is no tree model")
        net = CompiledSampler(weights_of(model.net))
        print(f"{name}: Pythia, model; {len(baryon_gaps(sample))} sets have a baryon and an antibaryon")
        found = spreads(model, sample)
        reference = found["Pythia"]
        for label, values in found.items():
            test = ks_2samp(reference, values).statistic
            print(f"  jet charge, {label}: spread {values.std() / reference.std():.4f}, KS {test:.4f}")
        print(f"  squares of the charges of single primary hadrons over the variance: {splits.squares():.2f}")
        for at_least, text in zip(AT_LEAST, variances(splits, net), strict=True):
            print(f"  variance with Pythia's splittings of {at_least} tokens or more: {text}")
        for (low, high), text in zip(SIZES, shared_charges(splits, net), strict=True):
            print(f"  product of the charges of both sides, {low} to {high} tokens: {text}")
        of_rest, of_pairs = ordered_pairs(splits, net)
        print(f"  jet charges of pairs times those of all else: {of_rest}")
        print(f"  jet charges of pairs among each other: {of_pairs}", flush=True)


if __name__ == "__main__":
    main()
