"""Colour dipoles: partners along colour lines, momenta in rest frames of dipoles, systems with the beams' recoil."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastsim.event import Floats, HardEvents, ParticleSet, kinematics
from fastsim.event.dipoles import Dipoles, draw_partners
from fastsim.event.reconstruction import HardSystems
from fastsim.event.singlets import colour_partners
from fastsim.event.species import LEAST_MOMENTUM
from generators.hadrons.step import Hadronize
from tests.helpers.sources import Spray, hard_event, shell

GG: list[tuple[int, int]] = [(501, 502), (503, 501), (504, 502), (503, 504)]
"""Colours of g g -> g g: either outgoing gluon is joined to one beam and to the other gluon."""


def massless(pt: float, y: float, angle: float) -> list[float]:
    return [pt * np.cosh(y), pt * np.cos(angle), pt * np.sin(angle), pt * np.sinh(y)]


def two_to_two(ids: list[int], colours: list[tuple[int, int]], pt: float = 40.0, y: float = 0.8) -> HardEvents:
    """Return one event of two massless partons at rapidities +-y, or a boson of 91 GeV and a parton."""
    p = np.array([massless(pt, y, 0.3), massless(pt, -y, 0.3 + np.pi)])
    if ids[2] == 23:
        p[0] = kinematics.on_shell(p[:1], np.array([91.0]))[0]
    plus, minus = (p[:, 0] + p[:, 3]).sum(), (p[:, 0] - p[:, 3]).sum()
    beams = [[plus / 2, 0, 0, plus / 2], [minus / 2, 0, 0, -minus / 2]]
    rows = [(i, -1, (-1, -1), b) for i, b in zip(ids[:2], beams, strict=True)]
    rows += [(i, 1, (0, 1), list(q)) for i, q in zip(ids[2:], p, strict=True)]
    return replace(hard_event(rows), colours=np.array(colours), scale=np.array([pt]))


def test_partners_are_at_the_other_ends_of_the_colour_lines() -> None:
    gluons = two_to_two([21, 21, 21, 21], GG)
    assert colour_partners(gluons).tolist() == [[1, 2], [3, 0], [3, 0], [1, 2]]
    exchange = two_to_two([1, 2, 1, 2], [(501, 0), (502, 0), (502, 0), (501, 0)])
    assert colour_partners(exchange).tolist() == [[3, -1], [2, -1], [1, -1], [0, -1]]


def test_a_gluon_gets_either_partner_equally_often() -> None:
    events = HardEvents.concatenate([two_to_two([21, 21, 21, 21], GG)] * 2000)
    partner = draw_partners(events, np.random.default_rng(1)).reshape(-1, 4) - events.offsets[:-1, None]
    assert set(partner[:, 2].tolist()) == {0, 3} and set(partner[:, 3].tolist()) == {1, 2}
    assert (partner[:, 2] == 3).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2000))


@pytest.mark.parametrize("y", [-1.5, 0.0, 0.8, 3.0])
def test_a_dipole_with_a_beam_has_the_momentum_of_its_angle(y: float) -> None:
    pt = 40.0
    events = two_to_two([1, 2, 1, 2], [(501, 0), (502, 0), (501, 0), (502, 0)], pt, y)
    systems = HardSystems.of(events, partner=draw_partners(events, np.random.default_rng(1)))
    expected = pt * np.sqrt(1 + np.exp(-2 * y)) / 2
    m = 0.33
    assert systems.conditions().pt == pytest.approx([expected, expected], rel=m**2 / pt**2)
    assert systems.conditions().starting_scale == pytest.approx(np.minimum(expected, pt), rel=m**2 / pt**2)


def test_the_frame_of_a_dipole_takes_its_parton_to_where_it_is() -> None:
    rng = np.random.default_rng(3)
    p, k = (rng.normal(size=(50, 3)) * 60 for _ in range(2))
    own, partner = (np.column_stack([np.linalg.norm(q, axis=1), q]) for q in (p, k))
    pdg_id = rng.choice([1, -2, 3, 4, -5, 21], 50)
    dipoles = Dipoles.of(np.arange(50), pdg_id, own, partner)
    assert dipoles.to_lab(dipoles.along_x, np.arange(50))[:, 1:] == pytest.approx(own[:, 1:], rel=1e-9, abs=1e-9)
    least = np.array([LEAST_MOMENTUM[abs(int(i))] for i in pdg_id])
    beside = kinematics.on_shell(own + 1e-3 * partner, np.zeros(50))
    light = Dipoles.of(np.arange(50), pdg_id, own, beside)
    assert light.along_x[:, 1] == pytest.approx(least, rel=1e-4)
    assert light.to_lab(light.along_x, np.arange(50))[:, 1:] == pytest.approx(own[:, 1:], rel=1e-6, abs=1e-6)


def test_hadrons_in_whole_collisions_recoil_against_beams_and_bosons_keep_their_momenta() -> None:
    colours = [(501, 0), (0, 502), (0, 0), (501, 502)]
    events = two_to_two([1, -1, 23, 21], colours)
    events = HardEvents.concatenate([events] * 20)
    sums: list[Floats] = []

    class Kept(Spray):
        def draw(self, partons, rng):  # type: ignore[no-untyped-def]
            hadrons = super().draw(partons, rng)
            sums.append(hadrons.sums())
            return hadrons

    done = Hadronize(Kept(width=0.0), whole_collisions=True).step(events, rng=np.random.default_rng(2))
    assert done.particles is not None and done.origin is not None and shell(done) < 1e-9
    boson = done.particles.pdg_id == 23
    assert done.particles.p4[boson] == pytest.approx(np.tile(events.p4[2], (20, 1)), rel=1e-12)
    jets = done.particles.keeping(~boson).sums()
    # hadrons that fly along with their parton keep its three-momentum up to what their masses change in its frame
    assert kinematics.mass(jets) == pytest.approx(kinematics.mass(sums[0]), rel=1e-6, abs=1e-5)
    across = np.cross(jets[:, 1:], events.p4[3, 1:]) / np.linalg.norm(events.p4[3, 1:])
    assert np.linalg.norm(across, axis=1).max() < 0.2 * np.linalg.norm(events.p4[3, 1:])
    alone = Hadronize(Spray(width=0.0)).step(events, rng=np.random.default_rng(2))
    assert alone.particles is not None
    moved = alone.particles.p4[alone.particles.pdg_id == 23]
    assert (kinematics.pt(moved) < kinematics.pt(events.p4[2]) - 1e-3).any()


def test_a_jet_has_the_momentum_between_its_hemisphere_and_a_partner_that_takes_all_recoil() -> None:
    own, beam = np.array([massless(40.0, 0.5, 1.0)]), np.array([[200.0, 0.0, 0.0, 200.0]])
    dipole = Dipoles.of(np.zeros(1, np.int64), np.array([21]), own, beam)
    hemisphere = kinematics.on_shell(0.9 * own, np.array([8.0]))
    jet = dipole.jets(hemisphere)
    assert kinematics.mass(jet) == pytest.approx([8.0], rel=1e-9)
    assert kinematics.pt(jet) == pytest.approx([0.95 * 40.0])
    z = 64.0 / kinematics.mass_squared(own + beam)[0]
    assert jet[0, 3] == pytest.approx(0.95 * own[0, 3] + 0.5 * z * 200.0)


def test_lines_to_products_of_a_top_end_at_the_top() -> None:
    """G g -> t tbar g with decayed tops: the gluon between them is joined to the tops, not to their b quarks."""
    plain = two_to_two([21, 21, 21, 21], GG)
    t = kinematics.on_shell(plain.p4[2:3], np.array([173.0]))[0]
    g = plain.p4[3]
    w, b = 0.6 * t, 0.4 * t
    total = t + g
    beams = [[(total[0] + s * total[3]) / 2, 0, 0, s * (total[0] + s * total[3]) / 2] for s in (1, -1)]
    rows: list[tuple[int, int, tuple[int, int], list[float]]] = [
        (21, -1, (-1, -1), beams[0]),
        (21, -1, (-1, -1), beams[1]),
        (6, 2, (0, 1), t.tolist()),
        (21, 1, (0, 1), g.tolist()),
        (24, 1, (2, 2), w.tolist()),
        (5, 1, (2, 2), b.tolist()),
    ]
    colours = np.array([[501, 502], [503, 501], [504, 0], [503, 504], [0, 0], [504, 0]])
    events = replace(hard_event(rows), colours=colours)
    assert colour_partners(events)[3].tolist() == [1, 5]
    systems = HardSystems.of(events, partner=np.array([-1, -1, -1, 5, -1, 3]))
    assert systems.partner.tolist() == [-1, -1, -1, 2, -1, 3]
    assert systems.parton_rows[systems.dipoles.parton].tolist() == [3]  # the b is in no hard process
    assert systems.dipoles.frame[0] == pytest.approx(t + g)


def test_sums_of_hadrons_make_the_momentum_of_the_hard_process() -> None:
    events = two_to_two([21, 21, 21, 21], GG)
    systems = HardSystems.of(events, partner=draw_partners(events, np.random.default_rng(4)))
    rest = systems.rest[systems.parton_rows] * np.array([1.0, 0.9, 0.9, 0.9])
    changed = systems.with_sums(rest)
    jets_now = systems.dipoles.jets(kinematics.boost_to(rest, systems.total[[0, 0]]))
    assert changed.total[0] == pytest.approx(jets_now.sum(axis=0))
    assert changed.roots[0] == pytest.approx(kinematics.mass(changed.total)[0])
    assert HardSystems.of(events).with_sums(rest).total == pytest.approx(systems.total)
    jets = ParticleSet(np.array([0, 1, 2]), np.array([22, 22]), rest)
    moved = systems.moved(jets, changed)
    back = kinematics.boost_to(moved.p4, changed.total[[0, 0]])
    assert back == pytest.approx(kinematics.boost_to(rest, systems.total[[0, 0]]))
    k, _, failed = changed.solve(moved.sums())
    assert not failed.any() and k == pytest.approx([1.0], rel=1e-9)
