"""Files of events that Pythia makes in blocks: libraries of rests and of minimum-bias collisions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from fastsim.errors import FastsimError
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import hdf5
from fastsim.formats.atomic import PathLike
from fastsim.production.chunks import in_order
from fastsim.production.store import Store
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

    @property
    def in_threads(self) -> bool:
        """Whether blocks are made in threads, each with a Pythia process of its own; else in worker processes."""

    def blocks(self) -> Iterable[Any]:
        """Return what each block is made from."""


AnyCard = TypeVar("AnyCard", bound=Card)


def write_library(
    card: AnyCard,
    make: Callable[[AnyCard, Any], HardEvents],
    output: PathLike,
    *,
    workers: int = 0,
    force: bool = False,
    keep: Path | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Make the events of a card and write them.

    Args:
        card: what to make.
        make: makes a block of a card.
        output: path that ends in .h5.
        workers: blocks that are made at a time; 0 for one, in this process. The file does not depend on it.
        force: replace an existing file.
        keep: an existing folder that keeps finished blocks, from which another call of the same card goes on.
        progress: called with the numbers of finished and of all events.

    Raises:
        FastsimError: if the path has another ending.
        OutputError: if the file exists or cannot be written.
    """
    if not os.fspath(output).lower().endswith(".h5"):
        raise FastsimError(f"{os.fspath(output)}: a library is HDF5; give a name that ends in .h5")
    block = partial(_block, make, card, keep)
    with (
        hdf5.EventWriter(output, card.run, force=force, compression="lzf") as writer,
        _made(block, enumerate(card.blocks()), workers, in_threads=card.in_threads) as blocks,
    ):
        for number, events in enumerate(blocks):
            if len(events):
                writer.write(events)
            if progress is not None:
                progress(min((number + 1) * BLOCK, card.num), card.num)


def _block(
    make: Callable[[AnyCard, Any], HardEvents], card: AnyCard, keep: Path | None, job: tuple[int, Any]
) -> HardEvents:
    """Return a block of a card, made or kept, by its number and what it is made from."""
    number, given = job
    if keep is None:
        return make(card, given)
    store = Store(keep)
    if (kept := store.load(number)) is not None:
        return cast("HardEvents", kept[0])
    events = make(card, given)
    store.save(number, events, 0.0)
    return events


@contextmanager
def _made(
    block: Callable[[tuple[int, Any]], HardEvents], jobs: Iterator[tuple[int, Any]], workers: int, *, in_threads: bool
) -> Iterator[Iterator[HardEvents]]:
    """Give the blocks in their order, made in threads or processes."""
    if in_threads:
        with closing(in_order(block, jobs, max(1, workers))) as blocks:
            yield blocks
        return
    pool = start_pool(workers)
    try:
        yield run_jobs(block, list(jobs), pool, None)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
