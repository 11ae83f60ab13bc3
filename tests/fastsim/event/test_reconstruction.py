"""Four-momentum laws of the reconstruction: on made-up systems, chains of resonances and files of real generators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.errors import InvalidEvent
from fastsim.event import Floats, HardEvents, Ints, ParticleSet, kinematics
from fastsim.event.kinematics import rotate_between
from fastsim.event.reconstruction import HardSystems, solve_rescaling
from fastsim.formats import lhe
from generators.hadrons.step import Hadronize
from tests.helpers.sources import Spray, closure, hard_event, shell

FILES = [
    "madgraph5-3.5.8-pp_to_jj.lhe.gz",
    "powheg-box-v2-W.lhe",
    "powheg-box-v2-hvq.lhe",
    "pr180.lhe",
    "whizard-3.1.4-eeWW.lhe",
]


def two_body(parent: Floats, m1: float, m2: float, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    m = float(kinematics.mass(parent))
    p = np.sqrt((m**2 - (m1 + m2) ** 2) * (m**2 - (m1 - m2) ** 2)) / (2 * m)
    direction = rng.normal(size=3)
    direction *= p / np.linalg.norm(direction)
    pair = [np.concatenate([[np.hypot(p, mass)], sign * direction]) for mass, sign in ((m1, 1), (m2, -1))]
    first, second = (kinematics.boost_to(one, parent).tolist() for one in pair)
    return first, second


def chain(seed: int, boost: float) -> HardEvents:
    """q qbar -> t tbar, t -> b W, W -> q qbar, tbar -> bbar W-, W- -> e nu; in a boosted frame."""
    rng = np.random.default_rng(seed)
    x = np.exp(boost)
    beams = [[400 * x, 0, 0, 400 * x], [400 / x, 0, 0, -400 / x]]
    t, tbar = two_body(np.sum(beams, axis=0), 173.0, 172.0, rng)
    w, b = two_body(np.array(t), 80.0, 4.8, rng)
    u, d = two_body(np.array(w), 0.0, 0.0, rng)
    wm, bbar = two_body(np.array(tbar), 81.0, 4.8, rng)
    e, nu = two_body(np.array(wm), 0.0, 0.0, rng)
    return hard_event(
        [
            (2, -1, (-1, -1), beams[0]),
            (-2, -1, (-1, -1), beams[1]),
            (6, 2, (0, 1), t),
            (-6, 2, (0, 1), tbar),
            (24, 2, (2, 2), w),
            (5, 1, (2, 2), b),
            (2, 1, (4, 4), u),
            (-1, 1, (4, 4), d),
            (-24, 2, (3, 3), wm),
            (-5, 1, (3, 3), bbar),
            (11, 1, (8, 8), e),
            (-12, 1, (8, 8), nu),
        ]
    )


@given(st.integers(0, 10**6), st.floats(-5, 5), st.floats(0.05, 3.0))
@settings(max_examples=40, deadline=None)
def test_chains_close_and_keep_every_resonance(seed: int, boost: float, width: float) -> None:
    events = Hadronize(Spray(width=width)).step(chain(seed, boost), rng=np.random.default_rng(seed))
    assert closure(events) < 1e-9 and shell(events) < 1e-9
    assert events.particles is not None and events.origin is not None
    ancestors = {5: (2,), 6: (2, 4), 7: (2, 4), 9: (3,), 10: (3, 8), 11: (3, 8)}
    for resonance, m in ((2, 173.0), (3, 172.0), (4, 80.0), (8, 81.0)):
        inside = [k for k, above in ancestors.items() if resonance in above]
        total = events.particles.p4[np.isin(events.origin, inside)].sum(axis=0)
        assert kinematics.mass(total) == pytest.approx(m, rel=1e-6 * np.exp(2 * abs(boost)) / 1e3 + 1e-9)
    # the system of the top moves as a whole: momenta of t and tbar stay back to back in their rest frame
    top = events.particles.p4[np.isin(events.origin, [5, 6, 7])].sum(axis=0)
    assert np.allclose(top, events.p4[2], rtol=0, atol=1e-9 * events.p4[2, 0])


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_rescaling_solves_its_equation(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    p, m = rng.exponential(20, 3 * size), rng.exponential(3, 3 * size) * rng.integers(0, 2, 3 * size)
    system: Ints = np.repeat(np.arange(3), size)
    roots = np.bincount(system, weights=m) + np.array([1e-3, 5.0, 500.0])
    k, failed = solve_rescaling(p, m, system, roots)
    energy = np.bincount(system, weights=np.sqrt((k[system] * p) ** 2 + m**2))
    assert not failed.any() and np.allclose(energy, roots, rtol=1e-12)
    k, failed = solve_rescaling(p, m, system, np.bincount(system, weights=m) * 0.999 - 1e-9)
    assert failed.all() and (k == 0).all()


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_rotation_takes_start_to_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end, vectors = rng.normal(size=(3, 4, 3))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    end /= np.linalg.norm(end, axis=1, keepdims=True)
    end[0], end[1] = start[0], -start[1]
    assert np.allclose(rotate_between(start, start, end), end, atol=1e-12)
    turned = rotate_between(vectors, start, end)
    assert np.allclose(np.sum(turned**2, 1), np.sum(vectors**2, 1)) and np.allclose(turned[0], vectors[0])


def test_jets_keep_their_masses_and_point_along_their_partons() -> None:
    event = chain(4, 0.7)
    source = Spray(width=1.0)
    systems = HardSystems.of(event)
    drawn = source.sample(systems.conditions(), rng=np.random.default_rng(1))
    particles, origin = systems.place(systems.to_rest(drawn))
    for jet, entry in enumerate(systems.parton_rows):
        total = particles.p4[origin == entry].sum(axis=0)
        assert kinematics.mass(total) == pytest.approx(float(kinematics.mass(drawn.sums()[jet])), rel=1e-7)
        # a resonance has moved with its own system: its frame is that of all that comes from it
        inside = [5, 6, 7] if entry == 5 else [9, 10, 11] if entry == 9 else [6, 7]
        frame = particles.p4[np.isin(origin, inside)].sum(axis=0)
        direction = kinematics.boost_from(total, frame)[1:]
        expected = systems.rest[entry, 1:]
        cosine = direction @ expected / np.linalg.norm(direction) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_jets_are_found_again_where_they_were_drawn(seed: int) -> None:
    events = chain(seed, boost=0.8)
    systems = HardSystems.of(events)
    drawn = Spray(width=2.0).sample(systems.conditions(), rng=seed)
    jets = systems.to_rest(drawn)
    particles, origin = systems.place(jets)
    rows = systems.parton_rows
    place = np.searchsorted(rows, origin + events.offsets[particles.index])
    of_partons = np.isin(origin + events.offsets[particles.index], rows)
    hadrons = ParticleSet(jets.offsets, particles.pdg_id[of_partons], particles.p4[of_partons])
    np.testing.assert_array_equal(place[of_partons], jets.index)
    back = systems.before_place(hadrons, jets.sums())
    np.testing.assert_allclose(back.p4, jets.p4, atol=1e-7 * jets.p4[:, 0].max())
    np.testing.assert_allclose(systems.from_rest(back).p4, drawn.p4, atol=1e-6 * drawn.p4[:, 0].max())


def test_partons_of_a_decay_are_seen_in_its_rest_frame() -> None:
    systems = HardSystems.of(chain(9, 3.0))
    scales = kinematics.pt(systems.conditions().p4)
    assert scales[1] == pytest.approx(40.0) and scales[2] == pytest.approx(40.0)  # W -> u dbar, half of 80 GeV


def test_a_circle_of_mothers_is_refused() -> None:
    p4 = [10.0, 0.0, 0.0, 1.0]
    event = hard_event([(24, 2, (1, 1), p4), (24, 2, (0, 0), p4), (11, 1, (1, 1), p4)], number=17)
    with pytest.raises(InvalidEvent, match="event 17: its mothers run in a circle"):
        HardSystems.of(event)


def test_impossible_systems_are_refused_not_hidden() -> None:
    event = chain(2, 0.0)
    systems = HardSystems.of(event)
    drawn = Spray(width=60.0).sample(systems.conditions(), rng=np.random.default_rng(1))
    jets = systems.to_rest(drawn)
    failed = systems.solve(jets.sums())[2]
    assert failed.any()
    with pytest.raises(InvalidEvent, match="event 0: the masses of a hard system exceed its energy"):
        systems.place(jets)


@pytest.mark.parametrize("file", FILES)
def test_files_of_real_generators_close(file: str, shared: Path) -> None:
    _, batches = lhe.read(shared / "lhe" / file, chunk_size=400)
    for batch in batches:
        events = Hadronize(Spray()).step(batch, rng=np.random.default_rng(5))
        assert closure(events) < 1e-9 and shell(events) < 1e-9


def test_a_lepton_and_its_photons_are_members_of_what_made_the_lepton() -> None:
    """Of 500 GeV they have nearly the mass of the electron, and a frame in which rounding would be magnified."""
    w = np.array([500.6, 60.0, 0.0, np.sqrt(500.6**2 - 60.0**2 - 80.0**2)])
    (e, nu), g = (
        two_body(w, 0.000511, 0.0, np.random.default_rng(3)),
        [float(np.linalg.norm(w[1:])), *(-w[1:]).tolist()],
    )
    left, photon = (
        np.array([np.hypot(share * np.linalg.norm(e[1:]), m), *(share * x for x in e[1:])]).tolist()
        for share, m in ((0.998, 0.000511), (0.002, 0.0))
    )
    beams = [[(w[0] + g[0]) / 2, 0.0, 0.0, sign * (w[0] + g[0]) / 2] for sign in (1, -1)]
    events = hard_event(
        [
            (1, -1, (-1, -1), beams[0]),
            (-2, -1, (-1, -1), beams[1]),
            (-24, 2, (0, 1), w.tolist()),
            (21, 1, (0, 1), g),
            (11, 2, (2, 2), e),
            (-12, 1, (2, 2), nu),
            (11, 1, (4, 4), left),
            (22, 1, (4, 4), photon),
        ]
    )
    systems = HardSystems.of(events)
    assert systems.system[4] == -1 and len(set(systems.system[5:].tolist())) == 1
    assert systems.parent[systems.system[5]] == 2
    done = Hadronize(Spray(20.0)).step(events, rng=np.random.default_rng(1))
    assert closure(done) < 1e-9
