"""A trial: one combination of candidates, trained and judged; and the file that keeps trials."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastsim.errors import PipelineError

Space = Mapping[str, Sequence[str]]
"""The labels of the candidates of each choice."""
Combination = dict[str, str]
"""The label of a candidate for the name of each choice."""


@dataclass(frozen=True)
class Trial:
    """What came of one combination.

    Attributes:
        combination: the candidates.
        score: the figure of merit on the validation events, more is better.
        value: the figure of merit on the test events.
        error: its standard error, NaN where it is not known.
        flops: floating-point operations of the trained chain an event.
        parameters: numbers that were trained.
        seconds: processor time of the training.
        milliseconds: processor time of the trained chain an event, one thread; None where it was not measured.
    """

    combination: Combination
    score: float
    value: float
    error: float
    flops: float
    parameters: int
    seconds: float
    milliseconds: float | None = None

    @property
    def label(self) -> str:
        """The combination as a text."""
        return ", ".join(f"{name}={label}" for name, label in self.combination.items())


Evaluate = Callable[[Combination], Trial]
"""Trains and judges a combination."""


def combinations(space: Space) -> list[Combination]:
    """Return all combinations, in the order of the candidates.

    Raises:
        PipelineError: if there is nothing to choose.

    >>> combinations({"a": ["x", "y"], "b": ["u", "v"]})[1]
    {'a': 'x', 'b': 'v'}
    """
    from itertools import product

    result = [dict(zip(space, labels, strict=True)) for labels in product(*space.values())]
    if len(result) < 2:
        raise PipelineError("the search space has one combination: give a block at least two candidates")
    return result


class Trials:
    """The trials of a search, kept in a file of JSON lines: one that was stopped goes on from them.

    Args:
        path: the file; None to keep nothing.
        settings: what decides the results, JSON values; the first line of the file.

    Raises:
        PipelineError: if the file is of a search with other settings, or of something else.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._found: list[Trial] = []
        head = json.dumps({"settings": settings}, sort_keys=True)
        if path is None:
            return
        if path.exists():
            lines = path.read_text(encoding="utf-8").split("\n")
            complete = lines[:-1]  # what a kill cut short has no end of line
            if complete and complete[0] != head:
                raise PipelineError(
                    f"{path}: is of a search with other settings; give another folder, or remove it to start anew"
                )
            try:
                self._found = [Trial(**json.loads(line)) for line in complete[1:]]
            except (ValueError, TypeError) as error:
                raise PipelineError(f"{path}: is no file of trials: {error}") from error
            if len(complete) < len(lines) and lines[-1]:
                path.write_text("".join(f"{line}\n" for line in complete), encoding="utf-8")
        if not path.exists() or not path.stat().st_size:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._add(head)

    def _add(self, line: str) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def of(self, combination: Combination) -> Trial | None:
        """Return the trial of a combination, None if there is none yet."""
        return next((trial for trial in self._found if trial.combination == combination), None)

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self._found.append(trial)
        if self._path is not None:
            self._add(json.dumps(asdict(trial)))

    def keeping(self, evaluate: Evaluate) -> Evaluate:
        """Return the function that evaluates what is not kept yet, and keeps it."""

        def kept(combination: Combination) -> Trial:
            trial = self.of(combination)
            if trial is None:
                trial = evaluate(combination)
                self.add(trial)
            return trial

        return kept


def best(trials: Iterable[Trial]) -> Trial:
    """Return the trial of the best score; of equals the first."""
    return max(trials, key=lambda trial: trial.score)
