"""Draw grids of images: predictions, green with a check where correct and red with a cross where wrong, or matches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, decode, read
from tl.errors import ImageError, UsageError
from tl.features.search import SearchMatch, SearchMatches, SearchResult
from tl.text import count
from tl.views.pictures import text
from tl.views.pictures.text import Colour

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw


_OVERSAMPLING = 8  # for smooth edges

# in a disc from 0 to 1
_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "correct": (((0.27, 0.53), (0.44, 0.69), (0.74, 0.34)),),
    "wrong": (((0.32, 0.32), (0.68, 0.68)), ((0.68, 0.32), (0.32, 0.68))),
    "unknown": (((0.3, 0.5), (0.7, 0.5)),),
}


def draw_sign(picture: "Image", verdict: str, left: int, top: int, size: int, colour: Colour) -> None:
    """Draw a disc of `size` pixels with a white check (`correct`), cross (`wrong`) or dash (`unknown`)."""
    from PIL import Image, ImageDraw

    side = size * _OVERSAMPLING
    disc, stroke = Image.new("L", (side, side)), Image.new("L", (side, side))
    ImageDraw.Draw(disc).ellipse((0, 0, side - 1, side - 1), fill=255)
    pen, thick = ImageDraw.Draw(stroke), round(side * 0.13)
    for points in _STROKES[verdict]:
        corners = [(x * side, y * side) for x, y in points]
        pen.line(corners, fill=255, width=thick, joint="curve")
        for x, y in corners:
            pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
    picture.paste(colour, (left, top), disc.reduce(_OVERSAMPLING))
    picture.paste((255, 255, 255), (left, top), stroke.reduce(_OVERSAMPLING))


def no_picture(picture: "Image", x: int, y: int, size: int, colour: Colour) -> None:
    """Draw a crossed-out image symbol, `size` pixels wide, centred at (x, y)."""
    from PIL import Image, ImageDraw

    side = size * 4
    mask = Image.new("L", (side, side))
    pen, thick = ImageDraw.Draw(mask), max(4, side // 24)
    low, high = side * 0.18, side * 0.82
    pen.rounded_rectangle((side * 0.06, low, side * 0.94, high), side * 0.08, outline=255, width=thick)
    pen.ellipse((side * 0.64, side * 0.3, side * 0.76, side * 0.42), fill=255)
    hills = ((0.14, 0.74), (0.38, 0.42), (0.56, 0.66), (0.66, 0.55), (0.86, 0.74))
    pen.line([(side * x, side * y) for x, y in hills], fill=255, width=thick, joint="curve")
    pen.line((side * 0.04, side * 0.96, side * 0.96, side * 0.04), fill=0, width=thick * 4)
    pen.line((side * 0.04, side * 0.96, side * 0.96, side * 0.04), fill=255, width=thick)
    picture.paste(colour, (x - size // 2, y - size // 2), mask.reduce(4))


PAGE: Colour = (255, 255, 255)
MOUNT: Colour = (233, 236, 240)  # around an image that is not square
INK: Colour = (28, 33, 40)
QUIET: Colour = (84, 91, 101)
# Bluish green and orange-tinged red differ for colour-blind people, too. On its tint and on white, each has a contrast
# above 4.5:1 (WCAG 2.2, level AA).
COLOURS: dict[str, Colour] = {"correct": (0, 110, 86), "wrong": (188, 36, 28), "unknown": (84, 91, 101), "label": INK}
TINTS: dict[str, Colour] = {
    "correct": (230, 244, 238),
    "wrong": (253, 234, 230),
    "unknown": (240, 242, 245),
    "label": (240, 242, 245),
}
UNREADABLE = "cannot be read"
SMALLEST_TILE = 64


@dataclass(frozen=True)
class Tile:
    """An image, RGB uint8 `[height, width, 3]` of any size, and its predicted label with a confidence from 0 to 1.

    `label` is empty for a file that cannot be read, `confidence` None where the model says none, `truth` None where the
    true label is not known. `note` is shown below the label. What is not `predicted` has its true label alone.
    """

    image: NDArray[np.uint8]
    label: str
    confidence: float | None
    truth: str | None
    name: str = ""
    note: str = ""
    predicted: bool = True

    @property
    def verdict(self) -> str:
        """`correct`, `wrong`, `unknown` where there is nothing to compare, or `label` where nothing is predicted."""
        if not self.predicted:
            return "label"
        if not self.label or self.truth is None:
            return "unknown"
        return "correct" if self.label == self.truth else "wrong"


class Measures(NamedTuple):
    """Sizes in pixels: the square of an image, letters, lines, and the space around them."""

    tile: int
    letter: int
    small: int
    line: int
    small_line: int
    pad: int
    gap: int
    strip: int

    @classmethod
    def of(cls, tile: int) -> "Measures":
        """The sizes that go with an image of `tile` pixels."""
        scale = tile / 224
        letter, small = max(11, round(16 * scale)), max(10, round(12 * scale))
        pad, gap, strip = max(4, round(9 * scale)), max(8, round(16 * scale)), max(4, round(6 * scale))
        return cls(tile, letter, small, round(letter * 1.45), round(small * 1.45), pad, gap, strip)


def new_page(
    width: int, height: int, *, header: "Image | None" = None, colour: Colour = PAGE
) -> tuple["Image", "ImageDraw"]:
    """A new picture with a header at its top, and the canvas to draw on it."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (width, height), colour)
    if header is not None:
        page.paste(header)
    return page, ImageDraw.Draw(page)


