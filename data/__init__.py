"""Files that ship with fastsim: model cards and weights, example events. No logic."""
