"""Calorimeters: their layers, the voxels of their showers, and the towers of events."""
