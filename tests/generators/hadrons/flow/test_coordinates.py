"""The jet frame, the edge-respecting coordinates and the projection onto a total momentum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.event import Floats, Ints, offsets_from_counts
from fastsim.event.kinematics import boost_to, mass_squared, on_shell
from generators.hadrons.flow.coordinates import JetFrame, decode, encode, pin_leading, project

MASSES = np.array([0.0, 0.00051, 0.13957, 0.49368, 0.93827, 1.67245])


def hemispheres(seed: int, num: int = 40) -> tuple[Floats, Floats, Ints]:
    """Random sets with pz > 0 from soft to hard: p4 (M, 4), masses (M,), offsets."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 30, num)
    offsets = offsets_from_counts(counts)
    total = int(offsets[-1])
    mass = rng.choice(MASSES, total)
    momentum = np.exp(rng.normal(0.5, 1.8, (total, 1))) * rng.normal(size=(total, 3))
    momentum[:, 2] = np.abs(momentum[:, 2]) + 1e-6
    return on_shell(np.concatenate([mass[:, None], momentum], axis=1), mass), mass, offsets


def sums(p4: Floats, offsets: Ints) -> Floats:
    result: Floats = np.add.reduceat(p4, offsets[:-1], axis=0)
    return result


def test_jet_frame_has_no_transverse_momentum_and_keeps_pz() -> None:
    p4, _, offsets = hemispheres(1)
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    frame = JetFrame.of(sums(p4, offsets))
    inside = frame.from_axis_frame(p4, index)
    total = sums(inside, offsets)
    assert (np.abs(total[:, 1:3]) <= 1e-9 * total[:, :1]).all()
    assert np.allclose(total[:, 0], frame.energy, rtol=1e-12)
    assert np.array_equal(inside[:, 3], p4[:, 3])
    assert np.allclose(frame.to_axis_frame(inside, index), p4, rtol=1e-10, atol=1e-10)


@given(st.floats(-3.1, 3.1))
@settings(max_examples=20, deadline=None)
def test_coordinates_do_not_change_under_rotations_about_the_axis(angle: float) -> None:
    p4, _, offsets = hemispheres(2, 10)
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([p4[:, 0], c * p4[:, 1] - s * p4[:, 2], s * p4[:, 1] + c * p4[:, 2], p4[:, 3]], axis=1)

    def coordinates(momenta: Floats) -> Floats:
        frame = JetFrame.of(sums(momenta, offsets))
        return encode(frame.from_axis_frame(momenta, index), frame.energy[index])

    assert np.allclose(coordinates(p4), coordinates(turned), atol=1e-6)


def test_decode_inverts_encode() -> None:
    p4, mass, offsets = hemispheres(3)
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    energy = sums(p4, offsets)[index, 0]
    assert np.allclose(decode(encode(p4, energy), energy, mass), p4, rtol=1e-8, atol=1e-9)


@given(
    st.lists(st.floats(-60, 60), min_size=3, max_size=3),
    st.floats(1.0, 5000.0),
    st.sampled_from(MASSES.tolist()),
)
def test_decode_never_leaves_the_hemisphere(x: list[float], energy: float, mass: float) -> None:
    p4 = decode(np.array([x]), np.array([energy]), np.array([mass]))
    assert np.isfinite(p4).all()
    assert p4[0, 3] > 0
    assert np.linalg.norm(p4[0, 1:]) <= energy * (1 + 1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_projection_is_exact_on_shell_and_inside(strength: float) -> None:
    p4, mass, offsets = hemispheres(4, 200)
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    frame = JetFrame.of(sums(p4, offsets))
    x = encode(frame.from_axis_frame(p4, index), frame.energy[index])
    x += strength * np.random.default_rng(5).normal(size=x.shape)
    moved = project(decode(x, frame.energy[index], mass), mass, offsets, frame)
    total = sums(frame.to_axis_frame(moved, index), offsets)
    scale = sums(p4, offsets)[:, :1]
    assert np.abs(total - sums(p4, offsets)).max() < 1e-9 * scale.max()
    assert (np.abs(total - sums(p4, offsets)) / scale).max() < 1e-10
    assert np.allclose(mass_squared(moved), mass**2, atol=1e-9 * moved[:, 0].max() ** 2)
    assert (moved[:, 3] > 0).mean() > 0.999
    if strength == 0.0:
        assert np.allclose(moved, frame.from_axis_frame(p4, index), rtol=1e-7, atol=1e-9)


def test_projection_of_a_single_token_and_of_sets_too_heavy_for_their_pz() -> None:
    mass = np.array([0.13957, 0.93827, 0.93827])
    offsets = np.array([0, 1, 3])
    alone = np.array([[np.hypot(5.0, 0.13957), 0.0, 0.0, 5.0]])
    # two protons back to back, nearly at rest: their pz would need more energy than the total has
    pair = boost_to(
        on_shell(np.array([[0, 0.05, 0, 0], [0, -0.05, 0, 0.0]]), mass[1:]), np.array([[10.0, 0, 0, 9.6]])
    ) * np.array([1.0, 1.0, 1.0, 1.0])
    total = np.concatenate([alone, pair.sum(axis=0)[None]])
    start = on_shell(np.array([[0, 0.3, 0, 1.0], [0, 0.2, 0.1, 20.0], [0, 0.1, 0, 0.01]]), mass)
    moved = project(start, mass, offsets, JetFrame.of(total))
    assert np.allclose(sums(moved, offsets), total, rtol=1e-9, atol=1e-9)
    assert np.allclose(mass_squared(moved), mass**2, atol=1e-8)


def test_pinned_tokens_take_their_energies_and_pz_is_restored() -> None:
    p4, mass, offsets = hemispheres(6, 100)
    index = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    frame = JetFrame.of(sums(p4, offsets))
    inside = frame.from_axis_frame(p4, index)
    order = np.lexsort((-inside[:, 0], index))[offsets[:-1]]
    wanted = np.log(inside[order, 0] / frame.energy) + np.random.default_rng(7).uniform(-0.2, 0.0, len(order))
    moved = pin_leading(inside, mass, offsets, frame, wanted[:, None])
    pinned = ~np.isclose(moved[order, 0], inside[order, 0], rtol=1e-9)
    assert pinned.mean() > 0.5
    assert np.allclose(moved[order, 0][pinned], (np.exp(wanted) * frame.energy)[pinned], rtol=1e-9)
    assert np.allclose(sums(moved, offsets)[:, 3], frame.pz, rtol=1e-9)
    assert np.allclose(mass_squared(moved), mass**2, atol=1e-9 * moved[:, 0].max() ** 2)
    same = pin_leading(inside, mass, offsets, frame, np.full((len(order), 1), 5.0))
    assert np.allclose(same, inside, rtol=1e-9)
