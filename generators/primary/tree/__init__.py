"""The autoregressive tree of two-body splittings, with an explicit likelihood."""
