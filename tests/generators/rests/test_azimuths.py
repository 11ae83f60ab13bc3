"""Where radiation lies to the colour lines of the incoming partons."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastsim.event.kinematics import phi, pt
from fastsim.formats import lhe
from generators.rests.azimuths import ACROSS, ALONG, MOST, TOWARDS, draw_azimuths, line_ends


def test_lines_end_in_the_final_partons(examples: Path) -> None:
    events = next(lhe.read(examples / "pp_dijet.lhe.gz", num_events=50)[1])
    ends = line_ends(events)
    rows = np.flatnonzero(events.status == 1).reshape(50, 2)
    assert (~np.isnan(ends[:, :, 0])).any(axis=1).mean() > 0.9  # colour may pass from one incoming parton to the other
    for k in range(50):
        known = ends[k][~np.isnan(ends[k, :, 0])]
        azimuths, momenta = phi(events.p4[rows[k]]), pt(events.p4[rows[k]])
        assert all(np.isclose(azimuths, end[1]).any() and np.isclose(momenta, end[0]).any() for end in known)


def test_azimuths_follow_the_density() -> None:
    """Moments of one line, and of two back to back, along which cos cancels; none is isotropic."""
    size = 200_000
    rng = np.random.default_rng(4)
    one = np.full((size, 4, 2), np.nan)
    one[:, 2] = 30.0, 0.7
    transverse = np.full(size, 15.0)
    for light, b in ((True, 0.5 * ALONG), (False, 0.5 * (ALONG - ACROSS))):
        turn = draw_azimuths(one, transverse, np.full(size, light), rng) - 0.7
        assert abs(2 * np.cos(turn).mean() - (TOWARDS[0] + 0.5 * TOWARDS[1])) < 0.015
        assert abs(2 * np.cos(2 * turn).mean() - b) < 0.015
    one[:, 0] = 30.0, 0.7 + np.pi
    turn = draw_azimuths(one, np.full(size, 300.0), np.full(size, True), rng) - 0.7
    assert abs(2 * np.cos(turn).mean()) < 0.015 and abs(2 * np.cos(2 * turn).mean() - MOST * ALONG) < 0.015
    turn = draw_azimuths(np.full((size, 4, 2), np.nan), transverse, np.full(size, True), rng)
    assert abs(np.cos(turn).mean()) < 0.01 and abs(np.cos(2 * turn).mean()) < 0.01
