"""Downloads from a real HTTP server on this machine: whole files, halves, wrong ones, and servers that say nothing."""

import contextlib
import hashlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from support.recorder import Recorder as Lines
from tl.data.inputs import Address
from tl.download import download, download_image
from tl.errors import DownloadError, ImageError, StorageError
from tl.progress import NotebookProgress

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
MOVED = {"/moved": "/file.bin", "/elsewhere": "file:///etc/hostname", "/loop": "/loop"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    ranges = True
    breaks_at = 0
    breaks = 0
    delay = 0.0
    requested: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requested.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if self.path == "/hang":
            time.sleep(3)
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path in MOVED:
            self.head(302, Location=MOVED[self.path])
        elif self.path in ("/unsized", "/drops"):
            self.head(200)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(CONTENT[:10_000])
                while self.path == "/drops":
                    time.sleep(0.05)
                    self.wfile.write(b"x")
        elif start >= len(CONTENT):
            self.head(416, Content_Range=f"bytes */{len(CONTENT)}", Content_Length=0)
        else:
            self.send_file(start)

    def send_file(self, start: int) -> None:
        headers = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
        self.head(206 if start else 200, Content_Length=len(CONTENT) - start, **headers)
        time.sleep(self.server.delay)
        end = len(CONTENT)
        if self.server.breaks > 0:
            self.server.breaks -= 1
            end = start + self.server.breaks_at
        with contextlib.suppress(ConnectionError):
            self.wfile.write(CONTENT[start:end])

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.requested = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


class Recorder(Lines):
    """Remembers what is reported; an impatient one interrupts after so many bytes."""

    def __init__(self, patience: int = 1 << 40) -> None:
        super().__init__()
        self.tasks: list[tuple[str, int | None, str]] = []
        self.amount, self.patience = 0, patience

    def advance(self, amount: int = 1) -> None:
        self.amount += amount
        if self.amount > self.patience:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def task(self, name, total, unit):
        self.tasks.append((name, total, unit))
        yield self


@pytest.mark.parametrize(("path", "checksum"), [("file.bin", SHA256), ("file.bin", ""), ("moved", MD5)])
def test_download_is_whole_and_reports_progress(server, tmp_path, path, checksum):
    recorder = Recorder()
    target = tmp_path / "new" / "file.bin"
    assert (
        download(server.url.replace("file.bin", path), target, checksum=checksum, progress=recorder, what="weights")
        == target
    )
    assert target.read_bytes() == CONTENT
    assert (recorder.tasks, recorder.amount) == ([("weights", len(CONTENT), "B")], len(CONTENT))
    assert {p.name for p in target.parent.iterdir()} <= {"file.bin", "file.bin.lock"}


def test_a_notebook_shows_megabytes_a_second_of_what_is_received_now(monkeypatch):
    bars, seconds = [], iter(range(100))
    monkeypatch.setattr("tl.progress.time", SimpleNamespace(monotonic=lambda: next(seconds) / 2))
    progress = NotebookProgress()
    monkeypatch.setattr(progress, "show_bar", bars.append)
    with progress.task("weights", 100_000_000, "B") as task:
        task.advance(40_000_000)  # of an earlier attempt
        task.advance(20_000_000)
    assert "weights: 40.0 MB of 100 MB" in bars[0]
    assert "weights: 60.0 MB of 100 MB, 10.0 MB/s, 4 s left" in bars[1]


@pytest.mark.parametrize(("part", "checksum", "ranges", "requested"), [
    (CONTENT[:1000], SHA256, True, ["bytes=1000-"]),
    (CONTENT[:1000], SHA256, False, ["bytes=1000-"]),  # this server sends the whole file
    (b"x" * 1000, SHA256, True, ["bytes=1000-", None]),  # of another file
    (b"x" * 1000, "", True, [None]),
    (CONTENT, SHA256, True, [f"bytes={len(CONTENT)}-"]),
    (CONTENT + b"more", SHA256, True, [f"bytes={len(CONTENT) + 4}-", None]),
])  # fmt: skip
def test_partial_download_is_resumed_where_it_fits(server, tmp_path, part, checksum, ranges, requested):
    server.ranges = ranges
    (tmp_path / "file.bin.part").write_bytes(part)
    recorder = Recorder()
    download(server.url, tmp_path / "file.bin", checksum=checksum, progress=recorder)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requested == requested
    assert recorder.amount in (0, len(CONTENT), 2 * len(CONTENT))
    assert not (tmp_path / "file.bin.part").exists()


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_broken_connection_is_resumed(server, tmp_path, checksum):
    server.breaks_at, server.breaks = 300_000, 2
    download(server.url, tmp_path / "file.bin", checksum=checksum)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requested) == 3


def test_connection_that_always_breaks_is_an_error_and_keeps_the_part(server, tmp_path):
    server.breaks_at, server.breaks = 1000, 100
    with pytest.raises(DownloadError, match=r"the connection broke after .* bytes"):
        download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").stat().st_size == 5000


