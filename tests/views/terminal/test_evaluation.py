"""The lines of an assessment: figures, at most eight classes, pairs; 80 columns whatever the names are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from support.timings import timing
from tl.commands.console import Console
from tl.data.dataset import Dataset
from tl.evaluation.metrics import mcnemar
from tl.evaluation.predictions import predict
from tl.learning.head import Head
from tl.networks.backbones import backbone
from tl.runs.run import Run
from tl.views.terminal.evaluation import lines, timing_lines, timing_table
from tl.workflows.evaluate import Assessment


def _made(
    classes: tuple[str, ...], wrong: int, count: int = 60, name: str = "a-run", rare: int | None = None
) -> Assessment:
    """`count` photos, of which the first `wrong` are taken for the next class; of two, the last has `rare` photos."""
    labels = np.arange(count) % len(classes) if rare is None else (np.arange(count) < rare).astype(np.int64)
    answers = np.where(np.arange(count) < wrong, (labels + 1) % len(classes), labels)
    head = Head(4 * np.eye(len(classes), dtype=np.float32), np.zeros(len(classes), np.float32), 1.0)
    values = np.eye(len(classes), dtype=np.float32)[answers]
    names = tuple(map(str, range(count)))
    dataset = Dataset("photos", None, classes, tuple(map(Path, names)), names, labels, (None,) * count)
    said = predict(head, values, dataset, np.arange(count), parts=["evaluation"] * count, unknown=None)
    run = Run(Path(name), classes, backbone("resnet50"), head, None, {})
    tested = mcnemar(np.zeros(count, bool), answers == labels)
    return Assessment(run, Path("out"), "photos", dataset, said, {"trained on": 1}, "the other", tested)


def _text(made: Assessment, capsys: pytest.CaptureFixture[str]) -> str:
    for topic, text in lines(made):
        Console().log(topic, text)
    return capsys.readouterr().out


def test_says_what_there_is(capsys: pytest.CaptureFixture[str]):
    text = " ".join(_text(_made(("cat", "dog"), 6), capsys).split())
    assert "left out 1 photo trained on" in text
    assert "top-1 90.0 % (95 % interval 79.9 to 95.3), on 60 photos" in text
    assert "top-5" not in text
    assert "unknown" not in text
    assert "cat 90.0 90.0 90.0 30" in text
    assert "cat answered dog: 3 photos, 10 % of its class" in text
    assert "a-run gets 54 right that the other gets wrong" in text


def test_of_uneven_classes_the_rare_one_counts(capsys: pytest.CaptureFixture[str]):
    made = _made(("cat", "dog"), 0, 50, rare=2)
    text = _text(made, capsys)
    assert "top-1       100.0 % (95 % interval 92.9 to 100.0), on 50 photos" in text
    assert "balanced    accuracy 100.0 % (66.9 to 100.0), macro F1 100.0 % (66.9 to 100.0)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_photos_that_were_trained_on_are_disclosed(capsys: pytest.CaptureFixture[str]):
    text = _text(replace(_made(("cat", "dog"), 0, 80), trained_on=64), capsys)
    assert "top-1       100.0 % (95 % interval 95.4 to 100.0), on 80 photos, 64 trained on" in text.splitlines()
    assert "            such figures do not tell how good it is on other photos" in text.splitlines()
    assert max(map(len, text.splitlines())) <= 80
    assert "do not tell" not in _text(_made(("cat", "dog"), 0), capsys)


def test_of_many_classes_the_weakest(capsys: pytest.CaptureFixture[str]):
    text = _text(_made(tuple(f"class {at:02}" for at in range(20)), 3), capsys)
    assert "top-5" in text
    shown = [line.split()[1] for line in text.splitlines() if line.strip().startswith("class ")]
    assert len(shown) == 8 + 2  # and the pairs but the first, which its topic leads
    assert shown[:3] == ["00", "01", "02"]


def test_none_confused(capsys: pytest.CaptureFixture[str]):
    assert "none: every photo got its own class" in _text(_made(("cat", "dog"), 0), capsys)


@pytest.mark.parametrize(
    "classes",
    [
        ("a" * 200, "b" * 199 + " b"),
        ("\x1b[31mred\u202e", "tab\tnew\nline"),
        ("고양이", "강아지"),
        ("고" * 60, "아" * 60),
    ],
)
def test_lines_fit_whatever_the_names_are(classes: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    text = _text(_made(classes, 6, name="n" * 200), capsys)
    table = [line for line in text.splitlines() if line.endswith(" 30")]
    assert len(table) == 2
    assert max(cell_len(line) for line in table) <= 80
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not set(text) & {"\x1b", "\u202e", "\t"}


@pytest.mark.parametrize("scale", [0.001, 1.0, 10.0])
def test_timing_table_fits_80_columns(scale: float):
    case = timing(scale=scale, sizes=(1, 4, 16, 1024))
    rows = timing_table(case).splitlines()
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
    assert text["tl predict"] == "new process, one photo: 0.71 s, 259 MB"
