"""Momenta of final particles as a differentiable function of those of the primary hadrons that they come from.

A decay is drawn in the rest frame of what decays. Held fixed there, it is carried along by the boost into the frame of
the event, which is smooth in the momentum of what decays; so are whole chains of decays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastsim.event import Floats, Ints, ParticleSet
from generators.decays.table import PYTHIA, decay_table


def carried(p4: Tensor, primary: ParticleSet, final: ParticleSet, tau0_max: float) -> Tensor:
    """Compute the momenta of final particles, differentiable in those of the primary hadrons.

    Species, masses, and all momenta in the rest frames of what decays stay as they were drawn.

    Args:
        p4: four-momenta of the M primary hadrons in GeV, in float64, (M, 4).
        primary: the primary hadrons, with the same momenta.
        final: what :func:`generators.decays.decay` made of them, with its history.
        tau0_max: the limit of lifetimes of these decays, in mm.

    Returns:
        Four-momenta in GeV, (K, 4): those of ``final``, up to rounding.
    """
    assert final.history is not None
    made = final.history.decayed
    mothers = np.concatenate([_rows(made.mother, made), _rows(final.history.mother, final, made)])
    values = np.concatenate([made.p4, final.p4])
    pdg_id = np.concatenate([made.pdg_id, final.pdg_id])
    sets = np.concatenate([made.index, final.index])
    frames = _frames(mothers, pdg_id, tau0_max)
    first = np.flatnonzero(mothers < 0)
    source = np.full(len(values), -1)
    source[first] = _matched(sets[first], values[first], primary)

    result = torch.zeros((len(values), 4), dtype=p4.dtype)
    result[first] = p4[torch.from_numpy(source[first])]
    done = mothers < 0
    while not done.all():
        rows = np.flatnonzero(~done & done[frames])
        above = frames[rows]
        at_rest = _at_rest(values[rows], values[above])
        moved = _boosted(at_rest, torch.from_numpy(_mass2(values[rows])), result[above], _mass2(values[above]) ** 0.5)
        result = result.index_put((torch.from_numpy(rows),), moved)
        done[rows] = True
    return result[len(made.pdg_id) :]


def _rows(mother: Ints, of: Any, made: Any = None) -> Ints:
    """Return the rows, among all decayed particles, of mothers that are numbered within their sets; -1 for none."""
    starts = (of if made is None else made).offsets[:-1]
    return np.where(mother < 0, -1, mother + starts[of.index])


def _frames(mothers: Ints, pdg_id: Ints, tau0_max: float) -> Ints:
    """Return in whose rest frame each particle was drawn: its mother's, or that of the first that Pythia decayed."""
    table = decay_table(tau0_max)
    kind = np.minimum(np.searchsorted(table.pdg_id, pdg_id), len(table.pdg_id) - 1)
    by_pythia = (table.pdg_id[kind] == pdg_id) & (table.action[kind] == PYTHIA)
    # the topmost particle of a chain that Pythia decays is moved, with all that it becomes, by one boost
    top = np.where(by_pythia, np.arange(len(pdg_id)), -1)
    frames = mothers.copy()
    above = mothers.copy()
    while (above >= 0).any():
        inside = (above >= 0) & (top[above] >= 0)
        frames[inside] = top[above[inside]]
        above = np.where(above >= 0, mothers[above], -1)
    return frames


def _matched(sets: Ints, p4: Floats, primary: ParticleSet) -> Ints:
    """Return which primary hadron each of as many particles is, by set and momentum."""
    here = np.lexsort((p4[:, 3], p4[:, 2], p4[:, 1], sets))
    there = np.lexsort((primary.p4[:, 3], primary.p4[:, 2], primary.p4[:, 1], primary.index))
    assert np.array_equal(p4[here, 1:], primary.p4[there, 1:])
    rows = np.empty(len(here), np.int64)
    rows[here] = there
    return rows


def _mass2(p4: Floats) -> Floats:
    size = np.sqrt((p4[:, 1:] ** 2).sum(1))
    return np.asarray(np.maximum((p4[:, 0] - size) * (p4[:, 0] + size), 0.0))


def _at_rest(p4: Floats, frame: Floats) -> NDArray[np.float64]:
    """Boost momenta (K, 4) into the rest frames of massive momenta (K, 4)."""
    mass, p = np.sqrt(_mass2(frame)), frame[:, 1:]
    along = (p * p4[:, 1:]).sum(1)
    scale = (along / (frame[:, 0] + mass) - p4[:, 0]) / mass
    energy = (frame[:, 0] * p4[:, 0] - along) / mass
    return np.concatenate([energy[:, None], p4[:, 1:] + scale[:, None] * p], axis=1)


def _boosted(at_rest: Floats, mass2: Tensor, frame: Tensor, mass: Floats) -> Tensor:
    """Boost momenta (K, 4) from the rest frames of momenta ``frame`` (K, 4) of fixed ``mass`` (K,), on shell."""
    q, m, p = torch.from_numpy(at_rest), torch.from_numpy(mass), frame[:, 1:]
    energy = ((p**2).sum(1) + m**2).sqrt()
    scale = (q[:, 0] + (p * q[:, 1:]).sum(1) / (energy + m)) / m
    moved = q[:, 1:] + scale[:, None] * p
    square = (moved**2).sum(1) + mass2
    return torch.cat([torch.where(square > 0, square, 1.0).sqrt()[:, None], moved], 1)
