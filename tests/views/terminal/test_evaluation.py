"""The lines of an evaluation and of a timing, and the table of a comparison: within 80 columns with any name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from support.comparisons import CASES, HOSTILE, LONG, REASON, comparison, every_case
from support.timings import timing
from tl.commands.console import Console
from tl.data.dataset import Dataset
from tl.evaluation.predictions import predict
from tl.evaluation.significance import mcnemar
from tl.learning.head import Head
from tl.networks.backbones import backbone
from tl.prediction.evaluation import Evaluation
from tl.runs.run import Run
from tl.views.terminal.evaluation import comparison_table, lines, timing_lines, timing_table


def evaluation(classes, wrong, count=60, name="a-run", rare=None):
    """`count` images, of which the first `wrong` are taken for the next class; of two, the last has `rare` images."""
    labels = np.arange(count) % len(classes) if rare is None else (np.arange(count) < rare).astype(np.int64)
    predicted = np.where(np.arange(count) < wrong, (labels + 1) % len(classes), labels)
    head = Head(4 * np.eye(len(classes), dtype=np.float32), np.zeros(len(classes), np.float32), 1.0)
    features = np.eye(len(classes), dtype=np.float32)[predicted]
    names = tuple(map(str, range(count)))
    dataset = Dataset("photos", None, classes, tuple(map(Path, names)), names, labels, (None,) * count)
    predictions = predict(head, features, dataset, np.arange(count), parts=["evaluation"] * count, unknown=None)
    run = Run(Path(name), classes, backbone("resnet50"), head, None, {})
    test = mcnemar(np.zeros(count, bool), predicted == labels)
    left_out = {"trained on": 1}
    return Evaluation(run, Path("out"), "photos", predictions, left_out, against="the other", comparison=test)


def text_of(made: Evaluation, capsys: pytest.CaptureFixture[str]) -> str:
    for topic, text in lines(made):
        Console().log(topic, text)
    return capsys.readouterr().out


def test_lines_have_metrics_classes_and_pairs(capsys):
    text = " ".join(text_of(evaluation(("cat", "dog"), 6), capsys).split())
    assert "left out 1 image trained on" in text
    assert "accuracy 90.0% (95% CI 79.9–95.3) on 60 images" in text
    assert "top-5" not in text
    assert "unknown" not in text
    assert "will be lower" not in text
    assert "cat 90.0% 90.0% 90.0% 30" in text
    assert "cat predicted as dog: 3 images, 10% of its class" in text
    assert "against" in text


@pytest.mark.parametrize(("made", "expected"), [
    (evaluation(("cat", "dog"), 0, 50, rare=2), "balanced    accuracy 100.0% (95% CI 66.9–100.0)"),
    (
        replace(evaluation(("cat", "dog"), 0, 80), trained_on=64),
        "            64 of them trained on: accuracy on new images will be lower",
    ),
    (
        replace(evaluation(("cat", "dog"), 0, 50), held_out="validation"),
        "accuracy    100.0% (95% CI 92.9–100.0) on 50 validation images",
    ),
    (evaluation(("cat", "dog"), 0), "confused    none: all images are classified correctly"),
], ids=["a rare class", "training images", "a part of the run", "all correct"])  # fmt: skip
def test_lines_suit_the_evaluation(made, expected, capsys):
    assert expected in text_of(made, capsys).splitlines()


def test_lines_show_the_weakest_of_many_classes(capsys):
    text = text_of(evaluation(tuple(f"class {at:02}" for at in range(20)), 3), capsys)
    assert "top-5" in text
    shown = [line.split()[1] for line in text.splitlines() if line.strip().startswith("class ")]
    assert len(shown) == 8 + 2  # and the pairs but the first, which its topic leads
    assert shown[:3] == ["00", "01", "02"]


@pytest.mark.parametrize("classes", [
    ("a" * 200, "b" * 199 + " b"),
    ("\x1b[31mred\u202e", "tab\tnew\nline"),
    ("고양이", "강아지"),
    ("고" * 60, "아" * 60),
])  # fmt: skip
def test_lines_fit_80_columns_with_any_name(classes, capsys):
    text = text_of(evaluation(classes, 6, name="n" * 200), capsys)
    table = [line for line in text.splitlines() if line.endswith(" 30")]
    assert len(table) == 2
    assert max(cell_len(line) for line in table) <= 80
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not set(text) & {"\x1b", "\u202e", "\t"}


@pytest.mark.parametrize("scale", [0.001, 1.0, 10.0])
def test_timing_table_fits_80_columns(scale):
    rows = timing_table(timing(scale=scale, sizes=(1, 4, 16, 1024))).splitlines()
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows[0]) <= 80
    assert len(rows) == 9


def test_timing_lines_name_processes_and_engine_settings():
    first, *rest = timing_lines(timing())
    assert "5 calls" in first[1]
    text = dict(line for line in rest if line[0])
    assert "103 images/s" in text["OpenVINO"]
    assert text["remembered"].startswith("bf16: ")
    assert text["engine"].startswith("f32: ")
    assert text["tl predict"] == "new process, one image: 0.71 s, 259 MB"


@every_case
@pytest.mark.parametrize("width", [72, 80, 120])
def test_comparison_table_fits_the_terminal(case, width):
    lines = comparison_table(case, width).split("\n")
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_comparison_table_row_has_all_figures_of_a_network():
    lines = comparison_table(comparison()).split("\n")
    assert lines[3].split() == ["network-0", "pretrained", "85.7", "48.7–97.4", "best", "0.33", "7.2", "1,234", "94.0"]
    assert lines[4].split() == ["network-1", "random", "57.1", "25.0–84.2", "0.010", "0.65", "14", "1,234", "94.0"]
    assert lines[5].split()[4] == "<0.001"
    assert lines[6] == "  did not learn: see network-2-scratch/gradients.csv"
    assert "7 validation images of pets, 2 classes." in lines
    assert lines[-1] == "Did not learn: hardly better than the majority-class baseline, if at all."


def test_comparison_table_says_when_there_are_too_few_images_to_tell():
    compared = comparison()
    entries = (*compared.entries[:2], replace(compared.entries[2], learned=None))
    text = comparison_table(replace(compared, entries=entries))
    assert "  too few images to tell whether it learned\n" in text
    assert "did not learn" not in text.lower()
    assert "learn" not in comparison_table(comparison(right=("1101", "1100")))


def test_comparison_table_ends_with_failed_networks_and_their_errors():
    lines = comparison_table(comparison(errors=(REASON, HOSTILE))).split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith("absent-0"))
    assert lines[at].split() == ["absent-0", "pretrained", *"–––––––"]
    assert lines[at + 1].startswith("  left out: no weights 'imagenet' for vgg19")
    assert lines[at + 1].endswith("…")
    assert lines[at + 3].startswith("  left out: <script>alert('x')</script> & [31m고양이 end")
    assert at > lines.index("  did not learn: see network-2-scratch/gradients.csv")


def test_comparison_table_wraps_a_long_name():
    lines = comparison_table(CASES["long words"]).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("a-network"))
    rest = [line.strip() for line in lines[first + 1 :] if line.startswith("  ")]
    assert (lines[first].split()[0] + "".join(rest)).startswith(LONG)
