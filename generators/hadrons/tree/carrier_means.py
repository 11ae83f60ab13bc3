"""Weights of parameters that act on carriers alone, moved to where the carriers' mean energies change as they should.

The likelihood of splittings hardly knows how the mean energy fraction z of carriers changes with a parameter: a third
of that change is worth 5e-5 of a set's log-density, less than the noise of a fit, and what the weights W of
:mod:`generators.hadrons.scoring` can do is not quite to change z. With the derivatives J of the log-densities of a
set's splittings by the results of the first layers, the slope of the mean of z by the parameter's value x changes with
W by

    c = sum x^2 z J / sum x^2,    and    W <- W + F^-1 c (wanted - slope) / (c F^-1 c)

gives it the slope that the sample has, where the likelihood loses least. Of a parameter that all nodes see, which acts
on all hadrons, c has a column for each flavour that has a carrier, and F is that of all nodes:

    W <- W + F^-1 c (c^T F^-1 c)^-1 (wanted - slopes).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn

from fastsim.errors import InvalidValue
from fastsim.event import Floats
from generators.hadrons.scoring import catching, solved
from generators.hadrons.tokens import CONTENT, FLAVOURS, TokenSample, parton_energy
from generators.hadrons.tree.context import FEATURES, NUM_CONTEXT
from generators.hadrons.tree.network import SplittingNet
from generators.hadrons.tree.scoring import first_layers
from generators.hadrons.tree.splittings import splittings

_log = logging.getLogger(__name__)

_SETS = 1000
"""Sets whose splittings are computed at once."""
HEAVY = (4, 5)
"""Quarks with carriers whose mean energies are matched for the parameters that all nodes see."""


def match_means(net: SplittingNet, sample: TokenSample, drawn: TokenSample, ridge: float) -> None:
    """Move the weights of the parameters that are inputs of nodes with a carrier alone; see the module.

    Args:
        net: network with gates.
        sample: token sets with their tunes.
        drawn: what the network makes of the same tokens and total momenta.
        ridge: of the Fisher informations, in units of their mean eigenvalues.

    Raises:
        InvalidValue: if the sample has no carriers at different values of a parameter.
    """
    assert net.gates is not None
    layers, own, made = first_layers(net), _carrier_fractions(sample), _carrier_fractions(drawn)
    for column, place in net.gates.tolist():
        flavour = int(FEATURES[place].removeprefix("flavour_"))
        rows = np.flatnonzero((sample.flavour == flavour) & (sample.counts > 1) & ~np.isnan(own + made))
        x = sample.tune[rows, column - NUM_CONTEXT]
        if len(rows) < 2 or not x.std() > 0:
            raise InvalidValue(f"carrier_means: the sample has no pairs of quarks {flavour} at different tunes")
        away = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        slopes = [float(away @ z[rows]) for z in (own, made)]
        changes, informations = _derivatives(net, layers, sample[rows], _residual(sample[rows], own[rows]), column)
        steps = [solved(f, c, ridge) for f, c in zip(informations, changes, strict=True)]
        norm = float(sum(c @ v for c, v in zip(changes, steps, strict=True)))
        by = slopes[0] - slopes[1]
        for layer, step in zip(layers, steps, strict=True):
            layer.weight.data[:, column] += (by / norm * step).to(layer.weight.dtype)
        _log.info(
            "means: slope of z by input %d for quarks %d: %.5f, of the sample %.5f; the step costs %.2g a set",
            *(column, flavour, slopes[1], slopes[0], 0.5 * by**2 / norm / len(rows)),
        )
    net.eval()


def match_all_means(
    net: SplittingNet, sample: TokenSample, drawn: TokenSample, ridge: float, num_directions: int, seed: int
) -> None:
    """Move the weights of the parameters that are inputs of all nodes, as :func:`match_means` does; see the module.

    Args:
        net: network.
        sample: token sets of all flavours with their tunes.
        drawn: what the network makes of the tokens and total momenta of those with :data:`HEAVY` quarks.
        ridge: of the Fisher informations, in units of their mean eigenvalues.
        num_directions: sets, at random, that derivatives and informations are computed of.
        seed: decides which.

    Raises:
        InvalidValue: if the sample has no carriers at different values of a parameter.
    """
    gated = [] if net.gates is None else net.gates[:, 0].tolist()
    columns = [k for k in range(NUM_CONTEXT, net.mean.shape[0]) if k not in gated]
    layers, own, made = first_layers(net), _carrier_fractions(sample), np.full(len(sample), np.nan)
    made[np.isin(sample.flavour, HEAVY)] = _carrier_fractions(drawn)
    residual, of_flavour = np.zeros((len(HEAVY), len(sample))), []
    for number, flavour in enumerate(HEAVY):
        rows = np.flatnonzero((sample.flavour == flavour) & (sample.counts > 1) & ~np.isnan(own + made))
        of_flavour.append(rows)
        x = sample.tune[rows]
        if len(rows) < 2 or not (x[:, [k - NUM_CONTEXT for k in columns]].std(0) > 0).all():
            raise InvalidValue(f"all_means: the sample has no pairs of quarks {flavour} at different tunes")
        residual[number, rows] = _residual(sample[rows], own[rows])
    # of all parameters at once, so that what one does is not taken for another's
    wanted, slopes = np.zeros((2, len(HEAVY), sample.tune.shape[1]))
    for number, rows in enumerate(of_flavour):
        x = sample.tune[rows] - sample.tune[rows].mean(0)
        for result, z in ((wanted, own), (slopes, made)):
            result[number] = np.linalg.lstsq(x, z[rows] - z[rows].mean(), rcond=None)[0]
    several = np.flatnonzero(sample.counts > 1)
    some = np.sort(np.random.default_rng(seed).choice(several, min(num_directions, len(several)), replace=False))
    changes, informations = _all_derivatives(net, layers, sample[some], residual[:, some], columns)
    for number, column in enumerate(columns):
        by = torch.from_numpy((wanted - slopes)[:, column - NUM_CONTEXT])
        steps = [
            torch.stack([solved(f[number], each, ridge) for each in c[:, number]])
            for f, c in zip(informations, changes, strict=True)
        ]
        norm = sum((c[:, number] @ v.T for c, v in zip(changes, steps, strict=True)), torch.zeros(len(by), len(by)))
        lift = torch.linalg.solve(norm.double(), by)
        for layer, step in zip(layers, steps, strict=True):
            layer.weight.data[:, column] += (lift @ step).to(layer.weight.dtype)
        _log.info(
            "means: slopes of z by input %d: %s, of the sample %s; the step costs %.2g a set",
            *(column, slopes[:, column - NUM_CONTEXT].round(5), wanted[:, column - NUM_CONTEXT].round(5)),
            0.5 * float(by @ lift) / len(some),
        )
    net.eval()


def _all_derivatives(
    net: SplittingNet, layers: list[nn.Linear], sample: TokenSample, z: Floats, columns: list[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute derivatives of slopes (Q, C, W), and informations (C, W, W), of each layer's weights of C columns.

    ``z`` (Q, N) are energy fractions of the carriers of Q flavours, zero in sets of others.
    """
    widths = [layer.out_features for layer in layers]
    changes = [torch.zeros(len(z), len(columns), width, dtype=torch.float64) for width in widths]
    informations = [torch.zeros(len(columns), width, width, dtype=torch.float64) for width in widths]
    x = (sample.tune[:, [k - NUM_CONTEXT for k in columns]] - net.mean[columns].numpy()) / net.std[columns].numpy()
    square = np.stack([(x[of != 0] ** 2).sum(0) for of in z])  # (Q, C)
    with catching(layers, columns[0]) as caught:
        for start in range(0, len(sample), _SETS):
            rows, tree, nodes = splittings(sample[start : start + _SETS], seed=start)
            index = tree.set_index[nodes] + start
            net.log_prob(rows).sum().backward()  # type: ignore[no-untyped-call]
            pairs, others = net.by_network(rows)
            for k, layer in enumerate(layers):
                chosen = index if net.pair is None else index[(others if k == 0 else pairs).numpy()]
                scores = caught[layer][1].grad
                assert scores is not None
                values = torch.from_numpy(x[chosen]).float()
                weighted = torch.from_numpy(z[:, chosen]).float()[..., None] * values**2  # (Q, K, C)
                changes[k] += torch.einsum("qkc,kw->qcw", weighted, scores).double()
                for column, value in enumerate(values.T):
                    each = value[:, None] * scores
                    informations[k][column] += (each.T @ each).double()
            net.zero_grad(set_to_none=True)
    scale = torch.from_numpy(square * net.std[columns].numpy())[..., None]  # of slopes by the parameters themselves
    return [change / scale for change in changes], informations


