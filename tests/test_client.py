"""Tests of tl/client.py against a real server."""

import io
import json
import shutil
import socket

import pytest
from PIL import Image

import tl
from support.cli import run_here
from support.data_sets import write_video
from support.live_service import LONG, Live
from support.session import TINY
from tl.errors import ServiceError


@pytest.fixture(scope="module")
def served(tiny_run, tmp_path_factory):
    live = Live(tmp_path_factory.mktemp("served"), keys=True, runs=[str(tiny_run)])
    yield live
    live.stop()


def test_predict_and_explain_take_paths_and_bytes(served, shapes):
    client = tl.Client(served.address, served.keys["predict"])
    stripes, noise = shapes / "stripes" / "00.png", shapes / "noise" / "00.png"
    [alone] = client.predict(stripes)
    assert alone["label"] == "stripes"
    both = client.predict([str(noise), stripes.read_bytes(), b"broken"], top=1)
    assert [one["label"] for one in both] == ["noise", "stripes", None]
    assert both[2]["error"]
    answered = client.predict([noise, b"broken"], max_error="50%")
    assert [one["review"] for one in answered] == [False, None]
    with pytest.raises(ServiceError, match="400: --max-error 1% takes 230 held-out images"):
        client.predict(noise, max_error=0.01)
    [gone] = client.predict("none.png")
    assert gone["error"] == "cannot be read: no such file or directory"
    assert [row["name"] for row in client.predict([str(noise), b"broken"])] == [str(noise), "1"]
    with Image.open(io.BytesIO(client.explain(noise))) as picture:
        assert picture.size == (50, 40)


def test_runs_are_listed_and_activated(served, tiny_run):
    client = tl.Client(served.address + "/", served.keys["admin"])
    [run] = [run for run in client.runs() if run["default"]]
    assert run["name"] == tiny_run.name
    assert client.datasets() == client.jobs() == []
    for method, status in ((client.activate, 404), (client.job, 404), (client.finetune, 422), (client.cancel, 404)):
        with pytest.raises(ServiceError, match=str(status)):
            method("0" * 16)
    with pytest.raises(ServiceError, match="404"):
        next(client.events("0" * 16))


def test_errors_are_one_line(served, tmp_path):
    predict = served.keys["predict"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    wrong = [
        (lambda: tl.Client("127.0.0.1:8000"), "not an address"),
        (lambda: tl.Client(nobody).runs(), "cannot be reached"),
        (lambda: tl.Client(served.address).runs(), "401: a key is needed"),
        (lambda: tl.Client(served.address, "tl_wrong").runs(), "401"),
        (lambda: tl.Client(served.address, predict).jobs(), "403"),
        (lambda: tl.Client(served.address, predict).predict(b"text"), "422: the image cannot be used"),
        (lambda: tl.Client(served.address, predict).upload(tmp_path / "none.zip"), "none.zip cannot be sent"),
        (lambda: tl.Client(served.address.replace("http", "https"), predict).runs(), "cannot be reached"),
    ]
    for call, message in wrong:
        with pytest.raises(ServiceError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert predict not in str(caught.value)


def test_from_upload_to_prediction(shapes, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", shapes)
    live = Live(tmp_path, keys=True, jobs=True)
    try:
        client = tl.Client(live.address, live.keys["admin"])
        stored = client.upload(archive, name="photos.zip", check=False)
        assert [one["id"] for one in client.datasets()] == [stored["id"]]
        job = client.finetune(stored["id"], run="mine", backbone=TINY, weights="none")["id"]
        events = list(client.events(job))
        assert client.job(job)["state"] == events[-1][1]["state"] == "succeeded", events[-3:]
        assert len(events) > 3
        assert [one["name"] for one in client.runs()] == ["mine"]
        client.activate("mine")
        assert client.predict(shapes / "stripes" / "00.png")[0]["label"] == "stripes"

        job = client.finetune(stored["id"], **LONG)["id"]
        stream = client.events(job)
        next(stream)
        client.cancel(job)
        assert list(stream)[-1][1]["state"] == client.job(job)["state"] == "cancelled"
        assert client.jobs()[0]["id"] == job
    finally:
        live.stop()


def test_inputs_have_the_same_names_everywhere(served, tiny_run, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shapes / "noise", "noise")
    (tmp_path / "table.csv").write_text("path\nnoise/00.png\n", "utf-8")
    (tmp_path / "broken.png").write_text("text")
    write_video(tmp_path / "clip.avi", frames=5)
    inputs = ["noise/01.png", "noise", "noise/*0.png", "table.csv", "clip.avi", "broken.png", "gone.png"]
    found = [row["name"] for row in tl.Client(served.address, served.keys["predict"]).predict(inputs)]
    assert len(found) == 19
    classifier = tl.load(tiny_run)
    assert [one.name for one in classifier.predict(inputs)] == found
    assert [one.name for one in classifier.stream(inputs)] == found
    for command, *form in (("predict", "--format", "json"), ("explain", "--json")):
        rows = json.loads(run_here(command, *inputs, "--run", tiny_run, *form, cwd=tmp_path).stdout)
        assert [row["path"] for row in rows] == found
    search = ["search", *inputs[:-2], "--in", "noise", "--run", tiny_run, "--json"]
    answers = json.loads(run_here(*search, cwd=tmp_path).stdout)["answers"]
    assert [row["query"] for row in answers] == found[:-2]
