"""Events as arrays: partons, particle sets, cells, hard records, and what turns one into another.

Everything here is NumPy; nothing knows files, models or runs.
"""

from fastsim.event.arrays import Floats, Ints, Ragged, offsets_from_counts, ragged_indices
from fastsim.event.cells import Cells
from fastsim.event.hard import UNKNOWN_SPIN, HardEvents, RunInfo
from fastsim.event.particle_sets import Decayed, History, ParticleSet
from fastsim.event.particles import Particle, Particles, Partons

__all__ = [
    "UNKNOWN_SPIN",
    "Cells",
    "Decayed",
    "Floats",
    "HardEvents",
    "History",
    "Ints",
    "Particle",
    "ParticleSet",
    "Particles",
    "Partons",
    "Ragged",
    "RunInfo",
    "offsets_from_counts",
    "ragged_indices",
]
