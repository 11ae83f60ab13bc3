"""The table of an evaluation, on a terminal and in a file."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from metrics.report.terminal import headlines, table
from metrics.report.verdict import closest, overall, plus_minus, sigmas_text, verdict, wins, worst
from tests.metrics.report.conftest import NASTY, Page, result


def printed(page: Page, **options: object) -> str:
    file = StringIO()
    Console(file=file, width=120, **options).print(table(page.evaluation))  # type: ignore[arg-type]
    return file.getvalue()


def test_every_sample_and_metric_has_its_row_in_120_plain_columns(jets_page: Page) -> None:
    text = printed(jets_page)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert "\x1b" not in text
    row = next(line for line in lines if line.split()[:1] == ["fpd"])
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        "fpd",
        "model.h5",
        "0.530 ± 0.020",
        "0.50 ± 0.10",
        "+0.3",
        "agrees",
        "0.4",
        "pt 20-60 (+1.0)",
    ]
    nasty = [line for line in lines if NASTY in line and "±" in line]
    assert len(nasty) == 2
    assert "tension" in nasty[0] and "pt 60-200 (+12.3)" in nasty[0]
    assert "+∞" in nasty[1] and "differs" in nasty[1]
    assert text.count("not computed") == 1
    assert "auc and 1 more: negative weights" in text


def test_verdicts_are_coloured_on_a_terminal(jets_page: Page) -> None:
    text = printed(jets_page, force_terminal=True, color_system="standard")
    assert "\x1b[32magrees" in text
    assert "\x1b[31mdiffers" in text


def test_one_sample_is_named_in_the_title_only(jets_page: Page) -> None:
    alone = {"model.h5": jets_page.evaluation.results["model.h5"]}
    text = printed(replace(jets_page, evaluation=replace(jets_page.evaluation, results=alone, bins={}, skipped={})))
    assert [line for line in text.splitlines() if "model.h5" in line] == [
        line for line in text.splitlines() if line.startswith("model.h5 ")
    ]
    words = " ".join(text.split())
    assert "model.h5 agrees: 0 of 2 metrics beyond 2 sigma, where equal samples have 0.1 on average." in words
    assert "worst bin" not in text
    assert text.index("auc") < text.index("fpd"), "the most significant metric comes first"


def test_a_value_far_better_than_equal_samples_is_no_agreement() -> None:
    assert verdict(result("mmd", -8.0).excess) == "differs"


@pytest.mark.parametrize(
    "value, error, text",
    [
        (0.0996, 0.0996, "0.100 ± 0.100"),
        (-1.5, 0.25, "-1.50 ± 0.25"),
        (12345.0, 678.0, "12340 ± 680"),
        (1.5e9, 2e7, "(1.500 ± 0.020)e9"),
        (0.0, 3e-6, "(0.0 ± 3.0)e-6"),
        (float("nan"), 0.1, "nan"),
        (2.0, float("inf"), "2"),
    ],
)
def test_values_are_rounded_to_their_errors(value: float, error: float, text: str) -> None:
    assert plus_minus(value, error) == text


def test_significances_stay_short() -> None:
    assert [sigmas_text(x) for x in (0.04, -99.96, 1234567.0, float("-inf"), float("nan"))] == [
        "+0.0",
        "-100",
        "+1e+06",
        "-∞",
        "–",
    ]


def test_the_closest_sample_is_so_by_more_than_its_errors(jets_page: Page) -> None:
    """fpd is 0.03 and 0.25 from its null, with errors of 0.02; what one sample alone has is no comparison."""
    assert wins(jets_page.evaluation) == {"model.h5": ["fpd"], NASTY: []}
    assert closest(jets_page.evaluation) == "model.h5"
    near = {
        "a": {f"m{k}": result(f"m{k}", 0.3) for k in range(20)},
        "b": {f"m{k}": result(f"m{k}", 0.5) for k in range(20)},
    }
    undecided = replace(jets_page.evaluation, results=near, bins={})
    assert wins(undecided) == {"a": [], "b": []}, "0.02 apart, with errors of 0.02 each"
    assert closest(undecided) is None
    assert "No sample is closest" in headlines(undecided)[-1]
    found = worst(jets_page.evaluation, NASTY)
    assert found is not None and found[:2] == ("pt 60-200", "fpd")


@pytest.mark.parametrize(
    ("sigmas", "word"),
    [
        ([0.1] * 19 + [2.5], "agrees"),
        ([0.1] * 16 + [2.1] * 4, "tension"),
        ([0.1] * 19 + [4.6], "tension"),
        ([0.1] * 19 + [-5.5], "differs"),
    ],
)
def test_the_overall_verdict_allows_for_chance(jets_page: Page, sigmas: list[float], word: str) -> None:
    results = {"s": {f"m{k}": result(f"m{k}", value) for k, value in enumerate(sigmas)}}
    judged = overall(replace(jets_page.evaluation, results=results), "s")
    assert judged.verdict == word
    assert judged.expected == 1.0
    assert judged.beyond == sum(abs(value) >= 2 for value in sigmas)
    assert "could not be computed" not in str(judged)


def test_the_overall_verdict_tells_what_could_not_be_computed(jets_page: Page) -> None:
    results = {name: {"auc": result("auc", 0.1)} for name in ("s", "other")}
    skipped = {"s: fpd": "feature 1 of event 3 is nan", "s: w1": "a sample holds NaN", "other: kpd": "too few events"}
    judged = overall(replace(jets_page.evaluation, results=results, skipped=skipped), "s")
    assert judged.skipped == 2 and str(judged).endswith("; 2 could not be computed")
