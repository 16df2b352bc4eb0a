"""Inches and lines of text become a figure of matplotlib in the house style, and the figure a picture."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tl.views.lettering import legible, lettering
from tl.views.pictures import text
from tl.views.signs import Colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

DPI = 125
WIDTH = 9.6  # inches
LARGE, NORMAL, SMALL = 15.0, 11.0, 9.0  # points
RULE: Colour = (222, 226, 231)  # of the lines behind what is drawn


def blank(height: float) -> "Figure":
    """An empty white figure of `WIDTH` by `height` inches, which no state of `pyplot` knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(page)
    return page


def picture(figure: "Figure") -> "Image":
    """The figure in pixels."""
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def write(
    page: Any,
    x: float,
    down: float,
    line: str,
    *,
    points: float = SMALL,
    colour: Colour,
    room: float = WIDTH,
    align: str = "left",
) -> None:
    """Write a line that stands `x` inches from the left and `down` from the top, shortened to `room` inches."""
    shown = legible(text.shorten(line, math.ceil(points * DPI / 72), room * DPI))
    words = {"fontsize": points, "color": colour_code(colour), "fontfamily": lettering(shown), "parse_math": False}
    width, height = page.get_size_inches()
    page.text(x / width, 1 - down / height, shown, ha=align, va="baseline", **words)


def colour_code(colour: Colour) -> str:
    """A colour as matplotlib and HTML write it: #1c2128."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