def _carrier_fractions(sample: TokenSample) -> Floats:
    """Compute the energies of hadrons with the parton's quark over the parton's, NaN in sets without, (N,)."""
    flavour = np.minimum(sample.flavour, FLAVOURS[-2])[sample.index]
    holds = (CONTENT[sample.species, flavour - 1] != 0) & (sample.flavour != FLAVOURS[-1])[sample.index]
    index, num = sample.index[holds], len(sample)
    energy = np.bincount(index, sample.p4[holds, 0], num) / parton_energy(sample.flavour, sample.pt)
    carriers = np.bincount(index, minlength=num)
    return np.where(carriers > 0, energy / np.maximum(carriers, 1), np.nan)


def _residual(sample: TokenSample, z: Floats) -> Floats:
    """Return energy fractions (N,) less what sizes and total momenta of the sets say of them, (N,): noise of c."""
    energy, size = parton_energy(sample.flavour, sample.pt), sample.counts.astype(float)
    total = np.stack([np.bincount(sample.index, sample.p4[:, k], len(sample)) for k in range(4)], -1)
    mass = np.sqrt(np.maximum(total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(1), 1e-6))
    log_mass = np.log(mass / energy)
    columns = [np.ones(len(z)), size, size**2, 1 / size, np.log(sample.pt), log_mass, log_mass**2, total[:, 0] / energy]
    known = np.stack(columns, -1)
    return np.asarray(z - known @ np.linalg.lstsq(known, z, rcond=None)[0])