def paste_image(page: "Image", pixels: NDArray[np.uint8] | None, x: int, y: int, side: int) -> None:
    """Paste an image, centred in a square of `side` pixels; None, for one that cannot be read, as a symbol."""
    from PIL import ImageDraw

    ImageDraw.Draw(page).rectangle((x, y, x + side - 1, y + side - 1), fill=MOUNT)
    if pixels is None:
        no_picture(page, x + side // 2, y + side // 2, side // 3, QUIET)
        return
    image = scale_to_square(pixels, side)
    page.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))


def confidence_text(confidence: float) -> str:
    """A confidence as a whole percentage, such as `97%`; it is 100% only from 99.95% on."""
    if not math.isfinite(confidence):
        return "?%"
    value = min(max(confidence, 0.0), 1.0)
    return f"{round(value * 100) if value >= 0.9995 else min(99, round(value * 100))}%"


LEGEND = {"correct": "correct", "wrong": "wrong", "unknown": "true label not known"}
MOST_PIXELS = 100_000_000  # 300 MB of memory; viewers fail soon above it


@dataclass(frozen=True)
class _Caption:
    label: tuple[str, ...]
    confidence: str
    truth: tuple[str, ...]
    note: tuple[str, ...]
    name: str


def draw_grid(
    tiles: Sequence[Tile],
    *,
    columns: int = 5,
    title: str = "",
    summary: str = "",
    tile_size: int = 224,
    nothing: str = "no images to show",
) -> "Image":
    """Draw images in rows of `columns`, each in a square of `tile_size` pixels, under title, summary and legend.

    Images are fitted into their squares uncropped. `nothing` says why there are no images. Raises UsageError for a tile
    size or number of columns out of range, and a picture too large.
    """
    if columns < 1 or tile_size < SMALLEST_TILE:
        raise UsageError(
            f"a grid of {columns} columns of {tile_size} px cannot be drawn: at least 1 column of {SMALLEST_TILE} px"
        )
    size = Measures.of(tile_size)
    if not tiles:
        return _draw_empty(nothing, title, summary, columns, size)
    columns = min(columns, len(tiles))
    captions = [_caption(tile, size) for tile in tiles]
    heights = [
        max(_caption_height(caption, size) for caption in captions[start : start + columns])
        for start in range(0, len(tiles), columns)
    ]
    width = _width(columns, size)
    header = _header(tiles, title, summary, width, size)
    height = header.height + sum(tile_size + size.strip + caption + size.gap for caption in heights)
    _check_size(width, height, f"{count(len(tiles), 'image')} of {tile_size} px", "show fewer images, or smaller ones")
    page, _ = new_page(width, height, header=header)
    top = header.height
    for row, caption_height in enumerate(heights):
        for index in range(row * columns, min((row + 1) * columns, len(tiles))):
            card = _card(tiles[index], captions[index], caption_height, size)
            page.paste(card, (size.gap + index % columns * (tile_size + size.gap), top))
        top += tile_size + size.strip + caption_height + size.gap
    return page


