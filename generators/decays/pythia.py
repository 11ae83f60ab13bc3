"""Decays that Pythia itself makes: of charm and bottom hadrons, tau leptons, onia; many particles in one record."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import Floats, Ints
from fastsim.startup import starting
from generators.decays.table import STABLE, decay_table

_SETTINGS = ("Print:quiet = on", "ProcessLevel:all = off", "ParticleDecays:limitTau0 = on")
_BLOCK = 2048
"""Particles in one event record."""
_FEW = 16
"""Particles of one event record that are few: they are read one by one."""
_MAX_TRIES = 20
_MAX_SEED = 900_000_000
_CLOSURE = 1e-9
"""Greatest difference, relative to its mass, between a particle's momentum and that of its final products."""

Columns = tuple[Ints, Ints, Ints, Floats, Floats]
"""PDG ids, status codes, mothers, momenta and vertices of the particles of an event record."""

_of_thread = threading.local()


class Products(NamedTuple):
    """The K particles of the decay chains of N particles at rest, mothers before daughters.

    Attributes:
        source: the particle at rest that they come from, ascending, (K,).
        pdg_id: PDG ids, (K,).
        p4: four-momenta in GeV in the rest frame of the source, (K, 4).
        vertex: where they were made, (ct, x, y, z) in mm in this frame from where the source was made, (K, 4).
        mother: rows of what decayed into them; -1 for the sources themselves, (K,).
        final: whether they are final, (K,).
    """

    source: Ints
    pdg_id: Ints
    p4: Floats
    vertex: Floats
    mother: Ints
    final: NDArray[np.bool_]


def _own_pythia(tau0_max: float) -> Any:
    """Return this thread's Pythia for a limit of lifetimes in mm; the first call starts it (50 ms)."""
    instances: dict[float, Any] = _of_thread.__dict__.setdefault("pythia", {})
    if tau0_max not in instances:
        instances[tau0_max] = _start(tau0_max)
    return instances[tau0_max]


