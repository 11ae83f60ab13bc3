"""ROOT: a TTree ``events`` with jagged branches, written through uproot.

Branches: ``number``, ``process``, ``scale``; ``weights``; ``hard_*`` (the hard process), ``particle_*`` (final
particles) and, where there are any, ``decayed_*`` (what decayed into them) and ``cell_*`` (calorimeter cells), with
their counters ``nhard``, ``nparticle``, ``ndecayed`` and ``ncell``. The run is a JSON text under ``run``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import awkward as ak
import numpy as np
import uproot

from fastsim.errors import FastsimError
from fastsim.event import Cells, Decayed, Floats, HardEvents, History, Ints, ParticleSet, RunInfo, offsets_from_counts
from fastsim.formats.atomic import AtomicWriter, PathLike, writing

MOMENTUM, PLACE = ("e", "px", "py", "pz"), ("ct", "x", "y", "z")
"""Names of the components of a four-momentum in GeV, and of the place, in mm, where a particle was made."""
COLUMN = "column_"
"""Prefix in the names of branches that hold named columns: ``column_NAME``, ``hard_column_NAME``..."""


class Writer(AtomicWriter):
    """Writes batches of hard events with their particles.

    The first batch decides whether the file has what decayed into the particles; in later ones it is left out, or
    mothers are -1.

    Args:
        path: the output.
        run: kept as JSON text under the key ``run``.
        force: replace an existing file.

    Raises:
        OutputError: if the output cannot be written.
    """

    def __init__(self, path: PathLike, run: RunInfo, *, force: bool = False) -> None:
        super().__init__(path, force=force)
        if self._target is None:
            raise FastsimError("ROOT cannot be written to standard output; give a file name")
        with writing(path):
            self._file = uproot.recreate(self._place)
            self._file["run"] = json.dumps(asdict(run))
        self.run = run
        self._tree: Any = None
        self._with_history: bool | None = None  # not known before the first batch

    def write(self, events: HardEvents) -> None:
        """Add a batch of events as one basket of each branch."""
        if len(events) == 0:
            return
        if events.particles is not None and self._with_history is not None:
            history = events.particles.history
            if (history is not None) != self._with_history:
                unknown = History.unknown(len(events), len(events.particles.pdg_id)) if self._with_history else None
                events = replace(events, particles=replace(events.particles, history=unknown))
        branches = _branches(events)
        with writing(self.path):
            self._make_tree(branches)
            self._tree.extend(branches)
        self.num_written += len(events)

    def _make_tree(self, branches: dict[str, Any]) -> None:
        if self._tree is None:
            self._tree = self._file.mktree("events", {k: _branch_type(v) for k, v in branches.items()})
            self._with_history = "decayed" in branches

    def _finish(self, complete: bool) -> None:
        if complete:  # a run without events has a tree too
            self._make_tree(_branches(self.run.no_events()))
        self._file.close()


def _branches(events: HardEvents) -> dict[str, Any]:
    """Return the columns of a batch by the names of their branches.

    Raises:
        FastsimError: if a named column of entries or particles has more than one number for each.
    """
    particles = events.particles if events.particles is not None else ParticleSet.empty(len(events))
    origin = events.origin if events.origin is not None else np.zeros(0, np.int64)
    hard: dict[str, Any] = {
        "pdg_id": events.pdg_id.astype(np.int32),
        "status": events.status.astype(np.int32),
        "mother1": events.mothers[:, 0].astype(np.int32),
        "mother2": events.mothers[:, 1].astype(np.int32),
        "colour": events.colours[:, 0].astype(np.int32),
        "anticolour": events.colours[:, 1].astype(np.int32),
        "mass": events.mass,
    }
    final: dict[str, Any] = {"pdg_id": particles.pdg_id.astype(np.int32), "origin": origin.astype(np.int32)}
    hard |= _components(MOMENTUM, events.p4)
    final |= _components(MOMENTUM, particles.p4)
    if (history := particles.history) is not None:
        final |= {"mother": history.mother.astype(np.int32), **_components(PLACE, history.vertex, np.float32)}
    for target, named in ((hard, events.hard_columns), (final, events.particle_columns)):
        for name, values in named.items():
            if values.ndim > 1:
                raise FastsimError(f"column {name!r}: ROOT takes one number for each particle, not {values.shape[1:]}")
            target[f"{COLUMN}{name}"] = values
    branches = {
        "number": events.number,
        "process": events.process.astype(np.int32),
        "scale": events.scale,
        "weights": events.weights,
        **{f"{COLUMN}{name}": values for name, values in events.event_columns.items()},
        "hard": _jagged(events.offsets, hard),
        "particle": _jagged(particles.offsets, final),
    }
    if history is not None:
        decayed = {
            "pdg_id": history.decayed.pdg_id.astype(np.int32),
            "mother": history.decayed.mother.astype(np.int32),
            **_components(MOMENTUM, history.decayed.p4),
            **_components(PLACE, history.decayed.vertex, np.float32),
        }
        branches["decayed"] = _jagged(history.decayed.offsets, decayed)
    if events.cells is not None:
        columns = {"id": events.cells.id.astype(np.int32), "energy": events.cells.energy}
        branches["cell"] = _jagged(events.cells.offsets, columns)
    return branches


def _components(names: tuple[str, ...], vectors: Floats, kind: type = np.float64) -> dict[str, Any]:
    """Return the components of four-vectors (N, 4) as columns (N,) by name."""
    return {name: vectors[:, k].astype(kind) for k, name in enumerate(names)}


def _jagged(offsets: Ints, columns: dict[str, Any]) -> Any:
    """Return an awkward array of records, one list an event."""
    content = ak.zip({name: ak.Array(np.ascontiguousarray(values)) for name, values in columns.items()})
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), content.layout))


def _branch_type(values: Any) -> Any:
    """Return the type of a branch, which uproot takes before the branch is filled."""
    if isinstance(values, np.ndarray):
        return np.dtype((values.dtype, values.shape[1:]))
    return values.type.content


def read(path: PathLike) -> tuple[RunInfo, HardEvents]:
    """Read the run information and all events of a file that :class:`Writer` wrote.

    Raises:
        FastsimError: if the file cannot be read.
    """
    try:
        with uproot.open(path) as file:
            run = json.loads(str(file["run"]))
            tree = file["events"].arrays(library="ak")
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FastsimError(f"{path}: not a readable fastsim ROOT file ({error})") from error

    def column(name: str) -> Any:
        return ak.to_numpy(ak.flatten(tree[name], axis=1))

    def vectors(prefix: str, names: tuple[str, ...] = MOMENTUM) -> Any:
        return np.stack([column(f"{prefix}_{name}") for name in names], axis=1)

    def named(prefix: str) -> list[str]:
        start = f"{prefix}{COLUMN}"
        return [name.removeprefix(start) for name in tree.fields if name.startswith(start)]

    def offsets(prefix: str) -> Ints:
        return offsets_from_counts(ak.to_numpy(tree[f"n{prefix}"]))

    history = None
    if "ndecayed" in tree.fields:
        ids, mother = column("decayed_pdg_id"), column("decayed_mother")
        decayed = Decayed(offsets("decayed"), ids, vectors("decayed"), mother, vectors("decayed", PLACE))
        history = History(decayed, column("particle_mother"), vectors("particle", PLACE))
    pairs = {k: tuple(v) for k, v in run.items() if k in ("beam_pdg_id", "beam_energy", "weight_names")}
    info = RunInfo(**{**run, **pairs, "processes": tuple(tuple(row) for row in run["processes"])})
    events = HardEvents(
        number=ak.to_numpy(tree["number"]),
        offsets=offsets("hard"),
        pdg_id=column("hard_pdg_id").astype(np.int64),
        status=column("hard_status").astype(np.int64),
        mothers=np.stack([column("hard_mother1"), column("hard_mother2")], axis=1).astype(np.int64),
        colours=np.stack([column("hard_colour"), column("hard_anticolour")], axis=1).astype(np.int64),
        p4=vectors("hard"),
        mass=column("hard_mass"),
        weights=ak.to_numpy(tree["weights"]),
        process=ak.to_numpy(tree["process"]).astype(np.int64),
        scale=ak.to_numpy(tree["scale"]),
        particles=ParticleSet(offsets("particle"), column("particle_pdg_id"), vectors("particle"), history),
        origin=column("particle_origin").astype(np.int64),
        cells=Cells(offsets("cell"), column("cell_id"), column("cell_energy")) if "ncell" in tree.fields else None,
        event_columns={name: ak.to_numpy(tree[f"{COLUMN}{name}"]) for name in named("")},
        hard_columns={name: column(f"hard_{COLUMN}{name}") for name in named("hard_")},
        particle_columns={name: column(f"particle_{COLUMN}{name}") for name in named("particle_")},
    )
    return info, events