def _width(columns: int, size: Measures) -> int:
    across = columns * size.tile + (columns - 1) * size.gap
    return max(across, round(340 * min(1.0, size.tile / 224 + 0.4))) + 2 * size.gap


def _draw_empty(reason: str, title: str, summary: str, columns: int, size: Measures) -> "Image":
    """Title and summary over a field, as wide as a row of up to three images, that says why there are none."""
    width, large = _width(min(columns, 3), size), round(size.letter * 1.25)
    header = _header((), title, summary, width, size)
    room = float(width - 4 * size.gap)
    lines = text.wrap(reason, large, (room,) * 4)
    field = round(large * 1.4 * len(lines)) + 4 * size.gap
    page, canvas = new_page(width, header.height + field + size.gap, header=header)
    canvas.rectangle((size.gap, header.height, width - size.gap - 1, header.height + field - 1), fill=MOUNT)
    baseline = header.height + 2.0 * size.gap + large
    for line in lines:
        text.write(canvas, (width - text.width(line, large)) / 2, baseline, line, large, INK)
        baseline += large * 1.4
    return page


def _check_size(width: int, height: int, contents: str, advice: str) -> None:
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"{contents} make a picture of {width} x {height} pixels; at most"
            f" {MOST_PIXELS // 1_000_000} million pixels can be viewed: {advice}"
        )


def _caption(tile: Tile, size: Measures) -> _Caption:
    whole = float(size.tile - 2 * size.pad)
    beside_sign = whole - (size.letter + size.pad * 0.7 if tile.predicted else 0.0)
    confidence = "" if tile.confidence is None or not tile.label else confidence_text(tile.confidence)
    beside_both = beside_sign - (text.width(confidence, size.letter) + size.pad if confidence else 0.0)
    label = text.wrap(tile.label or UNREADABLE, size.letter, (beside_both, beside_sign))
    if confidence and beside_both < 3.5 * size.letter:  # a small tile: label and confidence each get the whole line
        label = (confidence, text.shorten(tile.label or UNREADABLE, size.letter, whole))
        confidence = ""
    truth: tuple[str, ...] = ()
    if tile.verdict == "wrong":
        truth = text.wrap(tile.truth or "", size.letter, (whole - _true_width(size), whole))
    note = text.wrap(tile.note, size.small, (whole, whole)) if tile.note else ()
    return _Caption(label, confidence, truth, note, text.shorten(tile.name, size.small, whole))


def _true_width(size: Measures) -> float:
    return text.width("true:", size.letter) + size.letter * 0.35


def _caption_height(caption: _Caption, size: Measures) -> int:
    lines = (len(caption.label) + len(caption.truth)) * size.line
    return round(size.pad * 1.4) + lines + (len(caption.note) + bool(caption.name)) * size.small_line


def _card(tile: Tile, caption: _Caption, caption_height: int, size: Measures) -> "Image":
    side = size.tile
    card, canvas = new_page(side, side + size.strip + caption_height, colour=TINTS[tile.verdict])
    paste_image(card, tile.image if tile.label and tile.image.size else None, 0, 0, side=side)
    canvas.rectangle((0, side, side, side + size.strip - 1), fill=COLOURS[tile.verdict])
    _write_caption(card, canvas, tile, caption, size)
    return card


