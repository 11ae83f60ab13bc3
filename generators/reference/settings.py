"""Settings of Pythia from configs and ``.cmnd`` files, checked by Pythia itself before any event is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastsim.errors import FastsimError


def read_settings(path: Path, where: object) -> tuple[str, ...]:
    """Return the lines of a ``.cmnd`` file that set something, without their comments.

    Args:
        path: the file.
        where: what messages begin with.

    Raises:
        FastsimError: if the file cannot be read, or Pythia knows no such setting; the message has file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FastsimError(f"{where}: cmnd: {path}: {getattr(error, 'strerror', None) or 'is no text'}") from error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        own = line.split("!")[0].strip()
        if own and own[0].isalnum():
            check_settings([own], f"{path}:{number}")
            lines.append(own)
    return tuple(lines)


def check_settings(lines: Sequence[str], where: object) -> None:
    """Refuse lines that Pythia does not understand: unknown keys, and values that are none or outside their limits.

    Raises:
        FastsimError: naming the first of them.
    """
    if not lines:
        return
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    pythia.readString("Print:quiet = on")
    for line in lines:
        if not isinstance(line, str) or "=" not in line:
            raise FastsimError(f"{where}: {line!r} is no setting of Pythia: give 'KEY = VALUE'")
        if not pythia.readString(line):
            key = line.split("=")[0].strip()
            raise FastsimError(f"{where}: Pythia does not know {key!r}, or not this value: {line!r}")
