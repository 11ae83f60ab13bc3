"""The events and configs of the bench of fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.fine_tuning import config, write_pairs
from fastsim.event.kinematics import mass
from fastsim.formats import lhe


def test_pairs_are_z_decays(tmp_path: Path) -> None:
    write_pairs(tmp_path / "ee.lhe", 30, 3)
    (events,) = lhe.read(tmp_path / "ee.lhe")[1]
    final = events.status == 1
    ids = events.pdg_id[final].reshape(-1, 2)
    assert len(ids) == 30 and (ids[:, 0] == -ids[:, 1]).all() and set(ids[:, 0]) <= {1, 2, 3, 4, 5}
    np.testing.assert_allclose(mass(events.p4[final].reshape(-1, 2, 4).sum(axis=1)), 91.2)


def test_both_trainings_have_the_same_networks_and_data(tmp_path: Path) -> None:
    tuned, anew = (config("a", tmp_path / "a.h5", 2000, kind, "hadron-tree", (10, 20)) for kind in ("init", "scratch"))
    assert tuned["data"] == anew["data"] and tuned["tree"]["num_validation"] == 200
    assert tuned["init"] == "hadron-tree" and "network" not in tuned["latent"] and "network" not in tuned["tree"]
    assert "init" not in anew and anew["tree"]["network"] == {"pair_width": 128, "pair_blocks": 2}
    assert anew["latent"]["loop"]["num_steps"] == 10 and anew["tree"]["loop"]["num_steps"] == 20
