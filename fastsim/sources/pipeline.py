"""Steps, which take events one stage further, and pipelines of Steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from fastsim.errors import PipelineError
from fastsim.event import HardEvents
from fastsim.sources.source import RNG, generator


@runtime_checkable
class Step(Protocol):
    """Something that takes events one stage further: from partons to hadrons, from hadrons to calorimeter cells.

    ``requires`` and ``provides`` are words: "partons" (final coloured partons in the hard record), "hadrons"
    (``events.particles``) and "cells" (``events.cells``). A Step returns new events and leaves its input alone; all
    randomness comes from ``rng``.
    """

    @property
    def name(self) -> str: ...

    @property
    def requires(self) -> frozenset[str]: ...

    @property
    def provides(self) -> frozenset[str]: ...

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents: ...


class Pipeline:
    """Steps run one after the other; itself a Step.

    Args:
        steps: the Steps in order.
        given: the words, such as "partons", for what the events have at the start.
        name: the name of the pipeline as a Step.

    Raises:
        PipelineError: when built, if a Step requires what neither the input nor an earlier Step provides;
            when run, if a Step breaks its contract (loses events, promises hadrons and gives none).

    >>> class MarkHeavy:
    ...     name, requires, provides = "mark-heavy", frozenset({"partons"}), frozenset({"partons"})
    ...     def step(self, events, *, rng):
    ...         return events.with_columns(event={"heavy": events.mass > 1.0})
    >>> pipeline = Pipeline([MarkHeavy()])
    >>> sorted(pipeline.provides)
    ['partons']
    """

    def __init__(
        self, steps: Sequence[Step], *, given: frozenset[str] = frozenset({"partons"}), name: str = "pipeline"
    ) -> None:
        self.steps = tuple(steps)
        self.name = name
        self.requires = given
        present = given
        for number, step in enumerate(self.steps, start=1):
            missing = sorted(step.requires - present)
            if missing:
                raise PipelineError(
                    f"step {number} ({step.name!r}) requires {', '.join(missing)}, which no earlier step provides "
                    f"(present: {', '.join(sorted(present)) or 'nothing'}): put a step that provides it before"
                )
            present = present | step.provides
        self.provides = present

    def __repr__(self) -> str:
        return f"<Pipeline: {', '.join(step.name for step in self.steps) or 'no steps'}>"

    def step(self, events: HardEvents, *, rng: RNG = None) -> HardEvents:
        """Return the events after all Steps.

        Args:
            events: the events, which stay as they are.
            rng: a seed, a Generator, or None for randomness that differs from call to call.
        """
        rng = generator(rng)
        for step in self.steps:
            before = len(events)
            events = step.step(events, rng=rng)
            if len(events) != before:
                raise PipelineError(f"step {step.name!r} was given {before} events and returned {len(events)}")
            if "hadrons" in step.provides and (events.particles is None or events.origin is None):
                raise PipelineError(f"step {step.name!r} provides hadrons but returned events without particles")
            if "cells" in step.provides and events.cells is None:
                raise PipelineError(f"step {step.name!r} provides cells but returned events without any")
        return events
