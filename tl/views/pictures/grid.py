"""Photos with predictions -> one picture: green and checked where right, red and crossed where wrong, else grey."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError
from tl.views import signs
from tl.views.pictures import text
from tl.views.tile import (
    COLOURS,
    INK,
    MOUNT,
    PAGE,
    QUIET,
    SMALLEST_TILE,
    TINTS,
    UNREADABLE,
    Measures,
    Tile,
    confidence_text,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

LEGEND = {"right": "right", "wrong": "wrong", "unknown": "true label not known"}
MOST_PIXELS = 100_000_000  # 300 MB of memory; viewers give up soon above it


@dataclass(frozen=True)
class _Caption:
    label: tuple[str, ...]
    certain: str
    truth: tuple[str, ...]
    note: tuple[str, ...]
    name: str


def draw(
    tiles: Sequence[Tile],
    *,
    columns: int = 5,
    title: str = "",
    summary: str = "",
    tile_size: int = 224,
    nothing: str = "",
) -> "Image":
    """Draw the photos in rows of `columns`, each in a square of `tile_size` pixels, under title, summary and legend.

    Photos are fitted whole into their squares. An empty `summary` is replaced by the count of what is right among the
    tiles, see `counted`. No photos make a small picture that says so, with `nothing`, why, in their place.
    Raises UsageError for a tile size or number of columns out of range, or a picture too large to look at.
    """
    from PIL import Image

    if columns < 1 or tile_size < SMALLEST_TILE:
        raise UsageError(
            f"a grid of {columns} columns of {tile_size} px cannot be drawn: at least 1 column of {SMALLEST_TILE} px"
        )
    size = Measures(tile_size)
    if not tiles and nothing:
        return _without_photos(nothing, title, summary, columns, size)
    columns = min(columns, max(1, len(tiles)))
    captions = [_caption(tile, size) for tile in tiles]
    heights = [
        max(_caption_height(caption, size) for caption in captions[start : start + columns])
        for start in range(0, len(tiles), columns)
    ]
    width = _width(columns, size)
    header = _header(tiles, title, summary or counted(tiles), width, size)
    height = header.height + sum(tile_size + size.strip + caption + size.gap for caption in heights)
    _refuse_giants(len(tiles), width, height, tile_size)
    page = Image.new("RGB", (width, height), PAGE)
    page.paste(header, (0, 0))
    top = header.height
    for row, caption_height in enumerate(heights):
        for index in range(row * columns, min((row + 1) * columns, len(tiles))):
            card = _card(tiles[index], captions[index], caption_height, size)
            page.paste(card, (size.gap + index % columns * (tile_size + size.gap), top))
        top += tile_size + size.strip + caption_height + size.gap
    return page


def _width(columns: int, size: Measures) -> int:
    across = columns * size.tile + (columns - 1) * size.gap
    return max(across, round(340 * min(1.0, size.scale + 0.4))) + 2 * size.gap


def _without_photos(why: str, title: str, summary: str, columns: int, size: Measures) -> "Image":
    """Title and summary over one field that says why there are no photos, as wide as a row of up to three."""
    from PIL import Image, ImageDraw

    width, large = _width(min(columns, 3), size), round(size.letter * 1.25)
    header = _header((), title, summary, width, size)
    room = float(width - 4 * size.gap)
    lines = text.wrap(why, large, (room,) * 4)
    field = round(large * 1.4 * len(lines)) + 4 * size.gap
    page = Image.new("RGB", (width, header.height + field + size.gap), PAGE)
    page.paste(header, (0, 0))
    canvas = ImageDraw.Draw(page)
    canvas.rectangle((size.gap, header.height, width - size.gap - 1, header.height + field - 1), fill=MOUNT)
    baseline = header.height + 2.0 * size.gap + large
    for line in lines:
        text.write(canvas, (width - text.width(line, large)) / 2, baseline, line, large, INK)
        baseline += large * 1.4
    return page


def counted(tiles: Sequence[Tile]) -> str:
    """How many predictions are right, of those that can be checked, and what else is shown."""
    verdicts = [tile.verdict for tile in tiles]
    right, known = verdicts.count("right"), len(tiles) - verdicts.count("unknown")
    unreadable = sum(not tile.label for tile in tiles)
    unchecked = verdicts.count("unknown") - unreadable
    parts = [f"{right} of {known} right"] if known else []
    if unchecked:
        parts.append(f"{unchecked} without a true label" if known else _photos(unchecked))
    if unreadable:
        parts.append(f"{unreadable} {UNREADABLE}")
    return " · ".join(parts) if parts else "no photos to show"


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _refuse_giants(count: int, width: int, height: int, tile_size: int) -> None:
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"{count} photos of {tile_size} px make a picture of {width} x {height} pixels, "
            f"more than the {MOST_PIXELS // 1_000_000} million that can be looked at: show fewer, or smaller ones"
        )


def _caption(tile: Tile, size: Measures) -> _Caption:
    whole = float(size.tile - 2 * size.pad)
    beside_sign = whole - size.letter - size.pad * 0.7
    certain = confidence_text(tile.confidence) if tile.label else ""
    beside_both = beside_sign - (text.width(certain, size.letter) + size.pad if certain else 0.0)
    label = text.wrap(tile.label or UNREADABLE, size.letter, (beside_both, beside_sign))
    if beside_both < 3.5 * size.letter:  # a small tile: label and confidence each get the whole line
        label = (certain, text.shorten(tile.label or UNREADABLE, size.letter, whole))
        certain = ""
    truth: tuple[str, ...] = ()
    if tile.verdict == "wrong":
        truth = text.wrap(tile.truth or "", size.letter, (whole - _true_width(size), whole))
    note = text.wrap(tile.note, size.small, (whole, whole)) if tile.note else ()
    return _Caption(label, certain, truth, note, text.shorten(tile.name, size.small, whole))


def _true_width(size: Measures) -> float:
    return text.width("true:", size.letter) + size.letter * 0.35


def _caption_height(caption: _Caption, size: Measures) -> int:
    lines = (len(caption.label) + len(caption.truth)) * size.line
    return round(size.pad * 1.4) + lines + (len(caption.note) + bool(caption.name)) * size.small_line


def _card(tile: Tile, caption: _Caption, caption_height: int, size: Measures) -> "Image":
    from PIL import Image, ImageDraw

    colour, side = COLOURS[tile.verdict], size.tile
    card = Image.new("RGB", (side, side + size.strip + caption_height), TINTS[tile.verdict])
    canvas = ImageDraw.Draw(card)
    canvas.rectangle((0, 0, side, side), fill=MOUNT)
    if tile.label and tile.image.size:
        photo = _fitted(tile.image, side)
        card.paste(photo, ((side - photo.width) // 2, (side - photo.height) // 2))
    else:
        signs.no_picture(card, side // 2, side // 2, side // 3, QUIET)
    canvas.rectangle((0, side, side, side + size.strip - 1), fill=colour)
    _write_caption(card, canvas, tile, caption, size)
    return card


def _fitted(pixels: NDArray[np.uint8], side: int) -> "Image":
    from PIL import Image

    photo = Image.fromarray(np.ascontiguousarray(pixels))
    scale = side / max(photo.size)
    within = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    return photo.resize(within, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _write_caption(card: "Image", canvas: "ImageDraw", tile: Tile, caption: _Caption, size: Measures) -> None:
    colour = COLOURS[tile.verdict]
    baseline = size.tile + size.strip + round(size.pad * 0.7) + round(size.line * 0.76)
    first = baseline
    signs.draw(card, tile.verdict, size.pad, baseline - round(size.letter * 0.87), size.letter, colour)
    start = size.tile - size.pad - text.width(caption.certain, size.letter)
    text.write(canvas, start, baseline, caption.certain, size.letter, colour)
    for line in caption.label:
        beside = baseline == first or bool(caption.certain)
        text.write(canvas, size.pad * 1.7 + size.letter if beside else size.pad, baseline, line, size.letter, colour)
        baseline += size.line
    for number, line in enumerate(caption.truth):
        if number == 0:
            text.write(canvas, size.pad, baseline, "true:", size.letter, QUIET)
        text.write(canvas, size.pad + (0 if number else _true_width(size)), baseline, line, size.letter, INK)
        baseline += size.line
    baseline -= size.line - size.small_line
    for line in caption.note:
        text.write(canvas, size.pad, baseline, line, size.small, INK)
        baseline += size.small_line
    if caption.name:
        below = card.height - round(size.pad * 0.7) - round(size.small_line * 0.24)
        text.write(canvas, size.pad, below, caption.name, size.small, QUIET)


def _header(tiles: Sequence[Tile], title: str, summary: str, width: int, size: Measures) -> "Image":
    from PIL import Image, ImageDraw

    large, room = round(size.letter * 1.5), float(width - 2 * size.gap)
    header = Image.new("RGB", (width, large * 7 + size.line * 14), PAGE)
    canvas = ImageDraw.Draw(header)
    baseline = float(size.gap)
    for line in text.wrap(title, large, (room,) * 4) if text.clean(title) else ():
        baseline += large * 1.25
        text.write(canvas, size.gap, baseline, line, large, INK)
    baseline -= size.line * 0.1
    x = float(size.gap)
    for line in text.wrap(summary, size.letter, (room,) * 6):
        baseline += size.line * 1.2
        x = text.write(canvas, size.gap, baseline, line, size.letter, INK) + size.gap * 1.5
    entries = _legend(tiles)
    lengths = [size.letter * 1.35 + text.width(LEGEND[entry], size.letter) + size.gap for entry in entries]
    if x + sum(lengths) - size.gap > size.gap + room:
        x, baseline = float(size.gap), baseline + size.line * 1.2
    else:
        x = size.gap + room - sum(lengths) + size.gap
    for entry, length in zip(entries, lengths, strict=True):
        if x > size.gap and x + length - size.gap > size.gap + room + 1:
            x, baseline = float(size.gap), baseline + size.line * 1.2
        signs.draw(header, entry, round(x), round(baseline - size.letter * 0.87), size.letter, COLOURS[entry])
        text.write(canvas, x + size.letter * 1.35, baseline, LEGEND[entry], size.letter, COLOURS[entry])
        x += length
    return header.crop((0, 0, width, round(baseline + size.line * 0.3) + size.gap))


def _legend(tiles: Sequence[Tile]) -> list[str]:
    shown = {tile.verdict for tile in tiles if tile.label}
    return (["right", "wrong"] if shown & {"right", "wrong"} else []) + (["unknown"] if "unknown" in shown else [])
