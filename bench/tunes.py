"""Weights for other tunes and fits of tunes, against Pythia itself, for docs/tunes.md.

    python -m bench.tunes closure --write
    python -m bench.tunes weights --write
    python -m bench.tunes cost --num 500 --write
    python -m bench.tunes lep --tables DIR --write

closure: parameters of hidden points from events that Pythia makes there. weights: means of observables of e+e- -> Z ->
hadrons, moved by weights from Monash to other values of each parameter, beside those of Pythia run there: weights of
the model's density, Pythia's own, and those of a classifier, and what they cost. cost: the time of ``fastsim reweight``
for one tune and for many. lep: the fit to measured tables, and chi2 of Pythia run at Monash and at the result.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import fastsim
from bench.fine_tuning import write_pairs
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import Floats, HardEvents, ParticleSet, Partons
from fastsim.tuning.weights import effective_share
from generators.decays import decay
from generators.hadrons.event_density import EventDensity, checked_model
from generators.hadrons.primary import particles_of_pairs
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tunes import Tune, design, parameter
from generators.reference import annihilation
from generators.reference.pythia import PythiaGun
from metrics.hadrons.tables import ALEPH, DELPHI, PDG, chi2_tables, read_tables

DOCUMENT = Path("docs/tunes.md")
MODEL = "hadron-tree-tunes"
FITTED = ("aLund", "StoUD", "alphaS")
"""Parameters of the hidden points."""
STEP = 0.5
"""Variation of the weights, in half ranges of a parameter: about the size of the uncertainties of tunes."""
BATCH = 1000
MORE = 4
"""Events of Pythia for one of the model: shifts by weights have smaller errors than differences of two runs."""
OWN = {"aLund": "aLund", "bLund": "bLund", "rFactC": "rFactC", "rFactB": "rFactB", "sigma": "ptSigma"}
"""Names of Pythia's own weights of fragmentation, ``frag:NAME`` of VariationFrag."""
SHOWER = "alphaS"
"""The parameter that a weight of Pythia's shower varies: the scale of alpha_s, ``fsr:muRfac`` of UncertaintyBands."""
BETA = (33 - 2 * 5) / (12 * np.pi)
"""First coefficient of the running of alpha_s with five flavours: d(1 / alpha_s) / d log(mu^2)."""
METHODS = ("the model's density", "Pythia's own weights", "classifier")
LEP = {
    "d03-x01-y01": "ALEPH",
    "d07-x01-y01": "ALEPH",
    "d09-x01-y01": "ALEPH",
    "d11-x01-y01": "ALEPH",
    "d12-x01-y01": "ALEPH",
    "d18-x01-y01": "ALEPH",
    "d19-x01-y01": "ALEPH",
    "d02-x01-y01": "DELPHI",
    "d03-x01-y03": "PDG",
    "d04-x01-y03": "PDG",
}
"""Tables of the LEP fit: thrust, C, x_p, pT in and out of the plane, multiplicity, x_B, kaons."""
SOURCES = {"ALEPH": ALEPH, "DELPHI": DELPHI, "PDG": PDG}
LEP_PARAMETERS = ("aLund", "sigma", "StoUD", "rFactB", "alphaS")
"""What is fitted to them: bLund goes with aLund, and stays."""


def closure(model: PrimaryTree, num_points: int, num: int) -> str:
    """Fit events of Pythia at hidden points, and return the table of values and pulls."""
    rows, pulls = [], []
    for number, tune in enumerate(design(num_points, FITTED, seed=77)):
        rng = np.random.default_rng([7, number])
        flavour = rng.choice([1, 2, 3, 4, 5, 21], num)
        partons = Partons.from_pt_eta_phi(flavour, rng.uniform(40, 52, num), np.zeros(num), rng.uniform(-3, 3, num))
        events = HardEvents.of_partons(partons, PythiaGun().at(tune).sample(partons, rng=rng))
        start = {name: parameter(name).default for name in FITTED}
        data = {"files": ["Pythia"], "num": num}
        found = fastsim.tune({"parameters": start, "events": data}, events=events, model=model)
        pull = (found.values - [tune[name] for name in FITTED]) / found.errors
        pulls.append(pull)
        fitted = [
            f"{tune[name]:.4g}: {value:.4g} ± {error:.2g} ({x:+.1f})"
            for name, value, error, x in zip(FITTED, found.values, found.errors, pull, strict=True)
        ]
        flags = "; ".join(found.flags) or "none"
        rows.append([*fitted, f"{found.chi2['p']:.2g}", flags, f"{found.seconds:.0f}"])
        print(" | ".join(rows[-1]), flush=True)
    every = np.array(pulls)
    size, width = every.size, float(np.sqrt(np.mean(every**2)))
    text = table([*(f"{name}, hidden: fitted (pull)" for name in FITTED), "p", "flags", "s"], rows)
    inside = int((np.abs(every) < 2).sum())
    errors = every.std(axis=0, ddof=1) / np.sqrt(len(every)) if len(every) > 1 else np.full(len(FITTED), np.nan)
    means = [f"{n} {m:+.2f} ± {e:.2f}" for n, m, e in zip(FITTED, every.mean(axis=0), errors, strict=True)]
    return (
        f"{text}\nRoot mean square of {size} pulls: {width:.2f} ± {width / np.sqrt(2 * size):.2f}; {inside} within 2. "
        f"Mean pulls: {', '.join(means)}.\n"
    )


