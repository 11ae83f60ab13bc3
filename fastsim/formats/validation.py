"""What makes a hard-process record physically possible, checked on a whole batch of events at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, Ints, kinematics

SHELL_TOLERANCE = 1e-5
"""Relative difference between the energy and the mass shell that printed digits explain (7 digits in POWHEG's
shortest columns)."""
BALANCE_TOLERANCE = 1e-3
"""Relative imbalance of incoming and outgoing momentum above which a record is refused."""
STATUSES = (-9, -2, -1, 1, 2, 3)
"""Status codes that the format defines."""

PDG_ID, STATUS, MOTHERS, COLOURS = 0, 1, slice(2, 4), slice(4, 6)
PX, PY, PZ, ENERGY, MASS, LIFETIME, SPIN = 6, 7, 8, 9, 10, 11, 12
"""Columns of an LHE particle, of which there are :data:`NUM_COLUMNS`."""
NUM_COLUMNS = 13
INTEGERS, MOMENTUM = slice(PDG_ID, PX), slice(PX, ENERGY)
"""The columns of whole numbers (ids, status, mothers, colours), and of the three-momentum in GeV."""

COLOURLESS = (*range(11, 19), *range(22, 26), 32, 33, 34, 35, 36, 37)
"""Absolute PDG ids that never carry colour: leptons, photon, W, Z, and the Higgs family."""


class Problem(NamedTuple):
    """What is wrong in a batch: the event, the entry within it (None for the event as a whole), and the reason."""

    event: int
    entry: int | None
    message: str


def on_file_shell(p4: Floats, mass: Floats, status: Ints) -> Floats:
    """Recompute the energies of outgoing particles from the file's masses where they agree up to printed digits.

    A massless parton of 1 TeV printed with ten digits has a mass of up to 10 MeV by rounding. Particles that
    are farther from their mass column (off-shell, or a generator that leaves the column empty) keep their energy.

    Args:
        p4: four-momenta in GeV, shape (K, 4).
        mass: mass column in GeV, shape (K,).
        status: LHE status codes, shape (K,).

    Returns:
        Four-momenta in GeV, shape (K, 4).
    """
    shell = kinematics.on_shell(p4, mass)
    close = np.abs(shell[:, 0] - p4[:, 0]) <= SHELL_TOLERANCE * p4[:, 0]
    return np.where(((status == 1) & close)[:, None], shell, p4)


def find_problem(table: Floats, offsets: Ints) -> Problem | None:
    """Find the first event of a batch that is not possible; None if all are.

    Args:
        table: the thirteen LHE columns (id, status, mothers, colours, px, py, pz, E, m, lifetime, spin), (K, 13).
        offsets: event i has the rows ``offsets[i]:offsets[i+1]`` of the table, (E+1,).
    """
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    finite = np.isfinite(table[:, : MASS + 1]).all(axis=1)
    clean = np.where(np.isfinite(table), table, 0.0)
    codes = clean[:, INTEGERS]
    whole = (codes == np.rint(codes)).all(axis=1) & (np.abs(codes) < 2**31).all(axis=1)
    integers = np.where(whole[:, None], codes, 0.0).astype(np.int64)
    pdg_id, status = integers[:, PDG_ID], integers[:, STATUS]
    mothers, colours = integers[:, MOTHERS], integers[:, COLOURS]
    momentum, energy = clean[:, MOMENTUM], clean[:, ENERGY]
    size = np.linalg.norm(momentum, axis=1)
    outgoing = status == 1
    coloured = (np.abs(pdg_id) <= 6) | (pdg_id == 21)
    count = np.diff(offsets)[index]
    position = np.arange(len(table)) - offsets[index] + 1
    mother_rows = np.where(mothers > 0, mothers - 1, 0) + offsets[index][:, None]
    in_range = ((mothers >= 0) & (mothers <= count[:, None])).all(axis=1)
    mother_rows = np.where(in_range[:, None], mother_rows, 0)
    final_mother = ((mothers > 0) & (status[mother_rows] == 1)).any(axis=1) & in_range

    # Sherpa may write no colours at all: they are made later, from the flavours
    has_colours = np.zeros(len(offsets) - 1, dtype=bool)
    has_colours[index[(colours != 0).any(axis=1)]] = True

    def wrong_colours(ids: Ints, tags: Ints) -> NDArray[np.bool_]:
        """Return which entries have colours that do not fit their species."""
        colour, anticolour = tags[:, 0] != 0, tags[:, 1] != 0
        quark, gluon = (np.abs(ids) <= 6) & (ids != 0), ids == 21
        wrong = quark & np.where(ids > 0, ~colour | anticolour, colour | ~anticolour)
        wrong |= gluon & (~colour | ~anticolour | (tags[:, 0] == tags[:, 1]))
        wrong |= np.isin(np.abs(ids), COLOURLESS) & (colour | anticolour)
        return np.asarray(wrong, dtype=np.bool_)

    def entry(k: int) -> str:
        return f"particle {position[k]} (PDG id {pdg_id[k]})"

    def p4_text(k: int) -> str:
        return f"(E, px, py, pz) = ({table[k, ENERGY]:g}, {table[k, PX]:g}, {table[k, PY]:g}, {table[k, PZ]:g}) GeV"

    checks: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = [
        (~finite, lambda k: f"particle {position[k]} holds a number that is not finite: {p4_text(k)}"),
        (~whole, lambda k: f"particle {position[k]}: ids, status, mothers and colours must be integers"),
        (pdg_id == 0, lambda k: f"particle {position[k]} has PDG id 0"),
        (
            ~np.isin(status, STATUSES),
            lambda k: f"{entry(k)} has status {status[k]}; allowed are {', '.join(map(str, STATUSES))}",
        ),
        (
            ~in_range,
            lambda k: f"{entry(k)} has mothers {mothers[k, 0]} {mothers[k, 1]}, but the event has {count[k]} particles",
        ),
        ((mothers == position[:, None]).any(axis=1), lambda k: f"{entry(k)} is its own mother"),
        (final_mother, lambda k: f"{entry(k)} has a mother that is outgoing (status 1); decayed ones have status 2"),
        (
            outgoing & (energy < 0),
            lambda k: f"outgoing {entry(k)} has an energy of {energy[k]:g} GeV, which must be positive: {p4_text(k)}",
        ),
        (
            outgoing & ((energy <= 0) | (coloured & (size <= 0))),
            lambda k: f"outgoing {entry(k)} has no momentum: {p4_text(k)}",
        ),
        (
            outgoing & (energy < size * (1 - 1e-3)),
            lambda k: f"outgoing {entry(k)} has less energy than momentum: {p4_text(k)}",
        ),
        (
            (colours < 0).any(axis=1),
            lambda k: (
                f"{entry(k)} has colours {colours[k, 0]} {colours[k, 1]}: a colour sextet, which Pythia's colour "
                "flow and ours do not have; decay it in the generator"
            ),
        ),
        (
            np.isin(status, (-1, 1)) & has_colours[index] & wrong_colours(pdg_id, colours),
            lambda k: f"{entry(k)} has colours {colours[k, 0]} {colours[k, 1]}: impossible for its species",
        ),
    ]
    problems = [_first(bad, message, index, offsets) for bad, message in checks]
    problems.append(_unpaired_colour(status, colours, index, offsets))
    problems.append(_cycle(mother_rows, mothers, position, in_range, index, offsets))
    num_events = len(offsets) - 1
    incoming = np.zeros(num_events, np.int64)
    excess, energies = np.zeros((num_events, 4)), np.zeros(num_events)  # px, py, pz, E; sum of the energies
    np.add.at(incoming, index, status == -1)
    sign = np.where(status == 1, 1.0, np.where(status == -1, -1.0, 0.0))
    np.add.at(excess, index, sign[:, None] * clean[:, PX : ENERGY + 1])
    np.add.at(energies, index, np.where(sign != 0, np.abs(energy), 0.0))
    lonely = ~np.isin(incoming, (1, 2)) | (np.bincount(index[outgoing], minlength=len(incoming)) == 0)
    unbalanced = np.abs(excess).max(axis=1) > BALANCE_TOLERANCE * energies
    for event in np.flatnonzero(lonely)[:1]:
        problems.append(Problem(int(event), None, "the event needs one or two incoming particles and an outgoing one"))
    for event in np.flatnonzero(unbalanced)[:1]:
        px, py, pz, e = excess[event]
        text = f"outgoing minus incoming (E, px, py, pz) = ({e:.3g}, {px:.3g}, {py:.3g}, {pz:.3g}) GeV is not zero"
        problems.append(Problem(int(event), None, text))
    # within an event the first check that fails names the cause, later ones name its consequences
    return min((p for p in problems if p is not None), key=lambda p: p.event, default=None)


def _first(bad: NDArray[np.bool_], message: Callable[[int], str], index: Ints, offsets: Ints) -> Problem | None:
    """Return the first flagged entry as a Problem, None if there is none."""
    if not bad.any():
        return None
    k = int(np.argmax(bad))
    return Problem(int(index[k]), int(k - offsets[index[k]]), message(k))


def _unpaired_colour(status: Ints, colours: Ints, index: Ints, offsets: Ints) -> Problem | None:
    """Find a colour line that does not run from exactly one external leg to exactly one other; None if all do.

    A line leaves through an outgoing colour or an incoming anticolour, and enters through the reverse.
    """
    legs = np.flatnonzero(np.isin(status, (-1, 1)))
    tags = colours[legs]
    is_source = np.where((status[legs] == 1)[:, None], [[True, False]], [[False, True]])
    rows, sides = np.nonzero(tags)
    if not len(rows):
        return None
    lines = np.stack([index[legs[rows]], tags[rows, sides]], axis=1)
    _, line, counts = np.unique(lines, axis=0, return_inverse=True, return_counts=True)
    sources = np.bincount(line.ravel(), weights=is_source[rows, sides], minlength=len(counts))
    good = (counts == 2) & (sources == 1)
    if good.all():
        return None
    first = int(np.flatnonzero(~good[line.ravel()])[0])
    k = int(legs[rows[first]])
    tag = int(tags[rows[first], sides[first]])
    text = f"colour tag {tag} joins {counts[line.ravel()[first]]} legs; it must start at one leg and end at another"
    return Problem(int(index[k]), int(k - offsets[index[k]]), text)


def _cycle(
    rows: Ints, mothers: Ints, position: Ints, in_range: NDArray[np.bool_], index: Ints, offsets: Ints
) -> Problem | None:
    """Find an entry that is its own ancestor; None if there is none, as in records in order, mothers first.

    Args:
        rows: rows of the mothers in the batch, (K, 2).
        mothers: places of the mothers in the event, from 1, 0 for none, (K, 2).
        position: place of each entry in its event, from 1, (K,).
        in_range: which entries have mothers that exist, (K,).
        index: event of each entry, (K,).
        offsets: event i has the rows ``offsets[i]:offsets[i+1]``, (E+1,).
    """
    if ((mothers < position[:, None]) | ~in_range[:, None]).all():
        return None
    ancestor = np.arange(len(position))
    pending = mothers[:, 0] > 0
    for _ in range(int(np.diff(offsets).max()) + 1):
        pending &= mothers[ancestor, 0] > 0
        ancestor = np.where(pending, rows[ancestor, 0], ancestor)
        if not pending.any():
            return None
    return _first(pending, lambda k: f"particle {position[k]} is among its own ancestors", index, offsets)
