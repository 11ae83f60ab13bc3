"""The Monte Carlos that the models are held against, and fall back to."""