def test_interrupted_download_is_resumed_by_the_next_call(server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        download(server.url, tmp_path / "file.bin", checksum=SHA256, progress=Recorder(300_000))
    assert not (tmp_path / "file.bin").exists()
    left = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < left < len(CONTENT)
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requested == [None, f"bytes={left}-"]


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DownloadError, match=f"checksum is wrong .expected {wrong}, received {SHA256}") as caught:
        download(server.url, tmp_path / "file.bin", checksum=wrong, what="ResNet50 weights")
    assert str(caught.value).startswith("ResNet50 weights cannot be fetched from 127.0.0.1: ")
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} <= {"file.bin.lock"}


def test_silent_server_and_slow_name_look_up_time_out(server, tmp_path, monkeypatch):
    server.delay = 3
    for path in ("hang", "file.bin"):
        with pytest.raises(DownloadError, match=r"no answer within 0\.4 seconds|timed out"):
            download(server.url.replace("file.bin", path), tmp_path / "file.bin", timeout=0.4)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(2) or [])
    with pytest.raises(DownloadError, match=r"from example\.invalid: no answer within 0\.3 seconds"):
        download("http://example.invalid/x", tmp_path / "file.bin", timeout=0.3)


@pytest.mark.parametrize(("url", "reason"), [
    ("http://127.0.0.1:1/x", "connection refused"),
    ("http://nowhere.invalid/x", r"cannot be fetched from nowhere\.invalid"),
    ("missing", "the server answers 404"),
    ("elsewhere", "cannot be fetched from 127"),
    *((url, "only http and https addresses") for url in ("file:///etc/hosts", "ftp://host/x", "x.bin", "data:,a")),
])  # fmt: skip
def test_what_cannot_be_downloaded_is_an_error(server, tmp_path, url, reason):
    with pytest.raises(DownloadError, match=reason):
        download(server.url.replace("file.bin", url) if url.isalpha() else url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_nothing_is_downloaded_offline_or_for_an_existing_file(server, tmp_path):
    with pytest.raises(DownloadError, match="weights is not on this machine, and offline mode forbids"):
        download(server.url, tmp_path / "new" / "file.bin", offline=True, what="weights")
    assert server.requested == []
    assert not (tmp_path / "new").exists()
    target = tmp_path / "file.bin"
    target.write_bytes(b"here")
    assert download("http://127.0.0.1:1/x", target, checksum=SHA256, offline=True) == target
    assert target.read_bytes() == b"here"


def test_full_disk_and_a_target_that_cannot_be_written_are_errors(server, tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"file cannot be written to .*: file too large"):
            download(server.url, tmp_path / "file.bin", checksum=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "file.bin").exists()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "x.bin")


def test_threads_and_processes_download_once(server, tmp_path):
    server.delay = 0.5
    first, second = tmp_path / "first.bin", tmp_path / "second.bin"
    recorders = [Recorder() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda own: download(server.url, first, checksum=SHA256, progress=own), recorders))
    assert sum("waiting for another process" in recorder.text for recorder in recorders) == 3
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        done = [pool.apply_async(download, (server.url, second), {"checksum": SHA256}) for _ in range(2)]
        assert [one.get(timeout=120) for one in done] == [second] * 2
    assert server.requested == [None, None]
    assert first.read_bytes() == second.read_bytes() == CONTENT


def test_image_is_downloaded_through_redirections(server):
    url = server.url.replace("file.bin", "")
    assert Address(url + "file.bin?a=%20b é").read() == Address(url + "moved").read() == CONTENT
    with pytest.raises(ImageError, match="offline"):
        Address(url, offline=True).read()


@pytest.mark.parametrize(("address", "limits", "expected"), [
    ("http://SERVER/missing", {}, "cannot be downloaded: the server answers 404"),
    ("http://SERVER/loop", {}, "cannot be downloaded: more than 5 redirections"),
    ("http://SERVER/elsewhere", {}, "cannot be downloaded: "),
    ("http://SERVER/torn", {}, "cannot be downloaded: the connection broke"),
    ("http://SERVER/unsized", {"most": 1000}, "not downloaded: larger than 1.0 kB"),
    ("http://SERVER/hang", {"timeout": 0.2}, "cannot be downloaded: no answer within 0.2 s"),
    ("http://SERVER/drops", {"total": 0.4}, "cannot be downloaded: not done within 0.4 s"),
    ("https://SERVER/file.bin", {}, ".*(certificate|ssl)"),  # of a server without encryption
    ("http://127.0.0.1:1/", {}, "cannot be downloaded: connection refused$"),
    ("http://nowhere.invalid/a.jpg", {}, "cannot be downloaded: no server has this name$"),
    *((url, {}, "not downloaded: only http and https addresses are supported$") for url in ("ftp://a/a", "s3://a/b")),
    *((f"http://{url}", {}, "cannot be downloaded: the address is malformed$") for url in ("[::1/", "a:99999/", "/a")),
])  # fmt: skip
def test_what_is_no_image_is_an_image_error(server, address, limits, expected):
    server.breaks, server.breaks_at = 100, 4
    with pytest.raises(ImageError, match=f"^{expected}") as caught:
        download_image(address.replace("SERVER", f"127.0.0.1:{server.server_port}"), **limits)
    assert "\n" not in str(caught.value)
