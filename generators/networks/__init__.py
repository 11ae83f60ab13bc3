"""Neural networks that know nothing of physics: equivariant set blocks."""
