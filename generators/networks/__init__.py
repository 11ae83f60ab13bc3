"""Neural networks that know nothing of physics, and their weights and products."""
