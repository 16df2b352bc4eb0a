"""The grid picture: colours, signs, text within its tile, uncropped images, any number of tiles."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tl.errors import UsageError
from tl.views.pictures import grid, text
from tl.views.pictures.grid import COLOURS, MOUNT, PAGE, TINTS, Measures, Tile, draw_grid

Pixels = NDArray[np.uint8]
BLUE = (20, 60, 200)
LONG = [
    "W" * 200,
    "경복궁 근정전과 한국의 아름다운 전통 건축물 사진 모음집",
    "a_very_long_class_name_" * 8,
    "قطة سوداء كبيرة جدا " * 6,
    "มวไทย" * 20,
]


def _photo(height: int = 90, width: int = 120) -> Pixels:
    return np.full((height, width, 3), BLUE, np.uint8)


def _tile(label: str = "cat", truth: str | None = "cat", confidence: float = 0.93, name: str = "a.jpg") -> Tile:
    return Tile(_photo(), label, confidence, truth, name)


def _card(tile: Tile, size: int = 224) -> Pixels:
    """The one card of a picture of one tile: from the first row of its photo's square down."""
    page = np.asarray(draw_grid([tile], tile_size=size))
    gap = Measures.of(size).gap
    top = int(np.flatnonzero((page[:, gap] == MOUNT).all(1) | (page[:, gap] == BLUE).all(1))[0])
    return page[top : page.shape[0] - gap, gap : gap + size]


@pytest.mark.parametrize(
    ("label", "truth", "verdict"),
    [("cat", "cat", "correct"), ("dog", "cat", "wrong"), ("cat", None, "unknown"), ("", "cat", "unknown")],
)
def test_strip_caption_and_sign_have_the_colour_of_the_verdict(label, truth, verdict):
    card = _card(_tile(label, truth, name=""))
    assert (card[224:230] == COLOURS[verdict]).all()
    assert (card[-1] == TINTS[verdict]).all()
    inked = {tuple(pixel) for pixel in card[232:].reshape(-1, 3)}
    assert COLOURS[verdict] in inked
    others = {"correct": ("wrong", "unknown"), "wrong": ("correct",), "unknown": ("correct", "wrong")}[verdict]
    assert not inked & {COLOURS[other] for other in others}
    size = Measures.of(224)
    sign = Image.new("RGB", (size.letter, size.letter), TINTS[verdict])
    grid.draw_sign(sign, verdict, 0, 0, size.letter, COLOURS[verdict])
    column = card[230:, size.pad : size.pad + size.letter].astype(int)
    assert min(np.abs(column[y : y + size.letter] - np.asarray(sign)).mean() for y in range(15)) == 0


def _sign(verdict: str) -> Pixels:
    picture = Image.new("RGB", (40, 40), (255, 255, 255))
    grid.draw_sign(picture, verdict, 0, 0, 40, (0, 0, 0))
    return np.asarray(picture)[..., 0]


def test_signs_differ_without_colour():
    check, cross, dash = _sign("correct"), _sign("wrong"), _sign("unknown")
    # a cross is white where its strokes meet and towards all four corners, a check only at its two ends
    assert cross[20, 20] > 200
    assert all(cross[y, x] > 200 for y in (13, 26) for x in (13, 26))
    assert check[13, 13] < 60
    assert check[26, 18] > 200
    assert check[14, 29] > 200
    assert dash[20, 13] > 200
    assert dash[13, 20] < 60


def test_wrong_tile_shows_the_true_label():
    wrong, right = _card(_tile("dog")), _card(_tile("cat"))
    assert wrong.shape[0] == right.shape[0] + Measures.of(224).line
    other = _card(_tile("dog", "horse"))
    assert other.shape == wrong.shape
    rows = np.flatnonzero((other != wrong).any((1, 2)))
    assert rows.min() >= 230 + Measures.of(224).line  # below the predicted label, and there alone


