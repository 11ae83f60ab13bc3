"""Taus keep their spin: Pythia's own processes have the same figures (bench/validation/resonances.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsim.event import UNKNOWN_SPIN, Floats, HardEvents, kinematics
from fastsim.formats import lhe
from generators.reference.electroweak import helicity_rates
from generators.reference.resonances import DecayResonances
from tests.helpers.sources import hard_event

PIONS = ("15:onMode = off", "15:onIfMatch = 16 211")
DECAYS = DecayResonances(PIONS)
M_TAU = 1.777
NUM = 1500


def pairs(
    mother: int,
    leptons: tuple[int, int],
    *,
    num: int = NUM,
    m: float = 91.2,
    incoming: tuple[int, int] = (11, -11),
    spins: tuple[float, float] | None = None,
    boost: float = 0.0,
) -> HardEvents:
    """Return events a b -> mother -> two leptons, isotropic; mother 0 for none in the record."""
    rng = np.random.default_rng(5)
    masses = [M_TAU if abs(k) == 15 else 0.0 for k in leptons]
    e1 = (m**2 + masses[0] ** 2 - masses[1] ** 2) / (2 * m)
    p = np.sqrt(e1**2 - masses[0] ** 2)
    events = []
    for i in range(num):
        n = rng.normal(size=3)
        n *= p / np.linalg.norm(n)
        momenta = np.array([[m / 2, 0, 0, m / 2], [m / 2, 0, 0, -m / 2], [m, 0, 0, 0], [e1, *n], [m - e1, *-n]])
        momenta = kinematics.boost(momenta, np.tile([0, 0, boost], (5, 1)))
        own = (2, 2) if mother else (0, 1)
        rows = [(incoming[0], -1, (-1, -1)), (incoming[1], -1, (-1, -1)), (mother, 2, (0, 1))]
        rows += [(leptons[0], 1, own), (leptons[1], 1, own)]
        kept = [k for k in range(5) if k != 2 or mother]
        events.append(hard_event([(*rows[k], list(momenta[k])) for k in kept], i))
    batch = HardEvents.concatenate(events)
    if spins is not None:
        known = np.full(len(batch.pdg_id), UNKNOWN_SPIN)
        known[batch.pdg_id == leptons[0]], known[batch.pdg_id == leptons[1]] = spins
        batch = batch.with_columns(hard={"spin": known})
    return batch


def fractions(done: HardEvents, lepton: int) -> Floats:
    """Return E_pi / E_tau of one tau of each event (E,)."""
    mother = np.where(done.mothers[:, 0] >= 0, done.mothers[:, 0] + done.offsets[done.index], -1)
    pions = np.flatnonzero((np.abs(done.pdg_id) == 211) & (mother >= 0) & (done.pdg_id[mother] == lepton))
    assert len(pions) == len(done)
    value: Floats = done.p4[pions, 0] / done.p4[mother[pions], 0]
    return value


def step(events: HardEvents) -> HardEvents:
    return DECAYS.step(events, rng=np.random.default_rng(1))


def test_the_taus_of_a_higgs_boson_are_anticorrelated() -> None:
    done = step(pairs(25, (15, -15), m=125.0, incoming=(21, 21)))
    a, b = fractions(done, 15), fractions(done, -15)
    # like helicities: -1/3 but for masses; the error of the correlation is 0.025
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(-0.32, abs=0.075)
    assert a.mean() == pytest.approx(0.503, abs=0.023) and b.mean() == pytest.approx(0.503, abs=0.023)


def test_the_pions_of_a_higgs_boson_know_the_transverse_spins() -> None:
    # CP-even: d Gamma ~ 1 - pi^2/16 cos(phi*), with phi* between the decay planes about the axis of the taus
    done = step(pairs(25, (15, -15), m=125.0, incoming=(21, 21)))
    tau = done.p4[done.pdg_id == 15][:, 1:]
    pions = [done.p4[done.pdg_id == k][:, 1:] for k in (-211, 211)]
    axis = tau / np.linalg.norm(tau, axis=1, keepdims=True)
    flat = [p - (p * axis).sum(axis=1, keepdims=True) * axis for p in pions]
    size = np.linalg.norm(flat[0], axis=1) * np.linalg.norm(flat[1], axis=1)
    cosine = (flat[0] * flat[1]).sum(axis=1) / size
    assert cosine.mean() == pytest.approx(-(np.pi**2) / 32, abs=0.07)  # its error is 0.018


@pytest.mark.parametrize("mother", [23, 0])
def test_the_taus_of_a_z_are_correlated_and_polarised(mother: int) -> None:
    done = step(pairs(mother, (15, -15)))
    a, b = fractions(done, 15), fractions(done, -15)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.33, abs=0.075)
    # polarisation -0.15: 1/2 + P/6
    assert np.concatenate([a, b]).mean() == pytest.approx(0.479, abs=0.02)


def test_the_polarisation_follows_the_incoming_fermions_and_the_angle() -> None:
    # at the Z, taus that fly with the e- are more often left-handed than those that fly against it
    events = pairs(23, (15, -15))
    done = step(events)
    a = fractions(done, 15)
    taus = events.p4[events.pdg_id == 15]
    cosine = taus[:, 3] / np.linalg.norm(taus[:, 1:], axis=1)
    forward, backward = a[cosine > 0.5].mean(), a[cosine < -0.5].mean()
    rates = helicity_rates(11, 15, np.array([91.2**2]))[0]
    c = np.linspace(0.5, 1, 50)

    def polarisation(cosine: Floats) -> float:
        left = rates[0, 0] * (1 + cosine) ** 2 + rates[1, 0] * (1 - cosine) ** 2
        right = rates[1, 1] * (1 + cosine) ** 2 + rates[0, 1] * (1 - cosine) ** 2
        return float(((right - left) / (right + left)).mean())

    expected = (polarisation(c) - polarisation(-c)) / 6
    assert expected < -0.03
    assert forward - backward == pytest.approx(expected, abs=0.055)  # 3 errors


@pytest.mark.parametrize(
    ("mother", "leptons", "mean"),
    [
        (-24, (15, -16), 0.336),
        (24, (-15, 16), 0.336),
        (0, (15, -16), 0.336),
        (37, (-15, 16), 0.67),
        (-37, (15, -16), 0.67),
    ],
)
def test_taus_of_charged_bosons_are_polarised(mother: int, leptons: tuple[int, int], mean: float) -> None:
    done = step(pairs(mother, leptons, m=80.4, incoming=(1, -2), num=800))
    assert fractions(done, leptons[0]).mean() == pytest.approx(mean, abs=0.026)  # 3 errors


def test_the_spins_of_the_file_are_respected(shared: Path) -> None:
    # the file has left-handed tau- and right-handed tau+; its four events are decayed many times
    events = next(lhe.read(shared / "cases" / "p-tau-lh.lhe")[1])
    assert events.hard_columns["spin"][:4].tolist() == [9, 9, -1, 1]
    assert events.hard_columns["lifetime"].tolist() == [0.0] * 16
    done = step(HardEvents.concatenate([events] * 300))
    flights = done.hard_columns["lifetime"][(done.status == 2) & (np.abs(done.pdg_id) == 15)]
    assert flights.mean() == pytest.approx(0.08703, rel=0.09) and (flights > 0).all()  # 4 errors
    assert fractions(done, 15).mean() == pytest.approx(0.336, abs=0.02)
    assert fractions(done, -15).mean() == pytest.approx(0.336, abs=0.02)
    assert np.unique(done.hard_columns["spin"][np.isin(np.abs(done.pdg_id), (16, 211))]).tolist() == [UNKNOWN_SPIN]


@pytest.mark.parametrize(("spins", "means"), [((1.0, -1.0), (0.67, 0.67)), ((-1.0, -1.0), (0.336, 0.67))])
def test_any_helicities_of_the_file(spins: tuple[float, float], means: tuple[float, float]) -> None:
    done = step(pairs(23, (15, -15), spins=spins, num=800, boost=0.6))
    for lepton, mean in zip((15, -15), means, strict=True):
        assert fractions(done, lepton).mean() == pytest.approx(mean, abs=0.026)


def test_a_spin_of_zero_is_unknown() -> None:
    # many generators write 0 for a spin that they do not know
    done = step(pairs(-24, (15, -16), m=80.4, incoming=(1, -2), spins=(0.0, 0.0), num=500))
    assert fractions(done, 15).mean() == pytest.approx(0.336, abs=0.035)


def test_the_spins_of_a_file_leave_the_correlations_of_a_higgs_boson() -> None:
    events = pairs(25, (15, -15), m=125.0, incoming=(21, 21), num=500)
    assert np.array_equal(step(events).p4, step(events.with_columns(hard={"spin": np.ones(len(events.pdg_id))})).p4)


def test_momentum_is_conserved_at_any_boost() -> None:
    for boost in (0.0, 0.99, 0.999999):
        for spins in (None, (-1.0, 1.0)):
            events = pairs(23, (15, -15), num=50, boost=boost, spins=spins)
            done = step(events)
            mother = np.where(done.mothers[:, 0] >= 0, done.mothers[:, 0] + done.offsets[done.index], -1)
            for tau in np.flatnonzero(np.abs(done.pdg_id) == 15):
                total = done.p4[mother == tau].sum(axis=0)
                assert done.status[tau] == 2 and (mother == tau).any()
                assert np.abs(total - done.p4[tau]).max() < 1e-9 * done.p4[tau, 0]


def test_a_tau_that_has_radiated_still_belongs_to_its_boson() -> None:
    events: list[HardEvents] = []
    for event in pairs(-24, (15, -16), m=80.4, incoming=(1, -2), num=600).chunks(1):
        # W- -> tau- nubar, tau- -> tau- gamma
        p4 = np.concatenate([event.p4, event.p4[[3]] * 0.9, event.p4[[3]] * 0.1])
        p4[5, 0] = np.sqrt((p4[5, 1:] ** 2).sum() + M_TAU**2)
        p4[6] = np.append(np.linalg.norm(p4[6, 1:]), p4[6, 1:])
        rows = [
            (int(k), int(s), (int(m[0]), int(m[1])))
            for k, s, m in zip(event.pdg_id, event.status, event.mothers, strict=True)
        ]
        rows[3] = (15, 2, (2, 2))
        rows += [(15, 1, (3, 3)), (22, 1, (3, 3))]
        events.append(hard_event([(*row, list(q)) for row, q in zip(rows, p4, strict=True)], len(events)))
    done = step(HardEvents.concatenate(events))
    mother = np.where(done.mothers[:, 0] >= 0, done.mothers[:, 0] + done.offsets[done.index], -1)
    pions = np.flatnonzero(done.pdg_id == -211)
    assert len(pions) == 600
    assert (done.p4[pions, 0] / done.p4[mother[pions], 0]).mean() == pytest.approx(0.336, abs=0.03)
