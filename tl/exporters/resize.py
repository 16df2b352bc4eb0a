"""The sides of a photo become the matrices that resize it, in the operators that every runtime has.

`tl.data.images.fit` resizes by OpenCV: lines, once or twice, or areas where it shrinks, then cubics where it
enlarges. Each of them is linear and separable, that is rows @ photo @ columns, whereas the `Resize` of each runtime is
another function. The coordinates are whole numbers, so that a runtime that computes in bf16 or f16 does not lose them.
What is left in f32 is rounding: one step of 255 in one value of a hundred.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tl.networks.backbones import Recipe

_CUBIC = -0.75  # OpenCV's choice of the free parameter of Keys' cubic convolution (1981)

Side = tuple[Any, Any]
"""The length of a photo's side, int32 `[1, 1]`, and its places, 0, 1, 2 and so on, int32 `[1, length]`."""


@dataclass(frozen=True)
class Resizing:
    """What resizes a photo in two steps, each rounded to whole numbers.

    `rows` `[size, height]` and `columns` `[size, width]` shrink; they keep a side that is short enough, at the
    beginning of an otherwise empty one. `taller` and `wider` `[size, size]` enlarge what was kept.
    """

    rows: Any
    columns: Any
    taller: Any
    wider: Any


def resizing(ops: Any, height: Side, width: Side, recipe: Recipe) -> Resizing:
    """What resizes photos as `fit` does by a recipe; `ops` has the functions of `keras.ops` by their names.

    What the rule "crop" leaves out gets no weight.
    """
    size = recipe.image_size
    if recipe.resize == "crop":
        short = ops.minimum(height[0], width[0])
        seen = ops.maximum(_rounded(ops, short), 1)
        height, width = _centred(ops, height, seen), _centred(ops, width, seen)
    slight = ops.logical_and(_slight(ops, height[0], size), _slight(ops, width[0], size))
    return Resizing(
        rows=_shrinking(ops, *height, size, slight),
        columns=_shrinking(ops, *width, size, slight),
        taller=_enlarging(ops, height[0], size),
        wider=_enlarging(ops, width[0], size),
    )


def _rounded(ops: Any, short: Any) -> Any:
    """7/8 of a whole number; of two that are as near, the even one, as Python's `round` has it."""
    odd = ops.equal(short - ops.floor_divide(short, 16) * 16, 12)
    return ops.floor_divide(short * 7 + 4, 8) - ops.cast(odd, "int32")


def _centred(ops: Any, side: Side, seen: Any) -> Side:
    length, places = side
    return seen, places - ops.floor_divide(length - seen, 2)


def _slight(ops: Any, length: Any, size: int) -> Any:
    return ops.greater_equal(ops.minimum(length, 4 * size), length)


def _halfway(ops: Any, length: Any, size: int) -> Any:
    """What the first of two steps makes of a side."""
    half = ops.floor_divide(length + 1, 2)
    return ops.where(ops.greater(length, 2 * size), half, ops.minimum(length, size))


def _shrinking(ops: Any, length: Any, places: Any, size: int, slight: Any) -> Any:
    target = np.arange(size, dtype=np.int32)[:, None]
    lines = _lines(ops, length, places, size, target)
    areas = ops.cast(_areas(ops, length, places, size, target), "float32") / ops.cast(length, "float32")
    kept = ops.cast(ops.equal(places - target, 0), "float32")
    return ops.where(ops.greater(length, size), ops.where(slight, lines, areas), kept)


def _areas(ops: Any, length: Any, places: Any, size: int, target: Any) -> Any:
    """How much of each pixel lies in each of those to come, in parts of 1 / length."""
    end = ops.minimum(length * (target + 1), places * size + size)
    return ops.maximum(end - ops.maximum(length * target, places * size), 0)


def _lines(ops: Any, length: Any, places: Any, size: int, target: Any) -> Any:
    """What is left of each pixel by lines; where a side is longer than two sizes, by way of half of it, rounded up."""
    count = _halfway(ops, length, size)
    centre = ops.minimum(ops.maximum(count * (2 * target + 1) - size, 0), (count - 1) * (2 * size))
    before = ops.floor_divide(centre, 2 * size)
    share = ops.cast(centre - before * (2 * size), "float32") / (2.0 * size)
    first = _line(ops, length, places, count, before)
    return first + (_line(ops, length, places, count, before + 1) - first) * share


def _line(ops: Any, length: Any, places: Any, count: Any, target: Any) -> Any:
    """How the two pixels around the centre of each of `count`, the outermost repeated, share in it."""
    centre = length * (2 * target + 1) - count
    inside = ops.minimum(ops.maximum(centre, 0), (length - 1) * (2 * count))
    parts = ops.maximum(2 * count - ops.absolute(inside - places * (2 * count)), 0)
    return ops.cast(parts, "float32") / ops.cast(2 * count, "float32")


def _enlarging(ops: Any, length: Any, size: int) -> Any:
    """Cubic convolution of the four pixels around each centre, the outermost repeated; nothing where it is large."""
    places = np.arange(size, dtype=np.int32)[None]
    target = places.T
    length = ops.minimum(length, size)
    # Runtimes part over how a negative number is divided: the first centre lies at most half a pixel before the photo.
    centre = length * (2 * target + 1) + size
    before = ops.floor_divide(centre, 2 * size) - 1
    t = ops.cast(centre - (before + 1) * (2 * size), "float32") / (2.0 * size)
    total: Any = 0.0
    for offset, weight in zip((-1, 0, 1, 2), _keys(t), strict=True):
        tap = ops.minimum(ops.maximum(before + offset, 0), length - 1)
        total = weight * ops.cast(ops.equal(tap - places, 0), "float32") + total
    return total


def _keys(t: Any) -> tuple[Any, Any, Any, Any]:
    a, rest = _CUBIC, 1.0 - t
    second = (t * (a + 2.0) - (a + 3.0)) * t * t + 1.0
    third = (rest * (a + 2.0) - (a + 3.0)) * rest * rest + 1.0
    first = ((t * a - 2.0 * a) * t + a) * t
    return first, second, third, 1.0 - (first + second + third)