@pytest.mark.parametrize("label", LONG)
def test_long_label_does_not_touch_the_confidence(label):
    size = Measures.of(224)
    first_line = _card(_tile(label, label))[231 : 230 + size.line]
    start = 224 - size.pad - int(text.width("93%", size.letter))
    between = first_line[:, start - size.pad + 2 : start - 1]
    assert (np.abs(between.astype(int) - TINTS["correct"]).max(2) < 40).all()


def _contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    def luminance(colour: tuple[int, ...]) -> float:
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("verdict", COLOURS)
def test_text_has_enough_contrast(verdict):
    for letters in (COLOURS[verdict], grid.QUIET, grid.INK):
        assert _contrast(letters, TINTS[verdict]) >= 4.5
    assert _contrast(COLOURS[verdict], PAGE) >= 4.5


# Machado, Oliveira, Fernandes 2009: what full deuteranopia and protanopia leave of linear RGB
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))


@pytest.mark.parametrize("matrix", [DEUTERANOPIA, PROTANOPIA])
def test_red_and_green_differ_for_colour_blind_people(matrix):
    def seen(colour: tuple[int, ...]) -> Pixels:
        linear = np.asarray(matrix) @ (np.asarray(colour) / 255) ** 2.2
        return 255 * np.clip(linear, 0, 1) ** (1 / 2.2)

    assert np.linalg.norm(seen(COLOURS["correct"]) - seen(COLOURS["wrong"])) > 60


@pytest.mark.parametrize(
    ("height", "width"), [(300, 300), (90, 120), (40, 1200), (1200, 40), (1, 3000), (3000, 1), (8, 8)]
)
def test_image_is_whole_undistorted_and_centred(height, width):
    square = _card(Tile(_photo(height, width), "cat", 0.9, "cat"))[:224]
    blue = (square == BLUE).all(2)
    rows, columns = np.flatnonzero(blue.any(1)), np.flatnonzero(blue.any(0))
    high, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert max(high, wide) == 224
    assert abs(wide - max(1, 224 * width / max(width, height))) <= 1
    assert abs(high - max(1, 224 * height / max(width, height))) <= 1
    assert abs(rows.min() - (223 - rows.max())) <= 1
    assert (square[~blue] == MOUNT).all()


def _square(pixels: Pixels) -> Pixels:
    """The square of an image, in a picture of it alone."""
    page = np.asarray(draw_grid([Tile(pixels, "cat", 0.9, "cat")]))
    return page[-16 - _card(_tile(name="")).shape[0] :][:224, 16:240]


def test_image_is_not_flipped_even_as_a_mirrored_read_only_view():
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:50, :50], pixels[50:, 50:] = (255, 0, 0), (0, 0, 255)
    square = _square(pixels)
    assert tuple(square[20, 20]) == (255, 0, 0)
    assert tuple(square[200, 204]) == (0, 0, 255)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    view = noise[:, ::-1]
    view.setflags(write=False)
    assert np.abs(_square(view)[:, ::-1].astype(int) - _square(noise)).max() <= 3


@pytest.mark.parametrize("label", LONG)
@pytest.mark.parametrize("size", [64, 112, 224, 400])
def test_text_stays_in_its_tile_and_shows_the_confidence(label, size):
    measures = Measures.of(size)
    tile = Tile(_photo(), label, 0.42, "x" + label, label)
    caption = _card(tile, size)[size + measures.strip :]
    ink = (np.abs(caption.astype(int) - TINTS["wrong"]).max(2) > 40).any(0)
    edge = measures.pad - 3
    assert not ink[:edge].any()
    assert not ink[-edge:].any()
    assert (_card(Tile(_photo(), label, 0.87, "x" + label, label), size)[size + measures.strip :] != caption).any()
    page = np.asarray(draw_grid([tile, tile], tile_size=size))
    gutter = page[:, measures.gap + size : 2 * measures.gap + size][-caption.shape[0] - measures.gap - size :]
    assert (gutter == PAGE).all()


