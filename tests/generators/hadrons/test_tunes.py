"""Tunes: texts, vectors and settings; a design that fills the ranges; the parameters as Pythia knows them."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.errors import FastsimError, InvalidValue
from fastsim.event.arrays import same_fields
from generators.hadrons.data import DataConfig
from generators.hadrons.gun import BLOCK, token_sample
from generators.hadrons.tunes import NAMES, PARAMETERS, Tune, design, tune_of
from generators.reference.pythia import PythiaGun
from tests.helpers.partons import spread


def test_defaults_are_those_of_pythia_and_lie_within_ranges_that_it_allows() -> None:
    import pythia8mc

    settings = pythia8mc.Pythia("", False).settings
    for parameter in PARAMETERS:
        assert settings.parm(parameter.key) == parameter.default, parameter.name
        for end in (parameter.low, parameter.high):
            settings.parm(parameter.key, end)  # a value outside Pythia's limits is moved to them
            assert settings.parm(parameter.key) == end, parameter.name
        ends = Tune.of({parameter.name: parameter.low}), Tune.of({parameter.name: parameter.high})
        low, high = (tune.vector([parameter.name])[0] for tune in ends)
        assert low < 0 < high and high - low == pytest.approx(2)


def test_a_text_goes_round() -> None:
    tune = Tune.parse("alphaS=0.13, aLund=0.5")
    assert str(tune) == "aLund=0.5 alphaS=0.13" and Tune.parse(str(tune)) == tune
    assert tune.settings == ("StringZ:aLund = 0.5", "TimeShower:alphaSvalue = 0.13")
    assert Tune.parse("") == Tune.parse("Monash") == Tune.parse("aLund=0.68") == Tune() == tune_of(None)
    assert Tune().settings == () and str(Tune()) == "Monash" and not Tune().vector().any()
    assert tune_of({"aLund": 0.5, "alphaS": 0.13}) == tune_of("aLund=0.5 alphaS=0.13") == tune_of(tune) == tune


def test_a_vector_goes_round() -> None:
    for tune in design(16, seed=3):
        assert Tune.of_vector(tune.vector()) == tune
    one = Tune.of_vector([-1.0], ["sigma"])
    assert one["sigma"] == 0.27 and one["aLund"] == 0.68
    with pytest.raises(InvalidValue, match=r"a vector of shape \(2,\) for 1 parameters"):
        Tune.of_vector([0.0, 0.0], ["sigma"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aLund=3", r"tune: aLund=3 is outside 0.3 to 1.1, .*\(Monash: 0.68\)"),
        ("aLund=nan", "aLund=nan is outside"),
        ("blund=1", "no parameter 'blund': there are aLund, bLund"),
        ("aLund=0.5 aLund=0.6", "aLund is given twice"),
        ("aLund", "'aLund': give aLund=NUMBER, with a number from 0.3 to 1.1"),
        ("aLund=high", "'aLund=high': give aLund=NUMBER"),
    ],
)
def test_a_wrong_text_is_named(text: str, message: str) -> None:
    with pytest.raises(FastsimError, match=message):
        Tune.parse(text)


def test_a_design_fills_the_ranges_evenly_and_goes_on() -> None:
    tunes = design(256, ["aLund", "alphaS"], seed=1)
    assert design(100, ["aLund", "alphaS"], seed=1) == tunes[:100]
    x = np.array([(tune["aLund"], tune["alphaS"]) for tune in tunes])
    # a Sobol' sequence of 256 points has one in each of 16 x 16 cells
    cells = ((x - [0.30, 0.1265]) / [0.80, 0.02] * 16).astype(int)
    assert len({tuple(cell) for cell in cells}) == 256
    assert all(set(tune.changed) <= {"aLund", "alphaS"} for tune in tunes)
    config = DataConfig(tunes=("aLund", "alphaS"), shard_events=10 * BLOCK, seed=1)
    assert [*config.tunes_of(0), *config.tunes_of(1)] == design(20, ["aLund", "alphaS"], seed=1)


def test_blocks_of_pairs_are_of_their_tunes() -> None:
    """Each block is what the gun makes of it with the settings of its tune, and Monash is the default."""
    flavour, pt = np.full(2 * BLOCK, 2), np.full(2 * BLOCK, 20.0)
    low = Tune.parse("aLund=1.1 alphaS=0.1265").settings
    mixed = token_sample(flavour, pt, seed=1, settings=[(), low])
    monash, other = token_sample(flavour, pt, seed=1), token_sample(flavour, pt, seed=1, settings=[low, low])
    half = 2 * BLOCK
    assert same_fields(mixed[:half], monash[:half]) and same_fields(mixed[half:], other[half:])
    assert mixed.counts[:half].mean() > other.counts[:half].mean() + 0.2


def test_the_gun_stands_at_a_tune() -> None:
    partons = spread([3] * 60, [30.0] * 60)
    gun = PythiaGun()
    strange = gun.at("StoUD=0.265 aLund=0.4")
    assert gun.at("Monash").primary(partons, rng=1) == gun.primary(partons, rng=1)
    drawn = strange.primary(partons, rng=1)
    assert drawn != gun.primary(partons, rng=1)
    assert strange.with_tau0_max(1.0).primary(partons, rng=1) == drawn
    assert strange.provenance == {"tune": "aLund=0.4 StoUD=0.265"} and gun.provenance == {}


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES) == len({parameter.key for parameter in PARAMETERS})
