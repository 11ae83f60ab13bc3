"""The flow-matching (diffusion) model of hadron sets."""
