"""HepMC3 events (Asciiv3) that Rivet, Delphes and every HepMC3 reader understand.

The record is slim: beams (status 4) -> incoming partons (21) -> one vertex of the hard process -> partons (23)
and resonances (22), one vertex for each parton with its hadrons (1) and one for each decayed resonance. What
the hard process leaves of a beam is one pseudoparticle of status 63 (beam remnant, as Pythia numbers it) that
analyses and detector simulations pass over; with it the beam vertices conserve momentum. Momentum is conserved
by the hard process as a whole rather than at each parton's vertex: hadrons have a mass that the parton had not,
and the recoil is shared by all outgoing members.

The text is written here, in columns for a whole batch of events (:mod:`fastsim.formats.digits`), because
building pyhepmc objects one particle at a time costs more than making the hadrons; the tests hold every field
against pyhepmc, which also does the reading.

References:
    Buckley et al. 2021, 1912.08005 (HepMC3); Bierlich et al. 2022, 2203.11601 (Pythia 8 status codes).
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from fastsim import kinematics, species
from fastsim.errors import FastsimError, InvalidEvent, OutputError, PipelineError
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, RunInfo, offsets_from_counts
from fastsim.formats import digits
from fastsim.formats.output import AtomicWriter, PathLike, final_masses, split_ending, writing

REMNANT = 82
"""PDG id of a beam remnant: 81-100 are the numbers that the PDG scheme leaves to generators."""
PART = 128
"""Events formatted at once: their text then stays in the processor's cache."""
ROOT, HARD_VERTEX = -1, -2
"""Parents that are no particle: none at all, and the hard process."""


class Writer(AtomicWriter):
    """Writes batches of events as HepMC3; compressed by ending (.gz .bz2 .xz .zst); ``-`` is standard output.

    Args:
        path: the output.
        run: beams, cross-section, weight names; its provenance becomes the run information (tool, model, seed...).
        force: replace an existing file.

    Raises:
        OutputError: if the output cannot be created.
    """

    def __init__(self, path: PathLike, run: RunInfo, *, force: bool = False) -> None:
        super().__init__(path, force=force)
        self.run = run
        self._beams, self._beam_masses = _beams(run)
        with writing(path):
            if os.fspath(path) == "-":
                self._file = cast("IO[bytes]", sys.stdout.buffer)
            else:
                self._file = _open(self._place, split_ending(path)[1].lower())
            self._file.write(_run_header(run))

    def write(self, events: HardEvents) -> None:
        """Writes a batch; the particles, where there are none, are the outgoing ones of the hard process."""
        if len(events) == 0:
            return
        if events.weights.shape[1] != len(self.run.weight_names):
            raise PipelineError(
                f"{events.weights.shape[1]} weights an event, but the run names {len(self.run.weight_names)}"
            )
        for part in events.chunks(PART):
            text = b"".join(self._text(part))
            with writing(self.path):
                self._file.write(text)
            self.num_written += len(part)

    def _text(self, events: HardEvents) -> Iterator[bytes]:
        record = _Record(events, self._beams, self._beam_masses, self.run)
        p4 = record.p4
        if not np.isfinite(p4).all():
            event = int(events.number[record.event[np.argmin(np.isfinite(p4).all(axis=1))]])
            raise InvalidEvent(f"event {event}: a particle's momentum is not finite; the model failed there")
        columns = [digits.integers(c) for c in (record.number, record.parent, record.pdg_id)]
        columns += [digits.floats(c) for c in (p4[:, 1], p4[:, 2], p4[:, 3], p4[:, 0], record.mass)]
        text, at = digits.rows(b"P", [*columns, digits.integers(record.status)])
        cross_section = b""
        if self.run.processes:
            cross_section = b"A 0 GenCrossSection %.10e %.10e -1 -1\n" % self.run.cross_section
        for i in range(len(events)):
            start, middle, end = (int(at[k]) for k in (record.start[i], record.middle[i], record.start[i + 1]))
            weights = " ".join(map(repr, events.weights[i].tolist()))
            yield b"E %d %d %d\nU GEV MM\nW %s\n" % (
                events.number[i],
                record.num_vertices[i],
                record.start[i + 1] - record.start[i],
                weights.encode(),
            )
            yield cross_section
            yield b"A 0 event_scale %.10e\nA 0 signal_process_id %d\n" % (events.scale[i], events.process[i])
            yield text[start:middle]
            if record.num_incoming[i]:
                incoming = b",".join(b"%d" % k for k in record.incoming_numbers(i))
                yield b"V %d 0 [%s]\n" % (-record.num_beams - 1, incoming)
            yield text[middle:end]

    def _finish(self, complete: bool) -> None:
        if complete:
            self._file.write(b"HepMC::Asciiv3-END_EVENT_LISTING\n\n")
        if self._target is None:
            self._file.flush()
        else:
            self._file.close()


