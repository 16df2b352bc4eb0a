"""Tests of the picture of gradients by layer."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl.errors import RunError
from tl.runs.folder import write_gradients
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.gradients import figure, read, save_gradients

FALLING = [10.0 ** (-7 + 0.4 * at) for at in range(13)]


def write_run(folder: Path, before: Sequence[float], after: Sequence[float] | None = None, layer: str = "conv") -> Path:
    folder.mkdir()
    columns = [{f"{layer}{at}": value for at, value in enumerate(values)} for values in (before, after) if values]
    write_gradients(folder, columns)
    return folder


def verdict(folder: Path, time: str = "before") -> str:
    gradients = read(folder)
    assert gradients is not None
    return gradients.verdict(time)


def page_of(folder: Path) -> Any:
    gradients = read(folder)
    assert gradients is not None
    page = figure(gradients)
    page.canvas.draw()
    return page


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        (FALLING, "vanishes towards the input, 10,000 times smaller in the first layers than in the last"),
        (FALLING[::-1], "grows towards the input, 10,000 times larger in the first layers than in the last"),
        ([0.02, 0.01, 0.03, 0.02, 0.04], "reaches the input, 2.0 times smaller in the first layers than in the last"),
        ([0.04, 0.01, 0.02], "reaches the input, 2.0 times larger in the first layers than in the last"),
        ([1e-12, 1.0], "vanishes towards the input, 1e12 times smaller in the first layers than in the last"),
        ([0.0, 0.0, 0.1], "no gradient reaches 2 of 3 layers"),
        ([0.0, 0.0], "no gradient reaches any layer"),
        ([float("nan"), 0.1], "the gradient is not finite"),
        ([float("inf"), 0.1], "the gradient is not finite"),
        ([0.1], "there is only one layer"),
    ],
)
def test_verdict(tmp_path: Path, gradients: list[float], expected: str):
    assert verdict(write_run(tmp_path / "run", gradients)) == expected


def test_figure_has_both_times_with_verdicts(tmp_path: Path):
    folder = write_run(tmp_path / "vgg16-cifar-scratch", FALLING, [0.0] * 12 + [0.1])
    page = page_of(folder)
    assert [line.get_text() for line in page.texts] == [
        "Gradients of vgg16-cifar-scratch",
        "Before training: vanishes towards the input, 10,000 times smaller in the first layers than in the last",
        "After training: no gradient reaches 12 of 13 layers",
    ]
    before, after = page.axes[0].lines
    assert before.get_ydata() == pytest.approx(np.log10(FALLING))
    floor = after.get_ydata()[0]
    assert floor == after.get_ydata()[11] < np.log10(FALLING).min()
    assert after.get_ydata()[12] == -1
    labels = dict(zip(page.axes[0].get_yticks(), page.axes[0].get_yticklabels(), strict=True))
    assert labels[floor].get_text() == "0"
    assert {before.get_marker(), after.get_marker()} == {"o", "s"}
    assert before.get_linestyle() != after.get_linestyle()


@pytest.mark.parametrize(
    ("count", "layer"),
    [(1, "head"), (5, "c"), (16, "block1_conv"), (54, "conv2_block1_"), (161, "a_layer_with_a_very_long_name_" * 3)],
)
def test_figure_cuts_and_overlaps_no_text(tmp_path: Path, count: int, layer: str):
    from matplotlib.text import Text

    lengths = [10.0 ** (at % 5 - 9) for at in range(count)]
    page = page_of(write_run(tmp_path / ("고양이-" * 24), lengths, lengths[::-1], layer))
    width, height = page.canvas.get_width_height()
    words = [item for item in page.findobj(Text) if item.get_visible() and item.get_text().strip()]
    boxes = [(item.get_text(), item.get_window_extent()) for item in words]
    assert len(boxes) > 8
    for text, box in boxes:
        assert 3 < box.x0 < box.x1 < width - 3, text
        assert 3 < box.y0 < box.y1 < height - 3, text
    for (one, box), (other, its) in combinations(boxes, 2):
        assert not box.padded(-1).overlaps(its.padded(-1)), (one, other)
    names = [label.get_text() for label in page.axes[0].get_xticklabels()]
    assert len(names) == min(count, len(names)) <= 33
    assert names[-1].endswith(str(count - 1))


def test_save_gradients_writes_only_the_picture(tmp_path: Path):
    folder = write_run(tmp_path / "run", FALLING, FALLING[::-1])
    table = (folder / "gradients.csv").read_bytes()
    assert save_gradients(folder) == folder / "gradients.png"
    with Image.open(folder / "gradients.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == OWN).all(axis=-1).sum() > 300
    assert (pixels == OTHER).all(axis=-1).sum() > 300
    assert (folder / "gradients.csv").read_bytes() == table
    assert sorted(path.name for path in folder.iterdir()) == ["gradients.csv", "gradients.png"]


def test_figure_without_after_has_one_line(tmp_path: Path):
    page = page_of(write_run(tmp_path / "run", FALLING))
    assert len(page.axes[0].lines) == 1
    assert [text.get_text() for text in page.axes[0].get_legend().get_texts()] == ["before training"]


def test_names_are_not_formulas_and_may_be_in_any_script(tmp_path: Path):
    assert save_gradients(write_run(tmp_path / "a$^{b$", [0.1, 0.2], layer="고양이$x^{2$")) is not None
    assert save_gradients(write_run(tmp_path / "nothing-finite", [float("nan")] * 3)) is not None


def test_without_a_table_there_is_no_picture(tmp_path: Path):
    assert save_gradients(tmp_path) is None
    (tmp_path / "gradients.csv").write_text("layer,before,after\n")
    assert save_gradients(tmp_path) is None
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    "table",
    [
        b"layer,before\nc1,much\n",
        b"layer,before\nc1,-0.1\n",
        b"name,before\nc1,0.1\n",
        b"\xff\xfe\x00layer",
        b"layer,before\n" + b"c1,0.1\n" * 200_000,
        b'layer,before\n"' + b"x" * 200_000 + b'",0.1\n',
    ],
    ids=["no number", "negative", "no layer", "not text", "too large", "a giant name"],
)
def test_damaged_table_is_a_one_line_error(tmp_path: Path, table: bytes):
    (tmp_path / "gradients.csv").write_bytes(table)
    with pytest.raises(RunError, match=r"gradients\.csv is damaged .*: train the network again") as caught:
        save_gradients(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.png"))
