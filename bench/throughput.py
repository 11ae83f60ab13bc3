"""Partons to hadrons a second: models and the Pythia gun, on the same partons and cores, for docs/production.md.

Three tables. Sets a second in memory by flavour and range of pT, start-up excluded. The same against batch size,
network evaluations, precision, threads and worker processes. And whole commands from an LHE file to a file of events,
with start-up, reading and writing. Each figure is the median of three rounds, in which all that is measured alternates.
What runs on one core is timed by the processor, so that other work on the machine changes little; several threads or
workers by the clock, bound to as many cores.

The Pythia gun makes a pair of partons for each set and keeps one hemisphere, as ``fastsim reference`` does;
bench/speed.py has Pythia with both counted.

    python -m bench.throughput --models hadron-tree hadron-diffusion
    python -m bench.throughput --profile
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import fastsim
from bench.endurance import FASTSIM, repeated
from bench.production_cost import FORMATS, profile
from bench.shower_speed import children_seconds
from bench.speed import FLAVOURS, PT_RANGES, ROUNDS, bench_partons
from bench.validation.hadron_document import fill, table
from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, Partons
from fastsim.production.chunks import PARTONS_PER_CHUNK, in_order
from fastsim.production.options import available_cpus
from fastsim.production.processes import Processes
from fastsim.sources import cards

GROUPS = {"d, u, s": (1, 2, 3), "c": (4,), "b": (5,), "g": (21,)}
PYTHIA = "pythia"
BATCHES = (16, 256, 1024, 4096, 16384)
STEPS = (4, 8, 16, 32)
POOL = 1 << 16
"""Partons that all sources walk through from the start."""
_WARM = 128


@dataclass(frozen=True)
class Setting:
    """What is measured: a source with its options, the partons, and who computes.

    Attributes:
        source: name of the source.
        flavours: PDG ids of the partons.
        pt: limits of their pT in GeV.
        batch: partons of a batch.
        steps: network evaluations of a diffusion model; None as its card says.
        precision: of the networks; None as the card says.
        threads: threads that compute.
        workers: processes that compute, in place of threads, if not 0.
    """

    source: str
    flavours: tuple[int, ...] = FLAVOURS
    pt: tuple[float, float] = (20.0, 2000.0)
    batch: int = PARTONS_PER_CHUNK
    steps: int | None = None
    precision: str | None = None
    threads: int = 1
    workers: int = 0

    @property
    def cores(self) -> int:
        return max(self.threads, self.workers)


@cache
def load(source: str, steps: int | None = None, precision: str | None = None) -> fastsim.HadronSource:
    """Load a model with other network evaluations or another precision than its card says."""
    if precision is None:
        return fastsim.load_model(source, num_inference_steps=steps)
    card, weights = cards.load(source)
    config = _with_precision(card.config, precision)
    if card.kind == "primary-tree":  # its card may leave it to the default
        config["precision"] = precision
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / f"{card.name}.json"
        changed.write_text(replace(card, config=config).to_json())
        (Path(folder) / card.weights).symlink_to(weights.resolve())
        return fastsim.load_model(changed, num_inference_steps=steps)


def _with_precision(config: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Exchange all entries "precision" of a model's config."""
    new = {
        key: _with_precision(value, precision) if isinstance(value, dict) else value for key, value in config.items()
    }
    return {**new, "precision": precision} if "precision" in new else new


@dataclass(frozen=True)
class SampleBatch:
    """Sets of a batch of partons: job (number, partons)."""

    model: fastsim.HadronSource

    def __call__(self, job: tuple[int, Partons]) -> ParticleSet:
        number, partons = job
        sets: ParticleSet = self.model.sample(partons, seed=number)
        return sets


