r"""SPOS-NAS: single path, one shot. A path drawn uniformly is trained at each step, then evolution searches.

.. math:: W^* = \mathrm{argmin}_W \, E_{a \sim U(A)} \, L_{train}(N(a, W(a))), \quad
          a^* = \mathrm{argmax}_a \, \mathrm{score}_{val}(N(a, W^*(a)))

References:
    Guo et al., Single path one-shot neural architecture search with uniform sampling, 2019, arXiv:1904.00420.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from fastsim.blocks.problem import VALIDATION, Combination
from fastsim.search.supernet import Supernet, labels_of

Genes = tuple[int, ...]
"""The number of the candidate of each choice."""


class SPOS(Supernet):
    """Trains one path a step, drawn uniformly, and evolves paths by their score on the validation events."""

    name: ClassVar[str] = "spos"
    scores: dict[Genes, float]

    def update(self, step: int) -> None:
        """Train one path on one batch."""
        rng = self.rng(step)
        sizes = [len(labels) for labels in self.problem.space.values()]
        self.set_path(labels_of(self.problem, [int(rng.integers(size)) for size in sizes]))
        self.descend(step, self.loss(self.problem.batch(step)))

    def ranked(self) -> list[Combination]:
        """Return the paths that evolution scored, by their validation score with the weights of the network."""

        def score(genes: Genes) -> float:
            return self.problem.score(VALIDATION, self.calibrated(labels_of(self.problem, genes)))

        sizes = [len(labels) for labels in self.problem.space.values()]
        _, self.scores = evolve(sizes, score, self.rng(self.num_steps))
        return [
            labels_of(self.problem, genes) for genes in sorted(self.scores, key=self.scores.__getitem__, reverse=True)
        ]


def evolve(
    sizes: Sequence[int],
    score: Callable[[Genes], float],
    rng: np.random.Generator,
    *,
    population: int = 50,
    generations: int = 20,
    parents: int = 10,
    mutation: float = 0.1,
) -> tuple[Genes, dict[Genes, float]]:
    """Find genes of a high score: crossovers and mutations of the best so far, each scored once.

    Where there are no more combinations than a population, all are scored.

    Args:
        sizes: the number of alleles of each gene.
        score: more is better.
        rng: all randomness.
        population: genes of a generation.
        generations: how many.
        parents: how many of the best so far have offspring.
        mutation: chance of each gene of a mutant to be drawn anew.

    Returns:
        The best, and the scores of all that were scored.
    """
    scores: dict[Genes, float] = {}
    if np.prod([float(size) for size in sizes]) <= population:
        for genes in np.ndindex(*sizes):
            scores[genes] = score(genes)
        return max(scores, key=scores.__getitem__), scores

    def draw() -> Genes:
        return tuple(int(rng.integers(size)) for size in sizes)

    def crossed() -> Genes:
        one, two = (best[int(rng.integers(len(best)))] for _ in range(2))
        return tuple(a if rng.random() < 0.5 else b for a, b in zip(one, two, strict=True))

    def mutated() -> Genes:
        one = best[int(rng.integers(len(best)))]
        return tuple(int(rng.integers(n)) if rng.random() < mutation else a for a, n in zip(one, sizes, strict=True))

    best: list[Genes] = []
    for generation in range(generations):
        fresh: set[Genes] = set()
        # crossovers, mutants, and strangers where these repeat what is known
        for number in range(10 * population):
            if len(fresh) == population:
                break
            late = number > 5 * population
            genes = draw() if not generation or late else crossed() if number % 2 else mutated()
            if genes not in scores:
                fresh.add(genes)
        for genes in sorted(fresh):
            scores[genes] = score(genes)
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:parents]
    return best[0], scores
