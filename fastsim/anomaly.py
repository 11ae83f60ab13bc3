"""Anomaly detection by densities (ANODE): an excess that is narrow in one quantity, found by how dense the others are.

In a signal region of a quantity m, a mass say, the density p(x | m) of other features x is fitted to the data. What it
is without signal is fitted to the sidebands on both sides and interpolated in m. The score of an event is

    log R = log p_data(x | m) - log p_background(x | m),

which grows with the likelihood ratio of signal to background, though no label and no simulation is used. Both densities
are normalising flows with m as their condition; the mass itself is no feature.

>>> rng = np.random.default_rng(1)
>>> mass, features = rng.uniform(0.0, 3.0, 1200), rng.normal(size=(1200, 2))
>>> found = anode(features, mass, (1.0, 2.0), num_steps=20)
>>> found.rows.shape == found.scores.shape
True

References:
    Nachman, Shih 2020, Anomaly detection with density estimation, arXiv:2001.04990.
    Durkan, Bekasov, Murray, Papamakarios 2019, Neural spline flows, arXiv:1906.04032.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsim.errors import InvalidValue
from metrics.arrays import as_array

if TYPE_CHECKING:
    from torch import Tensor

    from generators.nn.flows import SplineFlow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_EVENTS = 100
"""Fewer events in the signal region, or on one side of it, hold no density of several features."""
MARGIN = 0.01
"""Share of the range of a feature that is added at both ends, so that no event lies where the logit is infinite."""
HELD_OUT = 0.2
"""Share of the events of a fit that do not train the flow but choose among its states."""


@dataclass(frozen=True)
class Bounds:
    """Ranges of D features, which become unbounded by u = (x - low) / (high - low), z = log(u / (1 - u)).

    Sharp edges - a mass at 0, a ratio at 1 - are where flows fit worst; far from all events there are none.

    Attributes:
        low, high: (D,).
    """

    low: Floats
    high: Floats

    @staticmethod
    def of(features: Floats) -> Bounds:
        """Return bounds somewhat outside features (N, D)."""
        low, high = features.min(axis=0), features.max(axis=0)
        if (same := np.flatnonzero(~(low < high))).size:
            raise InvalidValue(f"features: column {same[0]} is {low[same[0]]:g} for all events: it says nothing")
        margin = MARGIN * (high - low)
        return Bounds(low - margin, high + margin)

    def unbounded(self, features: Floats) -> tuple[Floats, Floats]:
        """Return z (N, D) and log |dz/dx| (N,) of features (N, D); those outside count as just inside."""
        width = self.high - self.low
        u = np.clip((features - self.low) / width, 0.1 * MARGIN, 1.0 - 0.1 * MARGIN)
        return np.log(u / (1.0 - u)), -np.log(width * u * (1.0 - u)).sum(axis=1)


@dataclass(frozen=True)
class Density:
    """A fitted density p(x | m) of D features under a condition.

    Attributes:
        flow: over the unbounded features.
        bounds: of the features.
        centre, scale: mean and standard deviation of the condition where the density was fitted.
        loss: mean of -log p of the events that were held out.
    """

    flow: SplineFlow
    bounds: Bounds
    centre: float
    scale: float
    loss: float

    def log_prob(self, features: ArrayLike, condition: ArrayLike) -> Floats:
        """Compute log p(x | m), (N,), of features (N, D) under conditions (N,).

        Raises:
            InvalidValue: if shapes do not fit, or a value is not finite.
        """
        x, m = _checked(features, condition)
        if x.shape[1] != len(self.bounds.low):
            raise InvalidValue(f"features: {x.shape[1]} columns, but the density has {len(self.bounds.low)}")
        z, log_det = self.bounds.unbounded(x)
        return _log_prob(self.flow, z, (m - self.centre) / self.scale) + log_det


def fit_density(
    features: ArrayLike,
    condition: ArrayLike,
    *,
    bounds: Bounds | None = None,
    num_steps: int = 2000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    width: int = 48,
    num_layers: int = 2,
    num_bins: int = 8,
    seed: int = 0,
) -> Density:
    """Fit a conditional spline flow to events; the state of the training that held-out events are likeliest in is kept.

    Args:
        features: x, (N, D).
        condition: m, (N,).
        bounds: of the features; by default somewhat outside of these.
        num_steps: of the training.
        batch_size: events of a step.
        learning_rate: the highest.
        width, num_layers, num_bins: size of the flow (:class:`generators.nn.flows.SplineFlow`).
        seed: of weights, batches and of which events are held out.

    Raises:
        InvalidValue: if there are fewer than 100 events, shapes do not fit, or a value is not finite.
    """
    import tempfile

    import torch
    from torch import nn

    from generators.nn.flows import SplineFlow
    from generators.training.loop import TrainingConfig, fit

    x, m = _checked(features, condition)
    if len(x) < MIN_EVENTS:
        raise InvalidValue(f"features: {len(x)} events, a density needs at least {MIN_EVENTS}")
    bounds = Bounds.of(x) if bounds is None else bounds
    centre, scale = float(m.mean()), float(m.std()) or 1.0
    z, log_det = bounds.unbounded(x)
    order = np.random.default_rng(seed).permutation(len(x))
    num_held_out = round(HELD_OUT * len(x))
    held_out, kept = order[:num_held_out], order[num_held_out:]
    values, contexts = torch.from_numpy(z).float(), torch.from_numpy((m - centre) / scale).float()[:, None]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = SplineFlow(x.shape[1], 1, width=width, num_layers=num_layers, num_bins=num_bins)
            self.flow.set_scales(values[kept])

        def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return -self.flow.log_prob(*batch).mean()

    def batches(step: int) -> tuple[Tensor, Tensor]:
        rows = np.random.default_rng([seed, step]).integers(len(kept), size=min(batch_size, len(kept)))
        return values[kept[rows]], contexts[kept[rows]]

    def validate(model: Any) -> dict[str, float]:
        return {"loss": -float(_log_prob(model.flow, z[held_out], contexts[held_out, 0].numpy()).mean())}

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        model = Model()
        config = TrainingConfig(
            num_steps=num_steps,
            learning_rate=learning_rate,
            warmup=min(100, num_steps // 10),
            ema_decay=0.99,
            validate_every=max(1, num_steps // 10),
        )
        result = fit(model, batches, config, folder, validate=validate, select="loss")
    assert result.best_value is not None
    return Density(model.flow, bounds, centre, scale, result.best_value - float(log_det[held_out].mean()))


@dataclass(frozen=True)
class Anode:
    """The densities of a search, and the scores of the data in the signal region.

    Attributes:
        background: fitted to the sidebands.
        data: fitted to the signal region, without the events of fold 0, 1, ...
        rows: of the events in the signal region among those given, (S,).
        fold: of each of these events, (S,).
        scores: log R of each of them by the densities that it did not train, (S,).
    """

    background: Density
    data: tuple[Density, ...]
    rows: Ints
    fold: Ints
    scores: Floats

    def score(self, features: ArrayLike, mass: ArrayLike) -> Floats:
        """Compute log R of other events by the density of each fold, (F, N).

        Their mean over the folds is the best score; one of them is comparable with ``scores``.

        Args:
            features: (N, D).
            mass: (N,), in the signal region.
        """
        background = self.background.log_prob(features, mass)
        return np.stack([density.log_prob(features, mass) - background for density in self.data])


def anode(
    features: ArrayLike,
    mass: ArrayLike,
    region: tuple[float, float],
    *,
    sidebands: tuple[float, float] | None = None,
    num_folds: int = 2,
    num_steps: int = 2000,
    seed: int = 0,
    **options: Any,
) -> Anode:
    """Score the events in a signal region by what the density of data has over that of the sidebands.

    Args:
        features: of all events, (N, D): smooth in the mass without signal.
        mass: the quantity in which a signal would be narrow, (N,).
        region: signal region, from low up to high.
        sidebands: the lowest and the highest mass that counts; by default all do.
        num_folds: parts of the signal region; each is scored by a density that is fitted to the others.
        num_steps: of the training on the sidebands; on the signal region as much less as it has fewer events, but
            at least half as long.
        seed: of the folds and the fits.
        options: as in :func:`fit_density`.

    Returns:
        The densities and scores.

    Raises:
        InvalidValue: if a value is not finite, the region or one of its sides has fewer than 100 events, or limits
            are in the wrong order.
    """
    x, m = _checked(features, mass)
    low, high = (float(value) for value in region)
    if not len(m):
        raise InvalidValue("features: no events")
    first, last = (m.min(), m.max()) if sidebands is None else (float(value) for value in sidebands)
    if not low < high:
        raise InvalidValue(f"region: {low:g} to {high:g}: the lower limit comes first")
    if sidebands is not None and not first < low < high < last:
        raise InvalidValue(f"sidebands: {first:g} to {last:g} do not reach beyond the region {low:g} to {high:g}")
    if num_folds < 2:
        raise InvalidValue(f"num_folds: {num_folds}: an event needs a density that it did not train; give 2 or more")
    inside = np.flatnonzero((m >= low) & (m < high))
    below, above = np.flatnonzero((m >= first) & (m < low)), np.flatnonzero((m >= high) & (m <= last))
    for name, rows in {"the region": inside, "the sideband below": below, "the sideband above": above}.items():
        if len(rows) < MIN_EVENTS:
            raise InvalidValue(
                f"region: {low:g} to {high:g}: {name} has {len(rows)} of {len(m)} events (masses from {m.min():g} to "
                f"{m.max():g}), {MIN_EVENTS} are needed"
            )
    if len(inside) // num_folds * (num_folds - 1) < MIN_EVENTS:
        raise InvalidValue(f"num_folds: {num_folds} folds of {len(inside)} events leave fewer than {MIN_EVENTS} to fit")
    beside = np.concatenate([below, above])
    # one map for both densities, so that it cancels in their ratio
    common: dict[str, Any] = {**options, "bounds": Bounds.of(x[np.concatenate([inside, beside])])}
    fold = np.random.default_rng([seed, 1]).permutation(len(inside)) % num_folds
    background = fit_density(x[beside], m[beside], **common, num_steps=num_steps, seed=seed)
    share = len(inside) * (num_folds - 1) / num_folds / len(beside)
    fewer = min(num_steps, max(round(share * num_steps), num_steps // 2, 1))
    data = tuple(
        fit_density(x[rows], m[rows], **common, num_steps=fewer, seed=seed + 1 + k)
        for k, rows in enumerate(inside[fold != k] for k in range(num_folds))
    )
    found = Anode(background, data, inside, fold, np.empty(0))
    every = found.score(x[inside], m[inside])
    return Anode(background, data, inside, fold, every[fold, np.arange(len(inside))])


def _log_prob(flow: SplineFlow, z: Floats, condition: NDArray[Any]) -> Floats:
    """Compute the log-density (N,) of unbounded features (N, D) under standardised conditions (N,)."""
    import torch

    parts = []
    with torch.no_grad():
        for first in range(0, len(z), 4096):
            stop = slice(first, first + 4096)
            context = torch.from_numpy(np.asarray(condition[stop], dtype=np.float32))[:, None]
            parts.append(flow.log_prob(torch.from_numpy(z[stop]).float(), context).double().numpy())
    return np.concatenate(parts) if parts else np.empty(0)


def _checked(features: ArrayLike, condition: ArrayLike) -> tuple[Floats, Floats]:
    """Return features (N, D) and conditions (N,) as arrays; refuse those that do not fit or are not finite."""
    x = as_array(features, "features", 2).astype(np.float64)
    m = as_array(condition, "mass", 1).astype(np.float64)
    if len(x) != len(m):
        raise InvalidValue(f"mass: {len(m)} values for {len(x)} events")
    if x.shape[1] == 0:
        raise InvalidValue("features: no columns")
    for name, values in {"features": x, "mass": m[:, None]}.items():
        if (bad := np.flatnonzero(~np.isfinite(values).all(axis=1))).size:
            raise InvalidValue(f"{name}: event {bad[0]} is {values[bad[0]].tolist()}: give finite values")
    return x, m
