"""Hadronisation: from a parton through a latent to the set of its hadrons."""
