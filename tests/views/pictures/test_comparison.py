"""A comparison as a table and as a chart: all of it is said, nothing is cut or written over."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from tl.evaluation.metrics import proportion
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.comparison import chart, limits, save_chart
from tl.views.terminal.comparison import largest_class, table
from tl.views.terminal.tables import figure, percent
from tl.workflows.compare import Answer, Comparison, Entry, Photo

LONG = "a-network-with-a-really-very-long-name-of-many-words"
KOREAN = ("고양이", "강아지", "북극여우와 사막여우")
REASON = (
    "no weights 'imagenet' for vgg19: tried the cache, Keras; " + "give --weights PATH, " * 5 + "or `tl weights get`"
)
HOSTILE = "<script>alert('x')</script> & \x1b[31m고양이\u202e\nend"


def made(
    right: tuple[str, ...] = ("1111110", "1110001", "1000000"),
    classes: tuple[str, ...] = ("Cat", "Dog"),
    names: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
    data: str = "data/pets",
) -> Comparison:
    """Networks, each by which photos it gets right; the first is pretrained, the others come from random weights."""
    count = len(right[0])
    truths = [classes[at % len(classes)] for at in range(count)]
    answers = [
        [said(truth, letter == "1", classes, at) for at, (truth, letter) in enumerate(zip(truths, row, strict=True))]
        for row in right
    ]
    entries = []
    for at, row in enumerate(right):
        name = names[at] if names else f"network-{at}"
        fifth = proportion(count, count) if len(classes) > 5 else None
        costs = {"parameters": 325_956 * (at + 1), "seconds": 7.25 * (at + 1), "speed": 1234.5, "size": 94_000_000}
        p_value = 10.0 ** (-2 * at)
        top1 = proportion(row.count("1"), count)
        entries.append(Entry(name, at > 0, top1, fifth, p_value, learned=at < 2, folder=f"{name}-scratch", **costs))
    entries += [Entry(f"absent-{at}", bool(at), proportion(0, 0), error=error) for at, error in enumerate(errors)]
    photos = tuple(
        Photo(f"{truth}/{at}.jpg", truth, tuple(row[at] for row in answers)) for at, truth in enumerate(truths)
    )
    return Comparison(Path("runs/x"), data, count, classes, tuple(entries), photos, f"tl compare {data} --scratch a")


def said(truth: str, right: bool, classes: tuple[str, ...], at: int) -> Answer:
    other = classes[(classes.index(truth) + 1) % len(classes)]
    return Answer(truth if right else other, 0.5 + at % 10 / 25)


CASES = {
    "one": made(right=("1101",)),
    "two": made(right=("1" * 99 + "000", "10" * 51)),
    "twelve": made(
        right=tuple("1" * (100 - 8 * at) + "0" * (2 + 8 * at) for at in range(12)), errors=(REASON, HOSTILE)
    ),
    "long words": made(
        names=(LONG, LONG + "-2", LONG + "-3"), classes=KOREAN, errors=(REASON,), data="/사진/고양이와 개 " * 9
    ),
    "hundred classes": made(
        right=tuple("1" * (7800 - 3000 * at) + "0" * (2200 + 3000 * at) for at in range(3)),
        classes=tuple(f"class {at}" for at in range(100)),
    ),
}
every_case = pytest.mark.parametrize("comparison", CASES.values(), ids=CASES)


# table


@every_case
@pytest.mark.parametrize("width", [72, 80, 120])
def test_the_table_fits_the_terminal(comparison: Comparison, width: int):
    lines = table(comparison, width).split("\n")
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_a_row_says_all_of_a_network():
    lines = table(made()).split("\n")
    assert lines[3].split() == ["network-0", "pretrained", "85.7", "48.7–97.4", "best", "0.33", "7.2", "1,234", "94.0"]
    assert lines[4].split() == ["network-1", "random", "57.1", "25.0–84.2", "0.010", "0.65", "14", "1,234", "94.0"]
    assert lines[5].split()[4] == "<0.001"
    assert lines[6] == "  did not learn: see network-2-scratch/gradients.csv"
    assert "7 validation photos of pets, 2 classes." in lines
    assert lines[-1] == "Did not learn: hardly better than always naming the largest class, if at all."


def test_where_the_photos_do_not_tell_whether_a_network_learned_no_more_is_said():
    comparison = made()
    entries = (*comparison.entries[:2], replace(comparison.entries[2], learned=None))
    text = table(replace(comparison, entries=entries))
    assert "  too few photos to tell whether it learned\n" in text
    assert "did not learn" not in text.lower()


def test_columns_stand_below_each_other():
    lines = table(CASES["twelve"]).split("\n")
    rows = [line for line in lines[3:] if line.startswith("network-")]
    assert len(rows) == 12
    for heading in ("%", "interval", "best", "M", "s", "img/s", "MB"):
        end = f" {lines[1]} ".index(f" {heading} ") + len(heading)
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows), heading


def test_what_was_left_out_comes_last_with_its_reason_in_a_line():
    lines = table(made(errors=(REASON, HOSTILE))).split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith("absent-0"))
    assert lines[at].split() == ["absent-0", "pretrained", *"–––––––"]
    assert lines[at + 1].startswith("  left out: no weights 'imagenet' for vgg19")
    assert lines[at + 1].endswith("…")
    assert lines[at + 3].startswith("  left out: <script>alert('x')</script> & [31m고양이 end")
    assert at > lines.index("  did not learn: see network-2-scratch/gradients.csv")


def test_a_long_name_is_whole():
    lines = table(CASES["long words"]).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("a-network"))
    rest = [line.strip() for line in lines[first + 1 :] if line.startswith("  ")]
    assert (lines[first].split()[0] + "".join(rest)).startswith(LONG)


def test_nothing_is_said_of_learning_where_all_did():
    assert "learn" not in table(made(right=("1101", "1100")))


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100.0"), (0.99999, "99.9"), (0.9994, "99.9"), (0.0, "0.0"), (float("nan"), "–")]
)
def test_rounding_makes_nothing_perfect(share: float, shown: str):
    assert percent(share) == shown


def test_figures_have_three_digits():
    assert [figure(value) for value in (0.061, 3.414, 9.996, 23.6, 99.96, 143.7, 1234.4)] == [
        "0.06",
        "3.41",
        "10.0",
        "23.6",
        "100",
        "144",
        "1,234",
    ]


# chart


def drawn(comparison: Comparison) -> Any:
    from matplotlib.text import Text

    made = chart(comparison)
    made.canvas.draw()
    found = []
    for item in made.findobj(Text):
        if item.get_visible() and item.get_text().strip():
            found.append((item.get_text(), item.get_window_extent()))
    return made, found


@every_case
def test_nothing_in_the_chart_is_cut_or_written_over(comparison: Comparison):
    made, written = drawn(comparison)
    width, height = made.canvas.get_width_height()
    seen = [(words, box) for words, box in written if box.x0 > -width]  # labels of ticks outside are not drawn
    assert len(seen) > 15
    for words, box in seen:
        assert 3 < box.x0 < box.x1 < width - 3, words
        assert 3 < box.y0 < box.y1 < height - 3, words
    for (one, box), (other, its) in combinations(seen, 2):
        assert not box.padded(-1).overlaps(its.padded(-1)), (one, other)


def test_the_best_is_at_the_top_and_points_tell_the_weights_apart():
    comparison = made(errors=(REASON,))
    axes = chart(comparison).axes[0]
    intervals, points = axes.lines[0:6:2], axes.lines[1:6:2]
    for at, entry in enumerate(comparison.ranked):
        assert list(intervals[at].get_xdata()) == [100 * entry.top1.low, 100 * entry.top1.high]
        assert (points[at].get_xdata()[0], points[at].get_ydata()[0]) == (100 * entry.top1.value, at)
    assert axes.yaxis_inverted()
    assert [point.get_marker() for point in points] == ["o", "s", "s"]
    assert points[1].get_markerfacecolor() == "white" != points[0].get_markerfacecolor()
    assert points[0].get_color() != points[1].get_color() == points[2].get_color()


def test_the_chart_says_the_figures_and_the_notes():
    _, written = drawn(made(errors=("no memory",)))
    words = [line for line, _ in written]
    assert {"85.7", "48.7–97.4", "best", "0.33", "7.2", "1,234", "94.0"} <= set(words)
    assert words.count("did not learn") == 1
    assert "left out (pretrained)" in words
    assert "no memory" in words
    assert "always the largest class: 57.1 %" in words


def test_only_what_is_there_is_in_the_legend():
    words = [line for line, _ in drawn(CASES["one"])[1]]
    assert "pretrained weights" in words
    assert "random weights" not in words


def test_the_scale_holds_every_interval():
    for comparison in CASES.values():
        low, high = limits(comparison)
        assert all(low <= 100 * entry.top1.low and 100 * entry.top1.high <= high for entry in comparison.ranked)
        assert high - low >= 10
    near = made(right=("1" * 9800 + "0" * 200, "1" * 9790 + "0" * 210))
    assert limits(near)[0] > 85
    assert limits(CASES["hundred classes"]) == (0, 100)
    assert len(chart(near).axes[0].lines) == 4  # the largest class has half of the photos, far to the left


def test_largest_class_counts_the_true_labels():
    assert largest_class(made(right=("11111",))) == 0.6
    assert largest_class(replace(made(), photos=())) is None


def test_the_chart_is_written_whole(tmp_path: Path):
    save_chart(made(), tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as picture:
        found = np.asarray(picture.convert("RGB"))
    assert (found == OWN).all(axis=-1).sum() > 100
    assert (found == OTHER).all(axis=-1).sum() > 100
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.png"]
