"""The model of tunes beside Pythia at tunes that it has not seen, for docs/tunes.md, and the default model there.

At each tune of a design of its own: boosted trees on all that the judge sees of hemispheres of u, c, b and g, and the
mean number of primary hadrons; then the same trees on the sets of all tunes together. For each parameter: how means
change between two values, from runs at corners of the ranges that all serve all parameters.

    python -m bench.validation.tunes --points 20 --num 2500 --counted 12000 --parts hidden --write
    python -m bench.validation.tunes --pairs 240000 --parts slopes --write

Every figure has a statistical error, and the AUC its null, Pythia against Pythia at the same tune.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import fastsim
from bench.validation.hadron_document import fill
from fastsim.event import Floats, Ints, ParticleSet, Partons
from fastsim.sources.cards import Figure, add_figures
from generators.hadrons.data import DataConfig, shard
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.tokens import CONTENT, species_index, to_particles
from generators.hadrons.tree.density import TreeDensity
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tunes import NAMES, PARAMETERS, Tune, design
from generators.reference.pythia import PythiaGun
from metrics import Sample, jet_sample
from metrics.hadrons.sample import jet_sample_of
from metrics.registry import METRICS

MODEL, DEFAULT = "hadron-tree-tunes", "hadron-tree"
FLAVOURS, LOW, HIGH = (2, 4, 5, 21), 20.0, 200.0
SEED = 977
"""Of the design: the training's are others."""
PARTS = ("hidden", "slopes", "gains", "sizes")
MASS = 91.2
LIMIT = 0.5
"""What the mean number of hadrons may be off, in percent."""
CORNER = 0.7
"""How far the values of the slopes are from the middles of the ranges, in half ranges."""
LEAST_SLOPE = 10
"""Errors that a change has to be large by for the model's to be divided by it."""
SLOPE_LIMIT = 0.05
"""What the model's changes may be off, as a share of Pythia's."""
MEANS = ("hadrons", "strange", "baryons", "z of c", "z of b")
"""Of pairs at the Z mass: numbers of all hadrons, of those with strangeness and of baryons; energy fractions of the
charmed hadrons of charm quarks and of the beauty hadrons of beauty quarks."""


def partons(num: int, seed: int) -> Partons:
    """Draw partons of all flavours, with a transverse momentum that is uniform in its logarithm."""
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(LOW), np.log(HIGH), num))
    return Partons.from_pt_eta_phi(rng.choice(FLAVOURS, num), pt, np.zeros(num), np.zeros(num))


def apart(model: PrimaryTree, tune: Tune, given: Partons, counts: Ints) -> tuple[float, float]:
    """Return by how much, in percent, the mean size of the model's sets is above that of Pythia's, and its error.

    The model's mean is that of its distribution: the noise is that of Pythia's sets, less what the partons explain.

    Args:
        model: a model, of tunes or not.
        tune: of Pythia's sets.
        given: N partons.
        counts: numbers of primary hadrons that Pythia makes of them, (N,).
    """
    own, latent = model.at(tune) if model.tune_parameters else model, model.latent_model
    vectors = own.vectors(len(given))
    mean = latent.count_model.mean_size(
        latent.condition(np.abs(given.pdg_id), given.pt, given.starting_scale, vectors)
    ).numpy()
    difference = 100 * (mean - counts) / counts.mean()
    return float(difference.mean()), float(difference.std() / len(counts) ** 0.5)


