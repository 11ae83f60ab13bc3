"""The cascade of energy splits: layers, rings and sectors of a shower."""
