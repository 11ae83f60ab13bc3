"""Limits of validity: what lies at a limit is inside, whatever rounding its momentum went through."""

from __future__ import annotations

import numpy as np

from fastsim.event import Partons
from fastsim.sources.domains import Domain

DOMAIN = Domain(frozenset({21}), 20.0, 2000.0)


def test_partons_at_a_limit_are_inside() -> None:
    """px and py of pT = 20 GeV at any azimuth, as files print them: some 5% came out below."""
    phi = np.linspace(-3.0, 3.0, 1000)
    for pt in (20.0, 2000.0):
        partons = Partons.from_pt_eta_phi(np.full(1000, 21), np.full(1000, pt), np.zeros(1000), phi)
        p4 = np.array([[float(f"{x:.10e}") for x in row] for row in partons.p4])
        assert DOMAIN.contains(Partons(partons.pdg_id, p4)).all()
        exact = np.hypot(partons.p4[:, 1], partons.p4[:, 2])
        assert ((exact < 20.0) | (exact > 2000.0)).any(), "rounding puts some of them outside"


def test_those_beyond_are_not() -> None:
    partons = Partons.from_pt_eta_phi([21] * 3, [19.9999, 2000.01, 30.0], [0.0] * 3, [0.0] * 3)
    assert DOMAIN.contains(partons).tolist() == [False, False, True]
