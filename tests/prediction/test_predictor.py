"""`tl predict`: files, folders, patterns, JSON, order, exit codes."""

import json
import shutil
import subprocess
import sys

import pytest

from tl.prediction.predictor import Predictor
from tl.runs.run import load_run


def test_a_folder_in_order_with_the_best_labels(tl, shapes, tiny_run):
    done = tl("predict", shapes, "--run", tiny_run, "--top", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(path) for path in sorted(shapes.rglob("*.png"))]
    for line in lines:
        path, said = line.rsplit(": ", 1)
        assert said.startswith(path.split("/")[-2])
        assert said.count(" %") == 2


def test_json_is_one_list_that_agrees_with_python(tl, shapes, tiny_run):
    answers = json.loads(tl("predict", shapes, "--run", tiny_run, "--json").stdout)
    paths = sorted(shapes.rglob("*.png"))
    ours = Predictor(load_run(tiny_run)).predict(paths)
    assert [answer["path"] for answer in answers] == [str(path) for path in paths]
    for answer, expected in zip(answers, ours, strict=True):
        assert answer["label"] == expected.label
        assert answer["confidence"] == pytest.approx(expected.confidence, abs=0.02)
        assert sum(item["confidence"] for item in answer["top"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_folder_without_images_is_an_error(tl, shapes, tiny_run, tmp_path, options):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    good = next((shapes / "noise").iterdir())
    done = tl("predict", good, "empty", "--run", tiny_run, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "error: folder 'empty' holds no images (.avif, .bmp, .gif, " in done.stderr
    assert "give another folder, or the files themselves" in done.stderr


def test_patterns_and_strange_names(tl, shapes, tiny_run, tmp_path):
    for name in ("고양이 [1].png", "a b.png", "x.txt"):
        shutil.copy(shapes / "noise" / "00.png", tmp_path / name)
    done = tl("predict", "*.png", "--run", tiny_run, cwd=tmp_path)
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == ["a b.png", "고양이 [1].png"]
    exact = tl("predict", "고양이 [1].png", "--run", tiny_run, cwd=tmp_path)
    assert exact.stdout.startswith("고양이 [1].png: noise")


def test_validation_predictions_of_the_run_are_repeated(shapes, tiny_run):
    import csv

    with (tiny_run / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    found = Predictor(load_run(tiny_run)).predict([shapes / row["path"] for row in rows])
    for row, prediction in zip(rows, found, strict=True):
        assert prediction.label == row["predicted"]
        assert prediction.confidence == pytest.approx(float(row["confidence"]), abs=0.02)


@pytest.mark.parametrize("arguments", [("predict",), ("grid", "--out", "grid.png")], ids=["predict", "grid"])
def test_neither_tensorflow_nor_keras_is_loaded(arguments, shapes, tiny_run, tmp_path):
    code = (
        "import sys; from tl.commands.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments, str(shapes), "--run", str(tiny_run)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_finetune_with_cached_features_does_not_load_tensorflow(shapes, tiny_run, tmp_path):
    code = (
        "import sys; from tl.commands.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr)"
    )
    options = ["--backbone", "mobilenetv3small", "--weights", "none", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", code, "finetune", str(shapes), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
