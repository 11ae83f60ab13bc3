"""Files of events that Pythia makes in blocks: libraries of rests and of minimum-bias collisions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import hdf5
from fastsim.formats.atomic import PathLike
from generators.reference.pythia import run_jobs, start_pool

BLOCK = 128
"""Events that are made together, with one seed."""


class Card(Protocol):
    """What a library holds."""

    @property
    def num(self) -> int:
        """Number of events."""

    @property
    def run(self) -> RunInfo:
        """The beams, and what the file says about itself."""


AnyCard = TypeVar("AnyCard", bound=Card)


def write_library(
    card: AnyCard,
    make: Callable[[tuple[AnyCard, int]], HardEvents],
    output: PathLike,
    *,
    workers: int = 0,
    force: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Make the events of a card and write them.

    Args:
        card: what to make.
        make: makes the block of a card that begins with the event of a number.
        output: path that ends in .h5.
        workers: worker processes; 0 to compute in this one. The file does not depend on it.
        force: replace an existing file.
        progress: called with the numbers of finished and of all events.

    Raises:
        FastsimError: if the path has another ending.
        OutputError: if the file exists or cannot be written.
    """
    if not os.fspath(output).lower().endswith(".h5"):
        raise FastsimError(f"{os.fspath(output)}: a library is HDF5; give a name that ends in .h5")
    jobs = [(card, first) for first in range(0, card.num, BLOCK)]
    pool = start_pool(workers)
    try:
        with hdf5.EventWriter(output, card.run, force=force) as writer:
            for number, events in enumerate(run_jobs(make, jobs, pool, None)):
                if len(events):
                    writer.write(events)
                if progress is not None:
                    progress(min((number + 1) * BLOCK, card.num), card.num)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
