"""One photo of a grid: what was predicted for it, the colours that tell how that went, and how large all of it is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.views.signs import Colour

PAGE: Colour = (255, 255, 255)
MOUNT: Colour = (233, 236, 240)  # around a photo that is not square
INK: Colour = (28, 33, 40)
QUIET: Colour = (84, 91, 101)
# one of bluish green and orange-tinged red stays apart from the other for colour-blind people, too;
# each stands on its tint, and on white, with a contrast above 4.5:1 (WCAG 2.2, level AA)
COLOURS: dict[str, Colour] = {"right": (0, 110, 86), "wrong": (188, 36, 28), "unknown": (84, 91, 101)}
TINTS: dict[str, Colour] = {"right": (230, 244, 238), "wrong": (253, 234, 230), "unknown": (240, 242, 245)}
UNREADABLE = "cannot be read"
SMALLEST_TILE = 64


@dataclass(frozen=True)
class Tile:
    """One photo, RGB uint8 [height, width, 3] of any size, and what was predicted for it with a confidence of 0..1.

    An empty `label` stands for a file that could not be read, `truth` None for a true label that is not known; `note`
    is what else should be known of the photo, in a few words.
    """

    image: NDArray[np.uint8]
    label: str
    confidence: float
    truth: str | None
    name: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """`right`, `wrong`, or `unknown` where there is nothing to compare."""
        if not self.label or self.truth is None:
            return "unknown"
        return "right" if self.label == self.truth else "wrong"


@dataclass(frozen=True)
class Measures:
    """Pixels: the square of a photo, the letters, and the space around them."""

    tile: int

    @property
    def scale(self) -> float:
        return self.tile / 224

    @property
    def letter(self) -> int:
        return max(11, round(16 * self.scale))

    @property
    def small(self) -> int:
        return max(10, round(12 * self.scale))

    @property
    def line(self) -> int:
        return round(self.letter * 1.45)

    @property
    def small_line(self) -> int:
        return round(self.small * 1.45)

    @property
    def pad(self) -> int:
        return max(4, round(9 * self.scale))

    @property
    def gap(self) -> int:
        return max(8, round(16 * self.scale))

    @property
    def strip(self) -> int:
        return max(4, round(6 * self.scale))


def confidence_text(confidence: float) -> str:
    """The confidence in whole per cent; rounding alone never makes a "100 %" of what is below 99.95 %."""
    if not math.isfinite(confidence):
        return "? %"
    share = min(max(confidence, 0.0), 1.0)
    return f"{round(share * 100) if share >= 0.9995 else min(99, round(share * 100))} %"
