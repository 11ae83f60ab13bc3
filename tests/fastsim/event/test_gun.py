"""The gun's text and the distribution of its partons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsim.errors import FastsimError
from fastsim.event import kinematics
from fastsim.event.gun import Gun
from fastsim.event.species import PARTON_MASSES


def test_names_ids_ranges_and_single_values() -> None:
    gun = Gun.parse("flavour=u,-3,g,bbar pt=100 eta=-1.5:2 num=1e3")
    assert gun == Gun(flavours=(2, -3, 21, -5), pt=(100.0, 100.0), eta=(-1.5, 2.0), num=1000)
    assert Gun.parse("") == Gun()


@given(
    flavours=st.lists(st.sampled_from([1, -2, 3, 4, -5, 21]), min_size=1, unique=True),
    pt=st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)),
    eta=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    num=st.integers(1, 10**9),
)
def test_text_round_trip(flavours: list[int], pt: tuple[float, float], eta: tuple[float, float], num: int) -> None:
    gun = Gun(tuple(flavours), (min(pt), max(pt)), (min(eta), max(eta)), (-0.5, 3.0), num)
    assert Gun.parse(str(gun)) == gun


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flavour=t", "unknown parton 't': use d u s c b"),
        ("flavour=", "unknown parton ''"),
        ("colour=red", r"'colour=red' is not understood; write for example 'flavour=u,g pt=20:2000"),
        ("pt", "'pt' is not understood"),
        ("pt=high", r"'pt=high' is not a range; give low:high or one value within 0.001:1e\+05 GeV"),
        ("pt=100:20", "'pt=100:20' is not a range"),
        ("pt=0:20", "'pt=0:20' is not a range"),
        ("pt=nan", "'pt=nan' is not a range"),
        ("pt=1:2:3", "'pt=1:2:3' is not a range"),
        ("eta=-2:inf", "'eta=-2:inf' is not a range; .* within -10:10"),
        ("phi=0:10", "within -6.283:6.283 rad"),
        ("num=0", "'num=0': the number of partons must be a positive integer"),
        ("num=2.5", "positive integer"),
        ("num=inf", "positive integer"),
        ("num=many", "positive integer"),
        ("pt=20 pt=30", "'pt=30' gives pt a second time"),
    ],
)
def test_bad_text_is_one_line(text: str, message: str) -> None:
    with pytest.raises(FastsimError, match=message) as caught:
        Gun.parse(text)
    assert str(caught.value).startswith("gun: ") and "\n" not in str(caught.value)


def test_partons_fill_the_ranges_log_uniformly() -> None:
    gun = Gun.parse("flavour=u,ubar,g pt=20:2000 eta=-1:2 phi=0:1 num=20000")
    partons = gun.partons(np.random.default_rng(5))
    assert len(partons) == 20000
    counts = np.array([np.sum(partons.pdg_id == f) for f in (2, -2, 21)])
    assert np.abs(counts - 20000 / 3).max() < 5 * math.sqrt(20000 * 2 / 9)
    # a Kolmogorov-Smirnov distance above 2 / sqrt(N) has p < 1e-3
    for values, low, high in (
        (np.log(kinematics.pt(partons.p4)), math.log(20), math.log(2000)),
        (kinematics.eta(partons.p4), -1, 2),
        (kinematics.phi(partons.p4), 0, 1),
    ):
        uniform = np.sort((values - low) / (high - low))
        assert uniform[0] > -1e-9 and uniform[-1] < 1 + 1e-9
        assert np.abs(uniform - np.linspace(0, 1, len(uniform))).max() < 2 / math.sqrt(len(uniform))
    m = np.array([PARTON_MASSES[abs(int(i))] for i in partons.pdg_id])
    np.testing.assert_allclose(kinematics.mass_squared(partons.p4), m**2, atol=1e-12 * partons.p4[:, 0].max() ** 2)


def test_same_seed_same_partons_and_single_values_are_exact() -> None:
    gun = Gun.parse("flavour=b pt=100 eta=0 phi=0 num=3")
    a, b = (gun.partons(np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(a.p4, b.p4)
    np.testing.assert_allclose(a.p4[:, 1:], [[100.0, 0.0, 0.0]] * 3, rtol=1e-15)
    assert len(gun.partons(np.random.default_rng(2), 7)) == 7
