"""Densities transverse to the leading track, and their comparison with measured tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from metrics.hadrons.tables import Table, read_tables
from metrics.hadrons.underlying_event import ATLAS, DENSITIES, transverse_densities, underlying_event

AREA = 5 * np.pi / 3
Event = tuple[NDArray[Any], NDArray[Any]]


def event(*tracks: tuple[int, float, float, float]) -> Event:
    ids, pt, eta, phi = (np.array(column) for column in zip(*tracks, strict=True))
    return ids, p4_from_pt_eta_phi_m(pt, eta, phi, 0.14)


def sets(*events: Event) -> ParticleSet:
    offsets = np.cumsum([0, *(len(ids) for ids, _ in events)])
    pdg_id, p4 = (np.concatenate(column) for column in zip(*events, strict=True))
    return ParticleSet(offsets, pdg_id, p4)


LEADER = (211, 12.0, 0.3, 3.0)  # near the cut of phi at pi: regions go round it
HALF_PI = np.pi / 2
ONE = event(
    LEADER,
    (-211, 2.0, 1.0, 3.0 + HALF_PI - 2 * np.pi),  # one side
    (321, 3.0, -2.0, 3.0 - HALF_PI),  # the other one, twice
    (211, 0.6, 0.0, 3.0 - HALF_PI + 0.3),
    (111, 9.0, 0.0, 3.0 - HALF_PI),  # neutral
    (211, 0.4, 0.0, 3.0 - HALF_PI),  # too soft
    (211, 4.0, 2.6, 3.0 - HALF_PI),  # too far forward
    (211, 5.0, 0.0, 0.0),  # away
    (211, 5.0, 0.0, 2.5),  # toward
)


def test_densities_of_an_event_made_by_hand() -> None:
    values = transverse_densities(sets(ONE, event((22, 50.0, 0.0, 0.0))))
    expected = {"tracks_min": 1, "tracks_max": 2, "tracks_diff": 1, "pt_min": 2.0, "pt_max": 3.6, "pt_diff": 1.6}
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], [value / AREA, 0], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(values["leading"], [12, 0], rtol=1e-9)


def made_table(key: str, value: float) -> Table:
    low, high = np.array([2.0, 11.0]), np.array([11.0, 14.0])
    return Table(f"{ATLAS}/{key}", low, high, np.full(2, value), np.full(2, 0.1))


def test_bins_with_events_are_compared() -> None:
    tables = {f"{ATLAS}/{key}": made_table(key, 2 / AREA) for key in ("d03-x01-y01", "d01-x01-y01")}
    (found,) = underlying_event(sets(*[ONE] * 12), tables)
    assert found.what == "tracks in transMAX"
    assert found.table.low.tolist() == [11.0]
    np.testing.assert_allclose(found.value, 2 / AREA)
    assert found.chi2 == pytest.approx(0, abs=1e-20)


def test_a_sample_without_events_in_the_bins_is_refused() -> None:
    tables = {f"{ATLAS}/d02-x01-y01": made_table("d02-x01-y01", 1.0)}
    with pytest.raises(ValueError, match="no bin from 13 GeV on has 10 of the 12 events"):
        underlying_event(sets(*[ONE] * 12), tables, leading=13.0)


def test_the_measured_tables_hold_what_the_names_say(shared: Path) -> None:
    tables = read_tables(shared / "lhc" / f"{ATLAS}.yoda")
    for what in ("tracks", "pt"):
        low, high, difference = (tables[f"{ATLAS}/{key}"].value for key, name in DENSITIES.items() if name[0] == what)
        np.testing.assert_allclose(high - low, difference, rtol=0.02)
