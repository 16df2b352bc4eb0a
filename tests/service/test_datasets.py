"""Tests of tl/service/datasets.py over HTTP: uploads that become data sets, and those that are refused."""

import os
import socket
from contextlib import ExitStack

import pytest

from support.hostile import GOOD, PNG, tarred, zipped
from support.live_service import until

HEAD = b"POST /v1/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\nPK\3\4"
FORM = "multipart/form-data; boundary=b"
FIELD = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nPK'


@pytest.fixture(scope="module")
def served(serve):
    limits = {"upload_bytes": 3_000_000, "uploads": 2, "idle_seconds": 3.0}
    return serve(training=limits, archive={"unpacked": 40_000_000, "member": 20_000_000})


def entries(served, name):
    folder = served.home / "state" / name
    return os.listdir(folder) if folder.exists() else []


def connect(served, size=1_000_000):
    client = socket.create_connection(("127.0.0.1", served.port), 10)
    client.sendall(HEAD % size)
    return client


def test_upload_a_zip_as_the_body(served, tmp_path):
    body = zipped(tmp_path / "a.zip", GOOD | {"notes.txt": b"hi", "inner.zip": b"PK"}).read_bytes()
    reply = served.client.post("/v1/datasets", params={"name": "내 사진들", "check": False}, content=body)
    assert reply.status_code == 201, reply.text
    stored = reply.json()
    path = f"/v1/datasets/{stored['id']}"
    assert reply.headers["location"] == path
    assert (stored["name"], stored["images"]) == ("내 사진들", 4)
    assert stored["classes"] == [{"name": "cat", "images": 2}, {"name": "dog", "images": 2}]
    assert stored["left_out"] == {"an archive in the archive": 1, "not an image file": 1}
    assert [finding["kind"] for finding in stored["findings"]] == ["few photos", "few photos"]
    assert stored["check"] == {"state": "none", "error": "", "job": ""}
    assert served.get(path) == stored
    assert stored in served.get("/v1/datasets")["datasets"]
    assert served.client.get(f"{path}/check").status_code == 404
    assert served.client.delete(path).status_code == 204
    assert served.client.get(path).status_code == 404
    assert entries(served, "incoming") == []
    assert stored["id"] not in entries(served, "datasets")


@pytest.mark.parametrize(("fields", "name"), [({"name": "dogs & cats", "other": "x"}, "dogs & cats"), ({}, "the pets")])
def test_upload_a_tar_as_the_file_of_a_form(served, tmp_path, fields, name):
    body = tarred(tmp_path / "a", GOOD | {"dog/3.png": PNG + os.urandom(900_000)}, "w:gz").read_bytes()
    files = {"file": ("the pets.tar.gz", body)}
    reply = served.client.post("/v1/datasets", params={"check": False}, files=files, data=fields)
    assert reply.status_code == 201, reply.text
    assert (reply.json()["name"], reply.json()["images"]) == (name, 5)


@pytest.mark.parametrize(("files", "message"), [
    ({"cat/1.png": PNG}, "one class"),
    ({"1.png": PNG, "2.png": PNG}, "class folders"),
    ({"../../1.png": PNG}, "leads out of its folder"),
    ({"cat/1.png": bytes(25_000_000)}, "larger than 20"),
])  # fmt: skip
def test_an_unusable_archive_is_refused(served, tmp_path, files, message):
    reply = served.client.post("/v1/datasets", content=zipped(tmp_path / "a", files).read_bytes())
    assert reply.status_code == 422
    assert message in reply.json()["detail"]
    assert str(served.home) not in reply.json()["detail"]
    assert entries(served, "incoming") == []


@pytest.mark.parametrize(("kind", "body"), [
    ("multipart/form-data", b"x"),
    (FORM, b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n"),
    (FORM, FILE),
    (FORM, FILE + b"\r\n"),
    (FORM, FIELD + b"only\r\n--b--\r\n"),
    pytest.param(FORM, FIELD + b"n" * 9000 + b"\r\n--b--\r\n", id="long field"),
    pytest.param(FORM, b"--b\r\nX: " + b"h" * 90_000 + b"\r\n\r\nx\r\n--b--\r\n", id="long header"),
    pytest.param(FORM, b"--b\r\n" + b"X: h\r\n" * 90 + b"\r\nx\r\n--b--\r\n", id="many headers"),
    pytest.param(FORM, 2 * (FILE + b"\r\n") + b"--b--\r\n", id="two files"),
    pytest.param(FORM, 50 * (FIELD + b"x\r\n") + FILE + b"\r\n--b--\r\n", id="many fields"),
    ("application/zip", b""),
])  # fmt: skip
def test_broken_forms_are_refused(served, kind, body):
    reply = served.client.post("/v1/datasets", content=body, headers={"Content-Type": kind})
    assert reply.status_code == 400, reply.text
    assert entries(served, "incoming") == []


def test_a_too_large_upload_is_refused_by_its_length_and_by_its_bytes(served):
    with connect(served, 10**12) as client:
        assert b" 413 " in client.recv(1000)
    reply = served.client.post("/v1/datasets", content=iter([b"PK\3\4" + bytes(100_000)] * 40))
    assert reply.status_code == 413
    assert entries(served, "incoming") == []


def test_too_many_slow_and_disconnected_uploads_leave_nothing(served):
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(connect(served))
        until(lambda: len(entries(served, "incoming")) == 2)
        reply = served.client.post("/v1/datasets", content=b"x")
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "10")
    until(lambda: not entries(served, "incoming"))
    with connect(served) as slow:
        assert b" 408 " in slow.recv(1000)
    for _ in range(3):
        connect(served).close()
    until(lambda: not entries(served, "incoming"))


@pytest.mark.parametrize("path", ["/v1/datasets/..%2f..", "/v1/datasets/0123", "/v1/datasets/" + "0" * 16 + "/check"])
def test_invalid_ids_are_refused(served, path):
    assert served.client.get(path).status_code in (404, 422)
    assert served.client.delete(path.removesuffix("/check")).status_code in (404, 405, 422)
