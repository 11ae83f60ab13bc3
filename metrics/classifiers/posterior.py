r"""The multiclass log-posterior: which of several generators real events look most like.

One classifier is trained to tell the K generated samples from one another, as classes of equal total weight. The mean
log-posterior of class k over real events,

    L_k = (1/N) sum_i log p(k | x_i),    sum_k p(k | x) = 1,

is highest for the generator that is closest to the real sample: L_k - L_l estimates the difference of their
Kullback-Leibler divergences from it. All L_k are log(1/K) where the generators are equal, and cannot all be above it.
No generator is penalised for what all of them miss: quote the two-sample test with it.

References:
    Lim, Raman, Buckley, Shih 2022, arXiv:2211.11765 (multi-model classifier test). Krause et al. 2024,
    arXiv:2410.21611 (CaloChallenge).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsim.extras import library
from metrics.arrays import as_array
from metrics.classifiers.trees import MIN_EVENTS
from metrics.result import MetricResult
from metrics.statistics.weights import event_weights

Floats = NDArray[np.float64]

FLOOR = 1e-6
"""Posteriors are kept above this, so that one event cannot decide the mean of a logarithm."""


def multiclass_posterior(
    real: NDArray[Any],
    generated: Mapping[str, NDArray[Any]],
    *,
    real_weights: NDArray[Any] | None = None,
    generated_weights: Mapping[str, NDArray[Any]] | None = None,
    num_bootstrap: int = 200,
    num_permutations: int = 10,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """Compute the mean log-posterior of each generator over real events, by boosted trees on observables.

    No real event trains the classifier, so all of them are held out. The null of a generator is the mean and spread of
    its log-posterior where the labels of the generated events are permuted and the classifier is trained again: what
    generators that are equal in distribution give, log(1/K) but for the finite training samples.

    Args:
        real: inputs of real events, shape (N, D); NaN counts as missing. Put the condition among them.
        generated: inputs of at least two generators by name, shapes (N_k, D).
        real_weights: event weights (N,), none negative.
        generated_weights: event weights (N_k,) of some of the generators, by name.
        num_bootstrap: resamples of the real events, for the error.
        num_permutations: trainings with permuted labels, for the null, at least 2.
        seed: of the trees, bootstrap and permutations.

    Returns:
        The result of each generator; higher is closer to real events.

    Raises:
        ValueError: if there are fewer than two generators or 30 events in a sample, the inputs do not fit, weights
            name no sample, or a weight is negative.
    """
    real = as_array(real, "real", 2)
    generated = {name: as_array(x, f"inputs of {name}", 2) for name, x in generated.items()}
    known = {} if generated_weights is None else generated_weights
    if len(generated) < 2:
        raise ValueError(f"a comparison of generators needs at least 2 of them, got {len(generated)}")
    if unknown := [name for name in known if name not in generated]:
        raise ValueError(f"weights of {', '.join(unknown)}: no such sample among {', '.join(generated)}")
    for name, x in {"real": real, **generated}.items():
        if x.ndim != 2 or x.shape[1:] != real.shape[1:]:
            raise ValueError(f"inputs of {name} have shape {x.shape}: expected (N, {real.shape[-1]}) as the real ones")
        if len(x) < MIN_EVENTS:
            raise ValueError(f"the log-posterior needs at least {MIN_EVENTS} events a sample, {name} has {len(x)}")
    if num_permutations < 2:
        raise ValueError(f"num_permutations is {num_permutations}: a null needs at least 2 trainings")
    weights = {
        name: event_weights(f"{name}: a classifier", "generated", known.get(name), len(x), negative=False)
        for name, x in generated.items()
    }
    judged = event_weights("a classifier", "real", real_weights, len(real), negative=False)
    inputs = np.concatenate(list(generated.values()))
    labels = np.repeat(np.arange(len(generated)), [len(x) for x in generated.values()])
    flat = np.concatenate(list(weights.values()))
    rng = np.random.default_rng(seed)
    log_posterior = _log_posterior(inputs, labels, flat, real, rng)
    times = rng.multinomial(len(real), np.full(len(real), 1.0 / len(real)), size=num_bootstrap) * judged
    draws = times @ log_posterior / times.sum(axis=1, keepdims=True)
    value = np.average(log_posterior, axis=0, weights=judged)
    null = []
    for _ in range(num_permutations):
        order = rng.permutation(len(labels))
        relabelled = _log_posterior(inputs[order], labels, flat[order], real, rng)
        null.append(np.average(relabelled, axis=0, weights=judged))
    return {
        name: MetricResult(
            "log_posterior",
            float(value[k]),
            float(np.std(draws[:, k], ddof=1)),
            float(np.mean(null, axis=0)[k]),
            float(np.std(null, axis=0, ddof=1)[k]),
            len(real),
            len(x),
            seed,
            worse="low",
        )
        for k, (name, x) in enumerate(generated.items())
    }


def _log_posterior(
    inputs: NDArray[Any], labels: NDArray[np.int64], weights: Floats, real: NDArray[Any], rng: np.random.Generator
) -> Floats:
    """Compute log p(k | x) of real events, shape (N, K), from trees trained on events with labels 0 ... K - 1."""
    model = library("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.1,
        early_stopping=True,
        n_iter_no_change=10,
        random_state=int(rng.integers(2**31)),
    )
    # classes of equal total weight, and weights of about 1: trees count them as events when they regularise
    totals = np.bincount(labels, weights)
    shares = weights / totals[labels] * len(labels) / len(totals)
    model.fit(inputs, labels, sample_weight=shares)
    log_posterior: Floats = np.log(np.maximum(model.predict_proba(real), FLOOR))
    return log_posterior
