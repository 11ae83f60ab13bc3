"""Training data of the hadron models: token sets of the Pythia gun, cached on disk in shards."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from generators.hadrons.tokens import TokenSample


@dataclass(frozen=True)
class DataConfig:
    """What is drawn: pair events, two token sets each, of partons whose pT is uniform in its logarithm.

    The shower starts at pT, or for a share of the events lower, at a scale that is uniform in its logarithm too.

    Attributes:
        seed: decides partons and showers.
        num_events: pair events in all, rounded up to whole shards.
        shard_events: pair events of a shard.
        pt_min: lowest pT in GeV.
        pt_max: highest pT in GeV.
        flavours: PDG ids of the partons.
        shares: of the flavours among the events.
        low_scales: share of the events whose shower starts below pT.
        scale_min: lowest scale in GeV.
        ratio_min: lowest scale over pT.
    """

    seed: int = 1
    num_events: int = 400_000
    shard_events: int = 20_000
    pt_min: float = 4.5
    pt_max: float = 2200.0
    flavours: tuple[int, ...] = (1, 2, 3, 4, 5, 21)
    shares: tuple[float, ...] = (0.13, 0.13, 0.13, 0.17, 0.18, 0.26)
    low_scales: float = 0.35
    scale_min: float = 1.0
    ratio_min: float = 0.01

    @property
    def key(self) -> str:
        """Name of the cache folder: it depends on all that decides a shard, so not on the number of events."""
        fields = {k: v for k, v in asdict(self).items() if k != "num_events"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_events // self.shard_events)


def shard(config: DataConfig, number: int, *, workers: int = 0) -> TokenSample:
    """Generate a shard, whose partons and Pythia seeds follow from (config.seed, number) alone."""
    from generators.hadrons.gun import token_sample

    rng = np.random.default_rng(np.random.SeedSequence([config.seed, number]))
    flavour = rng.choice(config.flavours, config.shard_events, p=np.array(config.shares) / sum(config.shares))
    pt = np.exp(rng.uniform(np.log(config.pt_min), np.log(config.pt_max), config.shard_events))
    least = np.maximum(config.ratio_min, np.minimum(config.scale_min / pt, 1.0))
    ratio = np.where(rng.random(len(pt)) < config.low_scales, least ** rng.random(len(pt)), 1.0)
    return token_sample(flavour, pt, ratio * pt, seed=int(rng.integers(2**31)), workers=workers)


def load(
    config: DataConfig, cache: Path, *, workers: int = 0, progress: Callable[[int, int], None] | None = None
) -> TokenSample:
    """Load all shards of a sample, and generate those that ``cache`` lacks.

    A shard is written under a temporary name and renamed, so that a killed run leaves whole shards only.

    Args:
        config: what is drawn.
        cache: folder of all samples.
        workers: processes that run Pythia; 0: this one.
        progress: called with the shards loaded so far, and their number.
    """
    folder = cache / config.key
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(config.num_shards):
        path = folder / f"{number:04d}.npz"
        if not path.exists():
            sample = shard(config, number, workers=workers)
            partial = path.with_suffix(f".{os.getpid()}.part.npz")
            np.savez(
                partial,
                flavour=sample.flavour.astype(np.int8),
                pt=sample.pt,
                counts=np.diff(sample.offsets).astype(np.int32),
                scale=sample.scale,
                species=sample.species.astype(np.uint8),
                p4=sample.p4,
                mass=sample.mass,
                carrier=sample.carrier,
            )
            partial.rename(path)
        parts.append(_read(path))
        if progress is not None:
            progress(number + 1, config.num_shards)
    return TokenSample.concatenate(parts)


def _read(path: Path) -> TokenSample:
    """Read the file of a shard."""
    with np.load(path, allow_pickle=False) as file:
        offsets = np.concatenate([[0], np.cumsum(file["counts"], dtype=np.int64)])
        return TokenSample(
            file["flavour"].astype(np.int64),
            file["pt"],
            file["scale"],
            offsets,
            file["species"].astype(np.int64),
            file["p4"],
            file["mass"],
            file["carrier"],
        )
