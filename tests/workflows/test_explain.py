"""`tl explain`: heatmaps of the evidence for a label, from Python and from the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tl as library
from tl.errors import ImageError
from tl.learning.unknown import Unknown
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run
from tl.workflows.explain import explain
from tl.workflows.grid import grid


def test_classifier_explains_files_and_arrays(tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    classifier = library.load(tiny_run)
    page = classifier.explain([shapes / "noise" / "00.png", np.full((50, 40, 3), 150, np.uint8)], label="stripes")
    assert isinstance(page, Image.Image)
    assert page.height > 2 * 230
    (tmp_path / "broken.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match="broken.jpg: not an image"):
        classifier.explain(tmp_path / "broken.jpg")


def test_label_and_confidence_are_those_of_the_prediction(tiny_run: Path, shapes: Path, monkeypatch) -> None:
    predictor = Predictor(load_run(tiny_run))
    monkeypatch.setattr(
        predictor, "judge", lambda features: (np.array([[0.4, 0.6]] * len(features)), np.zeros(len(features), bool))
    )
    images = [shapes / "noise" / name for name in ("00.png", "01.png")]
    for label, expected in ((None, ("stripes", 0.6)), ("noise", ("noise", 0.4))):
        for heatmap in explain(images, predictor=predictor, label=label).heatmaps:
            assert heatmap.explanation is not None
            assert (heatmap.label, heatmap.explanation.confidence) == expected
            assert predictor.run.classes[heatmap.explanation.label] == expected[0]


def test_grid_lays_heatmaps_over_its_images(tiny_run: Path, shapes: Path, tl, tmp_path: Path) -> None:
    predictor = Predictor(load_run(tiny_run))
    plain, explained = (
        grid(shapes, predictor=predictor, count=4, columns=2, explain=explain) for explain in (False, True)
    )
    assert [entry.explanation for entry in plain.shown] == [None] * 4
    for entry in explained.shown:
        assert entry.explanation is not None
        assert predictor.run.classes[entry.explanation.label] == entry.prediction.label
        assert entry.explanation.confidence == pytest.approx(entry.prediction.confidence, abs=0.05)
    pictures = [np.asarray(picture.image) for picture in (plain, explained)]
    assert np.abs(pictures[0][-500:].astype(int) - pictures[1][-500:]).mean() > 5  # below the title
    tl("grid", shapes, "--run", tiny_run, "--explain", "--count", 4, "--columns", 2, cwd=tmp_path, expect=0)
    written = np.asarray(Image.open(tmp_path / "grid.png"))
    assert np.array_equal(written[-500:], pictures[1][-500:])


def test_image_unlike_all_training_images_is_marked_unknown(tiny_run: Path, shapes: Path) -> None:
    run = load_run(tiny_run)
    photo = shapes / "noise" / "00.png"
    for threshold, is_unknown in ((-1.0, True), (2.0, False)):
        references = np.eye(1, run.backbone.features, dtype=np.float32)
        changed = replace(run, unknown=Unknown(references, threshold, 0.01))
        [heatmap] = explain(photo, predictor=Predictor(changed)).heatmaps
        assert heatmap.unknown is is_unknown
    [heatmap] = explain(photo, predictor=Predictor(replace(run, unknown=None))).heatmaps
    assert heatmap.unknown is False


def test_explain_command(tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    images = [shapes / "noise" / "00.png", "broken.png", shapes / "stripes" / "01.png"]
    done = tl("explain", *images, "--run", tiny_run, cwd=tmp_path, expect=1)
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()[:2]] == ["noise", "stripes"]
    assert "explain.png: 2 images" in done.stdout
    assert done.stderr.startswith("broken.png: error: ")
    done = tl("explain", images[0], "--run", tiny_run, "--label", "stripes", "--json", "--out", "a.png", cwd=tmp_path)
    [answer] = json.loads(done.stdout)
    predicted = json.loads(tl("predict", images[0], "--run", tiny_run, "--format", "json").stdout)[0]
    probabilities = {entry["label"]: entry["confidence"] for entry in predicted["top"]}
    assert (answer["label"], answer["path"]) == ("stripes", str(images[0]))
    assert answer["confidence"] == probabilities["stripes"]
    assert np.array(answer["heat"]).shape == (7, 7)
    assert (tmp_path / "a.png").is_file()


def test_explain_command_refuses_wrong_labels(tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    image = shapes / "noise" / "00.png"
    wrong = tl("explain", image, "--run", tiny_run, "--label", "stripe", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines() == [
        f"error: --label 'stripe': run {tiny_run.name} has no such class; did you mean stripes?"
    ]
    assert "it has noise, stripes" in tl("explain", image, "--run", tiny_run, "--label", "q", cwd=tmp_path).stderr
    many = tl("explain", *[image] * 101, "--run", tiny_run, cwd=tmp_path)
    assert "more than 100 images: at most 100" in many.stderr
    assert not list(tmp_path.iterdir())
