"""The flow-matching (diffusion) model of primary hadrons."""
