"""The density of the hadrons of a record: our files in every format, Pythia's own events, what a record may lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.errors import FastsimError, InvalidEvent, InvalidValue, OutOfDomain
from fastsim.event import HardEvents, History, ParticleSet, Partons
from generators.hadrons.likelihood import MAY_HOLD, summed, with_carriers
from generators.hadrons.tokens import IDS, TokenSample, species_index, to_particles
from generators.hadrons.tree.model import PrimaryTree
from generators.reference.event_record import particle_sets, read_record
from generators.reference.pythia import PythiaGun, own_pythia, shoot
from tests.helpers.partons import spread

IDS_OF_PARTONS, PT = [2, -5, 21, 4, -1], [40.0, 60.0, 50.0, 80.0, 30.0]


@pytest.fixture(scope="module")
def model() -> PrimaryTree:
    loaded = fastsim.load_model("hadron-tree")
    assert isinstance(loaded, PrimaryTree)
    return loaded


def directly(model: PrimaryTree, partons: Partons, primary: ParticleSet) -> np.ndarray:  # type: ignore[type-arg]
    """The density of primary hadrons handed over as tokens, carrier by carrier."""
    from fastsim.event.frames import to_axis

    p4 = to_axis(primary.p4, primary.offsets, partons)
    flipped = np.where((partons.pdg_id < 0)[primary.index] & (primary.pdg_id != 22), -1, 1) * primary.pdg_id
    ids = np.where(np.isin(flipped, IDS), flipped, primary.pdg_id)  # neutral mesons are their own antiparticles
    result = []
    for row in range(len(partons)):
        chosen = slice(primary.offsets[row], primary.offsets[row + 1])
        species = species_index(ids[chosen])
        momenta = p4[chosen]
        m = np.sqrt(np.maximum(momenta[:, 0] ** 2 - np.sum(momenta[:, 1:] ** 2, axis=1), 0.0))
        values = []
        for carrier in (-1, *np.flatnonzero(MAY_HOLD[species, abs(partons.pdg_id[row]) % 21])):
            one = TokenSample(
                np.abs(partons.pdg_id[row : row + 1]),
                partons.pt[row : row + 1],
                partons.pt[row : row + 1],
                np.array([0, len(species)]),
                species,
                momenta,
                np.where(ids[chosen] == 22, 0.0, m),
                np.arange(len(species)) == carrier,
            )
            values.append(float(model.log_prob(one)[0]))
        result.append(np.logaddexp.reduce(values))
    return np.array(result)


def test_files_of_all_formats_give_the_density_of_the_hadrons_that_were_drawn(
    model: PrimaryTree, tmp_path: Path
) -> None:
    for ending in ("h5", "root", "hepmc3"):  # with this seed no hadron is drawn beyond its hemisphere
        fastsim.generate("flavour=2,-5,21 pt=20:100 num=6", tmp_path / f"sets.{ending}", model=model, seed=4)
    events = fastsim.read(tmp_path / "sets.h5")
    assert isinstance(events, HardEvents)
    found = fastsim.log_prob(events, model)
    assert found.shape == (6,) and np.isfinite(found).all()
    np.testing.assert_allclose(fastsim.log_prob(tmp_path / "sets.root"), found, rtol=1e-6)
    # of a HepMC file the particles alone are read, and those of the parton's hemisphere are taken
    with pytest.raises(InvalidEvent, match=r"sets.hepmc3: event 0 has 0 partons in its record; say which one is meant"):
        fastsim.log_prob(tmp_path / "sets.hepmc3")
    partons = Partons(events.pdg_id, events.p4)
    np.testing.assert_allclose(fastsim.log_prob(tmp_path / "sets.hepmc3", partons=partons), found, rtol=1e-3)


def test_pythias_own_events_have_the_density_of_their_primary_hadrons(model: PrimaryTree) -> None:
    """Whole events of Pythia, both hemispheres, with all decays in the record."""
    records, ids = [], [2, 5, 21]
    for seed, flavour in enumerate(ids, start=1):
        pythia = own_pythia()
        shoot(pythia, flavour, 45.6, seed)
        records.append(read_record(pythia.event))
    sets = particle_sets(records)
    # the parton flies along z there: turn it to x, across the beam
    turned = [0, 3, 2, 1]
    sign = np.array([1.0, 1.0, -1.0, 1.0])
    history = sets.history
    assert history is not None
    made = replace(history.decayed, p4=history.decayed.p4[:, turned] * sign)
    sets = ParticleSet(sets.offsets, sets.pdg_id, sets.p4[:, turned] * sign, replace(history, decayed=made))
    partons = Partons.from_pt_eta_phi(ids, [45.6] * 3, [0.0] * 3, [0.0] * 3)
    events = HardEvents.of_particles(sets, np.ones((3, 1)), np.arange(3))
    found = fastsim.log_prob(events, model, partons=partons)
    decayed, final = made.mother < 0, history.mother < 0
    pdg_id = np.concatenate([made.pdg_id[decayed], sets.pdg_id[final]])
    p4 = np.concatenate([made.p4[decayed], sets.p4[final]])
    index = np.concatenate([made.index[decayed], sets.index[final]])
    order = np.argsort(index, kind="stable")
    order = order[p4[order, 1] > 0]
    offsets = np.searchsorted(index[order], np.arange(4))
    wanted = directly(model, partons, ParticleSet(offsets, pdg_id[order], p4[order]))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    wrong = Partons(np.array([5, 2, 5]), partons.p4)
    assert (found > fastsim.log_prob(events, model, partons=wrong))[:2].all()


def test_tokens_handed_over_directly_agree(model: PrimaryTree) -> None:
    partons = spread(IDS_OF_PARTONS, PT)
    primary = PythiaGun().primary(partons, rng=4)
    events = HardEvents.of_partons(partons, PythiaGun().decay(primary, np.random.default_rng(1)))
    found = fastsim.log_prob(events, model)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, directly(model, partons, primary), rtol=1e-3)
    low = Partons(partons.pdg_id, partons.p4, np.array([4.0] * 5))
    assert (fastsim.log_prob(HardEvents.of_partons(low, events.particles), model) != found).all()


def test_carriers_are_summed_over(model: PrimaryTree) -> None:
    latent = model.latent(spread([5, 21], [60.0, 60.0]), rng=1)
    primary = model.primary(spread([5, 21], [60.0, 60.0]), rng=1)
    assert len(latent) == len(primary) == 2
    species = species_index(primary.pdg_id)
    tokens = TokenSample(
        np.array([5, 21]), np.array([60.0] * 2), np.array([60.0] * 2), primary.offsets, species,
        primary.p4, np.ones(len(species)), np.zeros(len(species), dtype=bool),
    )  # fmt: skip
    copies, source = with_carriers(tokens)
    of_b = int((source == 0).sum())
    assert (source == 1).sum() == 1 and of_b >= 2
    assert (copies.carriers[0] == -1) and (np.abs(IDS[copies.carriers[1:of_b]]) > 500).all()
    assert len(to_particles(copies, spread([5] * len(copies), [60.0] * len(copies)))) == of_b + 1
    carrier = int(IDS[copies.carriers[1]])
    for known, of_sets in (([carrier, 0], [0, 1]), ([0, 0], [0, 1]), ([carrier + 1, 0], source.tolist())):
        assert with_carriers(tokens, np.array(known))[1].tolist() == of_sets, known
    one = with_carriers(tokens, np.array([carrier, 0]))[0]
    first = int(np.argmax(tokens.species == species_index(np.array([carrier]))[0]))
    assert np.flatnonzero(one.carrier).tolist() == [first] and one.carriers.tolist() == [tokens.species[first], -1]
    np.testing.assert_allclose(summed(np.log([0.2, 0.3, 0.5]), np.array([0, 0, 1]), 2), np.log([0.5, 0.5]))


def test_what_a_record_lacks_is_said_in_one_line(model: PrimaryTree, tmp_path: Path) -> None:
    partons = spread([2, 2], [50.0, 60.0])
    sets = model.sample(partons, rng=1)
    events = HardEvents.of_partons(partons, sets)
    with pytest.raises(InvalidEvent, match="the events have no particles: generate hadrons first"):
        fastsim.log_prob(HardEvents.of_partons(partons), model)
    path = tmp_path / "final.h5"
    fastsim.generate("flavour=u pt=50 num=3", path, model=model, record="final")
    with pytest.raises(InvalidEvent, match=r"final.h5: the record holds final particles alone: write it with --record"):
        fastsim.log_prob(path, model)
    p4 = np.array([[50.0, 50.0, 0.0, 0.0]] * 2)
    lost = ParticleSet(np.arange(3), np.array([211, 310]), p4, History.unknown(2, 2))
    with pytest.raises(InvalidEvent, match=r"the events: event 1: .* \(310\) comes from no primary hadron in"):
        fastsim.log_prob(HardEvents.of_partons(partons, lost), model)
    with pytest.raises(InvalidEvent, match="event 0 has no hadrons in the hemisphere of its parton"):
        fastsim.log_prob(events, model, partons=Partons(partons.pdg_id, partons.p4 * np.array([1.0, -1, -1, -1])))
    with pytest.raises(InvalidValue, match="1 partons for 2 events"):
        fastsim.log_prob(events, model, partons=partons[:1])
    with pytest.raises(OutOfDomain):
        fastsim.log_prob(HardEvents.of_partons(spread([2, 2], [1.0, 60.0]), sets), model)
    with pytest.raises(FastsimError, match="model 'pythia' has no likelihood"):
        fastsim.log_prob(events, "pythia")
