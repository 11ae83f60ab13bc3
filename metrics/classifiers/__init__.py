"""Classifiers between two samples: trees, set networks, voxel networks."""
