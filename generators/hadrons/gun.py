"""The reference of models of primary hadrons: Pythia 8's shower and fragmentation of a pair, without decays ("gun").

A colour-singlet pair f fbar (or g g) is made at rest, and its shower starts at a scale of choice. A hemisphere is the
primary hadrons with p . n > 0, n the direction of its parton; what they decay into goes with them. The carrier of a
parton is the hadron at the end of the string that its quark ends.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
    Skands, Carrazza, Rojo, Tuning PYTHIA 8.1: the Monash 2013 tune, 2014, arXiv:1404.5630.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastsim.event import Floats, Ints, offsets_from_counts
from generators.hadrons.tokens import CONJUGATE, IDS, TokenSample, may_hold, species_index
from generators.reference.pythia import UNDECAYED_HADRONS, attempts, own_pythia, run_jobs, share_out, start_pool

BLOCK = 256
"""Pairs that are made at once, with one Pythia; see :func:`generators.reference.pythia.share_out`."""

Shot = tuple[Ints, Floats, Floats, Ints]
"""PDG ids (M,), four-momenta (M, 4) and masses (M,) in GeV, and the rows of the two partons' carriers (2,), or -1."""


def shoot(pythia: Any, flavour: int, momentum: float, seed: int, scale: float | None = None) -> Shot:
    """Make the primary hadrons of a parton pair at rest, which are then the last entries of ``pythia.event``.

    The parton flies along +z, its partner along -z. The seed alone decides the event. The carrier of a parton is the
    hadron at the end of the string that its quark ends.

    Args:
        pythia: one that leaves primary hadrons as they are (``UNDECAYED_HADRONS``).
        flavour: PDG id of the parton.
        momentum: of each of the two in GeV, their pT in the frame of the gun.
        seed: seed of the event.
        scale: at which the shower starts, in GeV; by default ``momentum``.

    Raises:
        FastsimError: if Pythia gives up on the pair.
    """
    event = pythia.event
    for _ in attempts(pythia, flavour, momentum, seed, momentum if scale is None else scale):
        numbers = [k for k, p in enumerate(event) if p.isFinal()]
        final = [event[k] for k in numbers]
        table = np.array([(p.id(), p.e(), p.px(), p.py(), p.pz(), p.m()) for p in final], dtype=np.float64)
        pdg_id = table[:, 0].astype(np.int64)
        if np.isin(pdg_id, IDS).all():
            break
    carriers = [-1, -1]
    if flavour != 21:
        place = {number: row for row, number in enumerate(numbers)}
        carriers = [place.get(_carrier(event, parton), -1) for parton in (1, 2)]
    return pdg_id, table[:, 1:5], table[:, 5], np.array(carriers)


def _carrier(event: Any, parton: int) -> int:
    """Return the row of the hadron that holds the quark that a parton of a pair ends as, -1 if there is none."""
    last = event[parton].iBotCopyId()
    quark = event[last]
    first, end = quark.daughter1(), quark.daughter2()
    if first <= 0:
        return -1
    ends = (first, end) if event[first].mother1() == last else (end, first)
    flavour = quark.id()
    for row in ends:
        pdg_id = event[row].id()
        if event[row].isFinal() and may_hold(flavour)[species_index(np.array([pdg_id]))[0]]:
            return int(row)
    return -1


def _token_block(job: tuple[Ints, Floats, Ints, Floats, tuple[str, ...]]) -> TokenSample:
    """Make both hemispheres of a block of N pairs as token sets, those of antiquarks conjugated to quarks.

    Args:
        job: flavours, pT in GeV, seeds and scales in GeV, each (N,), and further settings of Pythia.

    Returns:
        2N token sets in the axis frame; pair i gives the sets 2i and 2i + 1.
    """
    *columns, settings = job
    pythia = own_pythia(settings=(*UNDECAYED_HADRONS, *settings))
    flavour, transverse, _, scale = columns
    shots = [shoot(pythia, int(f), float(p), int(s), float(q)) for f, p, s, q in zip(*columns, strict=True)]
    sizes = np.array([len(shot[0]) for shot in shots])
    index, start = np.repeat(np.arange(len(shots)), sizes), offsets_from_counts(sizes)[:-1]
    pdg_id, p4, m = (np.concatenate([shot[k] for shot in shots]) for k in range(3))
    carriers = np.stack([shot[3] for shot in shots])
    backward = p4[:, 3] <= 0
    carrier = np.zeros(len(pdg_id), dtype=bool)
    for parton in (0, 1):  # in its own hemisphere only
        rows = (start + carriers[:, parton])[carriers[:, parton] >= 0]
        carrier[rows[backward[rows] == bool(parton)]] = True
    # rotate the backward hemisphere by pi about x, and conjugate it where it is the antiquark's
    p4 = np.where(backward[:, None], p4 * np.array([1.0, 1.0, -1.0, -1.0]), p4)
    species = species_index(pdg_id)
    flip = (flavour[index] != 21) & ((flavour[index] < 0) != backward)
    species = np.where(flip, CONJUGATE[species], species)
    row = 2 * index + backward
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=2 * len(shots))
    return TokenSample(
        np.repeat(np.abs(flavour), 2),
        np.repeat(transverse, 2),
        np.repeat(scale, 2),
        offsets_from_counts(counts),
        species[order],
        p4[order],
        m[order],
        carrier[order],
    )


def token_sample(
    flavour: Ints,
    pt: Floats,
    scale: Floats | None = None,
    *,
    seed: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    settings: Sequence[tuple[str, ...]] | None = None,
) -> TokenSample:
    """Make training data: both hemispheres of N events of pairs as token sets in the axis frame.

    Args:
        flavour: PDG ids (N,) of quarks 1 to 5 or 21.
        pt: transverse momenta (N,) in GeV.
        scale: where their showers start (N,), in GeV; by default at pT.
        seed: seed of all events.
        workers: number of worker processes; 0 to compute in this one. The result does not depend on it.
        progress: called with the number of finished blocks of 256 pairs.
        settings: further lines for Pythia, for each of the blocks; by default none.

    Returns:
        2N token sets; pair i gives the sets 2i and 2i + 1.
    """
    transverse = np.asarray(pt, dtype=np.float64)
    scales = transverse if scale is None else np.asarray(scale, dtype=np.float64)
    jobs = share_out(np.asarray(flavour), transverse, np.random.default_rng(seed))
    lines = [()] * len(jobs) if settings is None else settings
    parts = zip(range(0, len(transverse), BLOCK), jobs, lines, strict=True)
    full = [(*job, scales[start : start + BLOCK], own) for start, job, own in parts]
    pool = start_pool(workers)
    try:
        return TokenSample.concatenate(list(run_jobs(_token_block, full, pool, progress)))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
