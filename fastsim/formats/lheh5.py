"""Les Houches events in HDF5 (LHEH5): not read, but told from other files, with a word on what to do.

References:
    Bothmann et al. 2023, arXiv:2309.13154 (the format).
"""

from __future__ import annotations

import os

from fastsim.errors import FastsimError
from fastsim.formats.atomic import PathLike

MAGIC = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""
DATA_SETS = ("init", "procInfo", "particles")
"""Data sets of LHEH5 that no other layout of fastsim's has."""


def is_lheh5(path: PathLike) -> bool:
    """Return whether a path is that of a file with Les Houches events in HDF5."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return False
        import h5py

        with h5py.File(path, "r") as file:
            return all(name in file for name in DATA_SETS)
    except (OSError, RuntimeError):  # who reads the file says what is wrong with it
        return False


def refusal(name: str) -> FastsimError:
    """Return the error to raise for such a file of this name or path."""
    text = f"{os.path.splitext(os.path.basename(name))[0]}.lhe"
    return FastsimError(
        f"{name}: Les Houches events in HDF5 (LHEH5) are not read; write them as text, which pylhe can, "
        "2.0 without the weights of variations and 2.1 with five digits of them: "
        f"python -c \"import pylhe; pylhe.LHEFile.fromfile('{name}').tofile('{text}')\""
    )
