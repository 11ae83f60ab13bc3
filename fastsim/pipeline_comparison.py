"""One pipeline trained in several ways, each with several seeds: which is better, and is that more than chance?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastsim.errors import PipelineError
from fastsim.pipeline_file import chain_of, read
from fastsim.pipelines import TrainCandidates
from fastsim.search import points
from fastsim.search.points import Point
from fastsim.search.trial import Combination, Trial, Trials

Way = Mapping[str, Any]
"""Values that replace those of a pipeline's file, by their place."""


@dataclass(frozen=True)
class TrainWays:
    """Trains a pipeline in one of several ways with a seed; can be sent to other processes.

    Attributes:
        path: the pipeline's file.
        changes: values that replace those of the file.
        ways: further such values, by label.
        combination: the candidates to use.
        folder: for checkpoints and logs.
    """

    path: str
    changes: Way
    ways: Mapping[str, Way]
    combination: Combination
    folder: Path

    def __call__(self, run: Combination) -> Trial:
        """Train the way ``run["way"]`` with the seed ``run["seed"]``."""
        changes = {**self.changes, **self.ways[run["way"]], "seed": int(run["seed"])}
        folder = self.folder / run["way"].replace("/", "-") / run["seed"]
        trial = TrainCandidates(read(self.path, changes), folder)(self.combination)
        return Trial(**{**asdict(trial), "combination": run})


def compare(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    ways: Mapping[str, Way] | None = None,
    places: Mapping[str, float] | None = None,
    axis: str = "",
    num_seeds: int = 5,
    changes: Way | None = None,
    combination: Combination | None = None,
    workers: int = 0,
    scheduler: str | None = None,
) -> list[Point]:
    """Train a pipeline in several ways, each with the same seeds, on the same events; what was stopped goes on.

    Args:
        path: the pipeline's file.
        output: folder of trials and checkpoints, and at the end ``comparison.json`` and ``comparison.svg``.
        ways: what each way changes; by default the table ``[ways]`` of the file.
        places: of the ways on the horizontal axis of the picture, which is logarithmic.
        axis: what the places are.
        num_seeds: seeds a way; they are of new weights and of the order of events.
        changes: values that replace those of the file in all ways.
        combination: a candidate for each choice; by default the first of each.
        workers: processes that train side by side.
        scheduler: address of a Dask scheduler, whose workers train side by side instead.

    Raises:
        PipelineError: if the file is wrong, there are fewer than two ways, or the folder is of another comparison.
    """
    from fastsim.search import grid

    description = read(path, changes)
    found = dict(description.values.get("ways", {}) if ways is None else ways)
    if len(found) < 2:
        raise PipelineError(f"{os.fspath(path)}: {len(found)} ways to compare: give two at least, in a table [ways]")
    for label, way in found.items():
        if not isinstance(way, Mapping):
            raise PipelineError(f"{os.fspath(path)}: [ways.{label}]: {way!r} is no table of values by their place")
        chain_of(read(path, {**(changes or {}), **way}))
    space = chain_of(description).choices()
    if unknown := sorted(set(combination or {}) - set(space)):
        raise PipelineError(f"block {unknown[0]!r} has no candidates: there are {', '.join(space) or 'none that has'}")
    complete = {name: (combination or {}).get(name, choice.labels[0]) for name, choice in space.items()}
    folder = Path(output)
    settings = {"pipeline": description.values, "ways": found, "combination": complete}
    trials = Trials(folder / "trials.jsonl", settings)
    evaluate = TrainWays(os.fspath(path), dict(changes or {}), found, complete, folder / "trials")
    seeds = [str(description.seed + k) for k in range(num_seeds)]
    runs = [{"way": label, "seed": seed} for label in found for seed in seeds]
    done = grid.run(runs, evaluate, trials, workers=workers, scheduler=scheduler)
    result = []
    for label in found:
        own = [trial for trial in done if trial.combination["way"] == label]
        error = sum(trial.error for trial in own) / len(own)
        place, parameters = (places or {}).get(label), own[0].parameters
        result.append(Point(label, tuple(trial.value for trial in own), error, place, parameters))
    figure = description.values["figure"]["kind"]
    summary = [{**asdict(point), "mean": point.mean, "error": point.error} for point in result]
    (folder / "comparison.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / "comparison.svg").write_text(points.picture(result, figure, axis), encoding="utf-8")
    return result


def trade_off(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    loss: str,
    ratios: Sequence[float],
    weightings: Sequence[str] = (),
    changes: Way | None = None,
    **options: Any,
) -> list[Point]:
    """Scan the ratio of a loss to the others: the figure of merit against it, with the seeds' errors.

    Args:
        path: the pipeline's file.
        output: see :func:`compare`.
        loss: name of the loss.
        ratios: of its weight to the sum of the weights of the others, not negative; 0 leaves it out.
        weightings: names of adaptive weightings to set beside the fixed ratios.
        changes: values that replace those of the file.
        options: further arguments of :func:`compare`.

    Raises:
        PipelineError: if there is no such loss, no other, or a ratio is negative.
    """
    losses = read(path, changes).values["losses"]
    if loss not in losses or len(losses) < 2:
        raise PipelineError(f"no loss {loss!r} beside others: there are {', '.join(losses)}")
    if not ratios or min(ratios) < 0 or len(set(ratios)) < len(ratios):
        raise PipelineError(f"ratios {', '.join(f'{r:g}' for r in ratios)}: give different numbers, none negative")
    others = sum(float(values.get("weight", 1.0)) for name, values in losses.items() if name != loss)
    place = f"losses.{loss}.weight"
    ordered = sorted(ratios)
    ways: dict[str, Way] = {f"{r:g}": {place: r * others, "training.weighting": "fixed"} for r in ordered}
    ways |= {name: {"training.weighting": name} for name in weightings}
    places = {f"{r:g}": r for r in ordered}
    axis = f"weight of the loss {loss!r} over that of the others"
    return compare(path, output, ways=ways, places=places, axis=axis, changes=changes, **options)
