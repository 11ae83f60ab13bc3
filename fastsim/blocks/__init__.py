"""Building blocks: torch modules with named inputs and outputs, joined into chains by these names."""