class _Record:
    """The particles of a batch of events in HepMC order, as columns.

    Within an event: beams, incoming partons, beam remnants | hard vertex | the rest of the hard process (mothers
    first), final particles by origin. ``number`` counts from 1 in each event; ``parent`` is the number of the
    particle whose decay makes this one, 0 for none, negative for the hard vertex (as Asciiv3 has it).
    """

    def __init__(self, events: HardEvents, beams: Floats, beam_masses: Floats, run: RunInfo) -> None:
        size = len(events)
        index = events.index
        entries = np.arange(len(index))
        incoming = events.status == -1
        self.num_incoming = np.bincount(index[incoming], minlength=size)
        collides = (self.num_incoming == 2).all() and bool((beams[:, 0] > 0).all())
        self.num_beams = 2 if collides else 0

        kept = np.isin(events.status, (1, 2, -2))
        mother = np.where(events.mothers[:, 0] >= 0, events.mothers[:, 0] + events.offsets[index], -1)
        top = np.where(self.num_incoming[index] > 0, HARD_VERTEX, ROOT)
        from_hard = (mother < 0) | ~kept[mother]
        hard_parent = np.where(from_hard, top, mother)
        has_daughters = np.zeros(len(index), dtype=bool)
        has_daughters[mother[kept & ~from_hard]] = True

        if events.particles is not None and events.origin is not None:
            final, origin = events.particles, events.origin
        else:
            final, origin = ParticleSet.empty(size), np.zeros(0, np.int64)
        owner = final.index
        source = np.where(origin >= 0, origin + events.offsets[owner], -1)
        num_finals = np.bincount(source[source >= 0], minlength=len(index))
        # a hard particle that is itself final is written once
        same = (source >= 0) & (num_finals[source] == 1) & ~has_daughters[source]
        same &= events.pdg_id[source] == final.pdg_id if len(index) else False
        if same.any():
            difference = np.abs(events.p4[source[same]] - final.p4[same]).max(axis=1)
            same[same] = difference <= 1e-9 * final.p4[same, 0]
        itself = np.zeros(len(index), dtype=bool)
        itself[source[same]] = True
        has_daughters[source[(source >= 0) & ~same]] = True
        hard_p4 = events.p4.copy()
        hard_p4[source[same]] = final.p4[same]

        bare = events.particles is None
        outgoing = np.where(itself | (~has_daughters & bare), 1, 23)
        hard_status = np.where(events.status == 1, outgoing, np.where(_decays_late(events.pdg_id), 2, 22))
        hard_status = np.where(incoming, 21, hard_status)

        left = np.flatnonzero(~same)
        final_parent = source[left]
        unowned = (final_parent < 0) | ~kept[final_parent]
        final_top = np.where(self.num_incoming[owner[left]] > 0, HARD_VERTEX, ROOT)
        final_parent = np.where(unowned, final_top, final_parent)

        rows_in = entries[incoming]
        rows_hard = entries[kept]
        blocks: list[tuple[int, Ints, Ints, Floats, Floats, Ints, Ints]] = []  # class, event, id, p4, mass, status, key
        if collides:
            side = _beam_side(rows_in, events)
            remnant = beams[side] - events.p4[rows_in]
            some = np.abs(remnant).max(axis=1) > 1e-6 * beams[side, 0]
            ids = np.array(run.beam_pdg_id)
            every = np.repeat(np.arange(size), 2)
            both = np.tile([0, 1], size)
            blocks.append((0, every, ids[both], beams[both], beam_masses[both], np.full(2 * size, 4), both))
        blocks.append(
            (
                1,
                index[rows_in],
                events.pdg_id[rows_in],
                events.p4[rows_in],
                final_masses(events.pdg_id[rows_in], events.p4[rows_in]),
                hard_status[rows_in],
                np.zeros(len(rows_in), np.int64),
            )
        )
        if collides:
            rows_remnant = rows_in[some]
            blocks.append(
                (
                    2,
                    index[rows_remnant],
                    np.full(len(rows_remnant), REMNANT),
                    remnant[some],
                    kinematics.mass(remnant[some]),
                    np.full(len(rows_remnant), 63),
                    np.zeros(len(rows_remnant), np.int64),
                )
            )
        depth = _depths(hard_parent, kept)
        hard_mass = final_masses(events.pdg_id[rows_hard], hard_p4[rows_hard])
        blocks.append(
            (
                3,
                index[rows_hard],
                events.pdg_id[rows_hard],
                hard_p4[rows_hard],
                hard_mass,
                hard_status[rows_hard],
                depth[rows_hard],
            )
        )
        left_mass = final_masses(final.pdg_id[left], final.p4[left])
        blocks.append(
            (4, owner[left], final.pdg_id[left], final.p4[left], left_mass, np.ones(len(left), np.int64), origin[left])
        )

        kind = np.concatenate([np.full(len(b[1]), b[0]) for b in blocks])
        event, pdg_id, p4, mass, status, key = (np.concatenate([b[k] for b in blocks]) for k in range(1, 7))
        order = np.lexsort((key, kind, event))
        self.event, self.pdg_id, self.p4 = event[order], pdg_id[order], p4[order]
        self.mass, self.status = mass[order], status[order]
        self.start = offsets_from_counts(np.bincount(event, minlength=size))
        self.middle = self.start[:-1] + np.bincount(event[kind < 3], minlength=size)
        self.number = np.arange(len(order)) - self.start[self.event] + 1

        # parents, as rows of the blocks first, then as numbers
        number = np.empty(len(order), np.int64)
        number[order] = self.number
        row_of_entry = np.zeros(len(index), np.int64)
        row_of_entry[rows_in] = np.flatnonzero(kind == 1)
        row_of_entry[rows_hard] = np.flatnonzero(kind == 3)
        parent = np.zeros(len(order), np.int64)
        if collides:
            parent[kind == 1] = side + 1
            parent[kind == 2] = side[some] + 1
        for which, rows in ((3, hard_parent[rows_hard]), (4, final_parent)):
            numbers = np.where(rows >= 0, number[row_of_entry[np.maximum(rows, 0)]], 0) if len(index) else rows
            parent[kind == which] = np.where(rows == HARD_VERTEX, -self.num_beams - 1, numbers)
        self.parent = parent[order]
        pairs = np.unique(np.stack([self.event, self.parent], axis=1)[self.parent > 0], axis=0)
        self.num_vertices = np.bincount(pairs[:, 0], minlength=size) + (self.num_incoming > 0)

    def incoming_numbers(self, event: int) -> range:
        """Numbers of an event's incoming particles."""
        return range(self.num_beams + 1, self.num_beams + 1 + int(self.num_incoming[event]))