OBSERVABLES = ("charged", "pi+-", "K+-", "K0", "p", "Lambda", "K*", "1 - thrust", "C", "x_p of charged")


def observables(sets: ParticleSet) -> Floats:
    """Return observables (N, 10) of e+e- events with their history: multiplicities, and means of shapes."""
    from fastsim.event.species import charges
    from metrics.hadrons.event_shapes import EVENT_SHAPES, event_shapes

    index, num, ids = sets.index, len(sets), np.abs(sets.pdg_id)
    assert sets.history is not None
    before = sets.history.decayed
    charged = charges(sets.pdg_id) != 0

    def count(*species: int) -> Floats:
        total = np.bincount(index[np.isin(ids, species)], minlength=num)
        own = before.index[np.isin(np.abs(before.pdg_id), species)]
        return np.asarray(total + np.bincount(own, minlength=num), dtype=np.float64)

    shapes = dict(zip(EVENT_SHAPES, event_shapes(sets.without_history().keeping(charged))[0].T, strict=True))
    p = np.linalg.norm(sets.p4[charged, 1:], axis=1)
    n = np.bincount(index[charged], minlength=num)
    x_p = np.bincount(index[charged], p, num) / np.maximum(n, 1) / (0.5 * annihilation.ENERGY)
    kinds = (count(211), count(321), count(130, 310), count(2212), count(3122), count(313, 323))
    return np.stack([n, *kinds, shapes["thrust"], shapes["c_parameter"], x_p], axis=-1)


@dataclass(frozen=True)
class Moved:
    """What weights make of means, beside what a run at the other tune has.

    Attributes:
        share: effective sample size over the number of events.
        shift: of the means, (10,).
        error: of the shift, (10,).
        pulls: the shift less that of the run, over the errors of both, (10,).
    """

    share: float
    shift: Floats
    error: Floats
    pulls: Floats

    @classmethod
    def of(cls, values: Floats, ratio: Floats, wanted: Floats, of_wanted: Floats) -> Moved:
        """Move means of observables (N, 10) by weights (N,), where a run gives a shift with an error, (10,) each."""
        shift, error = moved(values, ratio)
        return cls(effective_share(ratio), shift, error, (shift - wanted) / np.hypot(error, of_wanted))

    def cells(self, of_wanted: Floats, num: int, of_run: int) -> list[str]:
        """Return sample, root mean square of the pulls, and the error beside that of a run of as many events."""
        spread = np.mean(self.error / of_wanted) * np.sqrt(num / of_run)
        return [f"{self.share:.0%}", f"{np.sqrt(np.mean(self.pulls**2)):.2f}", f"{spread:.2f}"]


def own_weights(tunes: dict[str, Tune]) -> list[str]:
    """Return the settings with which Pythia itself weighs events for tunes that change one parameter each."""
    of_strings = [f"{name} frag:{OWN[name]}={tune[name]!r}" for name, tune in tunes.items() if name in OWN]
    lines = [f"VariationFrag:List = {{{', '.join(of_strings)}}}"] if of_strings else []
    if SHOWER in tunes:
        # the scale at which alpha_s of Monash is that of the tune at the Z mass
        log_mu2 = (1 / tunes[SHOWER][SHOWER] - 1 / parameter(SHOWER).default) / BETA
        lines += ["UncertaintyBands:doVariations = on"]
        lines += [f"UncertaintyBands:List = {{{SHOWER} fsr:muRfac={np.exp(log_mu2 / 2):.5f}}}"]
    return lines


