"""Calorimeter showers in the CaloChallenge layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Showers:
    """N showers: ``incident`` energies (N,) and ``voxels`` (N, V) deposits, both in MeV."""

    incident: NDArray[np.float64]
    voxels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.voxels)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        return Showers(self.incident[rows], self.voxels[rows])
