"""The azimuth in which a rest lies to the hard process that recoils against it.

Initial-state radiation, against which the hard process recoils, is no more likely in one direction across the beams
than in another where the hard process is a colour singlet. Where the colour lines of the incoming partons go on in
final ones, radiation interferes with that of these and is drawn to their directions; and the linear polarisation that
it leaves to an incoming gluon goes on to what the gluon makes, heavy or colourless products rather across it. Both grow
with the transverse momentum of the radiation. Pythia has both (``SpaceShower:phiIntAsym``, ``SpaceShower:phiPolAsym``);
here the azimuth phi between radiation and the end of a colour line, one of the lines with equal chances, has the
density

    1 + a cos phi + b cos 2 phi,

with a and b as ``python -m bench.validation.azimuths`` finds them in Pythia's dijets, Z + jet and t tbar.

References:
    Webber 1986, Ann. Rev. Nucl. Part. Sci. 36, 253 (azimuthal correlations in showers).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastsim.event import Floats, HardEvents
from fastsim.event.kinematics import phi, pt
from fastsim.event.singlets import colour_partners

LINES = (4, 2)
"""Shape of the ends of the colour lines of a collision: two of each incoming parton; pT and azimuth."""
TOWARDS = (0.15, 0.08)
"""a at no radiation, and its slope in the ratio of the pT of the radiation to that of the final parton."""
ALONG, ACROSS = 0.25, 0.45
"""Slope of b from interference, and that from polarisation where products are heavy or colourless."""
MOST = 1.2
"""Ratio of transverse momenta from which on a and b stay as they are."""


def line_ends(events: HardEvents) -> Floats:
    """Return where the colour lines of the two incoming partons of N events end among the final ones.

    Returns:
        pT in GeV and azimuth of the final parton at the colour and at the anticolour of the first and of the second
        incoming one, (N, 4, 2); NaN where a line has no such end.
    """
    ends = np.full((len(events), *LINES), np.nan)
    partner = colour_partners(events)[np.flatnonzero(events.status == -1)].reshape(-1, 4)
    event, line = np.nonzero(partner >= 0)
    row = partner[event, line]
    final = events.status[row] == 1
    p4 = events.p4[row[final]]
    ends[event[final], line[final]] = np.stack([pt(p4), phi(p4)], axis=-1)
    return ends


def draw_azimuths(ends: Floats, transverse: Floats, light: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Draw the azimuths of the radiation of N collisions, against which their hard processes recoil.

    Args:
        ends: ends of colour lines as of :func:`line_ends`, (N, 4, 2).
        transverse: pT of the radiation in GeV, (N,).
        light: which of the hard processes make light partons and photons alone, (N,).
        rng: draws them.

    Returns:
        Azimuths (N,) in rad; where no line ends in a final parton all are as likely.
    """
    size = len(ends)
    there = ~np.isnan(ends[:, :, 0])
    chosen = np.where(there, rng.uniform(size=(size, 4)), -1.0).argmax(axis=1)
    end = ends[np.arange(size), chosen]
    any_line = there.any(axis=1)
    ratio = np.minimum(transverse / np.where(any_line, np.maximum(end[:, 0], 1e-3), 1.0), MOST)
    a = np.where(any_line, TOWARDS[0] + TOWARDS[1] * ratio, 0.0)
    b = np.where(any_line, (ALONG - np.where(light, 0.0, ACROSS)) * ratio, 0.0)
    turn, waiting = np.zeros(size), np.arange(size)
    while len(waiting):
        trial = rng.uniform(-np.pi, np.pi, len(waiting))
        density = 1.0 + a[waiting] * np.cos(trial) + b[waiting] * np.cos(2 * trial)
        taken = rng.uniform(size=len(waiting)) * (1.0 + np.abs(a[waiting]) + np.abs(b[waiting])) < density
        turn[waiting[taken]] = trial[taken]
        waiting = waiting[~taken]
    azimuths: Floats = turn + np.where(any_line, end[:, 1], 0.0)
    return azimuths
