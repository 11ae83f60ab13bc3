r"""Search by a tree-structured Parzen estimator: combinations like those that did well are tried next.

With :math:`l` the density of the better trials and :math:`g` that of the others, the next combination has the largest
:math:`l(x) / g(x)` of those drawn from :math:`l`.

References:
    Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011.
    Akiba et al., Optuna, 2019, arXiv:1907.10902.
"""

from __future__ import annotations

from fastsim.extras import library
from fastsim.search.trial import Evaluate, Space, Trial, Trials, combinations


def tpe(space: Space, evaluate: Evaluate, trials: Trials, *, num: int, seed: int) -> list[Trial]:
    """Evaluate ``num`` combinations with Optuna's sampler; one that comes again is not evaluated again.

    Args:
        space: the candidates.
        evaluate: trains and judges a combination.
        trials: keeps what is done; the same seed asks for the same combinations again.
        num: how often to ask.
        seed: of the sampler.

    Raises:
        MissingLibrary: if Optuna is not installed.
    """
    combinations(space)  # says if there is nothing to choose
    optuna = library("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    kept = trials.keeping(evaluate)
    results: dict[str, Trial] = {}
    for _ in range(num):
        asked = study.ask()
        combination = {name: str(asked.suggest_categorical(name, list(labels))) for name, labels in space.items()}
        trial = kept(combination)
        study.tell(asked, trial.score)
        results.setdefault(trial.label, trial)
    return list(results.values())
