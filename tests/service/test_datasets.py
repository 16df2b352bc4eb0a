"""Tests of tl/service/datasets.py over HTTP: uploads that become data sets, and those that are refused."""

import http.client
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.hostile import ATTACKS, GOOD, PNG, tarred, zipped
from support.live_service import Live


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Live]:
    limits = {"upload_bytes": 3_000_000, "uploads": 2, "idle_seconds": 3.0}
    archive = {"unpacked": 40_000_000, "member": 20_000_000}
    live = Live(tmp_path_factory.mktemp("home"), training=limits, archive=archive)
    yield live
    live.stop()


def leftovers(served: Live) -> list[str]:
    return os.listdir(served.home / "state" / "incoming") if (served.home / "state" / "incoming").exists() else []


def dataset_count(served: Live) -> int:
    folder = served.home / "state" / "datasets"
    return len(os.listdir(folder)) if folder.exists() else 0


def test_upload_a_zip_as_the_body(served, tmp_path):
    body = zipped(tmp_path / "a.zip", GOOD | {"notes.txt": b"hi", "inner.zip": b"PK"}).read_bytes()
    reply = served.client.post("/v1/datasets", params={"name": "내 사진들", "check": False}, content=body)
    assert reply.status_code == 201, reply.text
    stored = reply.json()
    assert reply.headers["location"] == f"/v1/datasets/{stored['id']}"
    assert (stored["name"], stored["images"]) == ("내 사진들", 4)
    assert stored["classes"] == [{"name": "cat", "images": 2}, {"name": "dog", "images": 2}]
    assert stored["left_out"] == {"an archive in the archive": 1, "not an image": 1}
    assert [finding["kind"] for finding in stored["findings"]] == ["few photos", "few photos"]
    assert stored["check"] == {"state": "none", "error": "", "job": ""}
    assert served.client.get(f"/v1/datasets/{stored['id']}").json() == stored
    assert stored in served.client.get("/v1/datasets").json()["datasets"]
    assert served.client.get(f"/v1/datasets/{stored['id']}/check").status_code == 404
    assert leftovers(served) == []
    assert served.client.delete(f"/v1/datasets/{stored['id']}").status_code == 204
    assert served.client.get(f"/v1/datasets/{stored['id']}").status_code == 404
    assert not (served.home / "state" / "datasets" / stored["id"]).exists()


@pytest.mark.parametrize("with_name", [True, False])
def test_upload_a_tar_as_the_file_of_a_form(served, tmp_path, with_name):
    body = tarred(tmp_path / "a", GOOD | {"dog/3.png": PNG + os.urandom(900_000)}, "w:gz").read_bytes()
    fields = {"name": "dogs & cats", "other": "x"} if with_name else {}
    reply = served.client.post(
        "/v1/datasets", params={"check": False}, files={"file": ("the pets.tar.gz", body)}, data=fields
    )
    assert reply.status_code == 201, reply.text
    assert reply.json()["name"] == ("dogs & cats" if with_name else "the pets")
    assert reply.json()["images"] == 5


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_answered_with_4xx(served, tmp_path, name):
    body = ATTACKS[name](tmp_path / "archive").read_bytes()
    before = dataset_count(served)
    reply = served.client.post("/v1/datasets", content=body)
    assert 400 <= reply.status_code < 500, reply.text
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert (dataset_count(served), leftovers(served)) == (before, [])
    assert served.client.get("/healthz").status_code == 200


def test_an_archive_without_classes_is_refused(served, tmp_path):
    for files, message in (({"cat/1.png": PNG}, "one class"), ({"1.png": PNG, "2.png": PNG}, "class folders")):
        reply = served.client.post("/v1/datasets", content=zipped(tmp_path / "a", files).read_bytes())
        assert reply.status_code == 422
        assert message in reply.json()["detail"]
        assert str(served.home) not in reply.json()["detail"]
    assert leftovers(served) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nonly\r\n--b--\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"n" * 9000 + b"\r\n--b--\r\n",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"h" * 90_000 + b"\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            2 * b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nPK\r\n' + b"--b--\r\n",
        ),
        (
            "multipart/form-data; boundary=b",
            50 * b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n'
            + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK\r\n--b--\r\n',
        ),
        ("application/zip", b""),
    ],
)
def test_broken_forms_are_refused(served, kind, body):
    reply = served.client.post("/v1/datasets", content=body, headers={"Content-Type": kind})
    assert reply.status_code == 400, reply.text
    assert leftovers(served) == []


def test_a_too_large_upload_is_refused_by_its_length_and_by_its_bytes(served):
    address = urlsplit(str(served.client.base_url))
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
    connection.putrequest("POST", "/v1/datasets")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413  # before any of it came
    connection.close()

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"PK\3\4" + bytes(100_000)

    reply = served.client.post("/v1/datasets", content=endless())
    assert reply.status_code == 413
    assert leftovers(served) == []


def test_a_slow_or_disconnected_client_leaves_nothing(served):
    address = urlsplit(str(served.client.base_url))
    head = b"POST /v1/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nPK\3\4"
    with socket.create_connection((address.hostname, address.port), 10) as slow:
        slow.sendall(head)
        assert b" 408 " in slow.recv(1000)
    for _ in range(3):
        with socket.create_connection((address.hostname, address.port)) as gone:
            gone.sendall(head)
    deadline = time.monotonic() + 5
    while leftovers(served):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_too_many_uploads_get_a_429(served):
    address = urlsplit(str(served.client.base_url))
    head = b"POST /v1/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nPK\3\4"
    time.sleep(0.5)  # for the end of those before
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(socket.create_connection((address.hostname, address.port))).sendall(head)
        deadline = time.monotonic() + 2
        while len(leftovers(served)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        reply = served.client.post("/v1/datasets", content=b"x")
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "10")


@pytest.mark.parametrize("path", ["/v1/datasets/..%2f..", "/v1/datasets/0123", "/v1/datasets/" + "0" * 16 + "/check"])
def test_invalid_ids_are_refused(served, path):
    assert served.client.get(path).status_code in (404, 422)
    assert served.client.delete(path.removesuffix("/check")).status_code in (404, 405, 422)
