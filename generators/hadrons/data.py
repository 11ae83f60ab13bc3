"""Training data of the hadron models: token sets made by the Pythia gun, cached on disk by shard."""

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
    """What is drawn: flavours with their shares, pT log-uniform in GeV, pair events (two sets each)."""

    seed: int = 1
    num_events: int = 400_000
    shard_events: int = 20_000
    pt_min: float = 18.0
    pt_max: float = 2200.0
    flavours: tuple[int, ...] = (1, 2, 3, 4, 5, 21)
    shares: tuple[float, ...] = (0.12, 0.12, 0.12, 0.18, 0.2, 0.26)

    @property
    def key(self) -> str:
        """Name of the cache folder: any change of what is drawn changes it; the number of events does not."""
        fields = {k: v for k, v in asdict(self).items() if k != "num_events"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def num_shards(self) -> int:
        return -(-self.num_events // self.shard_events)


def shard(config: DataConfig, number: int, *, workers: int = 0) -> TokenSample:
    """Shard ``number``: its partons and Pythia seeds follow from (config.seed, number) alone."""
    from generators.reference.pythia import token_sample

    rng = np.random.default_rng(np.random.SeedSequence([config.seed, number]))
    flavour = rng.choice(config.flavours, config.shard_events, p=np.array(config.shares) / sum(config.shares))
    pt = np.exp(rng.uniform(np.log(config.pt_min), np.log(config.pt_max), config.shard_events))
    return token_sample(flavour, pt, seed=int(rng.integers(2**31)), workers=workers)


def load(
    config: DataConfig, cache: Path, *, workers: int = 0, progress: Callable[[int, int], None] | None = None
) -> TokenSample:
    """All shards of the configured sample, made where they are not yet in ``cache``.

    A shard is written under a temporary name and renamed, so that a killed run leaves whole shards only.
    """
    folder = cache / config.key
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(config.num_shards):
        path = folder / f"{number:04d}.npz"
        if not path.exists():
            made = shard(config, number, workers=workers)
            partial = path.with_suffix(f".{os.getpid()}.part.npz")
            np.savez(
                partial,
                flavour=made.flavour.astype(np.int8),
                pt=made.pt,
                counts=np.diff(made.offsets).astype(np.int32),
                species=made.species.astype(np.int8),
                p4=made.p4,
            )
            partial.rename(path)
        parts.append(_read(path))
        if progress is not None:
            progress(number + 1, config.num_shards)
    return TokenSample.concatenate(parts)


def _read(path: Path) -> TokenSample:
    with np.load(path, allow_pickle=False) as file:
        offsets = np.concatenate([[0], np.cumsum(file["counts"], dtype=np.int64)])
        return TokenSample(
            file["flavour"].astype(np.int64), file["pt"], offsets, file["species"].astype(np.int64), file["p4"]
        )
