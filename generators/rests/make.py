"""Make a library of rests with Pythia: for the events of a file, or over the whole range of conditions.

A library serves the process that it was made for best: every process has scales and momentum fractions of its own, and
of a library that spreads over all of them few rests are near.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple, Protocol

import numpy as np

from fastsim.errors import FastsimError, OutOfDomain
from fastsim.event import HardEvents, RunInfo
from fastsim.formats import lhe
from generators.reference import library_file
from generators.reference.library_file import BLOCK
from generators.reference.rest_gun import RestGun
from generators.rests.conditions import COLOURLESS, JETS, MIXED, Conditions
from generators.rests.library import SETTINGS

SHARES = {JETS: 0.5, MIXED: 0.25, COLOURLESS: 0.25}
"""Shares of the kinds of hard processes."""
MASSES = {JETS: (2.0, 8.0), MIXED: (1.0, 8.0), COLOURLESS: (1.0, 1.0)}
"""Mass of the hard process in units of its scale: lowest and highest, log-uniform between."""
GLUONIC = 0.5
"""Share of the singlets that are made by gluons."""
QUARKS = (2, 2, 2, 1, 1, 3, 4, 5)
"""Flavours of the quarks of the others, u and d more often, as protons have them."""
LARGEST_MASS, LARGEST_X = 0.7, 0.9
"""Largest mass of a hard process in units of the energy of the collision, and largest momentum fraction."""


class Card(library_file.Card, Protocol):
    """What a library of rests holds."""

    @property
    def seed(self) -> int:
        """Seed of all randomness."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Further lines for Pythia, such as those of a tune."""


@dataclass(frozen=True)
class FileCard:
    """A library of rests for some events of an LHE file.

    Attributes:
        path: the file.
        num: number of events.
        seed: seed of all randomness.
        first: number of the first event.
        settings: further lines for Pythia, such as those of a tune.

    Raises:
        FastsimError: if a value is out of range, or the file cannot be read.
    """

    path: str
    num: int = 6000
    seed: int = 0
    first: int = 0
    settings: tuple[str, ...] = ()

    in_threads = True

    def __post_init__(self) -> None:
        if self.num < 1 or self.seed < 0:
            raise FastsimError(f"num={self.num}, seed={self.seed}: at least one rest, and no negative seed")

    @cached_property
    def run(self) -> RunInfo:
        """The beams, and what the file says about itself."""
        beams = lhe.run_info(self.path)
        card = f"input num={self.num}" if self.first == 0 else f"input first={self.first} num={self.num}"
        provenance = _facts(card, self.seed, self.settings)
        return RunInfo(beams.beam_pdg_id, beams.beam_energy, provenance=provenance)

    @property
    def energy(self) -> float:
        """Energy of both beams together in GeV."""
        return sum(self.run.beam_energy)

    def blocks(self) -> Iterator[Block]:
        """Return the conditions of the events, as far as these have two incoming partons; the file is read once."""
        _, batches = lhe.read(
            self.path, chunk_size=BLOCK, first_event=self.first, num_events=self.num, on_bad=lambda *_: True
        )
        for events in batches:
            first = int(events.number[0] - self.first) // BLOCK * BLOCK + self.first
            chosen = events[np.bincount(events.index[events.status == -1], minlength=len(events)) == 2]
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, first]))
            yield Block(self.run, Conditions.of(chosen, self.run, rng))


class Block(NamedTuple):
    """What a block of rests is made from: the beams, and the conditions."""

    run: RunInfo
    conditions: Conditions


def _facts(card: str, seed: int, settings: tuple[str, ...]) -> dict[str, str]:
    facts = {"tool": "fastsim", "rests": card, "seed": str(seed), "pythia8mc": version("pythia8mc")}
    return {**facts, SETTINGS: "; ".join(settings)} if settings else facts


@dataclass(frozen=True)
class RestCard:
    """A library of rests over a range of scales, whatever the process.

    Attributes:
        energy: centre-of-mass energy of the protons in GeV.
        num: number of rests.
        scale: lowest and highest scale of the hard process in GeV, log-uniform between.
        seed: seed of all randomness.
        settings: further lines for Pythia, such as those of a tune.

    Raises:
        FastsimError: if a value is out of range.
    """

    energy: float = 13600.0
    num: int = 4000
    scale: tuple[float, float] = (8.0, 2500.0)
    seed: int = 0
    settings: tuple[str, ...] = ()

    in_threads = True

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 900.0 <= self.energy <= 100_000.0:
            raise OutOfDomain(f"energy {self.energy:g} GeV: rests are made for protons of 900 GeV to 100 TeV together")
        if not 5.0 <= low < high <= 0.3 * self.energy:
            raise OutOfDomain(
                f"scale {low:g}:{high:g} GeV: must rise from at least 5 GeV to at most {0.3 * self.energy:g} GeV, 0.3 "
                "times the energy"
            )
        if self.num < 100 or self.seed < 0:
            raise FastsimError(f"num={self.num}, seed={self.seed}: at least 100 rests, and no negative seed")

    @property
    def run(self) -> RunInfo:
        """The beams, and what the file says about itself."""
        low, high = self.scale
        card = f"energy={self.energy:g} scale={low:g}:{high:g} num={self.num}"
        energies = 0.5 * self.energy, 0.5 * self.energy
        return RunInfo((2212, 2212), energies, provenance=_facts(card, self.seed, self.settings))

    def blocks(self) -> Iterator[Block]:
        """Draw the conditions."""
        for first in range(0, self.num, BLOCK):
            yield Block(self.run, self.conditions(first, min(BLOCK, self.num - first)))

    def conditions(self, first: int, num: int) -> Conditions:
        """Draw the conditions of rests ``first`` to ``first + num``, which depend on the seed and ``first`` alone."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, first]))
        limits = rng.choice(list(SHARES), num, p=list(SHARES.values()))
        least, most = self.scale
        scale = np.exp(rng.uniform(np.log(least), np.log(most), num))
        low, high = np.log(np.array([MASSES[kind] for kind in limits.tolist()])).T
        root_tau = np.minimum(scale * np.exp(rng.uniform(low, high)) / self.energy, LARGEST_MASS)
        y = rng.uniform(-1.0, 1.0, num) * np.log(LARGEST_X / root_tau)
        x = np.stack([root_tau * np.exp(y), root_tau * np.exp(-y)], axis=-1)
        quark = rng.choice(QUARKS, num) * rng.choice([-1, 1], num)
        incoming = np.where((rng.uniform(size=num) < GLUONIC)[:, None], 21, np.stack([quark, -quark], axis=-1))
        energy = np.array(self.run.beam_energy)
        return Conditions(np.arange(first, first + num), energy, x, incoming, scale, limits.astype(np.int64))


def make_block(card: Card, block: Block) -> HardEvents:
    """Make a block of rests, as events of their singlets."""
    gun = RestGun(replace(block.run, provenance={}), card.settings)
    rests, made = gun.shoot(block.conditions, card.seed)
    events = block.conditions[made].singlets()
    particles = rests.particles
    events = events.with_particles(particles, np.full(len(particles.pdg_id), -1))
    return events.with_columns(event={"recoil": rests.recoil})
