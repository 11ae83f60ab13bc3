"""Observables of whole events at rest, of an event that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.event import ParticleSet
from fastsim.event.kinematics import on_shell
from fastsim.event.species import masses
from metrics.hadrons.whole_events import WHOLE_EVENTS, whole_sample


def test_an_event_is_counted_by_hand() -> None:
    pdg_id = np.array([211, 211, -321, 22, -2212, 130, -11])
    p = np.array(
        [[0, 0, 10.0], [0.5, 0, 4.0], [-0.5, 0, 3.0], [0, 1.0, 2.0], [0, -0.5, -9.0], [0, -0.5, -5.0], [0, 0, -5.0]]
    )
    p4 = on_shell(np.concatenate([np.zeros((len(p), 1)), p], axis=1), masses(pdg_id))
    found = {k: v[0] for k, v in whole_sample(ParticleSet(np.array([0, len(p)]), pdg_id, p4)).observables.items()}
    assert list(found) == list(WHOLE_EVENTS)
    half = p4[:, 0].sum() / 2
    assert (found["charged"], found["multiplicity"]) == (5, 7)
    assert (found["charged_more"], found["charged_fewer"]) == (3, 2)
    assert found["charge_apart"] == pytest.approx(0.5)  # +1 + 1 - 1 on one side, -1 + 1 on the other
    counts = {"pions": 2, "kaons": 1, "K0s": 1, "protons": 1, "neutrons": 0, "photons": 1, "leptons": 1}
    assert {name: found[name] for name in counts} == counts
    assert found["x_1"] == found["x_pion"] == pytest.approx(10.0 / half)
    assert found["x_proton"] == pytest.approx(np.hypot(9.0, 0.5) / half)
    assert found["x_neutron"] == 0
    sides = [p4[[0, 1, 2]].sum(0), p4[[4, 6]].sum(0)]
    squared = [side[0] ** 2 - (side[1:] ** 2).sum() for side in sides]
    visible = sum(side[0] for side in sides)
    assert found["light_mass"] == pytest.approx(min(squared) / visible**2)
    assert found["heavy_mass"] == pytest.approx(max(squared) / visible**2)


def test_an_event_without_charged_particles_has_no_masses() -> None:
    photons = ParticleSet(np.array([0, 2]), np.array([22, 22]), np.array([[5.0, 0, 0, 5.0], [5.0, 0, 0, -5.0]]))
    found = whole_sample(photons).observables
    assert (found["light_mass"][0], found["x_1"][0], found["x_photon"][0]) == (0, 0, pytest.approx(1.0))
