"""Weights, permutation nulls and resampled errors, shared by the metrics."""
