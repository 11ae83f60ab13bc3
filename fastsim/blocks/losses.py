"""Losses and figures of merit of a chain's outputs, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastsim.errors import PipelineError
from fastsim.named import load_object


def _mean_square(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target.to(output.dtype))


def _mean_absolute(output: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(output, target.to(output.dtype))


def _binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target.to(output.dtype))


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target.long())


def auc(output: Tensor, target: Tensor) -> Tensor:
    """Compute the area under the receiver operating characteristic: the chance that a signal is above a background.

    >>> float(auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])))
    0.75

    Args:
        output: what rises with the chance of signal, (N,).
        target: 1 for signal, 0 for background, (N,).
    """
    return _placements(output, target)[0].mean()


def auc_error(output: Tensor, target: Tensor) -> float:
    """Compute the standard error of :func:`auc` (DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837)."""
    above, below = _placements(output, target)
    return float((above.var() / len(above) + below.var() / len(below)).sqrt())


def _placements(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each signal the share of backgrounds below it, and for each background that of signals above it."""
    output, target = output.double().flatten(), target.flatten() > 0.5
    signal, background = output[target], output[~target]
    if not len(signal) or not len(background):
        raise PipelineError("the area under a curve needs events of both kinds")

    def share_below(values: Tensor, of: Tensor) -> Tensor:
        ordered = of.sort().values
        # half of those that are equal
        low = torch.searchsorted(ordered, values, side="left")
        high = torch.searchsorted(ordered, values, side="right")
        return (low + high).double() / (2 * len(of))

    return share_below(signal, background), 1.0 - share_below(background, signal)


KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean-square": _mean_square,
    "mean-absolute": _mean_absolute,
    "binary-cross-entropy": _binary_cross_entropy,
    "cross-entropy": _cross_entropy,
}
"""Losses by name: functions of an output and what it should be, both (N, ...)."""
AUC = "auc"
FPD = "fpd"
"""Figures of merit by name: the area under a curve, and the Frechet physics distance of :mod:`metrics`."""
LIKELIHOOD = "negative-log-likelihood"
"""A loss of a log-probability (N,) that a block gives; there is nothing that it is against."""


@dataclass(frozen=True)
class Loss:
    """A loss, or a figure of merit: a function of an output and of what it should be.

    Attributes:
        name: its name in messages and logs.
        kind: one of :data:`KINDS`, :data:`LIKELIHOOD`, ``package.module:function``, or for a figure of merit
            :data:`AUC` or :data:`FPD`.
        of: name of the output.
        against: name of what it should be, in the data; empty for a likelihood.
        weight: factor in the sum of losses.
    """

    name: str
    kind: str
    of: str
    against: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        self.function()  # says what is wrong now, not in the middle of a training
        if (self.kind == LIKELIHOOD) == bool(self.against):
            said = "a likelihood is against nothing" if self.against else "missing key 'against'"
            raise PipelineError(f"loss {self.name!r}: {said}")

    @property
    def names(self) -> list[str]:
        """The names of what it is computed of."""
        return [self.of, self.against] if self.against else [self.of]

    @property
    def rises(self) -> bool:
        """Whether a larger value is better."""
        return self.kind == AUC

    @property
    def trainable(self) -> bool:
        """Whether it can be a loss: it is a mean over events that has a gradient."""
        return self.kind not in (AUC, FPD)

    def function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function.

        Raises:
            PipelineError: if there is no such kind.
        """
        if self.kind == AUC:
            return auc
        if self.kind == FPD:
            return lambda output, target: torch.tensor(_fpd(output, target)[0])
        if self.kind == LIKELIHOOD:
            return lambda output, _: -output.mean()
        if self.kind in KINDS:
            return KINDS[self.kind]
        if ":" in self.kind:
            found: Callable[[Tensor, Tensor], Tensor] = load_object(self.kind, f"loss {self.name!r}")
            return found
        raise PipelineError(
            f"loss {self.name!r}: unknown kind {self.kind!r}: there are "
            f"{', '.join((*KINDS, LIKELIHOOD, AUC, FPD))}; or give "
            "package.module:function"
        )

    def __call__(self, batch: Any) -> Tensor:
        """Compute the value from a batch that holds output and target."""
        output = batch[self.of]
        target = batch[self.against] if self.against else output
        if self.kind != "cross-entropy" and output.shape != target.shape and ":" not in self.kind:
            raise PipelineError(
                f"loss {self.name!r}: {self.of!r} has shape {tuple(output.shape)}, {self.against!r} "
                f"{tuple(target.shape)}"
            )
        return self.function()(output, target)

    def measured(self, batch: Any) -> tuple[float, float]:
        """Compute the value, and its standard error where that is known, else NaN."""
        if self.kind == FPD:
            return _fpd(batch[self.of], batch[self.against])
        value = float(self(batch))
        return value, auc_error(batch[self.of], batch[self.against]) if self.kind == AUC else float("nan")


def _fpd(output: Tensor, target: Tensor) -> tuple[float, float]:
    """Compute the Frechet physics distance of outputs and targets (N, ...) as features, and its error."""
    function = load_object("metrics.distances.frechet:fpd", FPD)
    features = [value.detach().reshape(len(value), -1).double().numpy() for value in (target, output)]
    try:
        found = function(*features, num_permutations=2)
    except ValueError as error:
        raise PipelineError(f"figure {FPD}: {error}") from error
    return float(found.value), float(found.error)
