"""``fastsim compile``: kernels compiled ahead of the first run."""

from __future__ import annotations

import logging
import time

import click

from fastsim.cli.options import debug_option
from fastsim.cli.progress import COMPILER_LOG
from fastsim.errors import FastsimError

FEW, MANY = 4, 150
"""Few partons are drawn by other kernels than many; so many of all flavours meet every kind of splitting and decay."""
MANY_OF_KIND = {"primary-tree": 1100}
"""Partons of which trees with wide networks draw the splittings by the kernels of many."""
SHOWERS_PER_PARTICLE = 4


@click.command("compile", short_help="Compile kernels ahead of the first run.")
@debug_option
def command() -> None:
    """Compile the kernels of all shipped models, so that no later run waits for them.

    For container images and the nodes of clusters: otherwise the first run on a machine compiles what it needs, which
    takes some seconds. The machine code is kept in the folder that the environment variable NUMBA_CACHE_DIR names, else
    beside the package, else (where that is read-only) in the user's cache.

    \b
    Examples:
      fastsim compile
      NUMBA_CACHE_DIR=/opt/fastsim-kernels fastsim compile
    """
    from fastsim.registry import kernel_folders

    counter, logger = _Counter(), logging.getLogger(COMPILER_LOG)
    logger.addHandler(counter)
    logger.setLevel(logging.INFO)
    start = time.perf_counter()
    try:
        _sample_all()
    finally:
        logger.removeHandler(counter)
    seconds = time.perf_counter() - start
    folders = kernel_folders()
    if not folders:
        raise FastsimError("compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a folder that is writable")
    count = f"{counter.count} kernels compiled" if counter.count else "all kernels were compiled before; checked"
    click.echo(f"{count} in {seconds:.1f} s; kept in:")
    for folder in folders:
        click.echo(folder)


class _Counter(logging.Handler):
    """Counts kernels that have to be compiled."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def _sample_all() -> None:
    """Draw a small sample from each shipped model."""
    from fastsim.sources import cards

    for name in cards.available(cards.HADRONS):
        _sample_hadrons(name)
    for name in cards.available(cards.SHOWERS):
        _sample_showers(name)


def _sample_hadrons(name: str) -> None:
    import numpy as np

    from fastsim.event.gun import Gun
    from fastsim.registry import load_for_run

    model = load_for_run(name)
    rng = np.random.default_rng(1)
    for num in (FEW, MANY_OF_KIND.get(model.kind, MANY)):
        gun = Gun(tuple(sorted(model.domain.flavours)), (model.domain.pt_min, model.domain.pt_max), num=num)
        model.sample(gun.partons(rng), rng=rng)


def _sample_showers(name: str) -> None:
    import numpy as np

    from fastsim.registry import load_showers
    from fastsim.sources.showers import Incidents

    source = load_showers(name)
    domain = source.domain
    rng = np.random.default_rng(1)
    pdg_id = np.repeat(sorted(domain.particles), SHOWERS_PER_PARTICLE)
    energy = np.geomspace(domain.min_energy, domain.max_energy, len(pdg_id))
    along = np.zeros(len(pdg_id))
    source.sample(Incidents(pdg_id, energy, theta=along, phi=along), rng=rng)
