"""Calorimeter showers: the CaloChallenge format and binning, high-level features, separation powers, response."""
