"""Conditions of rests: initial states that make singlets, limits of radiation, and hard processes of the singlets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from fastsim.event import HardEvents, RunInfo
from fastsim.event.kinematics import mass
from fastsim.event.species import charges
from fastsim.formats import lhe
from generators.rests.conditions import COLOURLESS, JETS, MIXED, Conditions
from tests.helpers.events import event, file


def read(text: str) -> tuple[RunInfo, HardEvents]:
    run, batches = lhe.read(io.BytesIO(text.encode()))
    return run, next(iter(batches))


def test_fractions_scale_and_singlet(rng: np.random.Generator) -> None:
    run, events = read(file(event(), event((0, 3, "0."))))
    conditions = Conditions.of(events, run, rng)
    assert np.allclose(conditions.x, 100.0 / 6500.0) and conditions.incoming.tolist() == [[2, -2], [2, -2]]
    assert np.allclose(conditions.scale, [91.0, 100.0])  # without a scale half the mass of the hard process
    assert np.allclose(conditions.total, [200.0, 0, 0, 0]) and conditions.limits.tolist() == [JETS, JETS]


def test_initial_states_without_a_singlet_get_one_of_either_parton(rng: np.random.Generator) -> None:
    run, events = read(file(*[event()] * 200))
    incoming = np.flatnonzero(events.status == -1).reshape(-1, 2)

    def made(one: int, other: int) -> set[tuple[int, ...]]:
        events.pdg_id[incoming] = one, other
        return set(map(tuple, Conditions.of(events, run, rng).incoming.tolist()))

    assert made(2, 21) == {(2, -2), (21, 21)} and made(1, 2) == {(1, -1), (-2, 2)}
    assert made(2, -1) == {(2, -1)} and made(21, 21) == {(21, 21)} and made(22, 22) == {(22, 22)}
    assert made(22, 3) == {(-3, 3)}


def test_incoming_partons_are_sorted_by_direction(rng: np.random.Generator) -> None:
    run, events = read(file(event()))
    rows = np.flatnonzero(events.status == -1)
    swapped = HardEvents(**{**vars(events), "p4": events.p4.copy()})
    swapped.p4[rows] = swapped.p4[rows[::-1]]
    assert Conditions.of(swapped, run, rng).incoming.tolist() == [[-2, 2]]


def test_limits_follow_what_the_hard_process_makes(examples: Path, rng: np.random.Generator) -> None:
    run, batches = lhe.read(examples / "pp_mixed.lhe.gz", num_events=6)
    events = next(iter(batches))
    kinds = []
    for one in range(6):
        made = set(np.abs(events[one : one + 1].pdg_id[2:]).tolist())
        kinds.append(MIXED if made & {6, 23} else JETS)
    assert Conditions.of(events, run, rng).limits.tolist() == kinds and set(kinds) == {JETS, MIXED}
    run, events = read(
        file(
            event(
                (3, 0, "11"),
                (4, 0, "-11"),
                *((k, c, "0") for k in (3, 4) for c in (4, 5)),
                (1, 4, "501"),
                (2, 5, "501"),
            )
        )
    )
    assert Conditions.of(events, run, rng).limits.tolist() == [COLOURLESS]


def test_singlets_conserve_momentum_charge_and_colour() -> None:
    incoming = np.array([[21, 21], [2, -2], [-1, 2], [1, -2], [22, 22]])
    size = len(incoming)
    x = np.linspace(0.01, 0.3, 2 * size).reshape(-1, 2)
    one = Conditions(np.arange(size), np.full(2, 6800.0), x, incoming, np.full(size, 50.0), np.zeros(size, np.int64))
    events = one.singlets()
    p4 = events.p4.reshape(size, 3, 4)
    assert np.allclose(p4[:, 0] + p4[:, 1], p4[:, 2]) and np.allclose(mass(p4[:, 2]), events.mass.reshape(-1, 3)[:, 2])
    assert events.pdg_id.reshape(-1, 3)[:, 2].tolist() == [25, 23, 24, -24, 25]
    charge = charges(events.pdg_id).reshape(-1, 3)
    assert np.allclose(charge[:, 0] + charge[:, 1], charge[:, 2])
    colours = events.colours.reshape(size, 3, 2)
    assert (colours[:, 0] == colours[:, 1, ::-1]).all() and not colours[:, 2].any() and not colours[4].any()
    assert (colours[1:4, 0, 0] != 0).tolist() == [True, False, True]  # a quark has a colour, an antiquark an anticolour
    again = Conditions.of_singlets(events, RunInfo(beam_energy=(6800.0, 6800.0)))
    assert np.allclose(again.x, x) and np.array_equal(again.incoming, incoming)
