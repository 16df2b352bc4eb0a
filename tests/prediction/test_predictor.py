"""Predictions of a run: in order, in bounded memory, with the engine's options, the same as when it was trained."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tl.data.images import ImageLike, UnreadableImage
from tl.errors import ImageError
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    return Predictor(load_run(tiny_run))


def test_predictor_repeats_the_validation_predictions_of_its_run(predictor, shapes, tiny_run):
    with (tiny_run / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    predictions = predictor.predict([shapes / row["path"] for row in rows])
    for row, prediction in zip(rows, predictions, strict=True):
        assert prediction.label == row["predicted"]
        assert prediction.confidence == pytest.approx(float(row["confidence"]), abs=0.02)


def test_in_order_holds_back_a_bounded_number_of_predictions(predictor, shapes, monkeypatch):
    monkeypatch.setattr("tl.prediction.predictor._WINDOW", 100)
    taken = received = most = 0

    def items() -> Iterator[tuple[str, ImageLike]]:
        nonlocal taken, most
        for index in range(2000):
            taken += 1
            most = max(most, taken - received)
            yield str(index), shapes / "noise" / "00.png" if index % 1000 == 0 else UnreadableImage("broken")

    for index, prediction in enumerate(predictor.in_order(items())):
        assert prediction.name == str(index)
        assert prediction.error == ("" if index % 1000 == 0 else "broken")
        received += 1
    assert received == 2000
    assert most <= 101


def test_features_are_the_input_of_the_head(predictor, shapes, tmp_path):
    paths = sorted(shapes.rglob("*.png"))[::5]
    features = predictor.features([(path.name, path) for path in paths])
    assert features.shape == (len(paths), predictor.run.backbone.features)
    probabilities = predictor.run.head.probabilities(features)
    for row, prediction in zip(probabilities, predictor.predict(paths), strict=True):
        assert np.max(row) == pytest.approx(prediction.confidence, abs=0.02)
    with pytest.raises(ImageError, match=r"gone\.png: "):
        predictor.features([("gone.png", tmp_path / "gone.png")])


def test_single_image_uses_one_stream_and_gets_the_same_prediction(predictor, shapes, tiny_run):
    photo = shapes / "noise" / "00.png"
    single = Predictor(load_run(tiny_run), single=True)
    assert single.engine.network.get_property("NUM_STREAMS") == 1  # type: ignore[attr-defined]
    assert single.predict([photo]) == predictor.predict([photo])


def test_finetune_with_cached_features_does_not_load_tensorflow(shapes, tiny_run, tmp_path):
    code = (
        "import sys; from tl.commands.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr)"
    )
    options = ["--backbone", "mobilenetv3small", "--weights", "none", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", code, "finetune", str(shapes), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
