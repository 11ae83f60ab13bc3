"""Choosing among candidates: by training each, or all at once in one network that has them all."""
