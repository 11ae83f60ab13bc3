"""Information about parameters: directions that data determine, and those that they do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastsim.event import Floats

LEAST_SIGMA = 2.0
"""A direction whose uncertainty is more than this, in half ranges, is degenerate: the whole range is within 1 sigma."""


@dataclass(frozen=True)
class Directions:
    """The eigenvectors of an information matrix (P, P) in units of half ranges.

    Attributes:
        known: those that the data determine, (P, K).
        degenerate: those that they do not, (P, P - K).
    """

    known: Floats
    degenerate: Floats

    @classmethod
    def of(cls, information: Floats) -> Directions:
        """Split the directions of an information matrix, whose inverse is the covariance.

        >>> Directions.of(np.diag([100.0, 0.0])).degenerate.ravel().tolist()
        [0.0, 1.0]
        """
        values, vectors = np.linalg.eigh(0.5 * (information + information.T))
        known = values > 1 / LEAST_SIGMA**2
        vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), np.arange(len(values))] < 0, -1.0, 1.0)
        return cls(vectors[:, known], vectors[:, ~known])

    def inverse(self, matrix: Floats) -> Floats:
        """Return the inverse of a matrix (P, P) on the known directions, zero on the others."""
        inside = self.known.T @ matrix @ self.known
        return np.asarray(self.known @ np.linalg.solve(inside, self.known.T)) if inside.size else np.zeros_like(matrix)

    def spread(self, covariance: Floats) -> Floats:
        """Return a covariance with infinite variances for the parameters of degenerate directions."""
        unknown = (np.abs(self.degenerate) > 0.1).any(axis=1)
        result = covariance.copy()
        result[unknown, unknown] = np.inf
        return result
