"""N-subjettiness against FastJet's winner-take-all kt axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.hadrons.jets import relative
from metrics.hadrons.subjettiness import subjettiness, subjettiness_padded
from tests.helpers.jets import toy_sets


def by_fastjet(z: NDArray[Any], eta: NDArray[Any], phi: NDArray[Any], num: int) -> float:
    """Compute tau_N about the axes that FastJet finds."""
    import fastjet

    points = []
    for values in zip(z, eta, phi, strict=True):
        point = fastjet.PseudoJet()
        point.reset_PtYPhiM(*values, 0.0)
        points.append(point)
    definition = fastjet.JetDefinition(fastjet.kt_algorithm, 100.0)
    definition.set_recombination_scheme(fastjet.WTA_pt_scheme)
    sequence = fastjet.ClusterSequence(points, definition)
    axes = [(jet.rap(), jet.phi_std()) for jet in sequence.exclusive_jets(num)]
    distance = np.min([np.hypot(eta - y, np.angle(np.exp(1j * (phi - f)))) for y, f in axes], axis=0)
    return float(np.sum(z * distance) / np.sum(z))


def test_agrees_with_fastjet(rng: np.random.Generator) -> None:
    jets = relative(*toy_sets(40, 25.0, rng))
    found = subjettiness(jets, num_axes=3, max_particles=500, dtype=np.float64)
    for i in range(len(jets)):
        own = slice(jets.offsets[i], jets.offsets[i + 1])
        arrays = jets.pt_rel[own], jets.eta_rel[own], jets.phi_rel[own]
        np.testing.assert_allclose(found[i], [by_fastjet(*arrays, n) for n in (1, 2, 3)], atol=1e-10)


def test_two_and_one_particles() -> None:
    z, eta = np.array([[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.0, 0.5, 0.0], [0.3, 0.0, 0.0]])
    found = subjettiness_padded(z, eta, np.zeros((2, 3)), 2)
    np.testing.assert_allclose(found, [[0.4 * 0.5, 0.0], [0.0, 0.0]])


def test_more_axes_never_widen_the_set(rng: np.random.Generator) -> None:
    tau = subjettiness(relative(*toy_sets(200, 40.0, rng)), num_axes=3)
    assert np.all(tau[:, 1] < tau[:, 0])
    assert np.mean(tau[:, 2] < tau[:, 1]) > 0.99