def _decays_late(pdg_id: Ints) -> NDArray[np.bool_]:
    """Whether species are decayed particles (tau, muon, hadrons: status 2) rather than resonances (status 22)."""
    from particle import PDGID

    unique, inverse = np.unique(pdg_id, return_inverse=True)
    late = np.array([abs(int(k)) in (13, 15) or PDGID(int(k)).is_hadron for k in unique], dtype=bool)
    flags: NDArray[np.bool_] = late[inverse.ravel()]
    return flags


def _depths(parent: Ints, kept: NDArray[np.bool_]) -> Ints:
    """Generations since the hard vertex, so that sorting by it puts mothers first."""
    depth: Ints = np.zeros(len(parent), np.int64)
    inner = kept & (parent >= 0)
    while True:
        deeper: Ints = np.where(inner, depth[np.maximum(parent, 0)] + 1, 0)
        if (deeper == depth).all():
            return depth
        depth = deeper


def _beam_side(rows: Ints, events: HardEvents) -> Ints:
    """The beam (0 or 1) of each incoming parton: their order in the file, unless their directions say otherwise."""
    pz = events.p4[rows, 3].reshape(-1, 2)
    swapped = pz[:, 0] < pz[:, 1]
    side: Ints = np.stack([swapped, ~swapped], axis=1).astype(np.int64).ravel()
    return side


