"""What searches find among the candidates of a pipeline, and what they cost, beside training every combination.

    python -m bench.selection examples/tau_pairs.toml -o runs/selection --seeds 3 --set data.num=100000

trains the grid with the first seed - and with the other seeds, on the same events, the combinations whose validation
score is no further than ``--repeat`` from the best - and searches with each method and every seed; a run that was
stopped goes on. A search ends with training what it found from new weights, which has been done already with this seed:
its time is counted, its result is taken from there. Printed are

- the grid: mean of each combination over its seeds. The best is that of the highest mean on the validation events;
- of each method: the figure of merit on the test events of what it found, minus that of the best, trained with the
  same seed on the same events; the same with the mean over the seeds of what it found, in which the luck of a
  training averages out; and processor time, search and training, over that of the grid. Data are read before, and
  not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METHODS = ("spos", "asng", "darts-1", "darts-2")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error, NaN of a single value."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def changes_of(entries: Sequence[str]) -> dict[str, Any]:
    """Return values by their place of texts KEY=VALUE, the value in JSON or as text."""
    changes: dict[str, Any] = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            changes[key] = value
    return changes


def searched(
    file: Path, folder: Path, method: str, seed: int, changes: dict[str, Any], num_steps: int | None = None
) -> Any:
    """Search with a method such as ``darts-2`` and a seed; all methods share the trials of a seed."""
    from fastsim import pipelines

    name, _, order = method.partition("-")
    own = {**changes, "seed": seed, **({"search.order": int(order)} if order else {})}
    own |= {"search.num_steps": num_steps} if num_steps else {}
    return pipelines.search(file, folder / f"seed-{seed}", method=name, changes=own)


def repeated(file: Path, folder: Path, labels: Sequence[str], seed: int, changes: dict[str, Any]) -> None:
    """Train some combinations of the grid with a further seed."""
    from fastsim.pipeline_file import problem_of, read
    from fastsim.pipelines import TrainCandidates, settings_of
    from fastsim.search import grid
    from fastsim.search.trial import Trials

    description = read(file, {**changes, "seed": seed})
    problem, place = problem_of(description), folder / f"seed-{seed}"
    trials = Trials(place / "trials.jsonl", settings_of(description))
    chosen = [choice for choice in grid.grid(problem.space) if label_of(choice) in labels]
    grid.run(chosen, TrainCandidates(description, place / "trials", problem), trials)


def label_of(combination: dict[str, str]) -> str:
    """Return a combination as trials write it."""
    return ", ".join(f"{name}={label}" for name, label in combination.items())


def trials_of(folder: Path, seed: int) -> dict[str, Any]:
    """Return the trials of a seed by their label."""
    from fastsim.search.trial import Trial

    lines = (folder / f"seed-{seed}" / "trials.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    return {trial.label: trial for trial in (Trial(**json.loads(line)) for line in lines)}


def table(grid: Any, trials: dict[int, dict[str, Any]], found: dict[str, dict[int, Any]]) -> list[str]:
    """Return lines with the grid's combinations, and what each method found for the seeds.

    Args:
        grid: the search of the whole grid, with the first seed.
        trials: by seed and label.
        found: for each method, its searches by seed.
    """
    labels = [trial.label for trial in grid.trials]
    every = [label for label in labels if all(label in of for of in trials.values())]
    score = {label: statistics.fmean(of[label].score for of in trials.values() if label in of) for label in labels}
    best = max(every, key=lambda label: score[label])
    test_error = statistics.fmean(trial.error for trial in grid.trials)
    width = max(map(len, labels))
    lines = [
        f"{'combination':<{width}} {'test':>18} {'minus the best':>19} {'validation':>11} {'CPU s':>6} {'seeds':>5}"
    ]
    for label in sorted(labels, key=lambda label: -score[label]):
        own = {seed: of for seed, of in trials.items() if label in of}
        value = "{:.4f} +- {:.4f}".format(*mean_and_error([of[label].value for of in own.values()]))
        beside = "{:+.4f} +- {:.4f}".format(*mean_and_error([of[label].value - of[best].value for of in own.values()]))
        seconds = statistics.fmean(of[label].seconds for of in own.values())
        columns = f"{value:>18} {beside:>19} {score[label]:>11.4f} {seconds:>6.0f} {len(own):>5}"
        lines.append(f"{label:<{width}} {columns}")
    lines.append(f"grid: {grid.seconds:.0f} s of processor time; the test events leave {test_error:.4f}, common to all")
    lines += ["", f"{'method':<8} {'minus the best':>19} {'mean of seeds':>19} {'time over grid':>16}  found"]
    for method, searches in found.items():
        paired = [trials[seed][s.best.label].value - trials[seed][best].value for seed, s in searches.items()]
        regrets = [
            statistics.fmean(of[s.best.label].value - of[best].value for of in trials.values() if s.best.label in of)
            for s in searches.values()
        ]
        columns = " ".join(f"{m:+.4f} +- {e:.4f}".rjust(19) for m, e in map(mean_and_error, (paired, regrets)))
        time = "{:.3f} +- {:.3f}".format(*mean_and_error([s.seconds / grid.seconds for s in searches.values()]))
        names = "; ".join(search.best.label for search in searches.values())
        lines.append(f"{method:<8} {columns} {time:>16}  {names}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="of a pipeline with candidates")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/selection"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeat", type=float, default=math.inf, help="how far from the best further seeds are worth")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), help="as spos, or spos=600 with its steps")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    for method in args.methods:
        if method.partition("=")[0] not in METHODS:
            parser.error(f"no method {method!r}: there are {', '.join(METHODS)}")
    changes, seeds = changes_of(args.changes), range(1, args.seeds + 1)
    grid = searched(args.file, args.output, "grid", 1, changes)
    near = [trial.label for trial in grid.trials if trial.score > grid.best.score - args.repeat]
    found: dict[str, dict[int, Any]] = {}
    for seed in seeds:
        if seed > 1:
            repeated(args.file, args.output, near, seed, changes)
        for method in args.methods:
            name, _, steps = method.partition("=")
            search = searched(args.file, args.output, name, seed, changes, int(steps) if steps else None)
            found.setdefault(name, {})[seed] = search
    print("\n".join(table(grid, {seed: trials_of(args.output, seed) for seed in seeds}, found)))


if __name__ == "__main__":
    main()
