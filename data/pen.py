"""Points in a creature's own units -> smooth, soft-edged shapes on one picture."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]

SUPERSAMPLE = 3  # drawn three times too large and reduced at the end: that is the antialiasing


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` (0..1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ellipse(x: float, y: float, across: float, down: float, angle: float = 0.0, points: int = 36) -> list[Point]:
    """The outline of an ellipse, turned by `angle` degrees."""
    turn = math.radians(angle)
    outline = []
    for step in range(points):
        at = 2 * math.pi * step / points
        dx, dy = across * math.cos(at), down * math.sin(at)
        outline.append((x + dx * math.cos(turn) - dy * math.sin(turn), y + dx * math.sin(turn) + dy * math.cos(turn)))
    return outline


def mirrored(half: Sequence[Point]) -> list[Point]:
    """A whole outline from its right half, given from top to bottom."""
    return list(half) + [(-x, y) for x, y in reversed(half) if x]


def smooth(points: Sequence[Point], closed: bool = True, steps: int = 8) -> list[Point]:
    """The Catmull-Rom curve through `points`."""
    count = len(points)
    curve = []
    for index in range(count if closed else count - 1):
        around = [index - 1, index, index + 1, index + 2]
        chosen = [points[i % count] if closed else points[min(max(i, 0), count - 1)] for i in around]
        curve += [_between(chosen, step / steps) for step in range(steps)]
    return curve if closed else [*curve, points[-1]]


def _between(four: Sequence[Point], t: float) -> Point:
    weights = (-t + 2 * t * t - t**3, 2 - 5 * t * t + 3 * t**3, t + 4 * t * t - 3 * t**3, -t * t + t**3)
    x = sum(weight * point[0] for weight, point in zip(weights, four, strict=True)) / 2
    y = sum(weight * point[1] for weight, point in zip(weights, four, strict=True)) / 2
    return x, y


@dataclass(frozen=True)
class Pen:
    """Draws on `image`; `matrix` (a b c / d e f) takes the units of the caller to its pixels."""

    image: Image.Image
    rng: random.Random
    matrix: tuple[float, float, float, float, float, float]

    def placed(self, x: float, y: float, scale: float = 1.0, tilt: float = 0.0, flip: bool = False) -> "Pen":
        """A pen whose origin is at (x, y) of this one, `scale` times larger, tilted by degrees, mirrored or not."""
        a, b, c, d, e, f = self.matrix
        turn = math.radians(tilt)
        side = -1 if flip else 1
        p, q = math.cos(turn) * scale * side, -math.sin(turn) * scale
        r, s = math.sin(turn) * scale * side, math.cos(turn) * scale
        return replace(
            self,
            matrix=(a * p + b * r, a * q + b * s, a * x + b * y + c, d * p + e * r, d * q + e * s, d * x + e * y + f),
        )

    def pixel(self, point: Point) -> Point:
        a, b, c, d, e, f = self.matrix
        return a * point[0] + b * point[1] + c, d * point[0] + e * point[1] + f

    @property
    def unit(self) -> float:
        """Pixels of the picture in one unit of the caller."""
        return math.hypot(self.matrix[0], self.matrix[3])

    def shape(
        self, points: Sequence[Point], colour: Colour, edge: Colour | None = None, width: float = 0.05
    ) -> list[Point]:
        """Fill a closed outline of points, with a line of `width` units around it; returns the outline."""
        pixels = [self.pixel(point) for point in points]
        canvas = ImageDraw.Draw(self.image)
        canvas.polygon(pixels, fill=colour)
        if edge is not None:
            ring = [*pixels, pixels[0], pixels[1]]
            canvas.line(ring, fill=edge, width=max(SUPERSAMPLE, round(width * self.unit)), joint="curve")
        return list(points)

    def line(self, points: Sequence[Point], colour: Colour, width: float, end: float | None = None) -> None:
        """A smooth line through `points`, `width` units wide at its beginning and `end` at its end."""
        curve = smooth(points, closed=False, steps=24)
        canvas = ImageDraw.Draw(self.image)
        end = width if end is None else end
        before: Point | None = None
        for index, point in enumerate(curve):
            diameter = self.unit * (width + (end - width) * index / (len(curve) - 1))
            x, y = self.pixel(point)
            if before is not None:
                canvas.line((before, (x, y)), fill=colour, width=max(1, round(diameter)))
            canvas.ellipse((x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2), fill=colour)
            before = x, y

    def glow(self, x: float, y: float, across: float, down: float, colour: Colour, strength: float) -> None:
        """A soft spot: full `strength` (0..1) in the middle, nothing at its edge."""
        (left, top), (right, bottom) = self.pixel((x - across, y - down)), self.pixel((x + across, y + down))
        size = max(1, round(abs(right - left))), max(1, round(abs(bottom - top)))
        mask = Image.radial_gradient("L").point([round(max(0.0, 1 - v / 180) * 255 * strength) for v in range(256)])
        self.image.paste(colour, (round(min(left, right)), round(min(top, bottom))), mask.resize(size))

    def faded(self, points: Sequence[Point], colour: Colour, begin: float, full: float) -> None:
        """Fill an outline with a colour that is absent above the height `begin` and solid below `full`."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon([self.pixel(point) for point in points], fill=255)
        top, bottom = round(self.pixel((0, begin))[1]), round(self.pixel((0, full))[1])
        veil = Image.new("L", self.image.size, 255)
        veil.paste(0, (0, 0, veil.width, max(0, top)))
        ramp = Image.linear_gradient("L").resize((veil.width, max(1, bottom - top)))
        veil.paste(ramp, (0, top))
        self.image.paste(colour, (0, 0), ImageChops.multiply(mask, veil))

    @contextmanager
    def inside(self, points: Sequence[Point]) -> Iterator[None]:
        """What is drawn in this block shows only within the outline `points`."""
        before = self.image.copy()
        yield
        mask = Image.new("L", self.image.size, 255)
        ImageDraw.Draw(mask).polygon([self.pixel(point) for point in points], fill=0)
        self.image.paste(before, (0, 0), mask)


def blank(width: int, height: int, rng: random.Random, colour: Colour = (255, 255, 255)) -> Pen:
    """A pen on an empty picture; its units are the finished picture's pixels."""
    image = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE), colour)
    return Pen(image, rng, (SUPERSAMPLE, 0, 0, 0, SUPERSAMPLE, 0))


def finished(pen: Pen) -> Image.Image:
    """The picture at its true size."""
    return pen.image.reduce(SUPERSAMPLE)
