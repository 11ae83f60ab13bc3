r"""Measured e+e- -> hadrons tables, and how far events are from them.

A table is a block of YODA's text form: bins with a value and its errors. Predictions are made of events at rest: shapes
of charged particles as densities normalised to 1, x_p = |p| / p_beam and the like per event, mean multiplicities. Then

    chi2 = sum_b (g_b - d_b)^2 / (sigma_b^2 + e_b^2)

with the measured d_b +- sigma_b and the statistical error e_b of the prediction g_b. Correlations of the measured
errors are not in the tables: chi2 compares programs with each other, it is no probability.

Every prediction is a ratio of two means over events, g_b = mean(f_b) / mean(n): what an event fills into a bin, and
what it counts for in the normalisation (:class:`Filled`); derivatives by likelihood ratios follow.

References:
    ALEPH 1998, Phys. Rept. 294, 1. DELPHI 2002-069 CONF 603. Review of Particle Physics (multiplicities).
    Buckley et al. 2021, arXiv:2102.02237 (YODA's place in the field: Rivet and HEPData).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.species import charges
from metrics.hadrons.event_shapes import EVENT_SHAPES, event_shapes
from metrics.hadrons.histograms import histogram_per_set, sum_per_set
from metrics.hadrons.origins import weakly_decaying

Floats = NDArray[np.float64]

ALEPH, DELPHI, PDG = "ALEPH_1996_S3486095", "DELPHI_2002_069_CONF_603", "PDG_HADRON_MULTIPLICITIES"
ENERGY = 91.0
"""Tables of one bin in the energy of the collision count where this, in GeV, is within 1 GeV of the bin."""


@dataclass(frozen=True)
class Table:
    """A measured table of B bins.

    Attributes:
        name: such as "ALEPH_1996_S3486095/d01-x01-y01".
        low, high: edges of the bins, (B,) each.
        value: (B,).
        error: one standard deviation, the mean of the upward and the downward one, (B,).
    """

    name: str
    low: Floats
    high: Floats
    value: Floats
    error: Floats


@dataclass(frozen=True)
class Agreement:
    """A prediction of a table.

    Attributes:
        what: the quantity.
        table: what was measured.
        value, error: prediction in its bins with its statistical error, (B,) each.
    """

    what: str
    table: Table
    value: Floats
    error: Floats

    @property
    def chi2(self) -> float:
        """Sum of squared differences over squared errors, of bins with an error."""
        variance = self.table.error**2 + self.error**2
        known = variance > 0
        return float(np.sum((self.value - self.table.value)[known] ** 2 / variance[known]))

    @property
    def num_bins(self) -> int:
        """Bins that ``chi2`` counts."""
        return int(np.count_nonzero(self.table.error**2 + self.error**2 > 0))


def read_tables(*paths: str | os.PathLike[str]) -> dict[str, Table]:
    """Read the two-dimensional scatters of files in YODA's text form.

    Args:
        paths: the files.

    Returns:
        Tables by name, without what comes before the second-last slash of the path in the file.

    Raises:
        FastsimError: if a file cannot be read, or a line of a table does not hold six finite numbers.
    """
    tables: dict[str, Table] = {}
    for path in paths:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FastsimError(f"{os.fspath(path)}: cannot read: {error}") from error
        name, inside = "", False
        rows: list[list[float]] = []
        for number, line in enumerate(lines, start=1):
            if line.startswith("BEGIN YODA_SCATTER2D"):
                words = line.split()
                if len(words) < 3:
                    raise FastsimError(f"{os.fspath(path)}, line {number}: a table without a path: {line!r}")
                name, rows, inside = "/".join(words[2].split("/")[-2:]), [], True
            elif line.startswith("END YODA_SCATTER2D"):
                tables[name] = _table(name, np.array(rows).reshape(-1, 6))
                inside = False
            elif inside and line[:1] in "-+.0123456789" and line != "---" and line:
                rows.append(_numbers(line, f"{os.fspath(path)}, line {number}"))
        if inside:
            raise FastsimError(f"{os.fspath(path)}: ends within the table {name}")
    return tables


def _numbers(line: str, place: str) -> list[float]:
    """Read the six numbers of a line."""
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) != 6 or not np.isfinite(values).all():
        raise FastsimError(f"{place}: {line!r} is not a bin: x and its errors, y and its errors")
    return values


def _table(name: str, rows: Floats) -> Table:
    x, low, high, y, down, up = rows.T
    return Table(name, x - low, x + high, y, 0.5 * (np.abs(down) + np.abs(up)))


@dataclass(frozen=True)
class Filled:
    """A table filled by N events, event by event.

    Attributes:
        what: the quantity.
        table: what was measured.
        fills: what each event gives to the bins, in the table's unit, (N, B).
        norm: what each event counts for, (N,).
    """

    what: str
    table: Table
    fills: Floats
    norm: Floats

    @property
    def value(self) -> Floats:
        """The prediction, (B,)."""
        return np.asarray(self.fills.mean(axis=0) / self.norm.mean())

    @property
    def influence(self) -> Floats:
        """By how much an event moves the prediction, times N, (N, B): of mean zero; its covariance is N times that of
        :attr:`value`, its mean product with scores the derivative of it."""
        return np.asarray((self.fills - self.value * self.norm[:, None]) / self.norm.mean())

    @property
    def agreement(self) -> Agreement:
        """The prediction beside what was measured, with its statistical error."""
        error = self.fills.std(axis=0) / np.sqrt(len(self.fills)) / self.norm.mean()
        return Agreement(self.what, self.table, self.value, error)


class _Events:
    """N events at rest, and what the tables are filled with."""

    def __init__(self, particles: ParticleSet, energy: float) -> None:
        self.particles, self.num, self.beam = particles, len(particles), energy / 2
        rows = np.flatnonzero(charges(particles.pdg_id) != 0)
        self.index = particles.index[rows]
        self.counts = np.bincount(self.index, minlength=self.num).astype(np.float64)
        offsets = offsets_from_counts(np.bincount(self.index, minlength=self.num))
        self.charged = ParticleSet(offsets, particles.pdg_id[rows], particles.p4[rows])
        shapes, self.axes = event_shapes(self.charged)
        self.shapes = dict(zip(EVENT_SHAPES, shapes.T, strict=True))
        self.x_p = np.sqrt(np.sum(self.charged.p4[:, 1:] ** 2, axis=1)) / self.beam

    def density(self, values: Floats, index: NDArray[Any], table: Table, *, unit: bool) -> Fills:
        """Fill a histogram an event, over the widths of the bins; its mean is normalised to 1 if ``unit``."""
        # some tables leave a gap between bins
        edges = np.unique(np.round([table.low, table.high], 9))
        width = table.high - table.low
        bins = np.searchsorted(edges, np.round(table.low, 9))
        filled = histogram_per_set(index, values, edges, self.num)[:, bins] / width
        # a density of its whole range: normalised to the events, which may lie beyond the bins
        counts = np.bincount(index, minlength=self.num).astype(np.float64) if unit and len(values) else self.ones
        return filled, counts

    @property
    def ones(self) -> Floats:
        """One for each event, (N,)."""
        return np.ones(self.num)

    def along(self, axes: Floats) -> Floats:
        """Project the momenta of charged particles on one axis (N, 3) an event."""
        return np.asarray(np.sum(self.charged.p4[:, 1:] * axes[self.index], axis=1))

    def rapidity(self) -> Floats:
        """Compute |y| along the thrust axis of charged particles."""
        momentum = np.abs(self.along(self.axes.thrust))
        return np.asarray(np.arctanh(np.clip(momentum / self.charged.p4[:, 0], 0.0, 1.0 - 1e-12)))

    def multiplicity(self, ids: tuple[int, ...]) -> Floats:
        """Count particles and antiparticles of each event, decayed ones too, (N,)."""
        final = np.isin(np.abs(self.particles.pdg_id), ids)
        total = sum_per_set(self.particles.index[final], np.ones(int(final.sum())), self.num)
        if self.particles.history is not None:
            decayed = self.particles.history.decayed
            chosen = np.isin(np.abs(decayed.pdg_id), ids)
            total += sum_per_set(decayed.index[chosen], np.ones(int(chosen.sum())), self.num)
        return total


Fills = tuple[Floats, Floats]
"""``fills`` and ``norm`` of :class:`Filled`."""
Prediction = Callable[[_Events, Table], Fills]


def _shape(name: str) -> Prediction:
    return lambda e, table: e.density(e.shapes[name], np.arange(e.num), table, unit=True)


def _numbers_of_charged(e: _Events, table: Table) -> Fills:
    """Compute the shares of events by charged multiplicity, which is even: a bin of width 2 about each number."""
    fills, norm = e.density(e.counts, np.arange(e.num), table, unit=True)
    return fills * (table.high - table.low), norm


def _of_particles(ids: tuple[int, ...]) -> Prediction:
    def predict(e: _Events, table: Table) -> Fills:
        chosen = np.isin(np.abs(e.charged.pdg_id), ids)
        return e.density(e.x_p[chosen], e.index[chosen], table, unit=False)

    return predict


def _mean(e: _Events, values: Floats) -> Fills:
    return values[:, None], e.ones


def _x_b(e: _Events, table: Table) -> Fills:
    """Fill the energy of b hadrons that decay weakly over that of the beam, normalised to 1."""
    history = e.particles.history
    assert history is not None
    decayed = history.decayed
    weak = weakly_decaying(decayed, 5)
    x = decayed.p4[weak, 0] / e.beam
    return e.density(x, decayed.index[weak], table, unit=True)


ALEPH_TABLES: dict[str, tuple[str, Prediction]] = {
    "d01-x01-y01": ("sphericity", _shape("sphericity")),
    "d02-x01-y01": ("aplanarity", _shape("aplanarity")),
    "d03-x01-y01": ("1 - thrust", _shape("thrust")),
    "d04-x01-y01": ("thrust minor", _shape("thrust_minor")),
    "d07-x01-y01": ("C parameter", _shape("c_parameter")),
    "d08-x01-y01": ("oblateness", _shape("oblateness")),
    "d09-x01-y01": ("x_p, charged", lambda e, t: e.density(e.x_p, e.index, t, unit=False)),
    "d10-x01-y01": ("rapidity, charged", lambda e, t: e.density(e.rapidity(), e.index, t, unit=False)),
    "d11-x01-y01": (
        "pT in the plane",
        lambda e, t: e.density(np.abs(e.along(e.axes.sphericity[:, 1])), e.index, t, unit=False),
    ),
    "d12-x01-y01": (
        "pT out of the plane",
        lambda e, t: e.density(np.abs(e.along(e.axes.sphericity[:, 2])), e.index, t, unit=False),
    ),
    "d17-x01-y01": (
        "log(1/x_p), charged",
        lambda e, t: e.density(-np.log(np.maximum(e.x_p, 1e-300)), e.index, t, unit=False),
    ),
    "d18-x01-y01": ("charged multiplicity", _numbers_of_charged),
    "d19-x01-y01": ("mean charged multiplicity", lambda e, t: _mean(e, e.counts)),
    "d25-x01-y01": ("x_p of pi+-", _of_particles((211,))),
    "d26-x01-y01": ("x_p of K+-", _of_particles((321,))),
    "d27-x01-y01": ("x_p of p", _of_particles((2212,))),
}
"""What is compared with ALEPH's tables: quantity and prediction."""
MULTIPLICITIES: dict[str, tuple[str, tuple[int, ...]]] = {
    "d01": ("pi+", (211,)),
    "d02": ("pi0", (111,)),
    "d03": ("K+", (321,)),
    "d04": ("K0", (130, 310)),
    "d05": ("eta", (221,)),
    "d06": ("eta'", (331,)),
    "d07": ("D+", (411,)),
    "d08": ("D0", (421,)),
    "d09": ("Ds+", (431,)),
    "d13": ("f0(980)", (9010221,)),
    "d15": ("rho0", (113,)),
    "d16": ("rho+", (213,)),
    "d17": ("omega", (223,)),
    "d18": ("K*+", (323,)),
    "d19": ("K*0", (313,)),
    "d20": ("phi", (333,)),
    "d21": ("D*+", (413,)),
}
"""Mean numbers an event, antiparticles included, by the table's number: species and PDG ids."""
X_B = "x_B of weakly decaying b hadrons"
NEED_HISTORY = (X_B, *(f"{name} an event" for name, _ in MULTIPLICITIES.values() if name not in ("pi+", "K+")))
"""Quantities that final particles alone do not give."""


