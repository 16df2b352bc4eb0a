"""Learning curves, gradients by layer, and the chart of a timing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.figures import assert_legible, ticks
from support.runs import RATE, write_tuned_run
from support.timings import timing
from tl.errors import RunError
from tl.learning.loop import Epoch, RangeTest
from tl.runs.folder import read_history, write_gradients, write_history
from tl.views.pictures import charts
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.charts import learning_curves, save_gradients

RATES = tuple(10 ** (-7 + at / 8) for at in range(50))
TEST = RangeTest(RATES, tuple(1.0 - 0.5 / (1 + 1e-3 / rate) + 30 * rate for rate in RATES), RATE)
LONG = "20261122-071317-" + "고양이와-개-" * 12


def curves_of(folder: Path, epochs: int, **options: Any) -> Any:
    return learning_curves(read_history(write_tuned_run(folder, epochs, **options)))


@pytest.mark.parametrize(("name", "epochs", "choice"), [
    ("one", 1, {}),
    ("three-with-a-test", 3, {"test": TEST}),
    ("three-hundred", 300, {"test": TEST, "kept": False, "stopped": "no better for 3 epochs"}),
    ("nothing-held-out", 10, {"held_out": False, "spread": 1e6}),
    (LONG, 12, {"spread": 1e4, "stopped": "step 7 diverged (" + "loss " * 60 + ")"}),
], ids=["one", "three", "three hundred", "nothing held out", "long words"])  # fmt: skip
def test_learning_curves_are_legible(tmp_path, name, epochs, choice):
    assert_legible(curves_of(tmp_path / name, epochs, **choice), fewest=15)


@pytest.mark.parametrize(
    ("epochs", "labels"),
    [(1, ["0", "1"]), (3, ["0", "1", "2", "3"]), (300, ["0", "50", "100", "150", "200", "250", "300"])],
)
def test_learning_curves_count_epochs_in_whole_numbers(tmp_path, epochs, labels):
    page = curves_of(tmp_path / "run", epochs)
    assert [ticks(axes.xaxis) for axes in page.axes] == [labels] * 3


def test_learning_curves_show_a_single_epoch(tmp_path):
    charts.save_figure(curves_of(tmp_path / "run", 1), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == OWN).all(axis=-1).sum() > 60
    assert (pixels == OTHER).all(axis=-1).sum() > 60


def test_learning_curves_show_the_history(tmp_path):
    folder = write_tuned_run(tmp_path / "run", 4, test=TEST)
    history = read_history(folder)
    losses, top1, rates, test = learning_curves(read_history(folder)).axes
    training, held_out, circle = (line.get_xydata() for line in losses.lines)
    assert training[:, 1].tolist() == history.epochs["loss"].tolist()
    assert held_out.tolist() == np.stack([history.ends, history.epochs["held_out_log_loss"]], axis=1).tolist()
    assert circle.tolist() == [[2, 0.2]]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training", "held out"]
    assert top1.lines[0].get_ydata() == pytest.approx(100 * history.epochs["top1"])
    assert top1.lines[1].get_ydata() == pytest.approx(100 * history.epochs["held_out_top1"])
    assert [text.get_text() for text in top1.get_legend().get_texts()] == ["training", "held out"]
    assert max(rates.lines[0].get_ydata()) == RATE
    assert test.lines[0].get_xydata()[:, 0] == pytest.approx(np.array(RATES))
    assert list(test.lines[1].get_xdata()) == [RATE, RATE]


@pytest.mark.parametrize(
    ("kept", "verdict"), [(True, "The tuned network is kept: "), (False, "No better on validation, so only the head")]
)
def test_learning_curves_title_names_run_and_verdict(tmp_path, kept, verdict):
    page = curves_of(tmp_path / "고양이 a$^{b$ \\frac{", 2, kept=kept)  # a name is no formula
    page.canvas.draw()
    first, second, _ = (text.get_text() for text in page.texts)
    assert first == "Fine-tuning 고양이 a$^{b$ \\frac{"
    assert second.startswith(verdict)
    assert page.texts[0].get_fontfamily()[0].endswith("KR")


def test_learning_curves_without_held_out_images_are_those_of_training(tmp_path):
    panels = curves_of(tmp_path / "run", 3, held_out=False).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["Loss", "Accuracy", "Learning rate"]
    assert [len(axes.lines) for axes in panels[:2]] == [1, 1]
    assert [axes.get_legend() for axes in panels[:2]] == [None, None]


def test_learning_curves_mark_no_epoch_where_none_was_chosen(tmp_path):
    losses, accuracy, _ = curves_of(tmp_path / "run", 3, monitor=0.0).axes
    assert [len(axes.lines) for axes in (losses, accuracy)] == [2, 2]


def test_learning_curves_of_earlier_runs_lack_the_training_accuracy(tmp_path):
    folder = write_tuned_run(tmp_path / "run", 3)
    rows = [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
    (folder / "history.csv").write_text("\n".join(rows))
    assert len(learning_curves(read_history(folder)).axes[1].lines) == 2  # held out, and the circle


@pytest.mark.parametrize("networks", [1, 2, 9])
def test_compared_curves_show_each_network(networks, tmp_path):
    names = [f"network-{at}-고양이 from random weights" for at in range(networks)]
    histories = {
        name: read_history(write_tuned_run(tmp_path / name, 3 + at, spread=4.0 + at)) for at, name in enumerate(names)
    }
    page = charts.compared_curves(histories)
    assert_legible(page, fewest=8)
    losses, accuracies = page.axes
    assert [len(axes.lines) for axes in page.axes] == [2 * networks] * 2
    held_out = histories[names[0]].epochs["held_out_log_loss"]
    assert losses.lines[1].get_ydata().tolist() == held_out.tolist()
    assert accuracies.get_xlim() == (0, 2 + networks)
    assert [text.get_text() for text in page.legends[0].get_texts()] == names


@pytest.mark.parametrize(("spread", "scale"), [(8.0, "linear"), (100.0, "log"), (1e9, "log")])
def test_learning_curves_use_a_log_scale_for_losses_far_apart(tmp_path, spread, scale):
    losses = curves_of(tmp_path / "run", 6, spread=spread).axes[0]
    assert losses.get_yscale() == scale
    assert 3 <= len(ticks(losses.yaxis)) <= 10


@pytest.mark.parametrize(("accuracy", "limits"), [(1.0, (98.5, 100)), (0.0, (0, 1.5))])
def test_learning_curves_keep_accuracy_between_0_and_100(tmp_path, accuracy, limits):
    folder = write_tuned_run(tmp_path / "run", 1)
    write_history(folder, [Epoch(1, 12, 0.0, 0.5, 0.5, accuracy, 1.0)], None)
    assert learning_curves(read_history(folder)).axes[1].get_ylim() == limits


@pytest.mark.parametrize("case", [
    timing(),
    timing(LONG, 1000.0, (1,)),
    replace(timing(sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024)), benchmark_app=None),
], ids=["usual", "one batch, long name", "many batches"])  # fmt: skip
def test_timing_chart_is_legible(case):
    assert_legible(charts.timing_chart(case))


FALLING = [10.0 ** (-7 + 0.4 * at) for at in range(13)]


def gradients_run(folder, before, after=None, layer="conv"):
    folder.mkdir()
    columns = [{f"{layer}{at}": value for at, value in enumerate(values)} for values in (before, after) if values]
    write_gradients(folder, columns)
    return folder


def gradients_page(folder):
    page = charts.gradients_figure(charts.read_gradients(folder))
    page.canvas.draw()
    return page


@pytest.mark.parametrize(("gradients", "expected"), [
    (FALLING, "vanishes towards the input, 10,000 times smaller in the first layers than in the last"),
    (FALLING[::-1], "grows towards the input, 10,000 times larger in the first layers than in the last"),
    ([0.02, 0.01, 0.03, 0.02, 0.04], "reaches the input, 2 times smaller in the first layers than in the last"),
    ([0.04, 0.01, 0.02], "reaches the input, 2 times larger in the first layers than in the last"),
    ([1e-12, 1.0], "vanishes towards the input, 1e12 times smaller in the first layers than in the last"),
    ([0.0, 0.0, 0.1], "no gradient reaches 2 of 3 layers"),
    ([0.0, 0.0], "no gradient reaches any layer"),
    ([float("nan"), 0.1], "the gradient is not finite"),
    ([float("inf"), 0.1], "the gradient is not finite"),
    ([0.1], "there is only one layer"),
])  # fmt: skip
def test_gradient_verdict(gradients, expected):
    assert charts.gradient_verdict(np.array(gradients)) == expected


def test_gradients_figure_has_both_times_with_verdicts(tmp_path):
    folder = gradients_run(tmp_path / "vgg16-cifar-scratch", FALLING, [0.0] * 12 + [0.1])
    page = gradients_page(folder)
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
    assert before.get_marker() != after.get_marker()


@pytest.mark.parametrize(
    ("count", "layer"),
    [(1, "head"), (5, "c"), (16, "block1_conv"), (54, "conv2_block1_"), (161, "a_layer_with_a_very_long_name_" * 3)],
)
def test_gradients_figure_is_legible(tmp_path, count, layer):
    values = [10.0 ** (at % 5 - 9) for at in range(count)]
    page = gradients_page(gradients_run(tmp_path / ("고양이-" * 24), values, values[::-1], layer))
    assert_legible(page, fewest=8)
    names = [label.get_text() for label in page.axes[0].get_xticklabels()]
    assert len(names) == min(count, len(names)) <= 33
    assert names[-1].endswith(str(count - 1))


def test_save_gradients_writes_only_the_picture_and_none_without_a_table(tmp_path):
    folder = gradients_run(tmp_path / "run", FALLING, FALLING[::-1])
    table = (folder / "gradients.csv").read_bytes()
    save_gradients(folder)
    assert (folder / "gradients.csv").read_bytes() == table
    assert sorted(path.name for path in folder.iterdir()) == ["gradients.csv", "gradients.png"]
    save_gradients(tmp_path)  # no table
    (tmp_path / "gradients.csv").write_text("layer,before,after\n")
    save_gradients(tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_gradients_figure_without_after_has_one_line_and_names_in_any_script(tmp_path):
    (axes,) = gradients_page(gradients_run(tmp_path / "run", FALLING)).axes
    assert len(axes.lines) == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before training"]
    gradients_page(gradients_run(tmp_path / "a$^{b$", [0.1, 0.2], layer="고양이$x^{2$"))  # names are no formulas
    gradients_page(gradients_run(tmp_path / "nothing-finite", [float("nan")] * 3))


@pytest.mark.parametrize("table", [
    b"layer,before\nc1,much\n",
    b"layer,before\nc1,-0.1\n",
    b"name,before\nc1,0.1\n",
    b"\xff\xfe\x00layer",
    b'layer,before\n"' + b"x" * 200_000 + b'",0.1\n',
], ids=["no number", "negative", "no layer", "not text", "a giant name"])  # fmt: skip
def test_save_gradients_names_a_damaged_table(tmp_path, table):
    (tmp_path / "gradients.csv").write_bytes(table)
    with pytest.raises(RunError, match=r"gradients\.csv is damaged .*: train the network again") as caught:
        save_gradients(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.png"))
