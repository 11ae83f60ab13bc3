"""Decays of resonances that the hard record leaves undecayed: t, W, Z, H and tau, by Pythia 8.

Each one is decayed alone, at rest and with the mass it has in the record, by Pythia's resonance decays without
shower or hadronisation, so that quarks come out as partons for the next Step; tau leptons give their final
hadrons and leptons. The products are then boosted to the resonance's momentum. Decay chains (t -> b W, W -> q q')
are kept in full. The record does not say how a resonance was polarised: its decay is isotropic, without
correlation to its production or to other resonances.

Other states (new vector bosons, supersymmetric particles...) have widths that depend on a model: they pass.

References:
    Bierlich et al., A comprehensive guide to the physics and usage of PYTHIA 8.3, 2022, arXiv:2203.11601.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, offsets_from_counts
from fastsim.event.kinematics import boost_to, mass

RESONANCES: frozenset[int] = frozenset({6, 15, 23, 24, 25})
"""PDG ids (absolute) that are decayed."""

SETTINGS: tuple[str, ...] = ("PartonLevel:FSRinResonances = off", "HadronLevel:Hadronize = off")
_MAX_TRIES = 20

Row = tuple[int, int, int, int, int]
"""PDG id, status, mother (index among the products, -1 for the resonance itself), colour, anticolour."""
PDG_ID, STATUS, MOTHER, COLOURS = 0, 1, 2, slice(3, 5)
"""Columns of a :data:`Row`."""


class DecayResonances:
    """The Step that gives undecayed t, W, Z, H and tau status 2 and appends their products to the hard record.

    The tally ``decayed_resonances`` counts the resonances. Four-momentum is conserved to rounding.
    """

    name = "decay-resonances"
    requires = frozenset({"partons"})
    provides = frozenset({"partons"})

    def step(self, events: HardEvents, *, rng: np.random.Generator) -> HardEvents:
        """Return the events with all resonances decayed.

        Raises:
            InvalidEvent: if Pythia finds no decay for a resonance (a mass below all its channels).
        """
        chosen = np.flatnonzero((events.status == 1) & np.isin(np.abs(events.pdg_id), sorted(RESONANCES)))
        if len(chosen) == 0:
            return events
        from generators.reference.pythia import own_pythia

        pythia = own_pythia(settings=SETTINGS)
        seeds = rng.integers(1, 900_000_000, len(chosen))
        event = events.index[chosen]
        at_rest = mass(events.p4[chosen])
        next_tag = np.full(len(events), 500, dtype=np.int64)
        np.maximum.at(next_tag, events.index, events.colours.max(axis=1))
        size = np.diff(events.offsets).copy()
        products: list[tuple[int, Ints, Floats]] = []
        for i, row in enumerate(chosen):
            e = event[i]
            colours = (int(events.colours[row, 0]), int(events.colours[row, 1]))
            decayed = decay(pythia, int(events.pdg_id[row]), float(at_rest[i]), colours, int(seeds[i]))
            if decayed is None:
                raise InvalidEvent(
                    f"event {events.number[e]}: Pythia cannot decay particle {events.pdg_id[row]} of mass "
                    f"{at_rest[i]:.4g} GeV; decay it in the generator that wrote the file"
                )
            rows, p4 = decayed
            table = np.array(rows, dtype=np.int64)
            mother, tags = table[:, MOTHER], table[:, COLOURS]
            table[:, MOTHER] = np.where(mother < 0, row - events.offsets[e], mother + size[e])
            table[:, COLOURS] = np.where(tags < 0, next_tag[e] - tags, tags)
            next_tag[e] = max(next_tag[e], int(table[:, COLOURS].max()))
            size[e] += len(table)
            products.append((int(e), table, boost_to(p4, np.broadcast_to(events.p4[row], p4.shape))))
        return _appended(events, chosen, products).tally("decayed_resonances", event)


def decay(pythia: Any, pdg_id: int, m: float, colours: tuple[int, int], seed: int) -> tuple[list[Row], Floats] | None:
    """Decay one resonance at rest.

    Args:
        pythia: a Pythia with :data:`SETTINGS`.
        pdg_id: species of the resonance.
        m: its mass in GeV.
        colours: its colour tags, 0 for none.
        seed: seed of the decay.

    Returns:
        Rows of the N products, with new colour tags counted -1, -2..., and their four-momenta (N, 4) in GeV; None if
        Pythia finds no decay.
    """
    pythia.rndm.init(seed)
    event = pythia.event
    # new tags of Pythia are above the tags of the resonance
    pythia_tags = [101 if colours[0] else 0, 102 if colours[1] else 0]
    own = {tag: colour for tag, colour in zip(pythia_tags, colours, strict=True) if tag}
    for _ in range(_MAX_TRIES):
        event.reset()
        event.append(pdg_id, 22, *pythia_tags, 0.0, 0.0, 0.0, m, m, m)
        if pythia.next() and event.size() > 3:
            break
    else:
        return None
    tags: dict[int, int] = {0: 0}
    rows: list[Row] = []
    momenta = []
    for k in range(2, event.size()):
        p = event[k]
        pair = []
        for tag in (p.col(), p.acol()):
            pair.append(own[tag] if tag in own else tags.setdefault(tag, -len(tags)))
        rows.append((p.id(), 1 if p.isFinal() else 2, p.mother1() - 2 if p.mother1() > 1 else -1, pair[0], pair[1]))
        momenta.append((p.e(), p.px(), p.py(), p.pz()))
    return rows, np.array(momenta, dtype=np.float64)


def _appended(events: HardEvents, decayed: Ints, products: list[tuple[int, Ints, Floats]]) -> HardEvents:
    """Return the events with products at the end of each record, and status 2 for the decayed entries.

    Args:
        events: the events.
        decayed: rows of the decayed entries.
        products: for each of them its event, the rows of its products, and their four-momenta in GeV.
    """
    status = events.status.copy()
    status[decayed] = 2
    table = np.concatenate([t for _, t, _ in products])
    p4 = np.concatenate([p for _, _, p in products])
    where = np.repeat([e for e, _, _ in products], [len(t) for _, t, _ in products])
    order = np.argsort(np.concatenate([events.index, where]), kind="stable")
    counts = np.diff(events.offsets) + np.bincount(where, minlength=len(events))
    return replace(
        events,
        offsets=offsets_from_counts(counts),
        pdg_id=np.concatenate([events.pdg_id, table[:, PDG_ID]])[order],
        status=np.concatenate([status, table[:, STATUS]])[order],
        mothers=np.concatenate([events.mothers, table[:, [MOTHER, MOTHER]]])[order],
        colours=np.concatenate([events.colours, table[:, COLOURS]])[order],
        p4=np.concatenate([events.p4, p4])[order],
        mass=np.concatenate([events.mass, mass(p4)])[order],
        hard_columns={
            name: np.concatenate([values, np.zeros((len(p4), *values.shape[1:]), values.dtype)])[order]
            for name, values in events.hard_columns.items()
        },
    )
