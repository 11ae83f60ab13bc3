"""Quark content, baryon number and strangeness against the scikit-hep table."""

from __future__ import annotations

import pytest
from particle import PDGID, Particle

from fastsim.event.species import baryon_numbers, charge, quark_content, strangeness

CHARGES = {1: -1 / 3, 2: 2 / 3, 3: -1 / 3, 4: 2 / 3, 5: -1 / 3}


def test_quarks_add_up_to_the_charge_of_every_known_hadron() -> None:
    num = 0
    for particle in Particle.all():
        pdg_id = int(particle.pdgid)
        quarks = quark_content(pdg_id)
        if not quarks or not PDGID(pdg_id).is_valid or abs(pdg_id) > 10_000_000:
            continue
        num += 1
        total = sum((1 if q > 0 else -1) * CHARGES[abs(q)] for q in quarks)
        assert total == pytest.approx(charge(pdg_id), abs=1e-9), particle
        assert (len(quarks) == 3) == PDGID(pdg_id).is_baryon
        assert any(abs(q) == 3 for q in quarks) <= PDGID(pdg_id).has_strange
    assert num > 300


def test_signs() -> None:
    assert strangeness([321, -321, 311, 3122, -3122, 3334, 431, 531, 333, 130, 310, 22]).tolist() == [
        1, -1, 1, -1, 1, -3, 1, -1, 0, 0, 0, 0,
    ]  # fmt: skip
    assert baryon_numbers([2212, -2212, 5122, 211, 22, 11, 2103]).tolist() == [1, -1, 1, 0, 0, 0, 0]
    assert quark_content(-521) == (-2, 5)
    assert quark_content(1_000_020_040) == ()
