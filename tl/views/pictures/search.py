"""The answers of a search become one picture: each query, and beside it the photos most like it, with how alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tl.data.images import ImageLike, decode, read
from tl.errors import ImageError, UsageError
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOST_PIXELS, MOUNT, PAGE, QUIET, Colour, no_picture
from tl.workflows.search import Found, Match, Search

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

ACROSS = 6
"""Photos found that stand side by side; more go on below."""

_TILE, _GAP, _QUERY_GAP = 176, 14, 34
_LARGE, _LETTER, _SMALL = 24, 16, 13
_CAPTION = 68
_BAR = 6
_ACCENT: Colour = (0, 92, 158)  # stands on white with a contrast above 4.5:1, as what is right or wrong does
_TRACK: Colour = (222, 226, 231)


def draw(search: Search, *, title: str = "") -> "Image":
    """Draw all answers below each other. Raises UsageError where that is too large to look at."""
    from PIL import Image, ImageDraw

    shown = max(len(answer.matches) for answer in search.answers)
    across = min(ACROSS, shown)
    width = max(_GAP + _QUERY_GAP + _TILE + across * (_TILE + _GAP), 560)
    heights = [-(-len(answer.matches) // across) * (_TILE + _CAPTION + _GAP) + _GAP for answer in search.answers]
    top = _LARGE * 2 + _LETTER * 2 + _GAP
    height = top + sum(heights)
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"{len(search.answers)} searches for {shown} photos make a picture of {width} x {height} pixels, more than"
            f" the {MOST_PIXELS // 1_000_000} million that can be looked at: search for fewer, with a smaller --count"
        )
    page = Image.new("RGB", (width, height), PAGE)
    canvas = ImageDraw.Draw(page)
    room = float(width - 2 * _GAP)
    text.write(canvas, _GAP, _GAP + _LARGE, text.shorten(title or "Most similar photos", _LARGE, room), _LARGE, INK)
    said = text.shorten(_about(search), _LETTER, room)
    text.write(canvas, _GAP, _GAP + _LARGE + _LETTER * 1.7, said, _LETTER, QUIET)
    for answer, below in zip(search.answers, heights, strict=True):
        canvas.line((_GAP, top, width - _GAP, top), fill=_TRACK)
        _row(page, canvas, answer, top + _GAP, across)
        top += below
    return page


def _about(search: Search) -> str:
    broken = f", {search.broken:,} could not be read" if search.broken else ""
    return f"of {search.searched:,} photos by {search.network}: cosine of the features{broken}"


def _row(page: "Image", canvas: "ImageDraw", answer: Found, top: int, across: int) -> None:
    _photo(page, canvas, answer.picture, _GAP, top)
    canvas.rectangle((_GAP - 1, top - 1, _GAP + _TILE, top + _TILE), outline=_ACCENT, width=3)
    baseline = top + _TILE + _LETTER + 6
    text.write(canvas, _GAP, baseline, "searched for", _LETTER, _ACCENT)
    text.write(canvas, _GAP, baseline + _SMALL * 1.6, text.shorten(answer.query, _SMALL, _TILE), _SMALL, QUIET)
    for number, match in enumerate(answer.matches):
        x = _GAP + _TILE + _QUERY_GAP + number % across * (_TILE + _GAP)
        _found(page, canvas, match, x, top + number // across * (_TILE + _CAPTION + _GAP))


def _found(page: "Image", canvas: "ImageDraw", match: Match, x: int, y: int) -> None:
    _photo(page, canvas, match.picture, x, y)
    bar = y + _TILE
    canvas.rectangle((x, bar, x + _TILE - 1, bar + _BAR - 1), fill=_TRACK)
    canvas.rectangle((x, bar, x + round(max(match.similarity, 0.0) * (_TILE - 1)), bar + _BAR - 1), fill=_ACCENT)
    baseline = bar + _BAR + _LETTER + 4
    share = likeness(match)
    start = x + _TILE - text.width(share, _LETTER)
    text.write(canvas, start, baseline, share, _LETTER, _ACCENT)
    label = text.shorten(match.label or "", _LETTER, start - x - _GAP / 2)
    text.write(canvas, x, baseline, label, _LETTER, INK)
    baseline += round(_SMALL * 1.6)
    text.write(canvas, x, baseline, text.shorten(match.name, _SMALL, _TILE), _SMALL, QUIET)
    if match.same:
        text.write(canvas, x, baseline + _SMALL * 1.4, "the same bytes", _SMALL, _ACCENT)


def likeness(match: Match) -> str:
    """How alike, with three digits that rounding alone never makes 1.000."""
    return "1.000" if match.same else f"{min(match.similarity, 0.999):.3f}"


def _photo(page: "Image", canvas: "ImageDraw", picture: ImageLike, x: int, y: int) -> None:
    from PIL import Image

    canvas.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), fill=MOUNT)
    try:
        pixels = decode(read(picture), _TILE)
    except ImageError:  # gone since it was searched
        no_picture(page, x + _TILE // 2, y + _TILE // 2, _TILE // 3, QUIET)
        return
    photo = Image.fromarray(pixels)
    scale = _TILE / max(photo.size)
    within: Sequence[int] = [max(1, round(side * scale)) for side in photo.size]
    photo = photo.resize((within[0], within[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    page.paste(photo, (x + (_TILE - photo.width) // 2, y + (_TILE - photo.height) // 2))
