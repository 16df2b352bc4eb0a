"""Photos over HTTP become the labels that the library gives them."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from support.live_service import Live, problem
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run


@pytest.fixture(scope="module")
def live(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    served = Live(tmp_path_factory.mktemp("served"), runs=[str(tiny_run)])
    yield served
    assert served.stop() == 0


def test_a_photo_gets_the_label_that_the_library_gives_it(live: Live, tiny_run: Path, shapes: Path):
    photos = [shapes / "stripes" / "03.png", shapes / "noise" / "04.png"]
    expected = Predictor(load_run(tiny_run), engine="openvino").predict(photos)
    for photo, wanted in zip(photos, expected, strict=True):
        answer = live.post(photo.read_bytes())
        assert answer.status == 200, answer.data
        said = json.loads(answer.data)
        assert said["run"] == tiny_run.name
        assert said["milliseconds"] > 0
        [got] = said["predictions"]
        assert got["label"] == wanted.label == photo.parent.name
        assert got["confidence"] == pytest.approx(wanted.confidence, abs=2e-3)
        assert got["unknown"] == wanted.unknown
        assert [share["label"] for share in got["top"]] == [label for label, _ in wanted.top]
        assert got["error"] is None


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "WEBP"])
def test_what_telephones_write_is_decoded_under_the_same_limits(live: Live, shapes: Path, kind: str):
    register_heif_opener()
    photo = io.BytesIO()
    Image.open(shapes / "stripes" / "03.png").save(photo, kind, quality=95)
    [got] = json.loads(live.post(photo.getvalue()).data)["predictions"]
    assert (got["label"], got["error"]) == ("stripes", None)


def test_a_form_of_several_photos_is_answered_in_its_order(live: Live, shapes: Path):
    files = [shapes / "stripes" / "01.png", shapes / "noise" / "01.png", shapes / "stripes" / "02.png"]
    parts = [("image", (path.name, path.read_bytes(), "image/png")) for path in files]
    parts.insert(1, ("other", ("broken.png", b"\x89PNG\r\n\x1a\nbroken", "image/png")))
    answer = live.request("POST", "/v1/predict?top=1", fields=parts)
    assert answer.status == 200
    said = json.loads(answer.data)["predictions"]
    assert [one["name"] for one in said] == ["01.png", "broken.png", "01.png", "02.png"]
    assert [one["label"] for one in said] == ["stripes", None, "noise", "stripes"]
    assert "PNG" in said[1]["error"]
    assert all(len(one["top"]) == 1 for one in said if not one["error"])


def test_the_run_that_answers_may_be_named(live: Live, tiny_run: Path, shapes: Path):
    content = (shapes / "noise" / "00.png").read_bytes()
    assert live.post(content, f"/v1/predict?run={tiny_run.name}").status == 200
    assert problem(live.post(content, "/v1/predict?run=other"))["status"] == 404
    assert problem(live.post(content, "/v1/predict?run=../../etc"))["status"] == 404


def test_an_answer_that_comes_too_late_is_504(live: Live, shapes: Path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)).save(buffer, "PNG")
    said = problem(live.post(buffer.getvalue(), "/v1/predict?deadline_ms=1"))
    assert said["status"] == 504
    assert live.post((shapes / "noise" / "00.png").read_bytes()).status == 200


def test_what_speaks_for_a_label_comes_as_a_picture(live: Live, shapes: Path):
    content = (shapes / "stripes" / "00.png").read_bytes()
    for path in ("/v1/explain", "/v1/explain?label=noise&side=32"):
        answer = live.post(content, path)
        assert answer.status == 200, answer.data
        assert answer.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(answer.data)) as picture:
            assert picture.size == ((50, 40) if "side" not in path else (32, 26))
        shares = {
            one["label"]: one["confidence"] for one in live.post(content, "/v1/predict").json()["predictions"][0]["top"]
        }
        assert float(answer.headers["X-Confidence"]) == pytest.approx(shares[answer.headers["X-Label"]], abs=2e-6)
    assert problem(live.post(content, "/v1/explain?label=dragon"))["status"] == 422
    assert problem(live.post(b"no image", "/v1/explain"))["status"] == 422


def test_the_runs_are_listed_with_what_answers(live: Live, tiny_run: Path):
    said = json.loads(live.request("GET", "/v1/runs").data)
    assert said["default"] == tiny_run.name
    [run] = [run for run in said["runs"] if run["name"] == tiny_run.name]
    assert run["served"]
    assert run["default"]
    one = json.loads(live.request("GET", f"/v1/runs/{tiny_run.name}").data)
    assert one["labels"] == ["noise", "stripes"]
    assert problem(live.request("GET", "/v1/runs/nothing"))["status"] == 404


def test_a_report_is_shown_in_a_sandbox(live: Live, tiny_run: Path):
    answer = live.request("GET", f"/v1/runs/{tiny_run.name}/report")
    assert answer.status == 200
    assert answer.data == (tiny_run / "report.html").read_bytes()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy  # so that default-src 'none' stands


def test_the_server_runs_without_the_training_framework(live: Live):
    maps = Path(f"/proc/{live.process.pid}/maps").read_text()
    assert "openvino" in maps
    assert "tensorflow" not in maps
