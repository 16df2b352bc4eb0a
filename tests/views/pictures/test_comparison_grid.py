"""The grid of a comparison: telling photos, in any script, green and red as often as right and wrong."""

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tl.errors import ImageError, UsageError
from tl.views.pictures.comparison import SIDE, choose, grid
from tl.views.pictures.grid import COLOURS, TINTS
from tl.workflows.compare import Answer, Comparison
from views.pictures.test_comparison import CASES, every_case, made


def pixels(path: str) -> np.ndarray:
    """A photo of a colour that is nowhere else."""
    if path.startswith("gone"):
        raise ImageError("no such file")
    return np.full((40, 60, 3), (20, 60, 200), np.uint8)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def names(comparison: Comparison, rows: int) -> list[str]:
    return [photo.path for section in choose(comparison.photos, rows) for photo in section.photos]


def test_photos_on_which_the_networks_part_come_first():
    comparison = made(right=("11110100", "11000100", "10000010"))
    parted, wrong, right = choose(comparison.photos, 8)
    assert [(section.title, section.count) for section in (parted, wrong, right)] == [
        ("Some networks right, some wrong", 5),
        ("All wrong", 2),
        ("All right", 1),
    ]
    patterns = [tuple(answer.label == photo.truth for answer in photo.answers) for photo in parted.photos]
    # each way to part once before any comes again
    assert set(patterns[:3]) == {(True, True, False), (True, False, False), (False, False, True)}
    assert Counter(patterns)[True, True, False] == 2


def test_the_one_photo_that_only_the_worse_gets_right_is_not_lost():
    comparison = made(right=("0111111111", "1000000000"))  # and both are least sure of it
    assert names(comparison, 2) == ["Dog/9.jpg", "Cat/0.jpg"]


@pytest.mark.parametrize("rows", range(1, 12))
@pytest.mark.parametrize(
    "right", [("1110000", "1101000"), ("1111111", "1111111"), ("0000000",), ("1010101", "0101010")]
)
def test_as_many_photos_as_asked_for_and_none_twice(right: tuple[str, ...], rows: int):
    shown = names(made(right=right), rows)
    assert len(shown) == len(set(shown)) == min(rows, 7)


def test_some_of_each_kind_are_shown():
    comparison = made(right=("1" * 60 + "0" * 40, "1" * 20 + "0" * 80))
    shown = [(section.title, len(section.photos)) for section in choose(comparison.photos, 8)]
    assert shown == [("Some networks right, some wrong", 6), ("All wrong", 1), ("All right", 1)]
    assert [section.title for section in choose(comparison.photos, 2)] == ["Some networks right, some wrong"]


def test_the_choice_does_not_depend_on_the_order_of_the_photos():
    comparison = made(right=("1100110011", "1010101010", "1111100000"))
    turned = replace(comparison, photos=comparison.photos[::-1])
    assert choose(comparison.photos, 5) == choose(turned.photos, 5)


def cards(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    """How many cards of a colour: their upper edges, between the white of the page above and on the left."""
    found, white = (np.asarray(picture) == colour).all(axis=-1), (np.asarray(picture) == 255).all(axis=-1)
    corners = found & np.roll(white, 1, axis=0) & np.roll(white, 1, axis=1)
    return int(sum(found[y, x : x + SIDE].all() for y, x in np.argwhere(corners)))


def test_green_and_red_as_often_as_right_and_wrong():
    comparison = made(right=("1110010", "1010000", "0010001"))
    drawn_grid = grid(comparison, pixels, rows=7)
    rights = [answer.label == photo.truth for photo in comparison.photos for answer in photo.answers]
    assert cards(drawn_grid, TINTS["right"]) == sum(rights)
    assert cards(drawn_grid, TINTS["wrong"]) == len(rights) - sum(rights)
    found = np.asarray(drawn_grid)
    assert (found == COLOURS["right"]).all(axis=-1).sum() > 500
    assert (found == COLOURS["wrong"]).all(axis=-1).sum() > 500
    assert (found == (20, 60, 200)).all(axis=-1).sum() > 7 * SIDE * 80


def test_only_chosen_photos_are_read_and_a_missing_one_is_no_end():
    comparison = made(right=("1" * 50 + "0" * 50, "0" * 100))
    asked = []

    def read(path: str) -> np.ndarray:
        asked.append(path)
        return pixels(f"gone/{path}" if len(asked) == 2 else path)

    found = np.asarray(grid(comparison, read, rows=4))
    assert sorted(asked) == sorted(names(comparison, 4))
    photos = (found == (20, 60, 200)).all(axis=-1).sum()
    assert 3 * SIDE * 80 < photos < 3 * SIDE * 90


@every_case
def test_the_same_comparison_gives_the_same_grid(comparison: Comparison):
    once = grid(comparison, pixels)
    assert png(once) == png(grid(comparison, pixels))
    edge = np.asarray(once)
    assert (edge[:, -8:] == 255).all()  # nothing is cut
    assert (edge[-8:] == 255).all()


def test_labels_of_any_script_are_drawn():
    one = made(right=("1",), classes=("고양이", "b"))
    other = made(right=("1",), classes=("강아지", "b"))
    assert png(grid(one, pixels)) != png(grid(other, pixels))


@pytest.mark.parametrize("shape", [(1, 900, 3), (900, 1, 3), (1, 1, 3), (0, 0, 3)])
def test_photos_of_any_shape(shape: tuple[int, ...]):
    usual = grid(made(right=("1",)), pixels)
    assert grid(made(right=("1",)), lambda path: np.zeros(shape, np.uint8)).size == usual.size


def test_odd_confidences_and_no_photos():
    comparison = made(right=("10",))
    odd = [
        replace(photo, answers=(Answer("Cat", value),))
        for photo, value in zip(comparison.photos, (float("nan"), 7.0), strict=True)
    ]
    usual = grid(comparison, pixels)
    assert grid(replace(comparison, photos=tuple(odd)), pixels).width == usual.width
    assert grid(replace(comparison, photos=()), pixels).height < usual.height


def test_too_few_and_too_many_rows_are_refused():
    with pytest.raises(UsageError, match="at least 1 photo"):
        grid(made(), pixels, rows=0)
    with pytest.raises(UsageError, match="too large"):
        grid(CASES["hundred classes"], pixels, rows=9000)
