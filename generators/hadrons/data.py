"""Training data of the hadron models: token sets of the Pythia gun, cached on disk in shards.

The gun is that of the Monash tune, with other settings of Pythia where a config says so. For a model of tunes every
block of :data:`generators.hadrons.gun.BLOCK` pair events is of a tune of its own
(:func:`generators.hadrons.tunes.design`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.errors import FastsimError
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.records import RecordConfig, read_config
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tunes import NAMES, Tune, design, parameter
from generators.reference.settings import check_settings, read_settings
from generators.training.config import from_dict

_SHOWER = "partonshowers:model"


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
        settings: further lines for Pythia, of all events.
        tunes: names of the parameters whose tunes fill their ranges, one tune for each block of events.
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
    settings: tuple[str, ...] = ()
    tunes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of the cache folder: it depends on all that decides a shard, so not on the number of events."""
        values = asdict(self)
        left_out = {"num_events", *(name for name in ("settings", "tunes") if not values[name])}
        fields = {k: v for k, v in values.items() if k not in left_out}
        if self.tunes:  # the tunes of a design change with the ranges
            fields["ranges"] = [(parameter(name).low, parameter(name).high) for name in self.tunes]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_events // self.shard_events)

    def tunes_of(self, number: int) -> list[Tune]:
        """Return the tunes of the blocks of a shard: of one sequence, which goes on from shard to shard."""
        blocks = -(-self.shard_events // BLOCK)
        if not self.tunes:
            return [Tune()] * blocks
        return design((number + 1) * blocks, self.tunes, seed=self.seed)[number * blocks :]


def read_configs(section: Any, config_path: Path) -> list[DataConfig | RecordConfig]:
    """Read the section "data" of a config: a sample, or a list of samples that are trained on together.

    Args:
        section: JSON object with the attributes of :class:`DataConfig`, or a list of these; "cmnd" is a file of further
            settings of Pythia, in a path from the config's folder. One with "files" is a
            :class:`~generators.hadrons.records.RecordConfig`.
        config_path: where it is from.

    Raises:
        FastsimError: naming the key, or the line of a file, that is not understood.
    """
    sections = section if isinstance(section, list) else [section]
    result: list[DataConfig | RecordConfig] = []
    for number, values in enumerate(sections):
        where = f"{config_path}: data" + (f"[{number}]" if isinstance(section, list) else "")
        if isinstance(values, Mapping) and "files" in values:
            result.append(read_config(values, where))
            continue
        given = dict(values) if isinstance(values, Mapping) else values
        lines = given.pop("cmnd", None) if isinstance(given, dict) else None
        config = from_dict(DataConfig, given, where)
        for name in config.tunes:
            if name not in NAMES:
                raise FastsimError(f"{where}: tunes: no parameter {name!r}: there are {', '.join(NAMES)}")
        own = () if lines is None else read_settings(config_path.parent / lines, where)
        config = replace(config, settings=(*own, *config.settings))
        place = where if lines is None else f"{where}: {lines}"
        check_settings(config.settings, place)
        _refuse_other_showers(config.settings, place)
        result.append(config)
    return result


def _refuse_other_showers(lines: Sequence[str], where: object) -> None:
    """Raise FastsimError for a setting with which Pythia showers no pair by itself: it fails in the middle of one."""
    for line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        if key.lower() == _SHOWER and value != "1":
            raise FastsimError(
                f"{where}: {line!r}: the gun's pairs are showered by Pythia's own shower alone: of others learn from "
                'files of whole events ("files")'
            )


def tune_parameters(configs: Sequence[DataConfig | RecordConfig]) -> tuple[str, ...]:
    """Return the names of the parameters of tunes that vary in some of the samples, in their order."""
    varied = {name for c in configs for name in (c.tunes if isinstance(c, DataConfig) else c.tune.changed)}
    return tuple(name for name in NAMES if name in varied)


def shard(config: DataConfig, number: int, *, workers: int = 0) -> TokenSample:
    """Generate a shard, whose partons and Pythia seeds follow from (config.seed, number) alone."""
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, number]))
    flavour = rng.choice(config.flavours, config.shard_events, p=np.array(config.shares) / sum(config.shares))
    pt = np.exp(rng.uniform(np.log(config.pt_min), np.log(config.pt_max), config.shard_events))
    least = np.maximum(config.ratio_min, np.minimum(config.scale_min / pt, 1.0))
    ratio = np.where(rng.random(len(pt)) < config.low_scales, least ** rng.random(len(pt)), 1.0)
    tunes = config.tunes_of(number)
    sample = token_sample(
        flavour,
        pt,
        ratio * pt,
        seed=int(rng.integers(2**31)),
        workers=workers,
        settings=[(*config.settings, *tune.settings) for tune in tunes],
    )
    vectors = np.array([tune.vector(config.tunes) for tune in tunes])
    return replace(sample, tune=np.repeat(vectors, 2 * BLOCK, axis=0)[: len(sample)])


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
                **({"tune": sample.tune.astype(np.float32)} if config.tunes else {}),
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
            file["tune"].astype(np.float64) if "tune" in file else np.zeros((0, 0)),
        )
