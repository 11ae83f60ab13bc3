"""Fits of a simulation's parameters, and weights that move it to others: arrays in, arrays out, no model."""
