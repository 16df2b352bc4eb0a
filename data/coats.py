"""A random generator -> the colours and markings of a creature, drawn from one wardrobe for cats and dogs alike."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pen import Colour, Pen, Point, ellipse, mix

CREAM = (250, 238, 218)
WHITE = (252, 249, 243)
# base coat and the colour of its markings
COATS: tuple[tuple[Colour, Colour], ...] = (
    ((232, 156, 82), (190, 104, 44)),
    ((246, 212, 158), (214, 160, 98)),
    ((158, 156, 160), (96, 96, 104)),
    ((192, 168, 140), (118, 92, 70)),
    ((128, 88, 62), (78, 50, 36)),
    ((246, 240, 230), (160, 128, 100)),
    ((248, 244, 238), (224, 142, 72)),
    ((246, 242, 238), (72, 68, 74)),
    ((76, 72, 80), (44, 42, 50)),
    ((112, 122, 138), (74, 82, 98)),
    ((204, 118, 66), (128, 64, 36)),
    ((222, 196, 160), (92, 66, 54)),
)
MARKINGS = ("plain", "stripes", "stripes", "patches", "patches", "bib", "bib", "mask")
COLLARS: tuple[Colour, ...] = (
    (206, 58, 60),
    (44, 108, 176),
    (236, 172, 46),
    (62, 140, 98),
    (134, 84, 158),
    (226, 110, 150),
)


@dataclass(frozen=True)
class Coat:
    """What a creature wears: `base` coat, `mark` for its markings, `pale` for muzzle and chest, `edge` for outlines."""

    base: Colour
    mark: Colour
    pale: Colour
    edge: Colour
    marking: str
    collar: Colour | None

    @property
    def extremity(self) -> Colour:
        """The colour of ears, tail tip and legs."""
        return self.mark if self.marking == "mask" else self.base

    @property
    def paw(self) -> Colour:
        """White socks go with a white bib."""
        return self.pale if self.marking == "bib" else self.extremity


def random_coat(rng: random.Random, collar_share: float) -> Coat:
    """A coat; a collar is worn with the probability `collar_share`."""
    base, mark = rng.choice(COATS)
    shade = rng.uniform(-0.12, 0.12)
    tint = (255, 255, 255) if shade > 0 else (40, 30, 40)
    base, mark = mix(base, tint, abs(shade)), mix(mark, tint, abs(shade) / 2)
    marking = rng.choice(MARKINGS)
    pale = WHITE if marking == "bib" else mix(base, CREAM, rng.choice((0.35, 0.6)))
    edge = mix(base, (44, 28, 30), 0.72)
    return Coat(base, mark, pale, edge, marking, rng.choice(COLLARS) if rng.random() < collar_share else None)


def marked(pen: Pen, coat: Coat, outline: Sequence[Point], along: str = "y") -> None:
    """Put the coat's markings on a part of a body; stripes run down from the top ("y") or in from the sides ("x")."""
    left, right = min(x for x, _ in outline), max(x for x, _ in outline)
    top, bottom = min(y for _, y in outline), max(y for _, y in outline)
    with pen.inside(outline):
        if coat.marking == "stripes":
            _stripes(pen, coat.mark, (left, top, right, bottom), along)
        elif coat.marking == "patches":
            for _ in range(2):
                x, y = pen.rng.uniform(left, right), pen.rng.uniform(top, top + (bottom - top) * 0.7)
                wide, high = (right - left) * pen.rng.uniform(0.18, 0.34), (bottom - top) * pen.rng.uniform(0.18, 0.34)
                pen.shape(ellipse(x, y, wide, high, pen.rng.uniform(-40, 40)), coat.mark)
        middle, reach = (left + right) / 2, max(right - left, bottom - top)
        pen.glow(middle, bottom + reach * 0.1, reach * 0.8, reach * 0.42, mix(coat.base, (40, 20, 50), 0.55), 0.45)
        pen.glow(
            left + (right - left) * 0.38, top, reach * 0.55, reach * 0.4, mix(coat.base, (255, 252, 236), 0.7), 0.4
        )


def _stripes(pen: Pen, colour: Colour, box: tuple[float, float, float, float], along: str) -> None:
    left, top, right, bottom = box
    gap = 0.36
    if along == "y":
        x = left + gap * 0.6
        while x < right:
            long = (bottom - top) * pen.rng.uniform(0.4, 0.62)
            pen.line([(x, top - 0.1), (x - 0.1, top + long * 0.6), (x + 0.02, top + long)], colour, 0.19, 0.04)
            x += gap
        return
    y = top + gap
    while y < bottom:
        reach = (right - left) * pen.rng.uniform(0.26, 0.36)
        for side, start in ((1, left), (-1, right)):
            pen.line(
                [(start, y - 0.08), (start + side * reach * 0.6, y + 0.04), (start + side * reach, y)],
                colour,
                0.19,
                0.04,
            )
        y += gap
