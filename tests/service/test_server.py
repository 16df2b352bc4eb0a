"""Tests of the limits of the service: whatever is sent is refused, and the server keeps answering."""

import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.live_service import Live, problem

LIMITS = {
    "body": 300_000,
    "image": 200_000,
    "images": 3,
    "pixels": 1_000_000,
    "json": 1000,
    "header_seconds": 0.6,
    "idle_seconds": 0.6,
    "body_seconds": 0.9,
    "connections": 20,
}


@pytest.fixture(scope="module")
def live(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    served = Live(tmp_path_factory.mktemp("served"), runs=[str(tiny_run)], limits=LIMITS)
    yield served
    assert served.stop() == 0


@pytest.fixture
def good(live: Live, shapes: Path) -> Iterator[bytes]:
    """An image that is still answered after the test."""
    content = (shapes / "noise" / "00.png").read_bytes()
    yield content
    assert live.post(content).status == 200


def png(width: int, height: int, *, rows: bytes = b"") -> bytes:
    """A PNG whose header claims this size, whatever its rows are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


BOMB = png(20_000, 20_000, rows=b"\0" * 50_000_000)
BAD: dict[str, tuple[bytes, str, int]] = {
    "nothing": (b"", "image/png", 422),
    "text": (b"hello", "application/octet-stream", 422),
    "an html page": (b"<html>", "text/html", 415),
    "json": (b"{}", "application/json", 415),
    "zero bytes": (b"\0" * 1000, "image/jpeg", 422),
    "a cut PNG": (png(100, 100, rows=b"\0" * 20), "image/png", 422),
    "a JPEG of two bytes": (b"\xff\xd8", "image/jpeg", 422),
    "a bomb": (BOMB, "image/png", 422),
    "a wide strip": (png(2**31 - 1, 1), "image/png", 422),
    "slightly too many pixels": (png(1001, 1000, rows=(b"\0" + b"\x80" * 3003) * 1000), "image/png", 422),
    "no pixels": (png(0, 0), "image/png", 422),
    "a TIFF with a circular directory": (b"II*\0\x08\0\0\0" + b"\1\0" * 40, "image/tiff", 422),
    "an empty GIF": (b"GIF89a\xff\xff\xff\xff\0\0\0", "image/gif", 422),
    "a too large image": (b"\xff\xd8\xff" + b"\0" * 250_000, "image/jpeg", 422),
    "a too large body": (b"\0" * 300_001, "image/jpeg", 413),
    "a form without a boundary": (b"--x\r\n", "multipart/form-data", 400),
    "a malformed form": (b"hello", "multipart/form-data; boundary=x", 400),
    "a form without files": (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
        422,
    ),
    "an incomplete form": (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nab',
        "multipart/form-data; boundary=x",
        422,
    ),
}


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_body_is_refused(live: Live, good: bytes, what: str):
    content, kind, status = BAD[what]
    response = live.post(content, kind=kind)
    assert response.status == status, response.data
    assert problem(response)


@pytest.mark.parametrize(
    "query", ["top=0", "top=x", "top=99999999999999999999", "deadline_ms=0", "deadline_ms=1e9", "run=" + "x" * 300]
)
def test_a_bad_query_is_refused(live: Live, good: bytes, query: str):
    assert problem(live.post(good, f"/v1/predict?{query}"))["status"] == 422


def test_too_many_images_are_refused(live: Live, good: bytes):
    parts: Any = [("image", (f"{at}.png", good, "image/png")) for at in range(4)]
    assert problem(live.request("POST", "/v1/predict", fields=parts))["status"] == 400


def test_an_endless_body_gets_a_413(live: Live, good: bytes):
    def endless() -> Iterator[bytes]:
        for _ in range(2000):
            yield b"\0" * 10_000

    head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        client.sendall(head)
        for piece in endless():
            try:
                client.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            except OSError:
                break
        assert b" 413 " in received(client)[:20]


def test_a_too_large_body_is_refused_by_its_length(live: Live, good: bytes):
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300001\r\n\r\n")
        assert b" 413 " in received(client)[:20]


@pytest.mark.parametrize("start", [b"", b"POST /v1/pred", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_missing_headers_time_out(live: Live, good: bytes, start: bytes):
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        client.sendall(start)
        assert b" 408 " in received(client)[:20]


def test_slow_headers_time_out(live: Live, good: bytes):
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        try:
            for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100:
                client.sendall(bytes([byte]))
                time.sleep(0.03)
        except OSError:
            pass


@pytest.mark.parametrize("drip", [0.0, 0.2])
def test_a_missing_or_slow_body_times_out(live: Live, good: bytes, drip: float):
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(8 if drip else 0):
            try:
                client.sendall(b"x")
            except OSError:
                break
            time.sleep(drip)
        assert b" 408 " in received(client)[:20]


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 200_000, b"A" * 70_000 + b"\r\n"]
)
def test_invalid_http_is_refused(live: Live, good: bytes, head: bytes):
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as client:
        try:
            client.sendall(head)
        except OSError:
            return
        reply = received(client)
        assert reply == b"" or reply[9:12] in (b"400", b"404", b"408", b"414", b"421")


def test_too_many_connections_get_a_503(live: Live, good: bytes):
    clients = [socket.create_connection(("127.0.0.1", live.port), timeout=5) for _ in range(30)]
    try:
        assert any(b" 503 " in received(client)[:20] for client in clients[-5:])
    finally:
        for client in clients:
            client.close()
    time.sleep(0.3)


def test_unknown_paths_and_methods_are_problems(live: Live):
    assert problem(live.request("GET", "/v1/nothing"))["status"] == 404
    assert problem(live.request("DELETE", "/v1/predict"))["status"] == 405


def received(client: socket.socket) -> bytes:
    reply = io.BytesIO()
    try:
        while piece := client.recv(65536):
            reply.write(piece)
    except OSError:
        pass
    return reply.getvalue()


def test_large_json_is_refused(live: Live):
    response = live.request(
        "POST", "/v1/jobs", body=json.dumps({"a": "x" * 2000}), headers={"Content-Type": "application/json"}
    )
    assert problem(response)["status"] == 413
