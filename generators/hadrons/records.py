"""Training data from records: singlets of two partons whose primary hadrons a file keeps, of any generator.

The partons are those of the record (.h5 and .root files of fastsim), or of an LHE file with the same events (HepMC
files, which are read without their hard process). Each event is one colour singlet and nothing else, such as
e+ e- -> q qbar: both hemispheres are learned, alone and given the other.

Which hadron carries the parton's quark no record says. It is drawn among those that may, each as likely as the model
that the training begins with finds it; without such a model it is the hardest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastsim.errors import FastsimError, InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, ParticleSet
from fastsim.event.kinematics import boost_from, mass, rotate_between
from fastsim.event.reconstruction import is_parton
from fastsim.sources.hadrons import PartonPairs
from generators.hadrons.likelihood import primary_hadrons, summed, tokens_of_pairs, with_carriers
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.model import PrimaryTree
from generators.hadrons.tunes import Tune
from generators.training.config import check_keys, from_dict

_FEW, _ALONG = 20, 0.6
"""Events from which on it is asked whether hadrons fly along their partons, and how much of their momenta has to lie
along these: it is 0.5 if they know nothing of each other; of hadron-tree-tunes 0.85 in u pairs of 10 GeV and 0.93 in
those of 91 GeV, in gluon pairs 0.68 and 0.84."""
_CLOSED = 1e-3
"""Largest difference between the momenta of partons and hadrons, relative to the mass of the singlet."""
_SETS_AT_ONCE = 400
"""Sets whose carriers are drawn at once: each has some ten readings."""
_AXIS = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class RecordFile:
    """A file of events.

    Attributes:
        path: of a HepMC, HDF5 or ROOT file, from the folder of the config.
        weight: of its events, relative to those of the other files; their own weights come on top.
        partons: path of the LHE file with the partons of the events, if the record has none.
    """

    path: str
    weight: float = 1.0
    partons: str = ""


@dataclass(frozen=True)
class RecordConfig:
    """Files of one sample.

    Attributes:
        files: the files.
        tune: the tune that their events are of, for a model of tunes.
        seed: decides carriers, and which events a weight repeats or leaves out.
    """

    files: tuple[RecordFile, ...]
    tune: Tune = field(default_factory=Tune)
    seed: int = 1


def read_config(values: Mapping[str, Any], where: object) -> RecordConfig:
    """Read a section with "files" of a config: paths, or objects with the attributes of :class:`RecordFile`.

    Raises:
        FastsimError: naming the key that is not understood.
    """
    check_keys(values, ("files", "tune", "seed"), where)
    files = values["files"]
    if not isinstance(files, list) or not files:
        raise FastsimError(f"{where}: files: {files!r}: give a list of paths, or of objects with path, weight, partons")
    found = []
    for number, each in enumerate(files):
        own = from_dict(RecordFile, {"path": each} if isinstance(each, str) else each, f"{where}: files[{number}]")
        if not (isinstance(own.weight, int | float) and own.weight > 0):
            raise FastsimError(f"{where}: files[{number}]: weight {own.weight!r} is no positive number")
        found.append(own)
    try:
        tune = Tune.parse(str(values.get("tune", "")))
    except FastsimError as error:
        raise FastsimError(f"{where}: {error}") from None
    return RecordConfig(tuple(found), tune, int(values.get("seed", 1)))


def load(config: RecordConfig, folder: Path, model: PrimaryTree | None, where: object) -> TokenSample:
    """Read all files of a sample as token sets: 2i and 2i + 1 are the hemispheres of one singlet.

    Events are repeated and left out so that all weigh the same.

    Args:
        config: the files.
        folder: that their paths start from.
        model: judges which hadrons are carriers.
        where: what messages begin with.

    Raises:
        FastsimError: if a file cannot be read, or an event lacks what is needed, naming both.
    """
    rng = np.random.default_rng(config.seed)
    parts, weights = [], []
    for file in config.files:
        try:
            for tokens, own in _batches(folder / file.path, folder / file.partons if file.partons else None):
                parts.append(tokens)
                weights.append(file.weight * own)
        except (FastsimError, OSError) as error:
            raise FastsimError(f"{where}: {file.path}: {error}") from error
    if not parts or sum(len(part) for part in parts) == 0:
        raise FastsimError(f"{where}: {', '.join(file.path for file in config.files)}: no events")
    tokens, weight = TokenSample.concatenate(parts), np.concatenate(weights)
    expected = weight / weight.mean()
    copies = np.floor(expected + rng.random(len(expected))).astype(np.int64)
    pairs = np.repeat(np.arange(len(copies)), copies)
    rows = np.stack([2 * pairs, 2 * pairs + 1], -1).ravel()
    return with_drawn_carriers(tokens, model, rng).batch(rows)


def with_drawn_carriers(tokens: TokenSample, model: PrimaryTree | None, rng: np.random.Generator) -> TokenSample:
    """Return token sets with one carrier each, or none, among the hadrons that may be: see the module.

    Args:
        tokens: N sets without carriers.
        model: says how likely each is; without it, the hardest is the carrier.
        rng: all randomness.
    """
    parts = []
    for start in range(0, len(tokens), _SETS_AT_ONCE):
        some = tokens[start : start + _SETS_AT_ONCE]
        readings, source = with_carriers(some)
        if model is None:
            has = np.flatnonzero(readings.carrier)
            value = np.zeros(len(readings))
            value[readings.index[has]] = readings.p4[has, 0]
            last = np.lexsort((value, source))[np.flatnonzero(np.diff(source, append=-1))]
        else:
            own = replace(readings, tune=model.vectors(len(readings)))
            log_p = model.log_prob(own)
            share = np.exp(log_p - summed(log_p, source, len(some))[source])
            total = np.cumsum(share)
            first = np.searchsorted(source, np.arange(len(some)))
            before = total[first] - share[first]
            drawn = np.searchsorted(total, before + rng.random(len(some)))
            last = np.clip(drawn, first, np.append(first[1:], len(source)) - 1)
        parts.append(readings[last])
    return TokenSample.concatenate(parts)


def _batches(path: Path, partons: Path | None) -> Iterator[tuple[TokenSample, Floats]]:
    """Yield the hemispheres of the singlets of a file, and the weights of the singlets, batch by batch.

    Raises:
        FastsimError: if the file cannot be read, or an event lacks what is needed.
    """
    from fastsim.formats import lhe
    from fastsim.formats.events import read_events

    _, batches = read_events(path, history=True)
    given = None if partons is None else lhe.read(partons)[1]
    for events in batches:
        hard = events if given is None else next(given, None)
        if hard is None or len(hard) < len(events):
            raise FastsimError(f"{partons} has fewer events than the record")
        hard = hard[: len(events)]
        yield _tokens(events, *_pairs(hard, events.number))


def with_partons(events: HardEvents, hard: HardEvents) -> HardEvents:
    """Return events of colour singlets whose record has no partons, such as HepMC files give, with partons of others.

    Args:
        events: E events with the history of their particles, each of the hadrons of one singlet.
        hard: E events of two partons each, in the same order.

    Raises:
        InvalidEvent: if an event has not two partons, its hadrons are not all theirs, or they fly elsewhere.
    """
    assert events.particles is not None
    _at_rest(events, *_pairs(hard, events.number))
    first = np.searchsorted(np.flatnonzero((hard.status == 1) & is_parton(hard.pdg_id)), hard.offsets[:-1])
    rows = np.flatnonzero((hard.status == 1) & is_parton(hard.pdg_id))[first] - hard.offsets[:-1]
    origin = rows[events.particles.index]
    given = replace(hard, number=events.number, weights=events.weights)
    return given.with_particles(events.particles, origin)


def _pairs(hard: HardEvents, numbers: Ints) -> tuple[PartonPairs, Floats]:
    """Return the partons of each event as pairs, and the four-momenta of the first and of both, (E, 2, 4) in GeV."""
    rows = np.flatnonzero((hard.status == 1) & is_parton(hard.pdg_id))
    count = np.bincount(hard.index[rows], minlength=len(hard))
    if (count != 2).any():
        row = int(np.argmax(count != 2))
        raise InvalidEvent(
            f"event {numbers[row]} has {count[row]} final partons: events of two are learned from; of a record without "
            "partons, name the LHE file that has them ('partons')"
        )
    ids, p4 = hard.pdg_id[rows].reshape(-1, 2), hard.p4[rows].reshape(-1, 2, 4)
    total = p4.sum(1)
    scale = np.where(hard.scale > 0, hard.scale, np.inf)
    return PartonPairs(ids, mass(total), scale), np.stack([p4[:, 0], total], 1)


def _tokens(events: HardEvents, pairs: PartonPairs, momenta: Floats) -> tuple[TokenSample, Floats]:
    """Return the hemispheres of the singlets of events, and the weights of these."""
    primary, rest, axis = _at_rest(events, pairs, momenta)
    weight = events.weights[:, 0]
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        row = int(np.argmax(~(weight >= 0) | ~np.isfinite(weight)))
        raise InvalidEvent(
            f"event {events.number[row]}: its weight is {weight[row]:g}: give events of positive weights"
        )
    index = primary.index
    turned = rotate_between(rest[:, 1:], axis[index], np.broadcast_to(_AXIS, (len(index), 3)))
    sets = ParticleSet(primary.offsets, primary.pdg_id, np.concatenate([rest[:, :1], turned], -1))
    tokens, kept = tokens_of_pairs(pairs, sets)
    return tokens, weight[kept]


def _at_rest(events: HardEvents, pairs: PartonPairs, momenta: Floats) -> tuple[ParticleSet, Floats, Floats]:
    """Return the primary hadrons of singlets, their momenta (M, 4) at rest, and unit vectors (E, 3) of first partons.

    Args:
        events: with the history of their particles.
        pairs: the partons of each.
        momenta: of the first parton and of both, (E, 2, 4) in GeV.

    Raises:
        InvalidEvent: if the hadrons are not all those of the partons, or fly elsewhere.
    """
    assert events.particles is not None
    primary, total = primary_hadrons(events.particles, events.number), momenta[:, 1]
    off = np.abs(primary.sums() - total).max(1) > _CLOSED * pairs.mass
    if off.any():
        row = int(np.argmax(off))
        raise InvalidEvent(
            f"event {events.number[row]}: its hadrons have a four-momentum of {_short(primary.sums()[row])} GeV, its "
            f"two partons one of {_short(total[row])} GeV: give events of one colour singlet and nothing else"
        )
    axis = boost_from(momenta[:, 0], total)[:, 1:]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    rest = boost_from(primary.p4, total[primary.index])
    along = np.abs((rest[:, 1:] * axis[primary.index]).sum(1)).sum()
    share = along / max(float(np.linalg.norm(rest[:, 1:], axis=1).sum()), 1e-300)
    if len(events) >= _FEW and share < _ALONG:
        raise InvalidEvent(
            f"the hadrons fly elsewhere than the partons do (of their momenta {share:.0%} lie along these): give the "
            "partons of the same events, in their order"
        )
    return primary, rest, np.asarray(axis)


def _short(p4: Floats) -> str:
    return "(" + ", ".join(f"{x:.5g}" for x in p4) + ")"
