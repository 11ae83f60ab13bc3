"""An extension of griffe, which reads the docstrings for the API pages: their roles and doctests become Markdown.

Docstrings name other objects as :class:`fastsim.event.Partons`, and show sessions of the interpreter. On a page the
first becomes a link, where the object is on one, and the second a block of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda match: _link(obj, match[2], short=bool(match[1])), obj.docstring.value)
            obj.docstring.value = _fence_sessions(text)


def _link(obj: griffe.Object, target: str, *, short: bool) -> str:
    shown = target.rsplit(".", 1)[-1] if short else target
    # "optional": plain code where the object has no page
    return f'<autoref optional identifier="{_path(obj, target)}"><code>{shown}</code></autoref>'


def _path(obj: griffe.Object, target: str) -> str:
    """Return the full path of a name as the object's module sees it."""
    head, _, rest = target.partition(".")
    try:
        path = obj.resolve(head)
    except griffe.NameResolutionError:
        return target
    return f"{path}.{rest}" if rest else path


def _fence_sessions(text: str) -> str:
    """Put fences around sessions of the interpreter: from a line with >>> to the next empty one."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        starts = line.lstrip().startswith(">>>")
        if starts and not inside:
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)
