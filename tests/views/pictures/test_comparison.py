"""The grid and the chart of a comparison."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from support.comparisons import CASES, REASON, comparison, every_case, pixels
from support.figures import assert_legible, written
from tl.runs.network_comparison import ComparedPrediction, Comparison
from tl.views.pictures.comparison import SIDE, chart, choose, comparison_grid, limits
from tl.views.pictures.grid import TINTS


def names(compared: Comparison, rows: int) -> list[str]:
    return [image.path for section in choose(compared.photos, rows) for image in section.images]


def test_choose_shows_disagreement_first_and_each_pattern_once_before_any_repeats():
    sections = choose(comparison(right=("11110100", "11000100", "10000010")).photos, 8)
    assert [(section.title, section.count) for section in sections] == [
        ("Some networks correct, some wrong", 5),
        ("All wrong", 2),
        ("All correct", 1),
    ]
    patterns = [image.correct for image in sections[0].images]
    assert set(patterns[:3]) == {(True, True, False), (True, False, False), (False, False, True)}
    assert Counter(patterns)[True, True, False] == 2


def test_choose_keeps_the_one_image_that_only_the_worse_network_classifies_correctly():
    compared = comparison(right=("0111111111", "1000000000"))  # and both are least confident there
    assert names(compared, 2) == ["Dog/9.jpg", "Cat/0.jpg"]


@pytest.mark.parametrize("rows", range(1, 12))
@pytest.mark.parametrize(
    "right", [("1110000", "1101000"), ("1111111", "1111111"), ("0000000",), ("1010101", "0101010")]
)
def test_choose_fills_all_rows_without_repeats_in_any_order_of_images(right, rows):
    compared = comparison(right=right)
    assert choose(compared.photos, rows) == choose(compared.photos[::-1], rows)
    shown = names(compared, rows)
    assert len(shown) == len(set(shown)) == min(rows, 7)


def test_choose_shows_some_of_each_kind():
    compared = comparison(right=("1" * 60 + "0" * 40, "1" * 20 + "0" * 80))
    shown = [(section.title, len(section.images)) for section in choose(compared.photos, 8)]
    assert shown == [("Some networks correct, some wrong", 6), ("All wrong", 1), ("All correct", 1)]
    assert [section.title for section in choose(compared.photos, 2)] == ["Some networks correct, some wrong"]


def cards(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    """How many cards of a colour: their upper edges, between the white of the page above and on the left."""
    matches, white = (np.asarray(picture) == colour).all(axis=-1), (np.asarray(picture) == 255).all(axis=-1)
    corners = matches & np.roll(white, 1, axis=0) & np.roll(white, 1, axis=1)
    return int(sum(matches[y, x : x + SIDE].all() for y, x in np.argwhere(corners)))


def test_grid_is_green_and_red_as_often_as_correct_and_wrong():
    compared = comparison(right=("1110010", "1010000", "0010001"))
    picture = comparison_grid(compared, pixels, rows=7)
    correct = [one for image in compared.photos for one in image.correct]
    assert cards(picture, TINTS["correct"]) == sum(correct)
    assert cards(picture, TINTS["wrong"]) == len(correct) - sum(correct)


def test_grid_reads_only_the_chosen_images_and_survives_a_missing_one():
    compared = comparison(right=("1" * 50 + "0" * 50, "0" * 100))
    paths: list[str] = []

    def read(path: str) -> np.ndarray:
        paths.append(path)
        return pixels(f"gone/{path}" if len(paths) == 2 else path)

    values = np.asarray(comparison_grid(compared, read, rows=4))
    assert sorted(paths) == sorted(names(compared, 4))
    assert 3 * SIDE * 80 < (values == (20, 60, 200)).all(axis=-1).sum() < 3 * SIDE * 90


@every_case
def test_grid_is_reproducible_and_nothing_is_cut(case):
    once = comparison_grid(case, pixels)
    assert once == comparison_grid(case, pixels)
    assert (np.asarray(once)[:, -8:] == 255).all()
    assert (np.asarray(once)[-8:] == 255).all()


def test_grid_draws_labels_in_any_script():
    one, other = (comparison(right=("1",), classes=(name, "b")) for name in ("고양이", "강아지"))
    assert comparison_grid(one, pixels) != comparison_grid(other, pixels)


@pytest.mark.parametrize("shape", [(1, 900, 3), (900, 1, 3), (1, 1, 3)])
def test_grid_fits_images_of_any_shape(shape):
    usual = comparison_grid(comparison(right=("1",)), pixels)
    assert comparison_grid(comparison(right=("1",)), lambda path: np.zeros(shape, np.uint8)).size == usual.size


def test_grid_survives_odd_confidences_and_no_images():
    compared = comparison(right=("10",))
    answers = ((ComparedPrediction("Cat", value),) for value in (float("nan"), 7.0))
    odd = tuple(replace(image, answers=own) for image, own in zip(compared.photos, answers, strict=True))
    usual = comparison_grid(compared, pixels)
    assert comparison_grid(replace(compared, photos=odd), pixels).width == usual.width
    assert comparison_grid(replace(compared, photos=()), pixels).height < usual.height


@every_case
def test_chart_is_legible(case):
    assert_legible(chart(case), fewest=15)


def test_chart_orders_networks_and_marks_their_weights():
    compared = comparison(errors=(REASON,))
    axes = chart(compared).axes[0]
    intervals, points = axes.lines[0:6:2], axes.lines[1:6:2]
    for at, entry in enumerate(compared.ranked):
        assert list(intervals[at].get_xdata()) == [100 * entry.top1.low, 100 * entry.top1.high]
        assert (points[at].get_xdata()[0], points[at].get_ydata()[0]) == (100 * entry.top1.value, at)
    assert axes.yaxis_inverted()
    assert [point.get_marker() for point in points] == ["o", "s", "s"]


def test_chart_shows_figures_and_notes():
    words = [line for line, _ in written(chart(comparison(errors=("no memory",))))]
    assert {"85.7", "48.7–97.4", "best", "0.33", "7.2", "1,234", "94.0"} <= set(words)
    assert words.count("did not learn") == 1
    assert "left out (pretrained)" in words
    assert "no memory" in words
    assert "majority-class baseline: 57.1%" in words
    assert "random weights" in words
    assert "random weights" not in [line for line, _ in written(chart(CASES["one"]))]


def test_chart_scale_holds_every_interval():
    for compared in CASES.values():
        low, high = limits(compared)
        assert all(low <= 100 * entry.top1.low and 100 * entry.top1.high <= high for entry in compared.ranked)
        assert high - low >= 10
    near = comparison(right=("1" * 9800 + "0" * 200, "1" * 9790 + "0" * 210))
    assert limits(near)[0] > 85
    assert limits(CASES["hundred classes"]) == (0, 100)
    assert len(chart(near).axes[0].lines) == 4  # the majority baseline is at 50%, far to the left
