"""Draw the results of a search: each query image, and beside it the images most similar to it."""

from typing import TYPE_CHECKING

from tl.data.images import ImageLike, decode, read
from tl.errors import ImageError, UsageError
from tl.features.search import SearchMatch, SearchMatches, SearchResult
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOST_PIXELS, MOUNT, PAGE, QUIET, Colour, no_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

COLUMNS = 6  # matches side by side; more follow below

_TILE, _GAP, _QUERY_GAP = 176, 14, 34
_LARGE, _LETTER, _SMALL = 24, 16, 13
_CAPTION = 68
_BAR = 6
_ACCENT: Colour = (0, 92, 158)  # has a contrast above 4.5:1 on white, like the colours of correct and wrong
_TRACK: Colour = (222, 226, 231)


def draw_search(result: SearchResult, *, title: str = "Most similar images") -> "Image":
    """Draw the matches of all queries below each other. Raises UsageError where the picture would be too large."""
    from PIL import Image, ImageDraw

    most = max(len(answer.matches) for answer in result.answers)
    columns = min(COLUMNS, most)
    width = max(_GAP + _QUERY_GAP + _TILE + columns * (_TILE + _GAP), 560)
    heights = [-(-len(answer.matches) // columns) * (_TILE + _CAPTION + _GAP) + _GAP for answer in result.answers]
    top = _LARGE * 2 + _LETTER * 2 + _GAP
    height = top + sum(heights)
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"{len(result.answers)} searches for {most} images make a picture of {width} x {height} pixels; at most"
            f" {MOST_PIXELS // 1_000_000} million pixels can be viewed: give fewer images, or a smaller --count"
        )
    page = Image.new("RGB", (width, height), PAGE)
    canvas = ImageDraw.Draw(page)
    room = float(width - 2 * _GAP)
    text.write(canvas, _GAP, _GAP + _LARGE, text.shorten(title, _LARGE, room), _LARGE, INK)
    broken = f", {result.broken:,} could not be read" if result.broken else ""
    summary = f"of {result.searched:,} images by {result.network}: cosine of the features{broken}"
    text.write(canvas, _GAP, _GAP + _LARGE + _LETTER * 1.7, text.shorten(summary, _LETTER, room), _LETTER, QUIET)
    for answer, row_height in zip(result.answers, heights, strict=True):
        canvas.line((_GAP, top, width - _GAP, top), fill=_TRACK)
        _draw_row(page, canvas, answer, top + _GAP, columns)
        top += row_height
    return page


def _draw_row(page: "Image", canvas: "ImageDraw", answer: SearchMatches, top: int, columns: int) -> None:
    _draw_image(page, canvas, answer.image, _GAP, top)
    canvas.rectangle((_GAP - 1, top - 1, _GAP + _TILE, top + _TILE), outline=_ACCENT, width=3)
    baseline = top + _TILE + _LETTER + 6
    text.write(canvas, _GAP, baseline, "query", _LETTER, _ACCENT)
    text.write(canvas, _GAP, baseline + _SMALL * 1.6, text.shorten(answer.query, _SMALL, _TILE), _SMALL, QUIET)
    for number, match in enumerate(answer.matches):
        x = _GAP + _TILE + _QUERY_GAP + number % columns * (_TILE + _GAP)
        _draw_match(page, canvas, match, x, top + number // columns * (_TILE + _CAPTION + _GAP))


def _draw_match(page: "Image", canvas: "ImageDraw", match: SearchMatch, x: int, y: int) -> None:
    _draw_image(page, canvas, match.image, x, y)
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


def _draw_image(page: "Image", canvas: "ImageDraw", source: ImageLike, x: int, y: int) -> None:
    from PIL import Image

    canvas.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), fill=MOUNT)
    try:
        image = Image.fromarray(decode(read(source), _TILE))
    except ImageError:  # gone since it was searched
        no_picture(page, x + _TILE // 2, y + _TILE // 2, _TILE // 3, QUIET)
        return
    scale = _TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    page.paste(image, (x + (_TILE - image.width) // 2, y + (_TILE - image.height) // 2))