def hidden(points: int, num: int, counted: int, figures: dict[str, Figure]) -> Iterator[str]:
    """Yield the rows of the tunes, and what they say together; the AUC of all goes into ``figures``."""
    model, default, gun = fastsim.load_model(MODEL), fastsim.load_model(DEFAULT), PythiaGun()
    assert isinstance(model, PrimaryTree) and isinstance(default, PrimaryTree)
    yield f"| tune | AUC of {MODEL} | of Pythia (null) | hadrons of {MODEL}, % | of {DEFAULT}, % |"
    yield "|---|---|---|---|---|"
    found, pools = [], []
    for number, tune in enumerate([Tune(), *design(points, seed=SEED)]):
        given = [partons(num, 10 * number + k) for k in range(3)]
        sources = (gun.at(tune), model.at(tune), gun.at(tune))
        # seeds of its own for each tune: events of equal seeds are alike, and trees would know them again
        seeds = [np.random.default_rng([number, k]) for k in range(4)]
        sets = [
            source.decay(source.primary(p, rng=rng), rng) for source, p, rng in zip(sources, given, seeds, strict=False)
        ]
        samples = [jet_sample(own, p) for own, p in zip(sets, given, strict=True)]
        aucs = [METRICS["auc"].compute(samples[0], other, 0).results[0] for other in samples[1:]]
        same = partons(counted, 10 * number + 4)
        counts = gun.at(tune).primary(same, rng=seeds[3]).counts
        sizes = [apart(each, tune, same, counts) for each in (model, default)]
        if number:
            found.append([*(r.value for r in aucs), *(x for size in sizes for x in size)])
            pools.append((sets, given, tune))
        words = [f"{r.value:.3f} ± {r.error:.3f}" for r in aucs] + [f"{v:+.2f} ± {e:.2f}" for v, e in sizes]
        yield f"| {', '.join(f'{k} {v:.3g}' for k, v in tune.changed.items()) or tune} | " + " | ".join(words) + " |"
    table = np.array(found)
    errors = table.std(0, ddof=1) / len(table) ** 0.5
    formats = ((0, ".3f"), (1, ".3f"), (2, "+.2f"), (4, "+.2f"))
    cells = [f"{table[:, k].mean():{form}} ± {errors[k]:{form.lstrip('+')}}" for k, form in formats]
    yield "| mean of the hidden tunes | " + " | ".join(cells) + " |\n"
    together = [pooled(pools, k) for k in range(3)]
    auc, null = (METRICS["auc"].compute(together[0], other, 0).results[0] for other in together[1:])
    figures["auc/tunes"] = Figure(auc.value, auc.error, null.value, null.error)
    own, error = table[:, 2], table[:, 3]
    spread = own.var(ddof=1) - np.mean(error**2)
    yield (
        f"All {len(pools)} hidden tunes together, {len(together[0]):,} sets of each, with trees that know the tune: "
        f"AUC {auc.value:.4f} ± {auc.error:.4f}, of Pythia against Pythia {null.value:.4f} ± {null.error:.4f}. Mean "
        f"number of hadrons: {own.mean():+.2f} ± {np.sqrt(np.mean(error**2) / len(own)):.2f}% off Pythia's; "
        f"{int((np.abs(own) < LIMIT).sum())} of {len(own)} tunes are within {LIMIT:g}%, "
        f"{int((np.abs(own) < LIMIT + 2 * error).sum())} within {LIMIT:g}% and two errors; beyond their errors they "
        f"vary by {np.sqrt(max(spread, 0.0)):.2f}%."
    )


def pooled(pools: Sequence[tuple[Sequence[ParticleSet], Sequence[Partons], Tune]], k: int) -> Sample:
    """Return the ``k``-th sets of all tunes as one sample, whose condition holds the tune."""
    sample = jet_sample_of([(sets[k], given[k]) for sets, given, _ in pools])
    vectors = np.concatenate([np.tile(tune.vector(), (len(given[k]), 1)) for _, given, tune in pools])
    columns = dict(zip(NAMES, vectors.T, strict=True))
    return replace(sample, condition={**sample.condition, **columns})


def gains(num: int) -> Iterator[str]:
    """Yield what the likelihood of hemispheres gains by the model, and by its knowing their tunes."""
    config = DataConfig(seed=SEED, num_events=num, shard_events=num, tunes=NAMES, pt_min=10.0, pt_max=LOW * 10)
    sample = shard(config, 0)
    sample = sample[np.flatnonzero(sample.counts > 1)]
    model, default = fastsim.load_model(MODEL), fastsim.load_model(DEFAULT)
    assert isinstance(model, PrimaryTree) and isinstance(default, PrimaryTree)
    density = TreeDensity(model, sample)
    own, monash, base = density(sample.tune), density(np.zeros(len(NAMES))), default.log_prob(sample)
    words = [f"{x.mean():.3f} ± {x.std() / len(x) ** 0.5:.3f}" for x in (own - base, own - monash)]
    yield (
        f"Mean log-likelihood of {len(sample):,} hemispheres of all flavours, 10 to 200 GeV, at {-(-num // BLOCK)} "
        f"hidden tunes: above {DEFAULT} by {words[0]}, above {MODEL} at Monash by {words[1]}."
    )