def test_columns_are_at_most_the_number_of_tiles():
    for count, options, columns in ((3, {}, 3), (7, {}, 5), (7, {"columns": 2}, 2)):
        assert draw_grid([_tile()] * count, **options).width == columns * (224 + 16) + 16
    five, six, ten, eleven = (draw_grid([_tile()] * count).height for count in (5, 6, 10, 11))
    assert five < six == ten < eleven


def test_rows_fill_from_left_to_right():
    shades = [Tile(np.full((50, 50, 3), 10 * i + 5, np.uint8), "cat", 0.5, "cat") for i in range(7)]
    page = np.asarray(draw_grid(shades, columns=3))
    middles = [16 + 112 + column * 240 for column in range(3)]
    for x, expected in zip(middles, ([5, 35, 65], [15, 45], [25, 55]), strict=True):
        grey = page[(page[:, x, 0] == page[:, x, 1]) & (page[:, x, 1] == page[:, x, 2]), x, 0]
        assert [value for value in dict.fromkeys(grey.tolist()) if value < 70] == expected


@pytest.mark.parametrize(
    ("confidence", "shown"),
    [(0.934, "93%"), (0.99949, "99%"), (0.9996, "100%"), (0.0, "0%"), (1.7, "100%"), (float("nan"), "?%")],
)
def test_confidence_is_a_whole_percentage_never_rounded_to_100(confidence, shown):
    assert grid.confidence_text(confidence) == shown


@pytest.mark.parametrize("name", ["a run with a long name of 2,000 ", "초롱초롱한 눈의 강아지와 고양이 사진 "])
@pytest.mark.parametrize("columns", [1, 5])
def test_long_title_and_summary_wrap_and_are_never_shortened(name, columns, monkeypatch):
    written, write = [], text.write

    def record(canvas, x, baseline, line, size, colour):
        written.append(line)
        return write(canvas, x, baseline, line, size, colour)

    monkeypatch.setattr(text, "write", record)
    title = name * (1 + columns)
    summary = "1,822 of 2,500 correct · 1,800 of the 2,500 are training images; 422 of the 700 others correct"
    picture = np.asarray(draw_grid([_tile("cat")] * columns, columns=columns, title=title, summary=summary))
    letters = "".join("".join(written).split())
    assert "…" not in letters
    assert "".join(title.split()) in letters
    assert "".join(summary.split()) in letters
    assert (picture[:, -12:] == PAGE).all()
    short = draw_grid([_tile("cat")] * columns, columns=columns, title="한국어")
    assert short.height < picture.shape[0]
    assert picture.shape[1] <= max(500, short.width)


def test_reason_for_no_images_is_drawn():
    picture = draw_grid([], title="a run on images", summary="25 of 25 correct", nothing="no image is wrong")
    assert picture.width == 3 * 224 + 4 * 16
    assert (np.asarray(picture)[-60:-20, 40:-40] != MOUNT).any()
    assert draw_grid([], columns=1, nothing="no image is wrong " * 9).width < 500


def test_empty_image_is_drawn_as_missing():
    card = _card(Tile(np.zeros((0, 0, 3), np.uint8), "cat", 0.5, "cat"))
    assert (card[:224] == MOUNT).all(2).mean() > 0.8
    assert not (card[:224] == MOUNT).all()


@pytest.mark.parametrize(("count", "options", "message"), [
    (1, {"columns": 0}, "at least 1 column of 64 px"),
    (1, {"columns": -2}, "at least 1 column of 64 px"),
    (1, {"tile_size": 10}, "at least 1 column of 64 px"),
    (3000, {"columns": 5}, "show fewer"),
])  # fmt: skip
def test_sizes_out_of_range_are_refused_in_one_line(count, options, message):
    with pytest.raises(UsageError, match=message) as refusal:
        draw_grid([_tile()] * count, **options)
    assert "\n" not in str(refusal.value)
