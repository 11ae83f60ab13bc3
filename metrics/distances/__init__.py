"""Distances between two samples: one a file."""