def sizes(num: int) -> str:
    """Return what the mean number of hadrons of the model is above Pythia's at fresh tunes, a sentence.

    The model's mean is that of its distribution, without the noise of a sample; pairs are independent, hemispheres not.
    """
    config = DataConfig(seed=SEED + 1, num_events=num, shard_events=num, tunes=NAMES, pt_min=LOW, pt_max=HIGH)
    sample, model = shard(config, 0), fastsim.load_model(MODEL)
    assert isinstance(model, PrimaryTree)
    latent = model.latent_model
    mean = latent.count_model.mean_size(latent.condition(sample.flavour, sample.pt, sample.scale, sample.tune)).numpy()
    apart = 100 * (mean - sample.counts).reshape(-1, 2).mean(1) / sample.counts.mean()
    inner = (sample.tune[::2] ** 2).sum(1) < np.median((sample.tune**2).sum(1))
    parts = [f"{x.mean():+.2f} ± {x.std() / len(x) ** 0.5:.2f}%" for x in (apart, apart[inner], apart[~inner])]
    by_tune = np.array([block.mean() for block in np.split(apart, range(BLOCK, len(apart), BLOCK))])
    noise = apart.var() / BLOCK
    spread = by_tune.var(ddof=1) - noise
    of_spread = by_tune.var(ddof=1) * (2 / len(by_tune)) ** 0.5
    return (
        f"Mean number of hadrons of {len(sample):,} hemispheres of all flavours, {LOW:g} to {HIGH:g} GeV, at "
        f"{-(-num // BLOCK)} hidden tunes: the model's is {parts[0]} off Pythia's; {parts[1]} in the half of the tunes "
        f"that are nearer to Monash, {parts[2]} in the other. From tune to tune that varies with a variance of "
        f"{spread:.2f} ± {of_spread:.2f} %² beyond its statistical errors."
    )


def means(sets: ParticleSet, given: Partons) -> tuple[Floats, Floats]:
    """Compute :data:`MEANS` and their errors from primary hadrons of partons."""
    content, index = CONTENT[species_index(sets.pdg_id)], sets.index
    flavour, energy = np.abs(given.pdg_id), given.p4[:, 0]
    z = sets.p4[:, 0] / energy[index]
    quarks = content[:, :5].sum(1)
    columns = [
        sets.counts.astype(float),
        np.bincount(index, content[:, 2] != 0, len(sets)),
        np.bincount(index, quarks != 0, len(sets)),
        *(z[(content[:, quark - 1] != 0) & (flavour[index] == quark)] for quark in (4, 5)),
    ]
    return np.array([c.mean() for c in columns]), np.array([c.std() / len(c) ** 0.5 for c in columns])


def corners() -> Floats:
    """Return the runs of the slopes, (32, P) of +1 and -1: each parameter is balanced against all others and all pairs.

    16 runs of a Hadamard matrix and the same with all signs changed: whatever two parameters do together drops out of
    the difference of the two halves of the runs that a parameter makes.
    """
    from scipy.linalg import hadamard

    half = hadamard(16)[:, 1 : 1 + len(PARAMETERS)].astype(float)
    return np.concatenate([half, -half])


