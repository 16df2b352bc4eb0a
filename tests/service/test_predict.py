"""Tests of tl/service/predict.py and tl/service/runs.py: predictions, explanations, runs and reports over HTTP."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from support.live_service import problem
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run


def test_predictions_equal_those_of_the_library(live, tiny_run, shapes):
    images = [shapes / "stripes" / "03.png", shapes / "noise" / "04.png"]
    expected = Predictor(load_run(tiny_run), engine="openvino").predict(images)
    for image, prediction in zip(images, expected, strict=True):
        response = live.post(image.read_bytes())
        assert response.status == 200, response.data
        body = json.loads(response.data)
        assert body["run"] == tiny_run.name
        assert body["milliseconds"] > 0
        [got] = body["predictions"]
        assert got["label"] == prediction.label == image.parent.name
        assert got["confidence"] == pytest.approx(prediction.confidence, abs=2e-3)
        assert got["unknown"] == prediction.unknown
        assert got["review"] is None
        assert [one["label"] for one in got["top"]] == [label for label, _ in prediction.top]
        assert got["error"] is None


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "WEBP"])
def test_formats_of_phones_are_decoded(live, shapes, kind):
    register_heif_opener()
    photo = io.BytesIO()
    Image.open(shapes / "stripes" / "03.png").save(photo, kind, quality=95)
    [got] = json.loads(live.post(photo.getvalue()).data)["predictions"]
    assert (got["label"], got["error"]) == ("stripes", None)


def test_a_form_of_several_images_is_answered_in_order(live, shapes):
    files = [shapes / "stripes" / "01.png", shapes / "noise" / "01.png", shapes / "stripes" / "02.png"]
    parts = [("image", (path.name, path.read_bytes(), "image/png")) for path in files]
    parts.insert(1, ("other", ("broken.png", b"\x89PNG\r\n\x1a\nbroken", "image/png")))
    response = live.request("POST", "/v1/predict?top=1", fields=parts)
    assert response.status == 200
    body = json.loads(response.data)["predictions"]
    assert [one["name"] for one in body] == ["01.png", "broken.png", "01.png", "02.png"]
    assert [one["label"] for one in body] == ["stripes", None, "noise", "stripes"]
    assert "PNG" in body[1]["error"]
    assert all(len(one["top"]) == 1 for one in body if not one["error"])


def test_a_request_can_bound_the_error_of_its_answers(live, tiny_run, shapes):
    photo = (shapes / "noise" / "00.png").read_bytes()
    for value in ("50%25", "0.5"):
        [got] = live.post(photo, f"/v1/predict?max_error={value}").json()["predictions"]
        assert (got["label"], got["review"]) == ("noise", False)
    too_few = problem(live.post(photo, "/v1/predict?max_error=0.01"))
    assert (too_few["status"], too_few["detail"][:48]) == (
        400,
        "--max-error 1% takes 230 held-out images, run " + tiny_run.name[:2],
    )
    assert "give a fraction from 0.0001 to 0.5" in problem(live.post(photo, "/v1/predict?max_error=5"))["detail"]
    assert problem(live.post(photo, f"/v1/predict?max_error={'1' * 50}"))["status"] == 422


def test_a_missed_deadline_is_a_504(live, shapes):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)).save(buffer, "PNG")
    body = problem(live.post(buffer.getvalue(), "/v1/predict?deadline_ms=1"))
    assert body["status"] == 504
    assert live.post((shapes / "noise" / "00.png").read_bytes()).status == 200


def test_explain_returns_a_png(live, shapes):
    content = (shapes / "stripes" / "00.png").read_bytes()
    top = live.post(content).json()["predictions"][0]["top"]
    probabilities = {one["label"]: one["confidence"] for one in top}
    for query, size in (("", (50, 40)), ("?label=noise&side=32", (32, 26))):
        response = live.post(content, f"/v1/explain{query}")
        assert response.status == 200, response.data
        assert response.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(response.data)) as picture:
            assert picture.size == size
        expected = probabilities[response.headers["X-Label"]]
        assert float(response.headers["X-Confidence"]) == pytest.approx(expected, abs=2e-6)
    assert problem(live.post(content, "/v1/explain?label=dragon"))["status"] == 422
    assert problem(live.post(b"no image", "/v1/explain"))["status"] == 422


def test_runs_are_listed_with_the_default_and_a_request_can_name_one(live, tiny_run, shapes):
    body = live.get("/v1/runs")
    assert body["default"] == tiny_run.name
    [run] = [run for run in body["runs"] if run["name"] == tiny_run.name]
    assert run["served"]
    assert run["default"]
    assert live.get(f"/v1/runs/{tiny_run.name}")["labels"] == ["noise", "stripes"]
    assert problem(live.request("GET", "/v1/runs/nothing"))["status"] == 404
    content = (shapes / "noise" / "00.png").read_bytes()
    assert live.post(content, f"/v1/predict?run={tiny_run.name}").status == 200
    for name in ("other", "../../etc"):
        assert problem(live.post(content, f"/v1/predict?run={name}"))["status"] == 404


def test_reports_are_sandboxed(live, tiny_run):
    response = live.request("GET", f"/v1/runs/{tiny_run.name}/report")
    assert response.status == 200
    assert response.data == (tiny_run / "report.html").read_bytes()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy  # so that default-src 'none' stands


def test_the_server_does_not_load_tensorflow(live):
    maps = Path(f"/proc/{live.process.pid}/maps").read_text()
    assert "openvino" in maps
    assert "tensorflow" not in maps
    assert live.heavy == []
