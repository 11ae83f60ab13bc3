"""Pile-up: further collisions of the same bunch crossing."""
