"""What an event costs ``fastsim generate``, stage by stage, in processor time of one core, for docs/production.md.

Each stage is run by itself through public functions, once to compile, then three times (the median counts), then once
under cProfile, which tells in which functions the time is spent. ``bench/throughput.py --profile`` prints the table.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastsim
from bench.endurance import repeated
from bench.validation.hadron_document import table
from fastsim.event import HardEvents, ParticleSet, Partons, RunInfo
from fastsim.event.rng import chunk_rng
from fastsim.formats import lhe
from fastsim.formats.output import open_writer
from fastsim.production.chunks import EVENTS_PER_CHUNK
from fastsim.production.store import content_sha256, load_chunk, packed, save_chunk
from fastsim.shipped import sha256_of
from fastsim.sources.hadrons import HadronSource
from fastsim.sources.pipeline import Pipeline
from generators.hadrons.latent import Latent
from generators.hadrons.source import PrimaryModel
from generators.hadrons.step import Hadronize
from generators.reference.resonances import DecayResonances

FORMATS = ("hepmc3", "hepmc3.gz", "hepmc3.zst", "h5", "root")
ROUNDS = 3
PARTS = {
    "torch": "networks",
    "compiled_network": "networks",
    "inputs": "networks, their input",
    "sampler": "draws",
    "sampling": "draws",
    "sharing": "draws",
    "splittings": "contexts, kinematics",
    "growth": "contexts, kinematics",
}
"""What the modules of the tree model do, as far as their names do not say it."""

Profile = dict[tuple[str, int, str], float]
"""Seconds that functions spend themselves; compiled ones count where they are called."""


class Costs:
    """Rows of the table: a stage, its milliseconds and kB an event, and where it spends them."""

    def __init__(self, num: int) -> None:
        self.num = num
        self.rows: list[list[str]] = []

    def add(
        self, stage: str, action: Callable[[], Any], size: Callable[[], os.stat_result] | None = None
    ) -> tuple[float, Profile]:
        """Run a stage and add its row.

        Args:
            stage: its name.
            action: the stage.
            size: status of the file that it writes, if any.

        Returns:
            Milliseconds an event, and the profile.
        """
        action()
        spent = []
        for _ in range(ROUNDS):
            start = time.process_time()
            action()
            spent.append(time.process_time() - start)
        profile = cProfile.Profile()
        profile.runcall(action)
        own = {key: values[2] for key, values in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
        ms = 1e3 * statistics.median(spent) / self.num
        self.row(stage, ms, "" if size is None else f"{size().st_size / self.num / 1e3:.1f}", where(own))
        return ms, own

    def row(self, stage: str, ms: float, size: str = "", more: str = "") -> None:
        """Add a row."""
        self.rows.append([stage, f"{ms:.3f}", size, more])


def where(own: Profile, most: int = 3) -> str:
    """List the functions that spend most themselves, with their share."""
    whole = sum(own.values())
    largest = sorted(own.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"`{name(key)}` {seconds / whole:.0%}" for key, seconds in largest)


def name(key: tuple[str, int, str]) -> str:
    """Name a function with its module, without its place; a built-in method with its type."""
    file, _, function = key
    if file != "~":
        return f"{Path(file).stem}.{function.strip('<>')}"
    method = re.fullmatch(r"<method '(.*)' of '(.*)' objects>", function)
    return f"{method[2]}.{method[1]}" if method else function.strip("<>").removeprefix("built-in method ")


def by_module(own: Profile) -> dict[str, float]:
    """Compute the share of the time by what the module of the function does, the largest first."""
    shares: dict[str, float] = {}
    for (file, _, function), seconds in own.items():
        module = "torch" if "torch" in file or "torch" in function else "numpy" if file == "~" else Path(file).stem
        label = PARTS.get(module, module)
        shares[label] = shares.get(label, 0.0) + seconds
    whole = sum(shares.values())
    return {label: value / whole for label, value in sorted(shares.items(), key=lambda item: -item[1])}


class Tape(HadronSource):
    """A source whose sets are drawn once; after :meth:`rewind` they are played, and cost nothing."""

    def __init__(self, source: HadronSource) -> None:
        self._model, self.name, self.domain = source, source.name, source.domain
        self.calls: list[tuple[Partons, ParticleSet]] = []
        self._played = 0

    def draw(self, partons: Partons, rng: np.random.Generator) -> ParticleSet:
        if self._played == len(self.calls):
            self.calls.append((partons, self._model.sample(partons, rng=rng)))
        self._played += 1
        return self.calls[self._played - 1][1]

    def rewind(self) -> None:
        self._played = 0


def add_computing(costs: Costs, source: HadronSource, hard: HardEvents) -> HardEvents:
    """Measure the stages between reading and writing, and return the events with hadrons."""
    batches = list(hard.chunks(EVENTS_PER_CHUNK))
    fallback = fastsim.load_model("pythia")

    def events(source: HadronSource) -> HardEvents:
        pipeline = Pipeline([DecayResonances(), Hadronize(source, fallback)])
        return HardEvents.concatenate([pipeline.step(b, rng=chunk_rng(0, k)) for k, b in enumerate(batches)])

    costs.add("**computing**, all of it", lambda: events(source))
    tape = Tape(source)
    hadronized = events(tape)

    def play() -> None:
        tape.rewind()
        events(tape)

    if isinstance(source, PrimaryModel):
        add_model(costs, source, [partons for partons, _ in tape.calls])
    costs.add("decays of resonances, event record", play)
    return hadronized


def add_model(costs: Costs, model: PrimaryModel, batches: list[Partons]) -> None:
    """Measure the stages of a model."""

    def latent() -> list[Latent]:
        return [model.draw_latent(partons, np.random.default_rng(0)) for partons in batches]

    def place() -> list[ParticleSet]:
        noise = np.random.default_rng(0)
        return [model.draw_with_latent(p, noise, z)[0] for p, z in zip(batches, latents, strict=True)]

    def finish() -> None:
        for primary in placed:
            model.decay(primary, np.random.default_rng(0))

    latents = latent()
    placed = place()
    costs.add("latent", latent)
    ms, own = costs.add("primary hadrons from the latent", place)
    for label, share in by_module(own).items():
        if share >= 0.02:
            costs.row(f"- {label}", share * ms)
    costs.add("decays of primary hadrons", finish)


def add_writing(costs: Costs, run: RunInfo, events: HardEvents, folder: Path) -> None:
    """Measure the formats, and what a run keeps besides its output."""
    for ending in FORMATS:
        path = folder / f"events.{ending}"

        def write(path: Path = path) -> None:
            with open_writer(path, run, force=True) as writer:
                for batch in events.chunks(EVENTS_PER_CHUNK):
                    writer.write(batch)

        costs.add(f"writing `.{ending}`", write, path.stat)
    part = folder / "part.npz"
    costs.add("chunk kept while it runs", lambda: save_chunk(part, packed(events)), part.stat)
    costs.add("chunk read again, with `--resume`", lambda: load_chunk(part))
    costs.add("checksum of the events", lambda: content_sha256(events))
    costs.add("checksum of a `.hepmc3`", lambda: sha256_of(folder / "events.hepmc3"))


def profile(model: str, path: Path, num_events: int) -> str:
    """Measure all stages on events of an LHE file, repeated, and write the table in Markdown."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "events.lhe"
        repeated(path, source, num_events)

        def read() -> tuple[RunInfo, HardEvents]:
            run, batches = lhe.read(source, chunk_size=EVENTS_PER_CHUNK)
            return run, HardEvents.concatenate(list(batches))

        costs = Costs(num_events)
        costs.add("reading the LHE file", read, source.stat)
        run, hard = read()
        events = add_computing(costs, fastsim.load_model(model), hard)
        add_writing(costs, run, events, folder)
    return table(["stage", "ms an event", "kB an event", "most time in"], costs.rows)