def classified(base: Floats, other: Floats, values: Floats) -> Floats:
    """Return weights (N,) of events from boosted trees that tell two samples from each other by their observables.

    D / (1 - D), with D the probability of being of the other sample.

    References:
        Andreassen, Nachman, Neural networks for full phase-space reweighting and parameter tuning, 2019,
        arXiv:1907.08209 (DCTR).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=300, max_leaf_nodes=8, early_stopping=True, n_iter_no_change=20, random_state=1
    )
    trees.fit(np.concatenate([base, other]), np.repeat([0, 1], [len(base), len(other)]))
    probability = np.clip(trees.predict_proba(values)[:, 1], 1e-6, 1 - 1e-6)
    return np.asarray(probability / (1 - probability) * len(base) / len(other))


def weights(model: PrimaryTree, num: int, names: Sequence[str]) -> str:
    """Move means from Monash to other values by weights, run Pythia there, and return the tables of shifts."""
    known = [parameter(name) for name in names]
    tunes = {p.name: Tune.of({p.name: float(f"{p.default + STEP * p.scale:.6g}")}) for p in known}
    vectors = [model.at(each).vector for each in tunes.values()]
    rng, pairs = np.random.default_rng(11), annihilation.quark_pairs(num, 11)
    seen, ratios, drawing, weighing = [], [], 0.0, 0.0
    for start in range(0, num, BATCH):
        some = pairs[np.arange(start, min(start + BATCH, num))]
        clock = time.process_time()
        tokens = model.draw_pair_tokens(some, rng)
        particles = decay(particles_of_pairs(tokens, some), rng, tau0_max=annihilation.TAU0_MAX)
        drawing += time.process_time() - clock
        seen.append(observables(particles))
        together = np.arange(2 * len(some)).reshape(2, -1).T.ravel()
        if start == 0:  # code is compiled, or loaded, once
            EventDensity.of_tokens(model, tokens[together[:20]], pairs=True)(vectors[0])
        clock = time.process_time()
        density = EventDensity.of_tokens(model, tokens[together], pairs=True)
        nominal, *moved_to = density.at([model.at(None).vector, *vectors])
        ratios.append(np.exp(np.stack(moved_to, axis=-1) - nominal[:, None]))
        weighing += time.process_time() - clock
    values, w = np.concatenate(seen), np.concatenate(ratios)
    clock = time.process_time()
    sets, by_pythia = annihilation.weighted_events(MORE * num, 100, tune=own_weights(tunes))
    own_seconds = (time.process_time() - clock) / MORE / num
    base = observables(sets)
    monash, monash_seconds = pythia_observables(MORE * num, 101, Tune())
    both = np.concatenate([base, monash])  # Pythia at Monash: weights do not change its events
    apart = (base.mean(axis=0) - monash.mean(axis=0)) / (2 * both.std(axis=0) / np.sqrt(len(both)))
    of_both = both.std(axis=0) / np.sqrt(len(both))
    rows, aside, training = [], [], 0.0
    pulls: dict[str, list[Floats]] = {method: [] for method in METHODS}
    for k, (name, each) in enumerate(tunes.items()):
        run, seconds = pythia_observables(MORE * num, 200 + k, each)
        # the same events at both ends: the error is that of the difference
        wanted = run.mean(axis=0) - both.mean(axis=0)
        error = np.hypot(run.std(axis=0) / np.sqrt(len(run)), of_both)
        mine = Moved.of(values, w[:, k], wanted, error)
        found: list[tuple[Moved, int] | None] = [(mine, num), None]
        if name in by_pythia or name.lower() in by_pythia:
            ratio = by_pythia[name if name in by_pythia else name.lower()]
            found[1] = Moved.of(base, ratio, wanted, error), len(base)
        # trees learn from runs of their own, and weigh the events that Pythia's weights do
        learned, _ = pythia_observables(MORE * num, 300 + k, each)
        clock = time.process_time()
        ratio = classified(monash, learned, base)
        training += time.process_time() - clock
        found.append((Moved.of(base, ratio, wanted, error), len(base)))
        for method, one in zip(METHODS, found, strict=True):
            if one is not None:
                pulls[method].append(one[0].pulls)
        mean, of_mean = w[:, k].mean(), w[:, k].std() / np.sqrt(num)
        largest = int(np.argmax(np.abs(wanted) / error))
        rows.append(
            [
                str(each),
                f"{mine.share:.0%}",
                f"{mean:.3f} ± {of_mean:.3f}",
                f"{OBSERVABLES[largest]}: {mine.shift[largest]:+.4f} ± {mine.error[largest]:.4f}",
                f"{wanted[largest]:+.4f} ± {error[largest]:.4f}",
                f"{int((np.abs(mine.pulls) < 2).sum())} of {len(mine.pulls)}",
                f"{MORE * weighing / len(tunes) / seconds:.2f}",
            ]
        )
        cells = [["none", "", ""] if one is None else one[0].cells(error, one[1], len(run)) for one in found]
        aside.append([str(each), *(cell for row in cells for cell in row)])
        print(" | ".join(rows[-1] + aside[-1][1:]), flush=True)
    text = table(
        [
            "tune",
            "effective sample",
            "mean weight",
            "largest shift, by weights",
            "by Pythia run there",
            "observables within 2 sigma",
            "cost / run",
        ],
        rows,
    )
    header = [f"{method}: {what}" for method in METHODS for what in ("sample", "pulls", "error / run's")]
    sizes = [f"{method} {root_mean_square(pulls[method])}" for method in METHODS if pulls[method]]
    costs = [1e3 * seconds for seconds in (weighing / len(tunes) / num, drawing / num)]
    costs += [1e3 * seconds for seconds in (monash_seconds / MORE / num, own_seconds)]
    per_event = 1e3 * training / len(tunes) / MORE / num
    text = f"{text}\n{table(['tune', *header], aside)}\n"
    return (
        f"{text}{num:,} events of the model, {MORE * num:,} of each run of Pythia, and as many twice to learn from. "
        f"Observables of a run are correlated: between two runs of Pythia at Monash the root mean square of ten pulls "
        f"is {np.sqrt(np.mean(apart**2)):.2f}. Root mean square of pulls: {', '.join(sizes)}. On one core a weight of "
        f"{len(tunes)} costs {costs[0]:.2f} ms an event, an event of the model {costs[1]:.2f} ms, one of Pythia "
        f"{costs[2]:.2f} ms with the reading of its record, {costs[3]:.2f} ms with all its weights; trees cost "
        f"{per_event:.2f} ms an event, beside the run at the other tune that they learn from.\n"
    )


def root_mean_square(pulls: Sequence[Floats]) -> str:
    """Return the root mean square of pulls with its error, and their number."""
    every = np.concatenate(pulls)
    size = float(np.sqrt(np.mean(every**2)))
    return f"{size:.2f} ± {size / np.sqrt(2 * every.size):.2f} of {every.size}"


def cost(num: int, num_tunes: int) -> str:
    """Return the processor time of ``fastsim reweight`` for one and for many tunes, of Z decays of the model."""
    rows = []
    with TemporaryDirectory() as folder:
        pairs, made, other = (Path(folder) / name for name in ("ee.lhe", "model.h5", "pythia.h5"))
        write_pairs(pairs, num, 1)
        fastsim.generate(pairs, made, model=MODEL, seed=1)
        fastsim.reference(pairs, other, seed=1)
        run = pythia_observables(num, 5, Tune())[1] / num
        for name, path in (("the model", made), ("Pythia", other)):
            for tunes in ([Tune.of({"aLund": 0.76})], narrow_design(num_tunes)):
                options: dict[str, Any] = {"to": tunes, "tune": Tune(), "model": MODEL, "min_ess": 0.0}
                fastsim.reweight(path, num_events=20, **options)  # code is compiled, or loaded, once
                each = fastsim.reweight(path, **options).seconds / num
                share = each / len(tunes) / run
                rows.append(
                    [name, str(len(tunes)), f"{1e3 * each:.2f}", f"{1e3 * each / len(tunes):.2f}", f"{share:.2f}"]
                )
    header = ["events of", "tunes", "ms an event", "ms an event and tune", "of a run of Pythia"]
    return f"{table(header, rows)}\n{num:,} Z decays. A run of Pythia costs {1e3 * run:.2f} ms an event.\n"


def narrow_design(num: int) -> list[Tune]:
    """Return tunes that fill the half ranges about Monash."""
    tunes = design(num, seed=5)
    middle = {name: parameter(name).default for name in tunes[0].changed}
    return [Tune.of({n: middle[n] + 0.5 * (tune[n] - middle[n]) for n in middle}) for tune in tunes]


def moved(values: Floats, ratio: Floats) -> tuple[Floats, Floats]:
    """Return by how much weights (N,) shift the means of observables (N, O), and the errors of that."""
    own, centred = ratio / ratio.mean(), values - values.mean(axis=0)
    product = (own - 1)[:, None] * centred
    return product.mean(axis=0), product.std(axis=0) / np.sqrt(len(values))


def pythia_observables(num: int, seed: int, tune: Tune) -> tuple[Floats, float]:
    """Return the observables (N, 10) of events that Pythia makes at a tune, and its processor time in s."""
    clock = time.process_time()
    sets = annihilation.events(num, seed, tune=tune.settings)
    seconds = time.process_time() - clock
    return observables(sets), seconds


def lep(model: PrimaryTree, folder: Path, num: int, names: Sequence[str], seed: int = 1) -> str:
    """Fit measured tables, run Pythia at Monash and at the result, and return both tables."""
    files = [folder / f"{name}.yoda" for name in SOURCES.values()]
    wanted = [f"{SOURCES[source]}/{key}" for key, source in LEP.items()]
    known = read_tables(*files)
    wanted = [name for name in wanted if name in known]
    description = {
        "seed": seed,
        "parameters": {name: parameter(name).default for name in names},
        "tables": {"files": [str(path) for path in files], "observables": wanted, "num": num, "max_points": 8},
    }
    found = fastsim.tune(description, model=model, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(found, flush=True)
    tune = Tune.of(dict(zip(names, found.values.tolist(), strict=True)))
    tables = {name: known[name] for name in wanted}
    chi2 = []
    for own, each in ((300, Tune()), (300 + seed, tune)):
        sets = annihilation.events(num, own, tune=each.settings)
        chi2.append([agreement.chi2 for agreement in chi2_tables(sets, tables)])
    rows = [
        [
            c.name,
            c.what,
            str(len(c.data)),
            f"{c.chi2(after=False):.0f}",
            f"{c.chi2(after=True):.0f}",
            f"{a:.0f}",
            f"{b:.0f}",
        ]
        for c, a, b in zip(found.comparisons, *chi2, strict=True)
    ]
    sums = [found.chi2["before"], found.chi2["after"], *(sum(values) for values in chi2)]
    rows.append(["all", "", f"{found.chi2['bins']:.0f}", *(f"{value:.0f}" for value in sums)])
    fitted = [
        [p.name, f"{p.start:.4g}", f"{v:.4g} ± {e:.1g}"]
        for p, v, e in zip(found.parameters, found.values, found.errors, strict=True)
    ]
    header = ["table", "quantity", "bins", "model, Monash", "model, fitted", "Pythia, Monash", "Pythia, fitted"]
    flags = "".join(f"Flag: {flag}.\n" for flag in found.flags)
    return (
        f"{table(['parameter', 'Monash', 'fitted'], fitted)}\n{table(header, rows)}\n{flags}"
        f"{num:,} events of each; {found.iterations} points, {found.seconds:.0f} s of processor time.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("closure", "weights", "cost", "lep"))
    parser.add_argument("--model", default=MODEL, help="name or card of a model of tunes")
    parser.add_argument("--num", type=int, default=4000, help="events of a sample")
    parser.add_argument("--points", type=int, default=6, help="hidden points of the closure")
    parser.add_argument("--tunes", type=int, default=20, help="tunes in one pass of the cost")
    parser.add_argument("--seed", type=int, default=1, help="of the fit to measured tables")
    parser.add_argument("--tables", type=Path, help=f"folder of {ALEPH}.yoda, {DELPHI}.yoda, {PDG}.yoda")
    parser.add_argument(
        "--parameters", nargs="*", help="names; by default those that LEP determines, or all for weights"
    )
    parser.add_argument("--write", action="store_true", help="fill the table into docs/tunes.md")
    options = parser.parse_args()
    model = checked_model(fastsim.load_model(options.model))
    if options.what == "closure":
        text = closure(model, options.points, options.num)
    elif options.what == "cost":
        text = cost(options.num, options.tunes)
    elif options.what == "weights":
        text = weights(model, options.num, options.parameters or model.tune_parameters)
    else:
        if options.tables is None:
            parser.error("lep needs --tables")
        text = lep(model, options.tables, options.num, options.parameters or LEP_PARAMETERS, options.seed)
    text = f"Model: {model.name}, version {model.card.version if model.card else 'of no card'}.\n\n{text}"
    print(text)
    if options.write:
        fill(DOCUMENT, f"tunes-{options.what}", text)


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
