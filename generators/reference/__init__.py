"""The Monte Carlos that the models are compared with, and fall back to."""