def scale_to_square(pixels: NDArray[np.uint8], side: int) -> "Image":
    """An image whose longer side is `side` pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _write_caption(card: "Image", canvas: "ImageDraw", tile: Tile, caption: _Caption, size: Measures) -> None:
    colour = COLOURS[tile.verdict]
    baseline = size.tile + size.strip + round(size.pad * 0.7) + round(size.line * 0.76)
    first = baseline
    if tile.predicted:
        draw_sign(card, tile.verdict, size.pad, baseline - round(size.letter * 0.87), size.letter, colour)
    start = size.tile - size.pad - text.width(caption.confidence, size.letter)
    text.write(canvas, start, baseline, caption.confidence, size.letter, colour)
    for line in caption.label:
        beside = tile.predicted and (baseline == first or bool(caption.confidence))
        text.write(canvas, size.pad * 1.7 + size.letter if beside else size.pad, baseline, line, size.letter, colour)
        baseline += size.line
    for number, line in enumerate(caption.truth):
        if number == 0:
            text.write(canvas, size.pad, baseline, "true:", size.letter, QUIET)
        text.write(canvas, size.pad + (0 if number else _true_width(size)), baseline, line, size.letter, INK)
        baseline += size.line
    baseline -= size.line - size.small_line
    text.write_lines(canvas, size.pad, baseline, caption.note, size=size.small, colour=INK, step=size.small_line)
    if caption.name:
        below = card.height - round(size.pad * 0.7) - round(size.small_line * 0.24)
        text.write(canvas, size.pad, below, caption.name, size.small, QUIET)


def _header(tiles: Sequence[Tile], title: str, summary: str, width: int, size: Measures) -> "Image":
    large, room = round(size.letter * 1.5), float(width - 2 * size.gap)
    header, canvas = new_page(width, large * 7 + size.line * 14)
    lines = text.wrap(title, large, (room,) * 4) if text.clean(title) else ()
    step = large * 1.25
    baseline = text.write_lines(canvas, size.gap, size.gap + step, lines, size=large, colour=INK, step=step) - step
    baseline -= size.line * 0.1
    x = float(size.gap)
    for line in text.wrap(summary, size.letter, (room,) * 6):
        baseline += size.line * 1.2
        x = text.write(canvas, size.gap, baseline, line, size.letter, INK) + size.gap * 1.5
    shown = {tile.verdict for tile in tiles if tile.label}
    entries = ["correct", "wrong"] if shown & {"correct", "wrong"} else []
    entries += ["unknown"] if "unknown" in shown else []
    lengths = [size.letter * 1.35 + text.width(LEGEND[entry], size.letter) + size.gap for entry in entries]
    if x + sum(lengths) - size.gap > size.gap + room:
        x, baseline = float(size.gap), baseline + size.line * 1.2
    else:
        x = size.gap + room - sum(lengths) + size.gap
    for entry, length in zip(entries, lengths, strict=True):
        if x > size.gap and x + length - size.gap > size.gap + room + 1:
            x, baseline = float(size.gap), baseline + size.line * 1.2
        draw_sign(header, entry, round(x), round(baseline - size.letter * 0.87), size.letter, COLOURS[entry])
        text.write(canvas, x + size.letter * 1.35, baseline, LEGEND[entry], size.letter, COLOURS[entry])
        x += length
    return header.crop((0, 0, width, round(baseline + size.line * 0.3) + size.gap))


# the matches of a search
_ACROSS = 6  # side by side; more follow below

_TILE, _GAP, _QUERY_GAP = 176, 14, 34
_LARGE, _LETTER, _SMALL = 24, 16, 13
_CAPTION = 68
_BAR = 6
_ACCENT: Colour = (0, 92, 158)  # has a contrast above 4.5:1 on white, like the colours of correct and wrong
_TRACK: Colour = (222, 226, 231)


def draw_search(result: SearchResult) -> "Image":
    """Draw the matches of all queries below each other. Raises UsageError where the picture would be too large."""
    most = max(len(answer.matches) for answer in result.answers)
    columns = min(_ACROSS, most)
    width = max(_GAP + _QUERY_GAP + _TILE + columns * (_TILE + _GAP), 560)
    heights = [-(-len(answer.matches) // columns) * (_TILE + _CAPTION + _GAP) + _GAP for answer in result.answers]
    top = _LARGE * 2 + _LETTER * 2 + _GAP
    height = top + sum(heights)
    contents = f"{count(len(result.answers), 'search')} for {count(most, 'image')}"
    _check_size(width, height, contents, "give fewer images, or a smaller --count")
    page, canvas = new_page(width, height)
    room = float(width - 2 * _GAP)
    text.write(canvas, _GAP, _GAP + _LARGE, text.shorten("Most similar images", _LARGE, room), _LARGE, INK)
    broken = f", {result.broken:,} could not be read" if result.broken else ""
    summary = f"of {count(result.searched, 'image')} by {result.network}: cosine of the features{broken}"
    text.write(canvas, _GAP, _GAP + _LARGE + _LETTER * 1.7, text.shorten(summary, _LETTER, room), _LETTER, QUIET)
    for answer, row_height in zip(result.answers, heights, strict=True):
        canvas.line((_GAP, top, width - _GAP, top), fill=_TRACK)
        _draw_row(page, canvas, answer, top + _GAP, columns)
        top += row_height
    return page


def _draw_row(page: "Image", canvas: "ImageDraw", answer: SearchMatches, top: int, columns: int) -> None:
    paste_image(page, _pixels(answer.image), _GAP, top, side=_TILE)
    canvas.rectangle((_GAP - 1, top - 1, _GAP + _TILE, top + _TILE), outline=_ACCENT, width=3)
    baseline = top + _TILE + _LETTER + 6
    text.write(canvas, _GAP, baseline, "query", _LETTER, _ACCENT)
    text.write(canvas, _GAP, baseline + _SMALL * 1.6, text.shorten(answer.query, _SMALL, _TILE), _SMALL, QUIET)
    for number, match in enumerate(answer.matches):
        x = _GAP + _TILE + _QUERY_GAP + number % columns * (_TILE + _GAP)
        _draw_match(page, canvas, match, x, top + number // columns * (_TILE + _CAPTION + _GAP))


def _draw_match(page: "Image", canvas: "ImageDraw", match: SearchMatch, x: int, y: int) -> None:
    paste_image(page, _pixels(match.image), x, y, side=_TILE)
    bar = y + _TILE
    canvas.rectangle((x, bar, x + _TILE - 1, bar + _BAR - 1), fill=_TRACK)
    canvas.rectangle((x, bar, x + round(max(match.similarity, 0.0) * (_TILE - 1)), bar + _BAR - 1), fill=_ACCENT)
    baseline = bar + _BAR + _LETTER + 4
    similarity = match.similarity_text
    start = x + _TILE - text.width(similarity, _LETTER)
    text.write(canvas, start, baseline, similarity, _LETTER, _ACCENT)
    label = text.shorten(match.label or "", _LETTER, start - x - _GAP / 2)
    text.write(canvas, x, baseline, label, _LETTER, INK)
    baseline += round(_SMALL * 1.6)
    text.write(canvas, x, baseline, text.shorten(match.name, _SMALL, _TILE), _SMALL, QUIET)
    if match.same:
        text.write(canvas, x, baseline + _SMALL * 1.4, "identical bytes", _SMALL, _ACCENT)


def _pixels(source: ImageLike) -> NDArray[np.uint8] | None:
    try:
        return decode(read(source), _TILE)
    except ImageError:  # gone since it was searched
        return None
