"""Weights of parameters of tunes that act on carriers alone, by Fisher scoring (:mod:`generators.hadrons.scoring`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fastsim.errors import InvalidValue
from generators.hadrons.scoring import Scoring, catching, solved
from generators.hadrons.tokens import TokenSample
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.splittings import splittings
from generators.training.loop import FitResult

_log = logging.getLogger(__name__)

_SETS, _ROWS = 4000, 8192
"""Sets whose splittings are computed at once, and splittings whose densities are."""


def score_tunes(net: SplittingNet, training: TokenSample, held_out: TokenSample, config: Scoring) -> FitResult:
    """Fit the weights of the parameters that are inputs of nodes with a carrier alone; all others stay as they are.

    Args:
        net: network with gates.
        training: token sets with their tunes.
        held_out: those by which ridges are chosen, and whether a step is made.
        config: steps and ridges.

    Returns:
        The steps made, and the mean negative log-density of the splittings with carriers of a held-out set.

    Raises:
        InvalidValue: if the network has no gates.
    """
    rows, checks = _open(net, training), _open(net, held_out)
    assert net.gates is not None
    columns, layers = net.gates[:, 0], first_layers(net)
    weights = [layer.weight for layer in layers]
    started = best = -_log_density(net, checks) / len(held_out)
    steps = 0
    for number in range(1, config.rounds + 1):
        gradients, informations = _information(net, rows, layers, columns)
        before, tried = [weight.detach().clone() for weight in weights], []
        for ridge in config.ridges:
            for weight, old, gradient, information in zip(weights, before, gradients, informations, strict=True):
                moved = [solved(f, g, ridge) for f, g in zip(information, gradient, strict=True)]
                weight.data[:, columns] = old[:, columns] + torch.stack(moved, -1).to(old.dtype)
            tried.append((-_log_density(net, checks) / len(held_out), [w.detach().clone() for w in weights], ridge))
        value, chosen, ridge = min(tried, key=lambda each: each[0])
        better = value < best
        for weight, new in zip(weights, chosen if better else before, strict=True):
            weight.data.copy_(new)
        _log.info("scoring: step %d, ridge %g: %.3g a held-out set better than before", number, ridge, best - value)
        if not better:
            break
        best, steps = value, number
    _log.info("scoring: %d splittings, %.3g a held-out set better than at the start", len(rows), started - best)
    net.eval()
    return FitResult(steps, steps, best)


def first_layers(net: SplittingNet) -> list[nn.Linear]:
    """Return the layers that inputs enter by."""
    layers = [net.embed, *([] if net.pair is None else [net.pair.trunk[0]])]
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _open(net: SplittingNet, sample: TokenSample) -> Splittings:
    """Compute the splittings of a sample that some gated parameter is an input of, context in float16."""
    if net.gates is None:
        raise InvalidValue("scoring: the model has no parameters that act on carriers alone (rFactC, rFactB)")
    parts = []
    for start in range(0, len(sample), _SETS):
        rows, _, _ = splittings(sample[start : start + _SETS], seed=start)
        seen = torch.nonzero((~net.closed(rows.context, rows.counts))[:, net.gates[:, 0]].any(1))[:, 0]
        some = rows.rows(seen)
        parts.append((some.context.half(), some.counts, some.counts_a, some.least, some.variables))
    return Splittings(*(torch.cat(column) for column in zip(*parts, strict=True)))


def held_out_value(net: SplittingNet, held_out: TokenSample) -> float:
    """Return the mean negative log-density of the splittings with carriers of a held-out set."""
    return -_log_density(net, _open(net, held_out)) / len(held_out)


def _batches(rows: Splittings) -> Iterator[Splittings]:
    for chosen in torch.split(torch.arange(len(rows)), _ROWS):
        some = rows.rows(chosen)
        yield Splittings(some.context.float(), some.counts, some.counts_a, some.least, some.variables)


@torch.no_grad()
def _log_density(net: SplittingNet, rows: Splittings) -> float:
    return sum(float(net.log_prob(batch).double().sum()) for batch in _batches(rows))


def _information(
    net: SplittingNet, rows: Splittings, layers: list[nn.Linear], columns: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Sum gradients (C, W) and Fisher informations (C, W, W) of each layer for the weights of C columns."""
    widths = [layer.out_features for layer in layers]
    gradients = [torch.zeros(len(columns), width, dtype=torch.float64) for width in widths]
    informations = [torch.zeros(len(columns), width, width, dtype=torch.float64) for width in widths]
    with catching(layers, columns) as caught:
        for batch in _batches(rows):
            net.log_prob(batch).sum().backward()  # type: ignore[no-untyped-call]
            for layer, gradient, information in zip(layers, gradients, informations, strict=True):
                values, result = caught[layer]
                assert result.grad is not None
                for column, value in enumerate(values.T):
                    seen = torch.nonzero(value)[:, 0]
                    scores = value[seen, None] * result.grad[seen]
                    gradient[column] += scores.sum(0).double()
                    information[column] += (scores.T @ scores).double()
            net.zero_grad(set_to_none=True)
    return gradients, informations


__all__ = ["first_layers", "held_out_value", "score_tunes"]
