r"""What a classifier between real and generated events looks at: permutation importance of its inputs.

The importance of an input is the area under the ROC curve that is lost when its values are exchanged among all held-out
events, real and generated, at random: what stays is what the other inputs tell. Of inputs that say the same, each comes
out as dispensable, so that importances neither add up to AUC - 1/2 nor prove that an input of none agrees.

References:
    Breiman 2001, Machine Learning 45, 5. Fisher, Rudin, Dominici 2018, arXiv:1801.01489.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.classifiers.trees import HeldOut

Floats = NDArray[np.float64]

NUM_SHOWN = 12
"""Inputs that are reported: the most important ones."""
NUM_REPEATS = 5
"""Permutations of each of these: the importance is their mean, and the error that of the mean."""


@dataclass(frozen=True)
class Importance:
    """The importance of one input of a classifier.

    Attributes:
        name: of the input.
        value: area under the ROC curve that is lost without it.
        error: one standard deviation of that mean over permutations; the events stay the same ones.
    """

    name: str
    value: float
    error: float


def importances(held_out: HeldOut, *, num: int = NUM_SHOWN, seed: int = 0) -> list[Importance]:
    """Find the inputs that a classifier's verdict hangs on most.

    Args:
        held_out: the classifier, and events that it has not seen.
        num: inputs at most.
        seed: of the permutations.

    Returns:
        The most important inputs, largest first: one permutation of each input chooses them, further ones measure them.

    >>> rng = np.random.default_rng(1)
    >>> from metrics.classifiers.trees import classifier_test
    >>> from metrics.sample import Columns
    >>> def events(shift):
    ...     return Columns((rng.normal(size=900), rng.normal(shift, size=900)), ("same", "shifted"))
    >>> [(i.name, i.value > 0.1) for i in importances(classifier_test(events(0), events(1)).held_out, num=1)]
    [('shifted', True)]
    """
    rng = np.random.default_rng(seed)
    inputs = np.concatenate([held_out.real, held_out.generated])
    num_real = len(held_out.real)
    whole = _area(held_out.model.predict_proba(inputs)[:, 1], num_real)

    def lost(column: int) -> float:
        kept = inputs[:, column].copy()
        inputs[:, column] = rng.permutation(kept)
        area = _area(held_out.model.predict_proba(inputs)[:, 1], num_real)
        inputs[:, column] = kept
        return whole - area

    first = np.array([lost(column) for column in range(inputs.shape[1])])
    found = []
    for column in np.argsort(-first, kind="stable")[:num]:
        draws = [lost(int(column)) for _ in range(NUM_REPEATS)]
        error = float(np.std(draws, ddof=1) / np.sqrt(NUM_REPEATS))
        found.append(Importance(held_out.names[column], float(np.mean(draws)), error))
    return sorted(found, key=lambda importance: -importance.value)


def _area(scores: Floats, num_real: int) -> float:
    """Compute the area under the ROC curve of scores, those of real events first; ties count half."""
    below = np.sort(scores[num_real:])
    places = [np.searchsorted(below, scores[:num_real], side=side) for side in ("left", "right")]
    return float(np.mean(places) / len(below))