def _derivatives(
    net: SplittingNet, layers: list[nn.Linear], sample: TokenSample, z: Floats, column: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute derivatives of the slope of z (W,), and informations (W, W), of each layer's weights of a column."""
    widths = [layer.out_features for layer in layers]
    changes = [torch.zeros(width, dtype=torch.float64) for width in widths]
    informations = [torch.zeros(width, width, dtype=torch.float64) for width in widths]
    square = 0.0
    with catching(layers, column) as caught:
        for start in range(0, len(sample), _SETS):
            rows, tree, nodes = splittings(sample[start : start + _SETS], seed=start)
            seen = torch.nonzero(~net.closed(rows.context, rows.counts)[:, column])[:, 0]
            batch, index = rows.rows(seen), tree.set_index[nodes][seen.numpy()] + start
            own = sample.tune[start : start + _SETS, column - NUM_CONTEXT]
            square += float(((own - float(net.mean[column])) ** 2).sum()) / float(net.std[column]) ** 2
            net.log_prob(batch).sum().backward()  # type: ignore[no-untyped-call]
            pairs, others = net.by_network(batch)
            for k, layer in enumerate(layers):
                chosen = index if net.pair is None else index[(others if k == 0 else pairs).numpy()]
                value, result = caught[layer]
                assert result.grad is not None
                scores = value[:, None] * result.grad
                informations[k] += (scores.T @ scores).double()
                changes[k] += (value.double() * torch.from_numpy(z[chosen])) @ scores.double()
            net.zero_grad(set_to_none=True)
    scale = square * float(net.std[column])  # of slopes by the parameter, not by the standardised input
    return [change / scale for change in changes], informations


__all__ = ["match_all_means", "match_means"]
