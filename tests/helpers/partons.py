"""Partons for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastsim.event import Partons


def spread(pdg_id: Sequence[int], pt: Sequence[float]) -> Partons:
    """Return partons of given flavours and pT in GeV in directions of all kinds."""
    size = len(pdg_id)
    return Partons.from_pt_eta_phi(pdg_id, pt, np.linspace(-2.0, 2.0, size), np.linspace(-3.0, 3.0, size))
