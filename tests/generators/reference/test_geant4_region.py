"""A model inside Geant4: whose hits are whose, where they lie, what stays with Geant4, and that wrong use is said.

Geant4 runs once, in a process of its own (tests/helpers/geant4_region.py). Statistical limits are 4 standard errors.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.detector.binning import Binning, Layer
from fastsim.detector.detector import Detector, Section
from fastsim.detector.flight import across_flight
from fastsim.detector.hits import Hits
from fastsim.detector.incidents import Incidents
from fastsim.errors import FastsimError, PipelineError
from fastsim.sources.domains import ShowerDomain
from fastsim.sources.showers import ShowerSource
from generators.reference.geant4_region import ANGLE, ENERGY, PARTICLE, SIDE, SPEED_OF_LIGHT, TAKEN, Entry, ShowerRegion
from tests.helpers.geant4_region import FRONT, MIXED, PHOTONS, POSITRONS, TURNED, simulate


@dataclass(frozen=True)
class Simulated:
    """What the simulation wrote: a function from a run's name to its hits and their cells, and what else it said."""

    hits: Callable[[str], tuple[Hits, NDArray[np.int64]]]
    said: dict[str, Any]


@pytest.fixture(scope="module")
def simulated(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("geant4")
    process = multiprocessing.get_context("spawn").Process(target=simulate, args=(shared / "geant4" / "em", folder))
    process.start()
    process.join()
    assert process.exitcode == 0, "see the traceback above"

    def hits(name: str) -> tuple[Hits, NDArray[np.int64]]:
        with np.load(folder / f"{name}.npz") as file:
            return Hits(**{field.name: file[field.name] for field in fields(Hits)}), file["cells"]

    return Simulated(hits, json.loads((folder / "said.json").read_text()))


def seen(hits: Hits, num: int) -> NDArray[np.float64]:
    """Energy in MeV of each event."""
    return np.asarray(np.bincount(hits.event, hits.energy, minlength=num), dtype=np.float64)


def weighted(hits: Hits, values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of values (N,) over the energy of each event."""
    return np.bincount(hits.event, hits.energy * values) / np.bincount(hits.event, hits.energy)


def assert_agree(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    error = math.hypot(*(x.std(ddof=1) / math.sqrt(len(x)) for x in (one, other)))
    assert abs(one.mean() - other.mean()) < 4 * error < 0.3 * one.mean()


def test_photons_are_seen_as_in_geant4(simulated: Simulated) -> None:
    full, full_cells = simulated.hits("photons")
    fast, fast_cells = simulated.hits("photons-fast")
    assert not full.by_model.any()
    # a photon in 30 converts before the calorimeter: those that did not are all the model's
    assert fast.energy[fast.by_model].sum() > 0.8 * fast.energy.sum()
    assert_agree(seen(full, len(PHOTONS)), seen(fast, len(PHOTONS)))
    num_cells = [
        np.bincount(hits.summed(cells).event, minlength=len(PHOTONS)).astype(float)
        for hits, cells in ((full, full_cells), (fast, fast_cells))
    ]
    assert num_cells[1].mean() == pytest.approx(num_cells[0].mean(), rel=0.15)
    assert_agree(*(weighted(hits, hits.layer) for hits in (full, fast)))
    assert_agree(*(weighted(hits, np.hypot(*(hits.position[:, :2] - FRONT[:2]).T)) for hits in (full, fast)))


def test_what_stays_with_geant4_is_simulated_as_before(simulated: Simulated) -> None:
    full, _ = simulated.hits("positrons")
    fast, _ = simulated.hits("positrons-fast")
    assert not fast.by_model.any()
    assert_agree(seen(full, len(POSITRONS)), seen(fast, len(POSITRONS)))


def test_events_keep_their_own_hits(simulated: Simulated) -> None:
    hits, _ = simulated.hits("mixed")
    assert np.unique(hits.run).tolist() == [4, 5] and (np.diff(hits.run * 100 + hits.event) >= 0).all()
    first = hits[hits.run == 4]
    energy = seen(first, len(MIXED))
    incident = np.array([shot.energy for shot in MIXED]) * 1000
    # 3.03% of the energy, with 13% / sqrt(E / GeV): 5 standard deviations, and what converts late
    for event in (0, 1, 2, 4, 5, 11):
        assert energy[event] == pytest.approx(
            0.0303 * incident[event], rel=0.65 / math.sqrt(incident[event] / 1000) + 0.1
        )
    by_model = [bool(first.by_model[first.event == event].any()) for event in range(len(MIXED))]
    assert by_model == [True, True, False, False, True, True, False, False, False, True, False, True]
    second = hits[hits.run == 5]
    assert np.unique(second.event).tolist() == [0, 1]
    assert seen(second, 2)[0] > 10 * seen(second, 2)[1] > 0


def test_who_is_taken(simulated: Simulated) -> None:
    counts = simulated.said["counts"]
    assert counts[TAKEN] == 6 + 2
    # at least the shots themselves; soft particles of the tracker enter too
    assert counts[ENERGY] >= 1 and counts[PARTICLE] >= 1 and counts[ANGLE] >= 1 and counts[SIDE] >= 2
    assert simulated.said["waiting"] == [8, 0, 0]


def test_showers_lie_where_their_particles_entered(simulated: Simulated) -> None:
    hits, cells = simulated.hits("mixed")
    first = hits.run == 4

    def middle(event: int) -> NDArray[np.float64]:
        rows = first & (hits.event == event) & hits.by_model
        return np.asarray(np.average(hits.position[rows], weights=hits.energy[rows], axis=0))

    x, y, z = middle(4)
    assert (x, y) == pytest.approx((FRONT[0] + 20.0, FRONT[1] - 10.0), abs=1.0) and FRONT[2] + 20 < z < FRONT[2] + 90
    x, y, z = middle(9)
    assert (y, z) == pytest.approx((TURNED[1] + 10.0, TURNED[2]), abs=1.0) and TURNED[0] + 20 < x < TURNED[0] + 90
    x, y, z = middle(5)
    assert x - FRONT[0] == pytest.approx(math.tan(0.1) * (z - FRONT[2]), abs=2.5)
    rows = first & (hits.event == 0) & hits.by_model
    on_axis = hits[rows]
    assert (cells[rows] >= 0).all()
    late = on_axis.time - on_axis.time.min()
    np.testing.assert_allclose(
        late, (on_axis.position[:, 2] - on_axis.position[:, 2].min()) / SPEED_OF_LIGHT, atol=1e-6
    )
    # 130 mm from the gun to the front, at the speed of light
    assert on_axis.time.min() == pytest.approx(
        (130.0 + on_axis.position[:, 2].min() - FRONT[2]) / SPEED_OF_LIGHT, abs=1e-3
    )


def test_stepping_actions_that_were_there_go_on(simulated: Simulated) -> None:
    assert simulated.said["steps"] > 100 and simulated.said["restored"]


def test_detached_leaves_all_to_geant4(simulated: Simulated) -> None:
    hits, _ = simulated.hits("detached")
    assert len(hits) and not hits.by_model.any() and np.unique(hits.event).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("threads", r"a model works with the sequential G4RunManager, not with one of several threads"),
        ("early", r"no geometry yet: attach the model after the run manager's Initialize\(\)"),
        ("world", "the envelope is the world; give the volume of a calorimeter in it"),
        ("world-region", "the envelope is the region of the world"),
        ("type", "the envelope is of type str; give the G4LogicalVolume or the G4Region"),
        ("loose", "volume alone is not placed in the world"),
        ("empty-region", "region empty has no volume in the world"),
        ("short", "volume tracker is 0.3 mm long along its z axis, but pb-si-ecal, .* 126 mm"),
        ("angle", r"max_theta is 1.6 rad, must be at least 0 and less than pi / 2"),
        ("nan", "max_theta is nan rad"),
        ("text", "max_theta is '0.1' rad"),
        ("twice", "region pb-si-ecal-showers: pb-si-cascade makes its showers already; detach it first"),
    ],
)
def test_wrong_use_is_said_in_one_line(simulated: Simulated, name: str, line: str) -> None:
    said = simulated.said["errors"][name]
    assert "\n" not in said
    assert re.search(line, said), said


class Spots(ShowerSource):
    """One voxel with energy in each layer, a thousandth of the particle's: the middle ring of a sector."""

    name, detector, domain = "spots", "two-sections", ShowerDomain(frozenset({11, 22}), 1.0, 100.0)

    def __init__(self, max_theta: float = 0.0, scale: float = 1.0) -> None:
        self.domain = ShowerDomain(frozenset({11, 22}), 1.0, 100.0, max_theta)
        self.scale, self.asked = scale, list[Incidents]()

    def binning(self, pdg_id: int) -> Binning:
        return Binning("any", pdg_id, tuple(Layer(number, (0.0, 9.999, 10.0), 2) for number in range(3)))

    def draw(self, incidents: Incidents, rng: np.random.Generator) -> NDArray[np.float32]:
        self.asked.append(incidents)
        showers = np.zeros((len(incidents), 3, 2, 2), dtype=np.float32)
        showers[:, :, 1, 1] = self.scale * incidents.energy[:, None]  # second ring, alpha from 0 to pi
        return showers.reshape(len(incidents), 12)


TWO_SECTIONS = Detector(
    name="two-sections",
    absorber="G4_Pb",
    active="G4_Si",
    sections=(
        Section(num_layers=2, absorber_mm=3.0, active_mm=1.0, cell_mm=5.0, rings=(1, 1), num_alpha=2),
        Section(num_layers=4, absorber_mm=8.0, active_mm=2.0, cell_mm=5.0, rings=(1, 1), num_alpha=2, group=4),
    ),
    physics="em",
    particles=("e-", "gamma"),
    min_energy=1.0,
    max_energy=100.0,
)
"""Its three layers of voxels are layers 0, 1, and one of 2 to 5."""
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def region(source: ShowerSource, *entries: Entry) -> ShowerRegion:
    result = ShowerRegion(source, TWO_SECTIONS, 0.5, 1)
    result._entries.extend(entries)
    return result


def entry(
    event: int, energy: float, theta: float = 0.0, phi: float = 0.0, pdg_id: int = 22, axes: Any = UPRIGHT
) -> Entry:
    return Entry(0, event, pdg_id, energy, theta, phi, 7.0, (100.0, 200.0, 300.0), axes)


def test_layers_of_voxels_become_layers_of_the_detector() -> None:
    hits = region(Spots(), *(entry(event, 2.0) for event in range(400))).hits()
    assert len(hits) == 1200 and hits.by_model.all() and (hits.energy == 2.0).all()
    layers = Counter(hits.layer.tolist())
    assert layers[0] == layers[1] == 400 and set(layers) == set(range(6))
    assert all(60 < layers[layer] < 140 for layer in (2, 3, 4, 5))
    depth = np.array([3.5, 7.5, 17.0, 27.0, 37.0, 47.0])
    np.testing.assert_allclose(hits.position[:, 2] - 300, depth[hits.layer])
    np.testing.assert_allclose(hits.time, 7.0 + depth[hits.layer] / SPEED_OF_LIGHT)
    across = hits.position[:, :2] - [100.0, 200.0]
    np.testing.assert_allclose(np.hypot(*across.T), 10.0, atol=1e-3)
    assert (across[:, 1] >= 0).all() and (across[:, 0] < -5).any() and (across[:, 0] > 5).any()


def test_particles_at_an_angle_beyond_the_models_own_have_moved_showers() -> None:
    source = Spots()
    hits = region(source, entry(0, 2.0, theta=0.4, phi=math.pi / 2)).hits()
    assert (source.asked[0].theta == 0).all()
    depth = hits.position[:, 2] - 300
    middle = hits.position - [100.0, 200.0, 0.0] - np.outer(depth * math.tan(0.4), [0.0, 1.0, 0.0])
    np.testing.assert_allclose(np.hypot(middle[:, 0], middle[:, 1]), 10.0, atol=1e-3)
    np.testing.assert_allclose(hits.time, 7.0 + depth / math.cos(0.4) / SPEED_OF_LIGHT)


def test_a_model_of_angles_is_given_them() -> None:
    source = Spots(max_theta=0.45)
    hits = region(source, entry(0, 2.0, theta=0.4, phi=1.0), entry(1, 3.0, theta=0.49, phi=2.0)).hits()
    assert source.asked[0].theta.tolist() == [0.4, 0.0] and source.asked[0].phi.tolist() == [1.0, 0.0]
    own = hits[hits.event == 0]
    x, y, depth = (own.position - [100.0, 200.0, 300.0]).T
    np.testing.assert_allclose(np.hypot(*across_flight(x, y, depth, 0.4, 1.0)), 10.0, atol=1e-3)
    assert np.hypot(x, y).max() > 15


def test_showers_lie_along_the_axes_of_their_volume() -> None:
    turned = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    hits = region(Spots(), entry(0, 2.0, axes=turned)).hits()
    assert (hits.position[:, 0] > 103).all() and (hits.position[:, 2] >= 300).all()
    np.testing.assert_allclose(np.hypot(*(hits.position[:, 1:] - [200.0, 300.0]).T), 10.0, atol=1e-3)


def test_batches_and_species_do_not_mix_events() -> None:
    entries = [entry(event, 1.0 + event, pdg_id=(22, 11)[event % 2]) for event in range(7)]
    source = Spots()
    waiting = region(source, *entries)
    assert len(waiting) == 7
    hits = waiting.hits(batch=3)
    assert [len(incidents) for incidents in source.asked] == [3, 3, 1] and len(waiting) == 0
    assert hits.event.tolist() == sorted(hits.event.tolist())
    np.testing.assert_allclose(hits.energy, 1.0 + hits.event)
    assert len(waiting.hits()) == 0


@pytest.mark.parametrize("scale", [-1.0, math.nan])
def test_deposits_that_are_none_are_refused_and_the_particles_stay(scale: float) -> None:
    waiting = region(Spots(scale=scale), entry(0, 2.0))
    with pytest.raises(PipelineError, match="spots gave a shower with deposits that are negative or not finite"):
        waiting.hits()
    assert len(waiting) == 1
    with pytest.raises(FastsimError, match="batch is 0"):
        waiting.hits(batch=0)
