"""Observables of collider events, on events made by hand."""

from __future__ import annotations

import numpy as np

from fastsim.event import ParticleSet
from fastsim.event.kinematics import p4_from_pt_eta_phi_m
from fastsim.event.species import masses
from metrics.hadrons.collisions import FORWARD, collision_observables


def events(*rows: list[tuple[int, float, float, float]]) -> ParticleSet:
    """Return events of particles (PDG id, pT, eta, phi)."""
    flat = [row for event in rows for row in event]
    ids = np.array([row[0] for row in flat])
    pt, eta, phi = np.array([row[1:] for row in flat]).T
    p4 = p4_from_pt_eta_phi_m(pt, eta, phi, masses(ids))
    return ParticleSet(np.cumsum([0, *map(len, rows)]), ids, p4)


def test_an_event_by_hand() -> None:
    values = collision_observables(
        events(
            [
                (211, 60.0, 0.2, 0.0),
                (-211, 50.0, -0.5, np.pi),
                (321, 1.0, 0.0, np.pi / 2),
                (22, 2.0, 0.0, np.pi / 2),  # is no track
                (2212, 3.0, 1.0, -np.pi / 2),
                (-211, 0.3, 0.0, -np.pi / 2),  # too soft to be a track
                (12, 9.0, 0.0, 0.0),
                (130, 1.0, 4.0, 1.0),
                (2112, 0.5, 8.0, 1.0),
                (211, 0.5, -6.0, 1.0),
            ]
        )
    )
    one = {name: value[0] for name, value in values.items()}
    assert one["charged_0_1"] == 4 and one["charged_1_2.5"] == 1 and one["particles"] == 7
    assert one["charge_0_1"] == 0 and one["charge_1_2.5"] == 1
    assert (one["pions"], one["kaons"], one["protons"], one["photons"], one["neutral_kaons"]) == (3, 1, 1, 1, 1)
    assert one["tracks"] == 4 and one["track_pt"] == 114.0 and one["leading_track"] == 60.0
    assert one["leading_photon"] == 2.0
    area = 2 * 2.5 * np.pi / 3
    np.testing.assert_allclose(one["trans_max_pt"], 3.0 / area)
    np.testing.assert_allclose(one["trans_min_pt"], 1.0 / area)
    np.testing.assert_allclose(one["transverse_tracks"], 1.0 / area)
    np.testing.assert_allclose(one["toward_pt"], 60.0 / (2 * area))
    assert one["jets_10"] == one["jets_30"] == 2
    np.testing.assert_allclose((one["jet_pt_1"], one["jet_pt_2"], one["jet_distance"]), (60, 50, 0.7), rtol=1e-4)
    np.testing.assert_allclose(one["jet_azimuth"], np.pi)
    assert np.isnan(one["jet_pt_3"]) and one["jet_constituents_1"] == 1
    assert one["forward_charged"] == 1 and one["forward_particles"] == 2 and one["forward_baryons"] == 1
    np.testing.assert_allclose(one["forward_leading"], 0.5 * np.cosh(8.0), rtol=1e-3)
    np.testing.assert_allclose(one["forward_middle"], 0.5 * np.cosh(6.0), rtol=1e-3)
    assert set(FORWARD) <= set(one)


def test_events_without_jets_are_seen_from_their_leading_particle() -> None:
    values = collision_observables(events([(211, 3.0, 0.0, 1.0), (-211, 1.0, 0.0, 1.0 + np.pi / 2)], []))
    area = 2 * 2.5 * np.pi / 3
    np.testing.assert_allclose(values["toward_pt"], [3.0 / (2 * area), 0.0])
    np.testing.assert_allclose(values["trans_max_pt"], [1.0 / area, 0.0])
    assert values["jets_10"].tolist() == [0, 0] and np.isnan(values["dijet_mass"]).all()
    assert np.isnan(values["transverse_sphericity"][1])


def test_turning_and_mirroring_events_changes_nothing(rng: np.random.Generator) -> None:
    ids = rng.choice([211, -211, 22, 2212, 321], 300)
    rows = [
        (int(i), *values)
        for i, *values in zip(
            ids, rng.exponential(4, 300), rng.uniform(-7, 7, 300), rng.uniform(-3, 3, 300), strict=True
        )
    ]
    turned = [(i, pt, -eta, phi + 1.0) for i, pt, eta, phi in rows]
    one, other = (collision_observables(events(r)) for r in (rows, turned))
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
