"""What parameters of tunes do to distributions of counts directly, beside the first layers of their networks.

A parameter of Pythia moves the mean of sqrt(n), and the odds of each type and of each carrier, by nearly the same
amount whatever else a set holds. One number for each says that, for each flavour too, where a vector at the first layer
says it in as many numbers as the layer is wide, to all flavours at once: a fit to a sample finds the one number where
the vector is lost in noise. The features are

    t_i,  t_i l,  t_i l^2,  t_i r,  t_i [flavour = s, c, b, g],  t_i t_j

with the parameters t, l the logarithm of pT within what the models of tunes learn from (beyond it, that of its end),
and r that of the shower's starting scale over pT. All are zero at Monash.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from generators.hadrons.tokens import FLAVOURS

if TYPE_CHECKING:
    from torch import Tensor

    from generators.nn.compiled_network import Array

T = TypeVar("T", "Tensor", "Array")

LOG_PT, RATIO = len(FLAVOURS), len(FLAVOURS) + 3
"""Columns of a condition: log10(pT / 100 GeV) and the logarithm of the starting scale over pT."""
LOW, HIGH = float(np.log10(8 / 100)), float(np.log10(250 / 100))
"""Range of the first in the training of models of tunes."""
_CENTRE, _SPAN = 0.5 * (LOW + HIGH), 0.5 * (HIGH - LOW)
_WITH = tuple(FLAVOURS.index(flavour) for flavour in (3, 4, 5, 21))
"""Columns of the flavours that have features of their own; u and d quarks have the common ones."""
NUM_EACH = 4 + len(_WITH)
"""Features that are linear in a parameter."""


def num_responses(num_tune: int) -> int:
    """Return the number of features R of ``num_tune`` parameters."""
    return NUM_EACH * num_tune + num_tune * (num_tune + 1) // 2


def stages(num_tune: int) -> list[int]:
    """Return how many features, the first ones, simpler and simpler responses have, the simplest first.

    These are of the parameter alone; by pT and scale; by flavour too; and with products of two parameters.
    """
    return [num_tune, 4 * num_tune, NUM_EACH * num_tune, num_responses(num_tune)]


def responses(condition: T, tune: slice) -> T:
    """Compute the features (N, R) of conditions (N, C), whose columns ``tune`` are the P parameters."""
    given: Any = condition
    t: Any = given[:, tune]
    log_pt = ((given[:, LOG_PT : LOG_PT + 1] - _CENTRE) / _SPAN).clip(-1.0, 1.0)
    by: list[Any] = [log_pt, log_pt**2, given[:, RATIO : RATIO + 1], *(given[:, k : k + 1] for k in _WITH)]
    products: list[Any] = [t[:, i : i + 1] * t[:, i:] for i in range(t.shape[1])]
    library: Any = np if isinstance(condition, np.ndarray) else import_module("torch")
    columns: T = library.concatenate([t, *(t * each for each in by), *products], -1)
    return columns
