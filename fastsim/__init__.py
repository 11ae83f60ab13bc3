"""fastsim: a generative fast-simulation engine for particle physics."""
