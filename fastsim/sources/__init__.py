"""What makes hadrons and showers: the contracts, model cards, and pipelines of steps."""
