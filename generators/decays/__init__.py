"""Decays of hadrons and leptons, as Pythia 8 makes them: compiled kernels for light hadrons, Pythia for the rest."""

from generators.decays.decay import TAU0_MAX, decay
from generators.decays.line_shapes import draw_masses, draw_masses_of, line_shapes

__all__ = ["TAU0_MAX", "decay", "draw_masses", "draw_masses_of", "line_shapes"]
