"""Runs of production: inputs in chunks, workers, finished chunks on disk, manifests and their verification."""