@starting()
def _start(tau0_max: float) -> Any:
    """Return a Pythia that decays what is given to it, up to a lifetime in mm."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    # Pythia refuses numbers like 1e+30
    for line in (*_SETTINGS, f"ParticleDecays:tau0Max = {tau0_max:f}"):
        if not pythia.readString(line):
            raise FastsimError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise FastsimError("Pythia did not start")
    return pythia


def decay_at_rest(pdg_id: Ints, mass: Floats, tau0_max: float, rng: np.random.Generator) -> Products:
    """Decay particles at rest, with all that they decay into, by Pythia.

    Mixing of neutral B mesons and the polarisation of tau leptons in their chains are Pythia's; tau leptons among the
    given particles are unpolarised.

    Args:
        pdg_id: PDG ids, (N,).
        mass: masses in GeV, (N,).
        tau0_max: greatest mean proper lifetime, in mm, of what decays.
        rng: source of the seeds and of the lifetimes of tau leptons.

    Raises:
        FastsimError: if Pythia fails again and again on a particle.
    """
    starts = range(0, len(pdg_id), _BLOCK)
    blocks = [_block(pdg_id[i : i + _BLOCK], mass[i : i + _BLOCK], tau0_max, rng) for i in starts]
    return _joined([b._replace(source=b.source + i) for b, i in zip(blocks, starts, strict=True)])


def _block(pdg_id: Ints, mass: Floats, tau0_max: float, rng: np.random.Generator) -> Products:
    """Decay a block of particles at rest; those on which Pythia failed, again."""
    pythia = _own_pythia(tau0_max)
    parts: list[Products] = []
    pending = np.arange(len(pdg_id))
    for _ in range(_MAX_TRIES):
        products, good = _attempt(pythia, pdg_id[pending], mass[pending], tau0_max, rng)
        parts.append(products._replace(source=pending[products.source]))
        pending = pending[~good]
        if len(pending) == 0:
            return _joined(parts)
    raise FastsimError(
        f"Pythia failed {_MAX_TRIES} times to decay a particle with PDG id {pdg_id[pending[0]]} "
        f"and mass {mass[pending[0]]:.6g} GeV"
    )


def _attempt(
    pythia: Any, pdg_id: Ints, mass: Floats, tau0_max: float, rng: np.random.Generator
) -> tuple[Products, NDArray[np.bool_]]:
    """Decay particles at rest once; return the chains of those that went well, and which these are, (N,)."""
    num = len(pdg_id)
    pythia.rndm.init(int(rng.integers(1, _MAX_SEED)))
    lifetimes = rng.standard_exponential(num)
    event = pythia.event
    event.reset()
    for i, m in zip(pdg_id.tolist(), mass.tolist(), strict=True):
        event.append(i, 1, 0, 0, 0.0, 0.0, 0.0, m, m)
    for i in np.flatnonzero(np.abs(pdg_id) == 15).tolist():  # Pythia gives lifetimes to hadrons only
        event[i + 1].tau(event[i + 1].tau0() * float(lifetimes[i]))
    # a batch of one event: Pythia makes arrays of it, ten times as fast as reading particle by particle; that itself
    # takes 3 ms, whatever the event
    columns = _next_of_few(pythia) if num <= _FEW else _next_of_many(pythia)
    if columns is None:
        if num == 1:
            return _joined([]), np.zeros(1, dtype=bool)
        # one particle spoils the record of all
        half = num // 2
        first, good_first = _attempt(pythia, pdg_id[:half], mass[:half], tau0_max, rng)
        second, good_second = _attempt(pythia, pdg_id[half:], mass[half:], tau0_max, rng)
        parts = [first, second._replace(source=second.source + half)]
        return _joined(parts), np.concatenate([good_first, good_second])
    return _read(num, *columns, tau0_max)


def _next_of_few(pythia: Any) -> Columns | None:
    """Let Pythia decay the particles of its event record; return its columns, None if Pythia failed."""
    if not pythia.next():
        return None
    particles = [pythia.event[i] for i in range(1, pythia.event.size())]
    ids, status, mother = np.array([(p.id(), p.status(), p.mother1()) for p in particles], np.int64).T
    p4 = np.array([(p.e(), p.px(), p.py(), p.pz()) for p in particles])
    vertex = np.array([(p.tProd(), p.xProd(), p.yProd(), p.zProd()) for p in particles])
    return ids, status, mother - 1, p4, vertex


def _next_of_many(pythia: Any) -> Columns | None:
    """Do as :func:`_next_of_few`, to the bit, faster where there are many particles."""
    with starting():  # Pythia imports it for its batches, half a second of the first one
        import awkward  # noqa: F401
    events = pythia.nextBatch(1)
    return _columns(events) if len(events) else None


def _columns(events: Any) -> Columns:
    """Return PDG ids, status codes, mothers, momenta and vertices of the particles of a batch of one event.

    The buffers of the arrays are read as they are: operations on records of options take milliseconds.
    """
    records = events.layout.content("prt").content
    ids, status, mother = (records.content(name).data[1:].astype(np.int64) for name in ("id", "status", "mother1"))
    momenta, places = records.content("p"), records.content("vProd")
    p4 = np.stack([momenta.content(x).data[1:] for x in ("e", "px", "py", "pz")], axis=1)
    known = np.stack([places.content.content(x).data for x in ("e", "px", "py", "pz")], axis=1)
    row = places.index.data[1:]
    vertex = np.zeros_like(p4)
    vertex[row >= 0] = known[row[row >= 0]]
    return ids, status, mother - 1, p4, vertex


def _read(
    num: int, pdg_id: Ints, status: Ints, mother: Ints, p4: Floats, vertex: Floats, tau0_max: float
) -> tuple[Products, NDArray[np.bool_]]:
    """Return the good chains of an event record whose first ``num`` particles were to decay, and which are good."""
    parton = (np.abs(pdg_id) < 10) | (pdg_id == 21) | ((np.abs(pdg_id) > 1000) & (pdg_id // 10 % 10 == 0))
    # of hadrons from a string, the mother is what decayed into its partons
    while (inside := (mother >= 0) & parton[mother]).any():
        mother = np.where(inside, mother[mother], mother)
    source = np.arange(len(pdg_id))
    while (below := mother[source] >= 0).any():
        source = np.where(below, mother[source], source)

    final = status > 0
    table = decay_table(tau0_max)
    row = np.minimum(np.searchsorted(table.pdg_id, pdg_id), len(table.pdg_id) - 1)
    known = table.pdg_id[row] == pdg_id
    left = final & (parton | ~known | (table.action[row] != STABLE))
    good = np.bincount(source[left], minlength=num)[:num] == 0
    for x in range(4):
        total = np.bincount(source[final], weights=p4[final, x], minlength=num)[:num]
        good &= np.abs(total - p4[:num, x]) < _CLOSURE * p4[:num, 0]

    keep = ~parton & good[source]
    rank = np.cumsum(keep) - 1
    kept = np.flatnonzero(keep)
    return Products(
        source[kept],
        pdg_id[kept],
        p4[kept],
        vertex[kept],
        np.where(mother[kept] < 0, -1, rank[mother[kept]]),
        final[kept],
    ), good


def _joined(parts: list[Products]) -> Products:
    """Return the particles of all parts, sorted by their sources."""
    if not parts:
        none = np.zeros(0, np.int64)
        return Products(none, none, np.zeros((0, 4)), np.zeros((0, 4)), none, np.zeros(0, dtype=bool))
    rows = np.cumsum([0, *(len(part.source) for part in parts)])
    shifted = [p._replace(mother=np.where(p.mother < 0, -1, p.mother + r)) for p, r in zip(parts, rows, strict=False)]
    joined = Products._make(np.concatenate(column) for column in zip(*shifted, strict=True))
    order = np.argsort(joined.source, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    mother = np.where(joined.mother < 0, -1, rank[joined.mother])
    return Products._make(column[order] for column in joined._replace(mother=mother))
