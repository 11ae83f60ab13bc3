"""What is read of an event of Pythia, against a walk through that event particle by particle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from generators.reference.event_record import particle_sets, read_batch, read_record
from generators.reference.pythia import own_pythia, shoot


@pytest.fixture(scope="module")
def pythia() -> Any:
    return own_pythia()


def test_the_record_is_that_of_a_walk(pythia: Any) -> None:
    for flavour, seed in ((5, 1), (21, 2), (4, 3)):
        shoot(pythia, flavour, 80.0, seed)
        event = pythia.event
        hadrons = [i for i in range(1, event.size()) if event[i].statusAbs() >= 81 and not event[i].isFinal()]
        kept = [i for i in range(1, event.size()) if event[i].isFinal() or i in hadrons]
        record = read_record(event)
        assert record.pdg_id.tolist() == [event[i].id() for i in kept]
        assert record.final.tolist() == [event[i].isFinal() for i in kept]
        assert record.p4[:, 3].tolist() == [event[i].pz() for i in kept]
        mothers = [event[i].mother1() if event[i].mother1() in hadrons else None for i in kept]
        assert record.mother.tolist() == [-1 if m is None else kept.index(m) for m in mothers]
        places = [[event[i].tProd(), event[i].xProd(), event[i].yProd(), event[i].zProd()] for i in kept]
        assert record.vertex.tolist() == places and record.vertex.any()
        finals = read_record(event, history=False)
        assert np.array_equal(finals.p4, record.p4[record.final]) and finals.final.all() and not finals.vertex.any()


def test_decays_conserve_momentum_and_stay_with_their_ancestor(pythia: Any) -> None:
    shoot(pythia, 5, 80.0, 4)
    record = read_record(pythia.event)
    sums = np.zeros_like(record.p4)
    products = record.mother >= 0
    np.add.at(sums, record.mother[products], record.p4[products])
    np.testing.assert_allclose(sums[~record.final], record.p4[~record.final], atol=1e-10)
    assert (record.mother < np.arange(len(record.mother))).all()
    assert (record.mother[record.ancestor] == -1).all()
    assert (record.ancestor[products] == record.ancestor[record.mother[products]]).all()
    half = record[record.p4[record.ancestor, 3] > 0]
    below = half.mother >= 0
    assert 0 < len(half.mother) < len(record.mother) and (half.mother[below] < np.flatnonzero(below)).all()
    np.testing.assert_allclose(
        half.p4[half.final].sum(axis=0), record.p4[(record.mother < 0) & (record.p4[:, 3] > 0)].sum(axis=0), atol=1e-9
    )


def test_sets_of_events_keep_mothers_apart(pythia: Any) -> None:
    records = []
    for seed in (5, 6):
        shoot(pythia, 5, 60.0, seed)
        records.append(read_record(pythia.event))
    sets = particle_sets([records[0], records[1][records[1].final & (records[1].mother < 0)], records[1]])
    assert sets.history is not None
    for number, record in ((0, records[0]), (2, records[1])):
        one = sets[np.array([number])]
        history = one.history
        assert history is not None
        assert np.array_equal(one.pdg_id, record.pdg_id[record.final])
        assert np.array_equal(history.decayed.p4, record.p4[~record.final])
        above = record.mother[record.final]
        expected = np.where(above >= 0, record.pdg_id[np.maximum(above, 0)], 0)
        found = np.where(history.mother >= 0, history.decayed.pdg_id[np.maximum(history.mother, 0)], 0)
        assert np.array_equal(found, expected) and (found != 0).any()
        assert np.array_equal(history.vertex, record.vertex[record.final])
    assert sets[1:2].history.decayed.counts.tolist() == [0]  # type: ignore[union-attr]
    assert len(particle_sets([])) == 0


def test_partons_that_a_hadron_decays_into_are_passed_over_and_taus_are_not(pythia: Any) -> None:
    """A hard tau -> nu pi, and a J/psi -> g g g of which two gluons become a rho -> pi pi: rows by hand."""
    event = pythia.event
    event.reset()
    rows = [  # id, status, mothers
        (15, -23, 0, 0),
        (1, -71, 0, 0),
        (443, -83, 2, 2),
        (16, 91, 1, 0),
        (-211, 91, 1, 0),
        (21, -91, 3, 0),
        (21, -91, 3, 0),
        (22, 91, 3, 0),
        (113, -83, 6, 7),
        (211, 91, 9, 0),
        (-211, 91, 9, 0),
    ]
    for pdg_id, status, first, second in rows:
        event.append(pdg_id, status, first, second, 0, 0, 0, 0, 0.0, 0.0, 1.0, 1.0, 0.0)
    event[10].vProd(1.0, 2.0, 3.0, 4.0)
    record = read_record(event)
    assert record.pdg_id.tolist() == [15, 443, 16, -211, 22, 113, 211, -211]
    assert record.mother.tolist() == [-1, -1, 0, 0, 1, 1, 5, 5]
    assert record.final.tolist() == [False, False, True, True, True, False, True, True]
    assert record.vertex[6].tolist() == [4.0, 1.0, 2.0, 3.0]
    assert read_record(event, first=3).mother.tolist() == [-1, -1, -1, 0, 0, 4, 4]


def test_a_batch_is_read_as_its_events_one_by_one() -> None:
    """Hadron collisions: beams, many decays, particles without a vertex of their own."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "HardQCD:hardbbbar = on", "PhaseSpace:pTHatMin = 30."):
        assert pythia.readString(line)
    assert pythia.init()
    pythia.rndm.init(7)
    batch = pythia.nextBatch(4)
    pythia.rndm.init(7)
    records = []
    for _ in range(4):
        assert pythia.next()
        records.append(read_record(pythia.event))
    sets = read_batch(batch)
    assert sets == particle_sets(records) and sets.history is not None and sets.history.vertex.any()
    assert read_batch(batch, history=False) == sets.without_history()
