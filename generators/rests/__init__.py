"""Rests of hadron collisions: what is in an event besides the hadrons of its hard partons."""
