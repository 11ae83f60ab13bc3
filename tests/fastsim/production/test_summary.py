"""The summary of a run: what was not the model's is a share in plain words, and a warning beyond 5%."""

from __future__ import annotations

import pytest

from fastsim.production.summary import Summary


def summary(**notes: int) -> Summary:
    return Summary(output="a.h5", source="hadron-tree", events=50, partons=100, notes=notes)


def test_the_share_that_is_not_the_models() -> None:
    rows = dict(summary(partons_elsewhere=78, fallback_partons=70, minimal_partons=8, chain_partons=3).rows())
    assert rows["not from hadron-tree"] == "78 partons of 100 (78.0%)"
    assert rows["partons outside the model's limits, from Pythia"] == "70 (70.0%)"
    assert rows["partons too soft for either, as one or two particles"] == "8 (8.0%)"
    assert rows["partons of colour singlets of three and more, from Pythia"] == "3 (3.0%)"


def test_scales_in_plain_words() -> None:
    rows = dict(summary(low_scales=20).rows())
    assert rows["partons whose shower starts below pT (SCALUP)"] == "20 (20.0%)"
    (line,) = summary(ignored_scales=20).warnings()
    assert line.startswith("SCALUP of the file is below pT for 20 partons, whose showers hadron-tree starts at pT")


@pytest.mark.parametrize(("elsewhere", "warned"), [(0, False), (5, False), (6, True)])
def test_it_warns_beyond_five_percent(elsewhere: int, warned: bool) -> None:
    lines = summary(partons_elsewhere=elsewhere).warnings()
    assert bool(lines) == warned and all("6% of the partons" in line for line in lines)


def test_what_else_should_not_be_overlooked() -> None:
    lines = summary(undecayed_particles=2, bad_events=1, rejected_events=3).warnings()
    assert [line.split()[0] for line in lines] == ["2", "1", "3"] and "as final" in lines[0]


def test_energy_that_left_no_cells_is_said() -> None:
    (line,) = summary(dropped_particles=2, dropped_energy_MeV=451_000, soft_particles=3, forward_particles=9).warnings()
    assert line.startswith("2 particles of 451 GeV together left nothing in the cells") and "--geant4" in line


def test_no_partons_no_share() -> None:
    empty = Summary(output="a.h5", source="geant4")
    assert empty.share_elsewhere == 0.0 and empty.warnings() == []
