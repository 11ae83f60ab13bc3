"""Style and colours that the report's pictures share, and the conversion of a figure into bytes of a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fastsim.extras import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

REAL = "#333333"
"""The colour of the real sample."""

PALETTE = ("#5790fc", "#e42536", "#f89c20", "#964a8b", "#7a21dd")
"""Colours that the colour-blind can distinguish (Petroff 2021, arXiv:2107.02270, without its grey)."""

DASHES = ("-", "--", "-.", ":")

LARGEST_SVG = 300_000
"""Bytes; larger drawings are kept as PNG."""

_SIZES: dict[Any, Any] = {
    "axes.formatter.limits": (-3, 6),
    "axes.linewidth": 0.8,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.dpi": 150,
    # glyphs that the style's font lacks come from matplotlib's own
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "font.size": 10,
    "legend.borderpad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.25,
    "lines.linewidth": 1.4,
    # equal reports are equal files
    "svg.hashsalt": "fastsim",
    "xtick.minor.ndivs": 2,
    "ytick.minor.ndivs": 2,
    **{
        f"{axis}tick.{which}.{key}": v
        for axis in "xy"
        for which, key, v in (
            ("major", "size", 5.0),
            ("minor", "size", 2.5),
            ("major", "width", 0.8),
            ("minor", "width", 0.6),
            ("major", "pad", 4.0),
        )
    },
}


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Attributes:
        title: its title.
        caption: how to read it.
        alt: text that replaces it.
        data: bytes of the image.
        media: media type of ``data``.
        wide: whether it takes a whole row of the page.
    """

    title: str
    caption: str
    alt: str
    data: bytes
    media: str
    wide: bool = False

    @classmethod
    def of(cls, figure: Figure, title: str, caption: str, alt: str, *, wide: bool = False) -> Picture:
        """Save a drawn figure, as SVG if that is small, else as PNG.

        Args:
            figure: the drawing.
            title, caption, alt, wide: as the attributes of the picture.

        Returns:
            The picture.
        """
        data, media = _bytes(figure, "svg"), "image/svg+xml"
        if len(data) > LARGEST_SVG:
            data, media = _bytes(figure, "png"), "image/png"
        return cls(title, caption, alt, data, media, wide)

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:{self.media};base64,{b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Look:
    """How a sample is drawn.

    Attributes:
        label: its name, safe in a drawing.
        colour: of its lines.
        dash: their style.
    """

    label: str
    colour: str
    dash: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Choose the look of each sample, the real one first.

    >>> looks(["real.h5", "model.h5"])["model.h5"]
    Look(label='model.h5', colour='#5790fc', dash='-')
    """
    real, *generated = names
    by_name = {real: Look(label(real), REAL, "-")}
    for i, name in enumerate(generated):
        by_name[name] = Look(label(name), PALETTE[i % len(PALETTE)], DASHES[i % len(DASHES)])
    return by_name


def label(name: str, width: int = 26) -> str:
    """Escape a name that matplotlib shall draw literally: its $ no mathematics, nothing hidden, long ones shortened.

    >>> label("_a$b"), label("a-long-folder/and-a-long-file-name.h5")
    (' _a\\\\$b', 'a-long-folder…file-name.h5')
    """
    name = "".join(c if c.isprintable() else "?" for c in name)
    if len(name) > width:
        name = f"{name[: width // 2]}…{name[-(width - width // 2 - 1) :]}"
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run the drawing function in the report's style: mplhep's, at the size of a small panel.

    Args:
        draw: draws a picture.

    Returns:
        A function that takes the same arguments.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        matplotlib, mplhep = library("matplotlib"), library("mplhep")
        with matplotlib.rc_context({**mplhep.style.ROOT, **_SIZES}):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, without a window or a global list of figures.

    Args:
        width, height: in inches.
    """
    figure: Figure = library("matplotlib.figure").Figure(figsize=(width, height))
    return figure


def _bytes(figure: Figure, form: str) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=form, metadata={"Date": None, "Creator": None} if form == "svg" else None)
    return buffer.getvalue()
