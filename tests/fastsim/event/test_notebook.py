"""Batches as a notebook uses them: rows, loops, kinematics, awkward arrays, equality, errors that name the input."""

# lists stand for arrays here, as notebooks write them
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError
from fastsim.event import Cells, Decayed, HardEvents, Particle, Particles, ParticleSet, Partons, species
from tests.helpers.jets import toy_sets

SETS = ParticleSet([0, 2, 2, 3], [211, 22, -13], [[5.0, 3.0, 0.0, 4.0], [2.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.6, -0.8]])


def test_rows_are_what_a_user_of_numpy_and_awkward_expects() -> None:
    assert [len(particles) for particles in SETS] == [2, 0, 1]
    assert isinstance(SETS[0], Particles) and SETS[-1].pdg_id.tolist() == [-13]
    assert isinstance(SETS[:2], ParticleSet) and isinstance(SETS[[0, 2]], ParticleSet)
    assert SETS[np.int64(0)][1] == Particle(22, np.array([2.0, 0.0, 2.0, 0.0]))
    assert SETS[SETS.counts > 0].counts.tolist() == [2, 1]
    with pytest.raises(IndexError, match="row 3 of 3"):
        SETS[3]
    partons = Partons.from_pt_eta_phi([21, -2], [100.0, 50.0], 0.0, 0.0)
    assert [parton.pdg_id for parton in partons] == [21, -2]
    assert isinstance(partons[:1], Partons) and isinstance(partons[1], Particle)
    cells = Cells([0, 2, 3], [1, 5, 2], [0.5, 2.0, 1.0])
    assert [row.energy.tolist() for row in cells] == [[0.5, 2.0], [1.0]]
    incidents = Incidents.perpendicular(22, [1.0, 10.0])
    assert [incident.energy for incident in incidents] == [1.0, 10.0] and incidents == incidents[:]


def test_an_event_is_a_row_with_its_particles_cells_and_columns() -> None:
    sets, partons = toy_sets(3, 5.0, np.random.default_rng(1))
    events = HardEvents.of_partons(partons, sets).with_columns(event={"x": [1.0, 2.0, 3.0]})
    events = replace(events, cells=Cells([0, 1, 1, 2], [4, 7], [1.0, 2.0]))
    event = events[1]
    assert event.pdg_id.tolist() == [partons.pdg_id[1]] and event.number == 1
    assert event.particles == sets[1] and event.event_columns == {"x": 2.0}
    assert [row.cells.id.tolist() for row in events] == [[4], [], [7]]
    assert "particles" in repr(events) and "2 cells" in repr(events)


@pytest.mark.parametrize("name", ["pt", "eta", "phi", "mass", "px", "py", "pz", "rapidity", "energy"])
def test_kinematics_are_those_of_vector(name: str) -> None:
    array = SETS.to_awkward()
    assert isinstance(array[0, 0], vector.Momentum)
    np.testing.assert_allclose(ak.flatten(getattr(array, name)), getattr(SETS, name), atol=1e-12)
    assert getattr(SETS[0][0], name) == getattr(SETS, name)[0]
    assert ak.num(array).tolist() == [2, 0, 1] and array.pdg_id.tolist() == [[211, 22], [], [-13]]


def test_events_as_awkward_keep_everything_and_names_do_not_collide() -> None:
    sets, partons = toy_sets(3, 5.0, np.random.default_rng(1))
    num = len(sets.pdg_id)
    events = HardEvents.of_partons(partons, sets).with_columns(
        event={"flavour": [1, 2, 3]}, hard={"z": [0.1, 0.2, 0.3]}, particle={"eta": np.arange(num)}
    )
    array = events.to_awkward()
    assert array.fields == ["number", "weights", "process", "scale", "flavour", "hard", "particles"]
    np.testing.assert_allclose(ak.flatten(array.hard.pt), partons.pt)
    np.testing.assert_allclose(ak.flatten(array.hard.mass_), events.mass)
    assert ak.flatten(array.hard.z_).tolist() == [0.1, 0.2, 0.3]
    assert ak.flatten(array.particles.eta_).tolist() == list(range(num))
    np.testing.assert_allclose(ak.flatten(array.particles.eta), sets.eta)
    assert Cells.empty(2).to_awkward().tolist() == [[], []]


