"""Permutation importance: what was shifted is found, what both samples share is not, and the page shows it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics.classifiers.importance import importances
from metrics.classifiers.trees import MAX_KEPT, classifier_test
from metrics.evaluation import evaluate
from metrics.report.terminal import seen
from metrics.sample import Columns, Sample


def events(rng: np.random.Generator, num: int, shift: float, flip: float) -> dict[str, NDArray[np.float64]]:
    """Independent columns, one shifted; and two whose product alone differs in sign."""
    one, other = rng.normal(size=(2, num))
    return {
        "same": rng.normal(size=num),
        "shifted": rng.normal(shift, size=num),
        "one": one,
        "other": np.abs(other) * np.sign(one) * flip,
    }


def test_what_differs_is_most_important(rng: np.random.Generator) -> None:
    real, generated = (Columns(tuple((c := events(rng, 1500, s, f)).values()), tuple(c)) for s, f in ((0, 1), (1, 1)))
    test = classifier_test(real, generated)
    assert test.held_out is not None and len(test.held_out.real) == 500 <= MAX_KEPT
    first, *others = importances(test.held_out)
    assert first.name == "shifted" and first.value == pytest.approx(test.auc.value - 0.5, abs=0.05)
    assert 0 < first.error < 0.03 and all(abs(i.value) < 0.02 for i in others)
    assert importances(test.held_out, num=1)[0].name == "shifted"


def test_inputs_that_differ_only_together(rng: np.random.Generator) -> None:
    """Neither column differs on its own; both are needed to see that their signs no longer agree."""
    real, generated = (Columns(tuple((c := events(rng, 1500, 0, f)).values()), tuple(c)) for f in (1, -1))
    test = classifier_test(real, generated)
    assert test.held_out is not None
    found = importances(test.held_out)
    assert {i.name for i in found[:2]} == {"one", "other"} and found[1].value > 0.3 and abs(found[2].value) < 0.02


def test_an_evaluation_says_what_is_seen(rng: np.random.Generator) -> None:
    def sample(shift: float) -> Sample:
        columns = events(rng, 600, shift, 1)
        return Sample("arrays", columns, np.stack(list(columns.values()), axis=1))

    evaluation, _ = evaluate(sample(0), {"equal": sample(0), "model": sample(1.5)}, metrics="auc")
    assert evaluation.importance["model: auc"][0].name == "shifted"
    (line,) = [line for line in seen(evaluation) if line.startswith("model")]
    assert line.startswith("model: auc sees most: shifted (0.")
    assert evaluation.to_dict()["importance"]["model: auc"][0]["name"] == "shifted"


def test_arrays_without_names_are_not_asked(rng: np.random.Generator) -> None:
    assert classifier_test(rng.normal(size=(60, 2)), rng.normal(size=(60, 2))).held_out is None