def _beams(run: RunInfo) -> tuple[Floats, Floats]:
    """Four-momenta (2, 4) and masses (2,) of the beams along +z and -z."""
    masses = np.zeros(2)
    p4 = np.zeros((2, 4))
    for k in range(2):
        try:
            masses[k] = species.mass(run.beam_pdg_id[k])
        except KeyError:
            masses[k] = 0.0
        energy = run.beam_energy[k]
        p4[k] = energy, 0.0, 0.0, (1 - 2 * k) * np.sqrt(max(energy**2 - masses[k] ** 2, 0.0))
    return p4, masses


def _escape(text: str) -> str:
    """Text on one line as Asciiv3 wants it."""
    return text.replace("\\", "\\\\").replace("\n", "\\|")


def _run_header(run: RunInfo) -> bytes:
    """The lines above the events: weight names, the tool, and the provenance as attributes."""
    names = "\n".join(run.weight_names)
    tool = "\n".join([run.provenance.get("producer", "fastsim"), run.provenance.get("version", ""), ""])
    lines = [
        "HepMC::Version 3.02.05",
        "HepMC::Asciiv3-START_EVENT_LISTING",
        f"W {_escape(names)}",
        f"T {_escape(tool)}",
        *(f"A {key.replace(' ', '_')} {_escape(value)}" for key, value in sorted(run.provenance.items())),
    ]
    return ("\n".join(lines) + "\n").encode()


def _open(path: Path, ending: str) -> IO[bytes]:
    """A new binary file, compressed as the ending says, at the levels where speed and size balance."""
    if ending.endswith(".gz"):
        return cast("IO[bytes]", gzip.GzipFile(path, "wb", compresslevel=4, mtime=0))
    if ending.endswith(".bz2"):
        return bz2.open(path, "wb", compresslevel=5)
    if ending.endswith(".xz"):
        return lzma.open(path, "wb", preset=1)
    if ending.endswith(".zst"):
        return cast("IO[bytes]", _zstd().open(path, "wb"))
    return open(path, "wb")


def _zstd() -> Any:
    """Zstandard: in the standard library from Python 3.14, before that a backport that pyhepmc brings."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise OutputError("zstd compression is not installed: `pip install backports.zstd`, or write .hepmc3.gz")


def read(path: PathLike, *, chunk_size: int = 1000) -> Iterator[tuple[ParticleSet, Floats]]:
    """Final particles (status 1) of a HepMC file in batches, with the weights, shape (N, W).

    Any HepMC version and compression that pyhepmc knows; momenta in GeV.

    Raises:
        FastsimError: if the file cannot be read.
    """
    import pyhepmc

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FastsimError(f"{name}: no such file")
    held: list[tuple[Ints, Floats, Any]] = []

    def batch() -> tuple[ParticleSet, Floats]:
        offsets = offsets_from_counts(np.array([len(h[0]) for h in held]))
        particles = ParticleSet(offsets, np.concatenate([h[0] for h in held]), np.concatenate([h[1] for h in held]))
        return particles, np.array([h[2] for h in held], dtype=np.float64)

    try:
        with pyhepmc.open(name) as file:
            for event in file:
                scale = 1.0 if event.momentum_unit == pyhepmc.Units.GEV else 1e-3
                table = event.numpy.particles
                final = table.status == 1
                p4 = np.stack([table.e, table.px, table.py, table.pz], axis=1)[final] * scale
                held.append((table.pid[final].astype(np.int64), p4, list(event.weights)))
                if len(held) == chunk_size:
                    yield batch()
                    held.clear()
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise FastsimError(f"{name}: not a readable HepMC file ({error})") from error
    if held:
        yield batch()
