"""Slices of a run joined to one output, with one manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike
from fastsim.formats.joining import join
from fastsim.production.manifest import Manifest, manifest_path
from fastsim.production.summary import Counts
from fastsim.production.verify import verify_together
from fastsim.shipped import sha256_of


def merge(outputs: Sequence[PathLike], output: PathLike, *, force: bool = False) -> Manifest:
    """Join outputs that are slices of one run, in the order of their events, and return the manifest of the whole.

    Args:
        outputs: files that ``fastsim generate`` and others wrote, with their manifests, in any order; of one format.
        output: the file to write, of the same format; its manifest is written beside it.
        force: replace an output that exists.

    Raises:
        FastsimError: if an output differs from its manifest, they are not of one run, or events between them are
            missing or there twice.
        OutputError: if the output cannot be written.
    """
    if os.path.realpath(output) in {os.path.realpath(path) for path in outputs}:
        raise FastsimError(f"{os.fspath(output)}: is among the files to merge; give another output")
    paths = sorted(outputs, key=_place)
    manifests = verify_together(paths, read=False)
    join(paths, output, force=force)
    counts = sum(manifests, Counts())
    first, path = manifests[0], Path(output)
    num = counts.events + counts.left_out
    whole = first.whole
    manifest = Manifest(
        output=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        settings={"first_event": first.first_event, "num_events": num, **first.run},
        first_event=first.first_event,
        whole=None if whole == (first.first_event, num) else whole,
        cross_section=first.cross_section,
        source=first.source,
        seconds=round(sum(m.seconds for m in manifests), 3),
        chunks=[row for m in manifests for row in m.chunks],
        **counts.counts(),
    )
    manifest.write(manifest_path(path))
    return manifest


def _place(output: PathLike) -> tuple[int, int]:
    """Return the key that sorts outputs in the order of their events."""
    manifest = Manifest.read(manifest_path(output))
    return manifest.first_event, manifest.events
