"""What searches find among the candidates of a pipeline, and what they cost, beside training every combination.

    python -m bench.selection examples/tau_pairs.toml -o runs/selection --seeds 3 --set data.num=100000

trains the grid with each seed on the same events, and then searches with each method and the same seeds; a run that was
stopped goes on. A search ends with training what it found from new weights, which the grid has done already with this
seed: its time is counted, its result is taken from there. Printed are

- the grid: mean of each combination over the seeds; the best is that of the highest mean on the validation events;
- of each method, what it found; the figure of merit on the test events, minus that of the combination that the grid of
  the same seed chose (paired: the same events and seeds); and the mean over all seeds of what it found minus that of
  the grid's best, in which the luck of a seed averages out;
- processor time, search and training, over that of the grid of the same seed. Data are read before, and not counted.
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


def table(grids: dict[int, Any], found: dict[str, dict[int, Any]]) -> list[str]:
    """Return lines with the grid's combinations, and what each method found for the seeds.

    Args:
        grids: the search of the grid by seed.
        found: for each method, its searches by seed.
    """
    of = {seed: {trial.label: trial for trial in grid.trials} for seed, grid in grids.items()}
    labels = list(next(iter(of.values())))
    means = {label: mean_and_error([trials[label].value for trials in of.values()]) for label in labels}
    validation = {label: statistics.fmean(trials[label].score for trials in of.values()) for label in labels}
    seconds = {label: statistics.fmean(trials[label].seconds for trials in of.values()) for label in labels}
    best = max(labels, key=lambda label: validation[label])
    test_error = statistics.fmean(trial.error for trials in of.values() for trial in trials.values())
    width = max(map(len, labels))
    lines = [f"{'combination':<{width}} {'test':>18} {'minus the best':>19} {'validation':>11} {'CPU s':>7}"]
    for label in sorted(labels, key=lambda label: -validation[label]):
        mean, error = means[label]
        beside = "{:+.4f} +- {:.4f}".format(
            *mean_and_error([trials[label].value - trials[best].value for trials in of.values()])
        )
        value = f"{mean:.4f} +- {error:.4f}"
        lines.append(f"{label:<{width}} {value:>18} {beside:>19} {validation[label]:>11.4f} {seconds[label]:>7.0f}")
    total = statistics.fmean(grid.seconds for grid in grids.values())
    lines += [
        f"grid: {total:.0f} s of processor time a seed; the test events leave {test_error:.4f}, common to all",
        "",
    ]
    lines.append(f"{'method':<8} {'minus the grid':>19} {'mean minus best':>19} {'time over grid':>16}  found")
    for method, searches in found.items():
        paired = [of[seed][search.best.label].value - grids[seed].best.value for seed, search in searches.items()]
        regrets = [means[search.best.label][0] - means[best][0] for search in searches.values()]
        ratios = [search.seconds / grids[seed].seconds for seed, search in searches.items()]
        columns = ["{:+.4f} +- {:.4f}".format(*mean_and_error(values)) for values in (paired, regrets)]
        time = "{:.3f} +- {:.3f}".format(*mean_and_error(ratios))
        names = "; ".join(search.best.label for search in searches.values())
        lines.append(f"{method:<8} {columns[0]:>19} {columns[1]:>19} {time:>16}  {names}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="of a pipeline with candidates")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/selection"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), help="as spos, or spos=600 with its steps")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    changes = changes_of(args.changes)
    seeds = range(1, args.seeds + 1)
    grids = {seed: searched(args.file, args.output, "grid", seed, changes) for seed in seeds}
    found: dict[str, dict[int, Any]] = {}
    for method in args.methods:
        name, _, steps = method.partition("=")
        if name not in METHODS:
            parser.error(f"no method {name!r}: there are {', '.join(METHODS)}")
        number = int(steps) if steps else None
        found[name] = {seed: searched(args.file, args.output, name, seed, changes, number) for seed in seeds}
    print("\n".join(table(grids, found)))


if __name__ == "__main__":
    main()
