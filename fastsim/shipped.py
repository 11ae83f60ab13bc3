"""The folder of the files that ship with the package, and the checksum that shows whether a file was altered."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path


def data_folder() -> Path:
    """Return the folder of the files that ship with the package, in wheel and editable installs alike."""
    # the folder next to fastsim, not by name: a folder called data in the working directory must not shadow it
    return Path(str(resources.files("fastsim"))).parent / "data"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
