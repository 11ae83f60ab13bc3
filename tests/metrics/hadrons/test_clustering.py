"""Jets of event records against FastJet called event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.event import ParticleSet
from fastsim.event.kinematics import eta, p4_from_pt_eta_phi_m, pt
from metrics.hadrons import clustering
from metrics.hadrons.clustering import cluster
from metrics.hadrons.jets import relative
from tests.helpers.jets import partons_of, toy_sets


@pytest.fixture
def events(rng: np.random.Generator) -> ParticleSet:
    """Draw thirty events of three sprays each, the particles of an event shuffled; the last event is empty."""
    sets, _ = toy_sets(90, 20.0, rng)
    offsets = np.append(sets.offsets[::3], sets.offsets[-1])
    event = np.repeat(np.arange(31), np.diff(offsets))
    order = np.lexsort((rng.random(len(event)), event))
    return ParticleSet(offsets, sets.pdg_id[order], sets.p4[order])


def by_fastjet(p4: NDArray[Any], radius: float, pt_min: float) -> list[tuple[list[float], set[int]]]:
    """List momentum (E, px, py, pz) and members of the jets of one event, in falling pT."""
    import fastjet

    inputs = [fastjet.PseudoJet(px, py, pz, energy) for energy, px, py, pz in p4.tolist()]
    for row, particle in enumerate(inputs):
        particle.set_user_index(row)
    sequence = fastjet.ClusterSequence(inputs, fastjet.JetDefinition(fastjet.antikt_algorithm, radius))
    return [
        ([jet.e(), jet.px(), jet.py(), jet.pz()], {particle.user_index() for particle in jet.constituents()})
        for jet in fastjet.sorted_by_pt(sequence.inclusive_jets(pt_min))
    ]


@pytest.mark.parametrize(("radius", "pt_min"), [(0.4, 20.0), (0.8, 5.0)])
def test_agrees_with_fastjet_event_by_event(events: ParticleSet, radius: float, pt_min: float) -> None:
    found = cluster(events, radius=radius, pt_min=pt_min, max_jets=None, neutrinos=True)
    row = 0
    for event in range(len(events)):
        own = slice(events.offsets[event], events.offsets[event + 1])
        for momentum, members in by_fastjet(events.p4[own], radius, pt_min):
            assert found.event[row] == event
            np.testing.assert_allclose(found.axes.p4[row], momentum, rtol=1e-9, atol=1e-9)
            jet = found.constituents[row : row + 1]
            expected = events.p4[own][sorted(members)]
            np.testing.assert_array_equal(jet.p4[np.lexsort(jet.p4.T)], expected[np.lexsort(expected.T)])
            row += 1
    assert row == len(found) > 40


def test_leading_jets_within_acceptance_and_their_weights(events: ParticleSet) -> None:
    weights = np.linspace(-1.0, 1.0, len(events))
    everything = cluster(events, pt_min=5.0, max_jets=None)
    found = cluster(events, pt_min=5.0, max_jets=2, eta_max=1.0, weights=weights)
    assert everything.weights is None
    assert found.weights is not None
    np.testing.assert_array_equal(found.weights, weights[found.event])
    assert np.abs(eta(found.axes.p4)).max() < 1.0
    for event in range(len(events)):
        within = everything.axes.p4[(everything.event == event) & (np.abs(eta(everything.axes.p4)) < 1.0)]
        np.testing.assert_array_equal(found.axes.p4[found.event == event], within[:2])
    same_event = np.diff(everything.event) == 0
    assert np.all(np.diff(pt(everything.axes.p4))[same_event] <= 0)


def test_neutrinos_count_only_when_asked(events: ParticleSet) -> None:
    seen, all_particles = cluster(events), cluster(events, neutrinos=True)
    assert not np.isin(np.abs(seen.constituents.pdg_id), (12, 14, 16)).any()
    assert np.isin(all_particles.constituents.pdg_id, (12,)).any()


def test_chunks_do_not_matter(events: ParticleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cluster(events)
    monkeypatch.setattr(clustering, "CHUNK", 4)
    pieces = cluster(events)
    np.testing.assert_array_equal(pieces.event, whole.event)
    np.testing.assert_array_equal(pieces.axes.p4, whole.axes.p4)
    np.testing.assert_array_equal(pieces.constituents.offsets, whole.constituents.offsets)


def test_jets_are_sets_relative_to_their_axes(events: ParticleSet) -> None:
    found = cluster(events)
    jets = relative(found.constituents, found.axes)
    across = np.stack([jets.sum(jets.p4_rel[:, k]) for k in (1, 2)], axis=1)
    np.testing.assert_allclose(across, np.tile([1.0, 0.0], (len(found), 1)), atol=1e-9)
    assert np.hypot(jets.eta_rel, jets.phi_rel).max() < 0.9


def test_events_without_jets() -> None:
    soft = p4_from_pt_eta_phi_m([1.0, 2.0], [0.0, 1.0], [0.0, 1.0], 0.0)
    for events in (
        ParticleSet(np.array([0, 0, 2]), np.array([22, 22]), soft),
        ParticleSet.empty(3),
        ParticleSet.empty(0),
    ):
        found = cluster(events, weights=np.ones(len(events)))
        assert len(found) == len(found.constituents) == len(found.axes) == 0
        assert found.weights is not None and found.weights.shape == (0,)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], events: ParticleSet) -> None:
    cluster(events)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "radius = 0.0"),
        ({"pt_min": 0.0}, "pt_min = 0.0"),
        ({"pt_min": np.nan}, "pt_min = nan"),
        ({"max_jets": 0}, "max_jets = 0"),
        ({"eta_max": -1.0}, "eta_max = -1.0"),
        ({"weights": np.ones(3)}, r"\(3,\) for 31 events"),
    ],
)
def test_bad_settings_are_refused(events: ParticleSet, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster(events, **options)


def test_nan_is_refused(events: ParticleSet) -> None:
    events.p4[5, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        cluster(events)


def test_partons_are_jets_of_themselves() -> None:
    partons = partons_of([21, 21], [60.0, 50.0], [0.0, 0.0], [0.0, 3.0])
    found = cluster(ParticleSet(np.array([0, 2]), partons.pdg_id, partons.p4))
    np.testing.assert_allclose(found.axes.p4, partons.p4)