def slopes(num: int) -> Iterator[str]:
    """Yield the rows of the parameters: changes of the means between two values, in percent, of all runs together."""
    model, signs = fastsim.load_model(MODEL), corners()
    yield "| parameter | " + " | ".join(f"{name}: Pythia | {MODEL} / Pythia" for name in MEANS) + " |"
    yield "|---" * (1 + 2 * len(MEANS)) + "|"
    blocks = max(num // len(signs) // BLOCK, 1)
    flavour = np.array([2, 4, 5])[np.arange(blocks * BLOCK) % 3]
    pt, direction = np.full(len(flavour), MASS / 2), np.zeros(2 * len(flavour))
    both = Partons.from_pt_eta_phi(np.repeat(flavour, 2), np.repeat(pt, 2), direction, direction)
    middle = np.array([0.5 * (p.low + p.high) for p in PARAMETERS])
    reach = CORNER * np.array([0.5 * (p.high - p.low) for p in PARAMETERS])
    runs = []
    for number, sign in enumerate(signs):
        values = {p.name: float(x) for p, x in zip(PARAMETERS, middle + reach * sign, strict=True)}
        tune = Tune.of(values)
        tokens = token_sample(flavour, pt, seed=1000 + number, settings=[tune.settings] * blocks)
        # antiquarks' hadrons are conjugated to those of quarks, whose partons are given
        runs.append((means(to_particles(tokens, both), both), means(model.at(tune).primary(both, rng=number), both)))
    found = np.array(runs)  # runs, Pythia or model, mean or error, means
    average = found[:, :, 0].mean(axis=0)
    change = 100 * np.einsum("rp,rsm->psm", signs, found[:, :, 0]) / (len(signs) / 2) / average
    error = 100 * np.sqrt((found[:, :, 1] ** 2).sum(axis=0)) / (len(signs) / 2) / average
    known, off = np.abs(change[:, 0]) > LEAST_SLOPE * error[0], []
    for k, parameter in enumerate(PARAMETERS):
        low, high = middle[k] - reach[k], middle[k] + reach[k]
        cells = []
        for m in range(len(MEANS)):
            (real, made), (of_real, of_made) = change[k, :, m], error[:, m]
            cells.append(f"{real:+.2f} ± {of_real:.2f}")
            if known[k, m]:
                spread = np.hypot(of_made, made / real * of_real) / abs(real)
                off.append((made / real - 1, spread))
                cells.append(f"{made / real:.3f} ± {spread:.3f}")
            else:
                cells.append(f"{made - real:+.2f} ± {np.hypot(of_real, of_made):.2f} apart")
        yield f"| {parameter.name} {low:.4g} to {high:.4g} | " + " | ".join(cells) + " |"
    yield f"\n{len(signs) * len(both):,} hemispheres of each in {len(signs)} runs."
    if off:
        ratio, spread = np.array(off).T
        beyond = np.maximum(np.abs(ratio) - SLOPE_LIMIT, 0.0) / spread
        mean, error = np.average(ratio, weights=spread**-2), (spread**-2).sum() ** -0.5
        yield (
            f"Of {len(off)} changes that Pythia's errors know to {1 / LEAST_SLOPE:.0%} or better "
            f"{int((np.abs(ratio) < SLOPE_LIMIT).sum())} are within {SLOPE_LIMIT:.0%} of Pythia's, and "
            f"{int((beyond < 2).sum())} within that and two errors; on average the model's are {100 * mean:+.1f} ± "
            f"{100 * error:.1f}% larger."
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--points", type=int, default=8, help="tunes")
    parser.add_argument("--num", type=int, default=3000, help="hemispheres of each sample at a tune")
    parser.add_argument("--counted", type=int, default=8000, help="hemispheres whose hadrons are counted at a tune")
    parser.add_argument("--pairs", type=int, default=100_000, help="pairs of all runs of the slopes")
    parser.add_argument("--tunes", type=int, default=80, help="tunes whose mean number of hadrons is compared")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what is compared")
    parser.add_argument("--write", action="store_true", help="into docs/tunes.md and the card")
    options = parser.parse_args()
    figures: dict[str, Figure] = {}
    parts: dict[str, Callable[[], Iterable[str]]] = {
        "hidden": lambda: hidden(options.points, options.num, options.counted, figures),
        "slopes": lambda: slopes(options.pairs),
        "gains": lambda: gains(12 * BLOCK),
        "sizes": lambda: [sizes(options.tunes * BLOCK)],
    }
    texts = {}
    for name in options.parts:
        texts[name] = ""
        for row in parts[name]():
            print(row, flush=True)
            texts[name] += row + "\n"
        print(flush=True)
    root = Path(__file__).parents[2]
    if options.write:
        for name, text in texts.items():
            fill(root / "docs" / "tunes.md", f"tunes-{name}", text)
        if figures:
            add_figures(root / "data" / "models" / f"{MODEL}.json", figures)


if __name__ == "__main__":
    main()
