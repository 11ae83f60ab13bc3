"""Particle sets and jets: coordinates relative to a parton or jet axis, energy flow polynomials, observables."""
