"""Addresses: a real server on this machine that does what servers do wrong, and the addresses nobody may ask."""

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tl.data import url as fetching
from tl.data.inputs import Fetched
from tl.data.url import Limits, is_public
from tl.errors import ImageError

HERE = Limits(timeout=2, total=5, most_bytes=1000, private=True)


class Handler(BaseHTTPRequestHandler):
    """Answers by the path asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        name = self.path.partition("?")[0].strip("/")
        getattr(self, f"give_{name}", self.give_nothing)()

    def send(self, code: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(code)
        for header, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(header.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def give_photo(self) -> None:
        self.send(200, b"bytes of a photo")

    def give_nothing(self) -> None:
        self.send(404)

    def give_big(self) -> None:
        self.send(200, b"x" * 1001)

    def give_bigger(self) -> None:
        """Says nothing of its size."""
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x" * 100)

    def give_torn(self) -> None:
        self.send(200, b"half", Content_Length=8)

    def give_loop(self) -> None:
        self.send(302, Location="/loop")

    def give_moved(self) -> None:
        self.send(301, Location="photo?now")

    def give_file(self) -> None:
        self.send(302, Location="file:///etc/passwd")

    def give_inside(self) -> None:
        self.send(302, Location=f"http://127.0.0.1:{self.server.server_port}/photo")  # type: ignore[attr-defined]

    def give_silence(self) -> None:
        time.sleep(1)

    def give_drops(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(40):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked = []  # type: ignore[attr-defined]
    made.handle_error = lambda *_: None  # type: ignore[method-assign] - connections are broken on purpose
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: ThreadingHTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def why(address: str, limits: Limits = HERE) -> str:
    with pytest.raises(ImageError) as caught:
        Fetched(address, limits).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bytes_are_fetched_and_redirections_followed(server: ThreadingHTTPServer) -> None:
    assert Fetched(url(server, "photo?a=%20b é"), HERE).read() == b"bytes of a photo"
    assert Fetched(url(server, "moved"), HERE).read() == b"bytes of a photo"
    assert server.asked == ["/photo?a=%20b%20%C3%A9", "/moved", "/photo?now"]  # type: ignore[attr-defined]


def test_private_addresses_are_refused_unless_allowed(server: ThreadingHTTPServer) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]"):
        assert "no public address; --allow-private" in why(f"http://{host}:{server.server_port}/photo", Limits())
    assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104 - nothing is bound to it
            "224.0.0.1",
        ),
        *("255.255.255.255", "198.18.0.1", "192.0.0.8", "240.0.0.1", "::", "::1", "fe80::1", "fd00::1", "ff02::1"),
        *("::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "fec0::1"),
    ],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_what_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_the_connection_goes_to_the_address_that_was_checked(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that names a public address when asked first, and a private one from then on."""
    asked: list[str] = []
    reached: list[object] = []
    real, connect = socket.getaddrinfo, socket.socket.connect

    def rebinding(host: str, port: int, *rest: object, **more: object) -> object:
        asked.append(host)
        return real("93.184.216.34" if len(asked) == 1 else "127.0.0.1", port, *rest, **more)  # type: ignore[arg-type]

    def refusing(self: socket.socket, place: tuple[str, int]) -> None:
        reached.append(place[0])
        if place[0] == "127.0.0.1":
            connect(self, place)
        raise OSError("no way there")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", refusing)
    assert "no way there" in why(f"http://photos.example:{server.server_port}/photo", Limits())
    assert (asked, reached) == (["photos.example"], ["93.184.216.34"])
    assert server.asked == []  # type: ignore[attr-defined]


def test_redirections_are_checked_alike(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why(url(server, "file")) == "not fetched: only http and https addresses are allowed, not file"
    assert why(url(server, "loop")) == "not fetched: more than 5 redirections"
    answers = iter([True, False])  # the first server is let through as if it were public
    monkeypatch.setattr(fetching, "is_public", lambda address: next(answers))
    assert "no public address" in why(url(server, "inside"), Limits())
    assert server.asked[-1] == "/inside"  # type: ignore[attr-defined]


def test_size_is_limited_said_or_not(server: ThreadingHTTPServer) -> None:
    assert why(url(server, "big")) == "not fetched: larger than 1,000 bytes (--max-bytes)"
    assert why(url(server, "bigger")) == "not fetched: larger than 1,000 bytes (--max-bytes)"


def test_time_is_limited(server: ThreadingHTTPServer) -> None:
    started = time.monotonic()
    assert why(url(server, "silence"), Limits(0.2, 5, private=True)) == "cannot be fetched: no answer within 0.2 s"
    assert why(url(server, "drops"), Limits(1, 0.4, private=True)) == "cannot be fetched: not done within 0.4 s"
    assert time.monotonic() - started < 2


def test_what_servers_do_wrong(server: ThreadingHTTPServer) -> None:
    assert why(url(server, "gone")) == "cannot be fetched: the server answers 404"
    assert why(url(server, "torn")) == "cannot be fetched: the connection broke"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert why(f"http://127.0.0.1:{port}/", HERE) == "cannot be fetched: connection refused"
    assert why("http://nowhere.invalid/a.jpg", HERE) == "cannot be fetched: no server is called 'nowhere.invalid'"


def test_what_is_no_address_to_fetch() -> None:
    assert why("ftp://example.org/a.jpg") == "not fetched: only http and https addresses are allowed, not ftp"
    assert "user name" in why("http://me:secret@example.org/")
    assert "secret" not in why("http://me:secret@example.org/")
    assert "makes no sense" in why("http://[::1/")
    assert "makes no sense" in why("http://example.org:99999/")
    assert "names no server" in why("http:///a.jpg")
    assert "offline" in why("http://example.org/a.jpg", Limits(offline=True))


def test_certificates_are_checked_against_the_name(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*make, *names], check=True, capture_output=True)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate, key)
    server.socket = secure.wrap_socket(server.socket, server_side=True)
    place = f"https://localhost:{server.server_port}/photo"
    assert "certificate is not trusted (self" in why(place)
    trust = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(fetching, "_trust", lambda: trust)
    assert Fetched(place, HERE).read() == b"bytes of a photo"
    assert "certificate is not trusted" in why(place.replace("localhost", "127.0.0.1"))
