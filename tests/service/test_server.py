"""Tests of the limits of the service: whatever is sent is refused, and the server keeps answering."""

import json
import secrets
import socket
import struct
import time
import zlib
from contextlib import ExitStack, suppress

import pytest

from support.live_service import problem, until

LIMITS = {
    **{"body": 300_000, "image": 200_000, "images": 3, "pixels": 1_000_000, "json": 1000},
    **{"header_seconds": 0.6, "idle_seconds": 0.6, "body_seconds": 0.9, "connections": 20},
}


@pytest.fixture(scope="module")
def live(serve, tiny_run):
    return serve(runs=[str(tiny_run)], limits=LIMITS)


@pytest.fixture
def good(live, shapes):
    """An image that is still answered after the test."""
    content = (shapes / "noise" / "00.png").read_bytes()
    yield content
    assert live.post(content).status == 200


@pytest.fixture
def connect(live, good):
    """Open a connection to the server: `connect(bytes to send)`."""
    with ExitStack() as stack:

        def connect(content=b""):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", live.port), timeout=5))
            client.sendall(content)
            return client

        yield connect


def received(client):
    reply = b""
    with suppress(OSError):
        while piece := client.recv(65536):
            reply += piece
    return reply


def png(width, height, *, rows=b""):
    """A PNG whose header claims this size, whatever its rows are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


BAD_IMAGES = {
    "text": b"hello",
    "zero bytes": b"\0" * 1000,
    "a cut PNG": png(100, 100, rows=b"\0" * 20),
    "a JPEG of two bytes": b"\xff\xd8",
    "a bomb": png(20_000, 20_000, rows=b"\0" * 50_000_000),
    "a wide strip": png(2**31 - 1, 1),
    "slightly too many pixels": png(1001, 1000, rows=(b"\0" + b"\x80" * 3003) * 1000),
    "no pixels": png(0, 0),
    "a TIFF with a circular directory": b"II*\0\x08\0\0\0" + b"\1\0" * 40,
    "an empty GIF": b"GIF89a\xff\xff\xff\xff\0\0\0",
    "a too large image": b"\xff\xd8\xff" + b"\0" * 250_000,
}
FORM = "multipart/form-data; boundary=x"
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"'


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused(live, good, name):
    assert problem(live.post(BAD_IMAGES[name], kind="image/jpeg"))["status"] == 422


@pytest.mark.parametrize(("content", "kind", "status"), [
    (b"", "image/png", 422),
    (b"<html>", "text/html", 415),
    (b"{}", "application/json", 415),
    pytest.param(b"\0" * 300_001, "image/jpeg", 413, id="too large"),
    (b"--x\r\n", "multipart/form-data", 400),
    (b"hello", FORM, 400),
    (FIELD + b"\r\n\r\nb\r\n--x--\r\n", FORM, 422),
    (FIELD + b'; filename="b"\r\n\r\nab', FORM, 422),
])  # fmt: skip
def test_a_bad_body_is_refused(live, good, content, kind, status):
    assert problem(live.post(content, kind=kind))["status"] == status


@pytest.mark.parametrize(
    "query", ["top=0", "top=x", "top=99999999999999999999", "deadline_ms=0", "deadline_ms=1e9", "run=" + "x" * 300]
)
def test_a_bad_query_is_refused(live, good, query):
    assert problem(live.post(good, f"/v1/predict?{query}"))["status"] == 422


def test_too_many_images_large_json_and_unknown_paths_and_methods_are_problems(live, good):
    parts = [("image", (f"{at}.png", good, "image/png")) for at in range(4)]
    assert problem(live.request("POST", "/v1/predict", fields=parts))["status"] == 400
    body = json.dumps({"a": "x" * 2000})
    response = live.request("POST", "/v1/jobs", body=body, headers={"Content-Type": "application/json"})
    assert problem(response)["status"] == 413
    assert problem(live.request("GET", "/v1/nothing"))["status"] == 404
    assert problem(live.request("DELETE", "/v1/predict"))["status"] == 405


def test_an_endless_or_too_large_body_gets_a_413(connect):
    client = connect(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        for _ in range(2000):
            client.sendall(b"2710\r\n" + b"\0" * 10_000 + b"\r\n")
    assert b" 413 " in received(client)[:20]
    client = connect(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300001\r\n\r\n")
    assert b" 413 " in received(client)[:20]


@pytest.mark.parametrize("start", [b"", b"POST /v1/pred", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_missing_headers_time_out(connect, start):
    assert b" 408 " in received(connect(start))[:20]


def test_slow_headers_time_out(connect):
    client, request, sent = connect(), b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100, 0
    with suppress(OSError):  # the server closes the connection
        for byte in request:
            client.sendall(bytes([byte]))
            sent += 1
            time.sleep(0.03)
    assert sent < len(request)


@pytest.mark.parametrize("drip", [0.0, 0.2])
def test_a_missing_or_slow_body_times_out(connect, drip):
    client = connect(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
    with suppress(OSError):
        for _ in range(8 if drip else 0):
            client.sendall(b"x")
            time.sleep(drip)
    assert b" 408 " in received(client)[:20]


@pytest.mark.parametrize(("path", "kind"), [
    ("/v1/predict", "image/png"), ("/v1/predict", FORM), ("/v1/explain", "image/png"),
    ("/v1/datasets", "application/zip"), ("/v1/datasets", FORM), ("/v1/jobs", "application/json"),
])  # fmt: skip
def test_a_client_that_hangs_up_in_its_body_is_no_fault(live, connect, path, kind):
    body = FIELD + b'; filename="b"\r\n\r\nab' if kind == FORM else b"ab"
    name = secrets.token_hex(8)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: {name}\r\n"
    connect(f"{head}Content-Type: {kind}\r\nContent-Length: 900\r\n\r\n".encode() + body).close()
    until(lambda: any(entry.get("request_id") == name for entry in live.entries()))
    [entry] = [entry for entry in live.entries() if entry.get("request_id") == name]
    assert (entry["path"], entry["status"], entry["message"]) == (path, 499, "request")


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 200_000, b"A" * 70_000 + b"\r\n"]
)
def test_invalid_http_is_refused(connect, head):
    with suppress(OSError):
        reply = received(connect(head))
        assert reply == b"" or reply[9:12] in (b"400", b"404", b"408", b"414", b"421")


def test_too_many_connections_get_a_503(connect):
    clients = [connect() for _ in range(30)]
    assert any(b" 503 " in received(client)[:20] for client in clients[-5:])
    for client in clients:
        client.close()
    time.sleep(0.3)