def test_without_vector_the_fields_stay() -> None:
    program = (
        "import sys; sys.modules['vector'] = None\n"
        "from fastsim import ParticleSet\n"
        "print(ParticleSet([0, 1], [22], [[2.0, 0.0, 2.0, 0.0]]).to_awkward().py.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[2.0]]"


def test_equality_answers_and_reprs_are_short() -> None:
    again = ParticleSet(SETS.offsets.copy(), SETS.pdg_id, SETS.p4.copy())
    assert again == SETS and again != replace(again, pdg_id=-again.pdg_id)
    assert SETS[:1] != SETS and SETS != 3 and SETS[0] != SETS[1]
    partons = Partons.from_pt_eta_phi([21, 5], 100.0, 0.0, [0.0, 1.0])
    assert partons == partons[:] and partons != partons[:1] and partons != Particles(partons.pdg_id, partons.p4)
    events = HardEvents.of_partons(partons)
    assert events == events[:] and events != events.tally("x", np.array([0])) and events != events[:1]
    assert Decayed.empty(2) == Decayed.empty(2) != Decayed.empty(1)
    for batch in (SETS, partons, events, SETS[0], events[0], Decayed.empty(), Incidents.perpendicular(22, [1.0])):
        assert len(repr(batch)) < 220 and "array" not in repr(batch)
    with pytest.raises(TypeError, match="unhashable"):
        hash(SETS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Partons.from_pt_eta_phi([22], 1.0, 0.0, 0.0), "parton 0: PDG id 22 is no parton: 1 to 5 (d u s c b)"),
        (lambda: Partons.from_pt_eta_phi([1, 2], [5.0, -1.0], 0.0, 0.0), "parton 1: pT = -1, must be above 0 GeV"),
        (lambda: Partons.from_pt_eta_phi([1], [np.nan], 0.0, 0.0), "parton 0: pT = nan"),
        (lambda: Partons.from_pt_eta_phi([1], [9.0], np.inf, 0.0), "parton 0: eta = inf, must be finite"),
        (lambda: Partons.from_pt_eta_phi(["u"], 1.0, 0.0, 0.0), "PDG ids: array(['u'], dtype='<U1') is no array"),
        (lambda: Partons.from_pt_eta_phi([1, 2], [1.0, 2.0, 3.0], 0.0, 0.0), "pT (3,), eta (), phi () do not fit"),
        (lambda: Partons([1.5], np.ones((1, 4))), "PDG ids: [1.5] is no array of whole numbers"),
        (lambda: Partons(21, np.ones((1, 4))), "PDG ids: has shape (), must be a list"),
        (lambda: Particles([1], [[1.0, 2.0]]), "four-momenta: has shape (1, 2), must be (N, 4)"),
        (lambda: Particles([1], "xyz"), "four-momenta: 'xyz' is no array of numbers"),
        (lambda: ParticleSet([0, 5], [22], np.ones((1, 4))), "offsets must start at 0 and end at the number"),
        (lambda: species.masses([211, 9_999_999]), "PDG id 9999999: no such species"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(FastsimError) as caught:
        call()
    assert message in str(caught.value)


def test_numbers_stand_for_all_and_tensors_are_arrays() -> None:
    one = Partons.from_pt_eta_phi(21, 100.0, 0.0, 0.0)
    assert len(one) == 1 and one.p4[0].tolist() == [100.0, 100.0, 0.0, 0.0]
    many = Partons.from_pt_eta_phi(21, torch.tensor([10.0, 20.0]), 0.0, torch.tensor([0.0, 1.0]))
    np.testing.assert_allclose(many.pt, [10.0, 20.0])
