"""What the two sides of a colour singlet have in common: Pythia's primary hadrons and a model's, with the same decays.

Correlations between the hemispheres of the numbers of primary hadrons, of charged ones among them, and of charged
particles after decays ahead of and behind the plane across the partons. Pythia's hadrons and the model's decay in the
same way, so that what decays add is the same.

Then the thrust of the primary hadrons, of the model and of its splittings given Pythia's latents: the Kolmogorov
distance from Pythia's, and the numbers of events in ranges of 1 - T over Pythia's.

    python -m bench.validation.sides --models hadron-tree --flavour 2 --mass 91.2 --num 24000
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import ks_2samp

import fastsim
from bench.validation.primary import pairs_of
from fastsim.event import Floats, Ints
from fastsim.event.species import charges
from generators.decays import decay
from generators.hadrons.gun import token_sample
from generators.hadrons.primary import PrimarySource, particles_of_pairs
from generators.hadrons.tokens import IDS, TokenSample
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tree.train import resample
from metrics.hadrons.event_shapes import EVENT_SHAPES, event_shapes

NAMES = ("primary hadrons", "charged primary hadrons", "charged particles")
RANGES = ((0.03, 0.065), (0.11, 0.2), (0.3, 0.5))
"""Of 1 - T: two jets, three jets, four and more."""


def pythia(flavour: int, mass: float, num: int, seed: int) -> TokenSample:
    """Make Pythia's hemispheres of ``num`` singlets of a mass in GeV: first those of the first partons."""
    momentum = float(pairs_of(flavour, mass, 1).momenta[0])
    sample = token_sample(np.full(num, flavour), np.full(num, momentum), seed=seed)
    return sample[np.arange(2 * num).reshape(num, 2).T.ravel()]


def sides(tokens: TokenSample, flavour: int, mass: float, seed: int) -> list[tuple[Ints, Ints]]:
    """Return the numbers of :data:`NAMES` on both sides, (N,) each, of 2N hemispheres."""
    num = len(tokens) // 2
    charged = np.bincount(tokens.index, charges(IDS)[tokens.species] != 0, 2 * num)
    sets = particles_of_pairs(tokens, pairs_of(flavour, mass, num))
    final = decay(sets, np.random.default_rng(seed))
    seen = charges(final.pdg_id) != 0
    ahead = np.bincount(final.index, seen & (final.p4[:, 3] > 0), num)
    behind = np.bincount(final.index, seen & (final.p4[:, 3] <= 0), num)
    counts = tokens.counts
    return [(counts[:num], counts[num:]), (charged[:num], charged[num:]), (ahead, behind)]


def one_minus_thrust(tokens: TokenSample, flavour: int, mass: float) -> Floats:
    """Return 1 - T of the primary hadrons of 2N hemispheres, (N,)."""
    shapes, _ = event_shapes(particles_of_pairs(tokens, pairs_of(flavour, mass, len(tokens) // 2)))
    return np.asarray(shapes[:, list(EVENT_SHAPES).index("thrust")])


def thrust_row(name: str, found: Floats, real: Floats) -> str:
    """Return a row of the table of thrusts."""
    values = [f"{ks_2samp(found, real).statistic:.4f}"]
    for low, high in RANGES:
        own, other = (np.count_nonzero((x > low) & (x < high)) for x in (found, real))
        values.append(f"{own / other:.3f} ± {own / other * (1 / own + 1 / other) ** 0.5:.3f}")
    return f"| {name} | " + " | ".join(values) + " |"


def row(name: str, found: list[tuple[Ints, Ints]]) -> str:
    """Return a row of the table."""
    values = [np.corrcoef(one, other)[0, 1] for one, other in found]
    error = len(found[0][0]) ** -0.5
    return f"| {name} | " + " | ".join(f"{v:.3f} ± {error * (1 - v**2):.3f}" for v in values) + " |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", default=["hadron-tree"], help="names of models")
    parser.add_argument("--flavour", type=int, default=2, help="PDG id of the first parton")
    parser.add_argument("--mass", type=float, default=91.2, help="of the singlets, in GeV")
    parser.add_argument("--num", type=int, default=24_000, help="singlets of each sample")
    parser.add_argument("--seed", type=int, default=1, help="of all samples")
    options = parser.parse_args()
    flavour, mass, num, seed = options.flavour, options.mass, options.num, options.seed
    real = [pythia(flavour, mass, num, 101 * seed + k) for k in range(2)]
    models = {name: fastsim.load_model(name) for name in options.models}
    made = {}
    for name, model in models.items():
        if not isinstance(model, PrimarySource):
            raise SystemExit(f"{name} makes no primary hadrons")
        made[name] = model.draw_pair_tokens(pairs_of(flavour, mass, num), np.random.default_rng(seed))
    print("| correlation of the sides | " + " | ".join(NAMES) + " |\n|---|---|---|---|")
    for name, tokens in (*(("Pythia", sample) for sample in real), *made.items()):
        print(row(name, sides(tokens, flavour, mass, seed)), flush=True)
    print("\n| 1 - T | KS | " + " | ".join(f"{low} to {high}" for low, high in RANGES) + " |\n|---|---|---|---|---|")
    first = one_minus_thrust(real[0], flavour, mass)
    print(thrust_row("Pythia", one_minus_thrust(real[1], flavour, mass), first), flush=True)
    for name, tokens in made.items():
        print(thrust_row(name, one_minus_thrust(tokens, flavour, mass), first), flush=True)
        model = models[name]
        if isinstance(model, PrimaryTree):
            given = one_minus_thrust(resample(model.net, real[0], seed), flavour, mass)
            print(thrust_row(f"{name}, Pythia's latents", given, first), flush=True)


if __name__ == "__main__":
    main()