def prediction_of(table: Table) -> tuple[str, Prediction] | None:
    """Return the quantity of a table and its prediction; None if it is not known here, or of another energy."""
    source, _, key = table.name.partition("/")
    if source == ALEPH and key in ALEPH_TABLES:
        return ALEPH_TABLES[key]
    if source == DELPHI and key == "d02-x01-y01":
        return X_B, _x_b
    at_z = len(table.low) == 1 and abs(0.5 * (table.low[0] + table.high[0]) - ENERGY) < 1
    if source == PDG and key[:3] in MULTIPLICITIES and at_z:
        what, ids = MULTIPLICITIES[key[:3]]
        return f"{what} an event", lambda e, t: _mean(e, e.multiplicity(ids))
    return None


def fill_tables(events: ParticleSet, tables: Mapping[str, Table], *, energy: float = 91.2) -> list[Filled]:
    """Fill measured tables with events e+e- -> hadrons.

    Args:
        events: final particles of N events at rest, in which K0S and hyperons have decayed; with their history,
            multiplicities of decayed species and the momenta of b hadrons are compared too. p4 in GeV.
        tables: as :func:`read_tables` gives them; those that are not known here are left out.
        energy: of the collision in GeV.

    Returns:
        One for each table, in their order.

    Raises:
        ValueError: if there are fewer than 2 events, or a momentum is not finite.
    """
    if len(events) < 2:
        raise ValueError(f"tables need at least 2 events, got {len(events)}")
    if not np.isfinite(events.p4).all():
        raise ValueError("particle momenta hold NaN or infinity: shapes need finite momenta")
    sample, found = _Events(events, energy), []
    for table in tables.values():
        known = prediction_of(table)
        if known is None or (events.history is None and known[0] in NEED_HISTORY):
            continue
        what, predict = known
        found.append(Filled(what, table, *predict(sample, table)))
    return found


def joined(parts: Sequence[Filled]) -> Filled:
    """Return a table filled by the events of all parts, which are of the same table."""
    first = parts[0]
    fills, norm = (np.concatenate([getattr(part, name) for part in parts]) for name in ("fills", "norm"))
    return Filled(first.what, first.table, fills, norm)


def chi2_tables(events: ParticleSet, tables: Mapping[str, Table], *, energy: float = 91.2) -> list[Agreement]:
    """Compare events e+e- -> hadrons with measured tables; arguments and errors of :func:`fill_tables`.

    Returns:
        An agreement for each table, in their order.
    """
    return [filled.agreement for filled in fill_tables(events, tables, energy=energy)]
