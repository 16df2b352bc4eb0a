"""A verdict -> its sign, drawn as a shape and not as a letter, so that no font is needed and colour is not alone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
FINER = 8  # drawn so many times larger, then reduced: smooth edges

# strokes in a disc from 0 to 1
STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "right": (((0.27, 0.53), (0.44, 0.69), (0.74, 0.34)),),
    "wrong": (((0.32, 0.32), (0.68, 0.68)), ((0.68, 0.32), (0.32, 0.68))),
    "unknown": (((0.3, 0.5), (0.7, 0.5)),),
}


def draw(picture: "Image", verdict: str, left: int, top: int, size: int, colour: Colour) -> None:
    """Draw a disc of `size` pixels with a white check (`right`), cross (`wrong`) or dash (`unknown`) in it."""
    from PIL import Image, ImageDraw

    side = size * FINER
    disc, stroke = Image.new("L", (side, side)), Image.new("L", (side, side))
    ImageDraw.Draw(disc).ellipse((0, 0, side - 1, side - 1), fill=255)
    pen, thick = ImageDraw.Draw(stroke), round(side * 0.13)
    for points in STROKES[verdict]:
        corners = [(x * side, y * side) for x, y in points]
        pen.line(corners, fill=255, width=thick, joint="curve")
        for x, y in corners:
            pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
    picture.paste(colour, (left, top), disc.reduce(FINER))
    picture.paste((255, 255, 255), (left, top), stroke.reduce(FINER))


def no_picture(picture: "Image", x: int, y: int, size: int, colour: Colour) -> None:
    """Draw a struck-out photo `size` pixels wide around (x, y): there is nothing to show."""
    from PIL import Image, ImageDraw

    side = size * 4
    mask = Image.new("L", (side, side))
    pen, thick = ImageDraw.Draw(mask), max(4, side // 24)
    low, high = side * 0.18, side * 0.82
    pen.rounded_rectangle((side * 0.06, low, side * 0.94, high), side * 0.08, outline=255, width=thick)
    pen.ellipse((side * 0.64, side * 0.3, side * 0.76, side * 0.42), fill=255)
    hill = [
        (side * 0.14, side * 0.74),
        (side * 0.38, side * 0.42),
        (side * 0.56, side * 0.66),
        (side * 0.66, side * 0.55),
    ]
    pen.line([*hill, (side * 0.86, side * 0.74)], fill=255, width=thick, joint="curve")
    pen.line((side * 0.04, side * 0.96, side * 0.96, side * 0.04), fill=0, width=thick * 4)
    pen.line((side * 0.04, side * 0.96, side * 0.96, side * 0.04), fill=255, width=thick)
    picture.paste(colour, (x - size // 2, y - size // 2), mask.reduce(4))
