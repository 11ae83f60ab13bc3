"""Measured tables: reading them, and events held against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.kinematics import on_shell
from fastsim.event.species import masses
from metrics.hadrons.tables import ALEPH, PDG, chi2_tables, fill_tables, joined, read_tables

TEXT = """BEGIN YODA_SCATTER2D_V2 /REF/{name}
IsRef: 1
Path: /REF/{name}
Title: ~
Type: Scatter2D
---
# xval	 xerr-	 xerr+	 yval	 yerr-	 yerr+
{rows}
END YODA_SCATTER2D_V2

"""


def write(path: Path, **tables: str) -> Path:
    path.write_text("".join(TEXT.format(name=name.replace("__", "/"), rows=rows) for name, rows in tables.items()))
    return path


def events(num: int, rng: np.random.Generator) -> ParticleSet:
    """Make events of a Poisson number of pions and photons in pairs back to back."""
    counts = rng.poisson(10, num)
    p = rng.normal(size=(counts.sum(), 3)) * 2
    ids = rng.choice([211, -211, 22, 321], len(p))
    p4 = on_shell(np.concatenate([np.zeros((len(p), 1)), p], axis=1), masses(ids))
    return ParticleSet(offsets_from_counts(counts), ids, p4)


def test_bins_are_read_and_events_filled(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = "1.0e-02 1.0e-02 1.0e-02 5.0e+00 3.0e-01 1.0e-01\n5.0e-02 1.0e-02 1.0e-02 2.0e+00 1.0e-01 1.0e-01"
    counts = "9.12e+01 5e-01 5e-01 7.5e+00 5e-01 5e-01"
    names = {f"{ALEPH}__d25-x01-y01": rows, f"{PDG}__d01-x01-y03": counts.replace("9.12", "9.1")}
    names |= {f"{PDG}__d01-x01-y01": counts.replace("9.12", "1.0"), f"{ALEPH}__d99-x01-y01": rows}
    tables = read_tables(write(tmp_path / "a.yoda", **names))
    table = tables[f"{ALEPH}/d25-x01-y01"]
    np.testing.assert_allclose(table.low, [0, 0.04])
    np.testing.assert_allclose(table.high, [0.02, 0.06])
    np.testing.assert_allclose(table.error, [0.2, 0.1])
    sample = events(400, rng)
    found = {a.what: a for a in chi2_tables(sample, tables)}
    assert list(found) == ["x_p of pi+-", "pi+ an event"]  # of other energies and unknown tables: none
    pion = np.abs(sample.pdg_id) == 211
    x = np.sqrt(np.sum(sample.p4[pion, 1:] ** 2, axis=1)) / 45.6
    expected = [np.sum((low <= x) & (x < low + 0.02)) / 400 / 0.02 for low in (0.0, 0.04)]
    np.testing.assert_allclose(found["x_p of pi+-"].value, expected)
    mean = found["pi+ an event"]
    assert mean.value[0] == pytest.approx(pion.sum() / 400)
    assert mean.chi2 == pytest.approx((mean.value[0] - 7.5) ** 2 / (0.5**2 + mean.error[0] ** 2))
    assert mean.num_bins == 1


def test_shapes_are_normalised(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = "\n".join(f"{x + 0.05:.3f} 0.05 0.05 1.0 0.1 0.1" for x in np.arange(0, 1.0, 0.1))
    sample = events(200, rng)
    agreement = chi2_tables(sample, read_tables(write(tmp_path / "a.yoda", **{f"{ALEPH}__d01-x01-y01": rows})))[0]
    assert agreement.what == "sphericity"
    assert agreement.value.sum() * 0.1 == pytest.approx(1.0)
    assert agreement.num_bins == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.format(name="A/d01", rows="1 2 3"), "line 8: '1 2 3' is not a bin"),
        (TEXT.format(name="A/d01", rows="1 2 3 4 5 nan"), "is not a bin"),
        (
            TEXT.format(name="A/d01", rows="1 0 0 1 0 0").replace("END YODA_SCATTER2D_V2", ""),
            "ends within the table A/d01",
        ),
        ("BEGIN YODA_SCATTER2D_V2\n", "without a path"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yoda"
    path.write_text(text)
    with pytest.raises(FastsimError, match=message) as error:
        read_tables(path)
    assert "bad.yoda" in str(error.value)


def test_missing_files_and_too_few_events(tmp_path: Path) -> None:
    with pytest.raises(FastsimError, match="cannot read"):
        read_tables(tmp_path / "none.yoda")
    with pytest.raises(ValueError, match="at least 2 events"):
        chi2_tables(ParticleSet.empty(1), {})


def test_influences_give_errors_and_derivatives(tmp_path: Path, rng: np.random.Generator) -> None:
    bins = "0.05 0.05 0.05 1.0 0.1 0.1\n0.15 0.05 0.05 1.0 0.1 0.1"
    names = {f"{ALEPH}__d25-x01-y01": bins, f"{ALEPH}__d03-x01-y01": bins, f"{ALEPH}__d19-x01-y01": "91 1 1 20 1 1"}
    tables = read_tables(write(tmp_path / "a.yoda", **names))
    sample = events(600, rng)
    halves = [fill_tables(sample[rows], tables) for rows in (slice(0, 250), slice(250, None))]
    for whole, first, second in zip(fill_tables(sample, tables), *halves, strict=True):
        np.testing.assert_allclose(joined([first, second]).value, whole.value)
        np.testing.assert_allclose(whole.influence.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(whole.influence.std(axis=0) / np.sqrt(600), whole.agreement.error, rtol=0.05)
    # weights exp(d n): d <n> / dd is the variance of n
    mean = fill_tables(sample, tables)[-1]
    n = sample.counts - sample.counts.mean()
    assert np.mean(mean.influence[:, 0] * n) == pytest.approx(np.cov(mean.fills[:, 0], sample.counts, ddof=0)[0, 1])