@contextmanager
def bound_to(cores: int) -> Iterator[None]:
    """Let this process, and those that it starts, run on some cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(setting: Setting, seconds: float, seed: int) -> float:
    """Measure the sets a second, once all is loaded and warm. No batch begins after ``seconds``."""
    clock = time.process_time if setting.cores == 1 and not setting.workers else time.perf_counter
    partons = bench_partons(*setting.pt, POOL, seed, setting.flavours)
    size = min(setting.batch, POOL)

    def jobs() -> Iterator[tuple[int, Partons]]:
        number, end = 0, clock() + seconds
        while number == 0 or clock() < end:
            first = number * size % POOL
            yield number, partons[first : first + size]
            number += 1

    task = SampleBatch(load(setting.source, setting.steps, setting.precision))
    with bound_to(setting.cores), Processes(task, setting.workers) if setting.workers else nullcontext(task) as compute:
        warm = ((number, partons[:_WARM]) for number in range(2 * setting.cores))
        assert all(len(sets) == _WARM for sets in in_order(compute, warm, setting.cores))
        start = clock()
        num_sets = sum(len(sets) for sets in in_order(compute, jobs(), setting.cores))
        return num_sets / (clock() - start)


def variants(models: Sequence[str]) -> dict[str, list[Setting | None]]:
    """List what a rate may depend on: settings of Pythia and of each model by label, None without the option."""
    gun = Setting(PYTHIA, batch=256)
    base = [Setting(name) for name in models]
    steps = [cards.read(name)[0].kind == "primary-flow" for name in models]
    rows: dict[str, list[Setting | None]] = {"batch 4096, one thread": [gun, *base]}
    for batch in BATCHES:
        if batch != PARTONS_PER_CHUNK:
            rows[f"batch {batch}"] = [None, *(replace(setting, batch=batch) for setting in base)]
    for num in STEPS if any(steps) else ():
        varied = [replace(setting, steps=num) if has else None for setting, has in zip(base, steps, strict=True)]
        rows[f"{num} network evaluations"] = [None, *varied]
    rows["float32"] = [None, *(replace(setting, precision="float32") for setting in base)]
    for num in range(2, available_cpus() + 1):
        rows[f"{num} threads"] = [None, *(replace(setting, threads=num) for setting in base)]
        rows[f"{num} workers"] = [replace(setting, workers=num) for setting in (gun, *base)]
    return rows


def medians(
    settings: Sequence[Any], measure: Callable[[Any, int], float], log: Callable[[str], None]
) -> dict[Any, float]:
    """Find the median of the rounds of each setting; a round measures all of them."""
    values_of: dict[Any, list[float]] = {setting: [] for setting in settings}
    for number in range(ROUNDS):
        for setting in values_of:
            values_of[setting].append(measure(setting, number))
            log(f"round {number + 1} of {ROUNDS}: {values_of[setting][-1]:,.4g} {setting}")
    return {setting: float(np.median(values)) for setting, values in values_of.items()}


def by_flavour(models: Sequence[str], seconds: float, log: Callable[[str], None]) -> str:
    """Write the table of sets a second by flavour and range of pT, and their ratio to Pythia's."""
    sources = (PYTHIA, *models)
    cells = {
        (source, group, pt): Setting(source, flavours, pt, 256 if source == PYTHIA else PARTONS_PER_CHUNK)
        for group, flavours in GROUPS.items()
        for source in sources
        for pt in PT_RANGES
    }
    rates = medians(list(cells.values()), lambda setting, seed: rate(setting, seconds, seed), log)

    def cell(source: str, group: str, pt: tuple[float, float]) -> str:
        value, gun = (rates[cells[name, group, pt]] for name in (source, PYTHIA))
        return f"{value:,.0f}" + ("" if source == PYTHIA else f" (×{value / gun:.2g})")

    header = ["sets/s, one core", "", *(f"{lo:.0f}-{hi:.0f} GeV" for lo, hi in PT_RANGES)]
    rows = [
        [group, Path(source).name, *(cell(source, group, pt) for pt in PT_RANGES)]
        for group in GROUPS
        for source in sources
    ]
    return table(header, rows)


def by_option(models: Sequence[str], seconds: float, log: Callable[[str], None]) -> str:
    """Write the table of sets a second of all flavours, 20 to 2000 GeV, one option changed at a time."""
    rows = variants(models)
    settings = [setting for row in rows.values() for setting in row if setting is not None]
    rates = medians(settings, lambda setting, seed: rate(setting, seconds, seed), log)
    header = ["sets/s", "Pythia gun", *(Path(name).name for name in models)]
    return table(
        header, [[label, *("" if s is None else f"{rates[s]:,.0f}" for s in row)] for label, row in rows.items()]
    )


@dataclass(frozen=True)
class Command:
    """A command on the first ``num`` events of a file, with the model's name or Pythia's, on one core."""

    source: str
    ending: str
    num: int

    def seconds(self, input: Path, folder: Path) -> float:
        """Run the command, and return its CPU seconds."""
        output = folder / f"output.{self.ending}"
        words = ["reference"] if self.source == PYTHIA else ["generate", "--event", "hard", "--model", self.source]
        words += [] if self.source == PYTHIA else ["--threads", "1"]
        words += [str(input), "-o", str(output), "--num-events", str(self.num), "--force"]
        start = children_seconds()
        with bound_to(1):
            subprocess.run([*FASTSIM, *words], check=True, stdout=subprocess.DEVNULL)
        return children_seconds() - start


def by_command(models: Sequence[str], num: int, input: Path, log: Callable[[str], None]) -> str:
    """Write the table of whole commands: start-up, time, and events a second with and without start-up."""
    commands = {
        (source, ending, n): Command(source, ending, n)
        for source in (PYTHIA, *models)
        for ending in FORMATS
        for n in (1, num)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = folder / "events.lhe"
        repeated(input, events, num)
        seconds = medians(list(commands.values()), lambda command, _: command.seconds(events, folder), log)
    rows = []
    for ending in FORMATS:
        for source in (PYTHIA, *models):
            start, whole = (seconds[commands[source, ending, n]] for n in (1, num))
            rates = [num / whole, (num - 1) / (whole - start)]
            cells = [f"{start:.1f} s", f"{whole:.1f} s", *(f"{value:,.0f}" for value in rates)]
            rows.append([f"`.{ending}`", Path(source).name, *cells])
    header = ["one core", "", "one event", f"{num:,} events", "events/s, with start-up", "without"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[cards.DEFAULT_MODEL], help="names or cards")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of a rate, at least one batch")
    parser.add_argument("--events", type=int, default=4096, help="of the whole commands")
    parser.add_argument("--input", type=Path, default=Path("data/examples/pp_dijet.lhe.gz"), help="LHE file, repeated")
    parser.add_argument(
        "--profile", action="store_true", help="only where the time goes, stage by stage, of the first model"
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of production.md")
    options = parser.parse_args()

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def show(marker: str, text: str) -> None:
        print(text, flush=True)
        fill(options.docs / "production.md", marker, text)

    if options.profile:
        show("stages", profile(options.models[0], options.input, options.events))
        return
    show("throughput", by_flavour(options.models, options.seconds, log))
    show("options", by_option(options.models, options.seconds, log))
    show("commands", by_command(options.models, options.events, options.input, log))


if __name__ == "__main__":
    try:
        main()
    except FastsimError as error:
        sys.exit(f"error: {error}")
