"""Classifiers that tell two samples apart: trees, set networks, voxel networks."""
