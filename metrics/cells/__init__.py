"""Cells of a calorimeter in whole events: observables of each event, jets of towers, samples from files."""
