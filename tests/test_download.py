"""Downloads from a real HTTP server on this machine: whole files, halves, wrong ones, and servers that say nothing."""

import contextlib
import hashlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tl.download import download
from tl.errors import DownloadError, StorageError

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    content = CONTENT
    ranges = True
    breaks_at: int | None = None
    breaks = 0
    delay = 0.0
    ranges_requested: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        ranges_requested = self.headers.get("Range")
        self.server.ranges_requested.append(ranges_requested)
        if self.path == "/hang":
            time.sleep(3)
            return
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file.bin")
            self.end_headers()
            return
        self.answer(int(ranges_requested[6:-1]) if ranges_requested and self.server.ranges else 0)

    def answer(self, start: int) -> None:
        body = self.server.content
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        time.sleep(self.server.delay)
        end = len(body)
        if self.server.breaks > 0 and self.server.breaks_at is not None:
            self.server.breaks -= 1
            end = min(start + self.server.breaks_at, end)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[start:end])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.ranges_requested = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


class Recorder:
    """Remembers what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: list[tuple[str, int | None, str]] = []
        self.amount = 0

    def log(self, topic: str, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, amount: int = 1) -> None:
        self.amount += amount

    @contextlib.contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator["Recorder"]:
        self.tasks.append((name, total, unit))
        yield self


@pytest.mark.parametrize("checksum", [SHA256, MD5, ""])
def test_download_is_whole_and_reports_progress(server: Server, tmp_path: Path, checksum: str) -> None:
    recorder = Recorder()
    target = tmp_path / "new" / "file.bin"
    assert download(server.url, target, checksum=checksum, progress=recorder, what="weights") == target
    assert target.read_bytes() == CONTENT
    assert recorder.tasks == [("weights", len(CONTENT), "B")]
    assert recorder.amount == len(CONTENT)
    assert {p.name for p in target.parent.iterdir()} <= {"file.bin", "file.bin.lock"}


def test_existing_file_is_not_downloaded(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"here")
    assert download("http://127.0.0.1:1/x", target, checksum=SHA256, offline=True) == target
    assert target.read_bytes() == b"here"


def test_partial_download_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    recorder = Recorder()
    download(server.url, tmp_path / "file.bin", checksum=SHA256, progress=recorder)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges_requested == ["bytes=1000-"]
    assert recorder.amount == len(CONTENT)
    assert not (tmp_path / "file.bin.part").exists()


def test_server_without_ranges_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_part_of_another_file_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges_requested == ["bytes=1000-", None]


def test_complete_part_is_only_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges_requested == [f"bytes={len(CONTENT)}-"]


def test_part_that_is_too_long_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_part_without_a_checksum_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    download(server.url, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges_requested == [None]


@pytest.mark.parametrize("checksum", [SHA256, ""])
def test_broken_connection_is_resumed(server: Server, tmp_path: Path, checksum: str) -> None:
    server.breaks_at, server.breaks = 300_000, 2
    download(server.url, tmp_path / "file.bin", checksum=checksum)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.ranges_requested) == 3


def test_connection_that_always_breaks_is_an_error_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.breaks_at, server.breaks = 1000, 100
    with pytest.raises(DownloadError, match=r"the connection broke after .* bytes"):
        download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").stat().st_size == 5000


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DownloadError, match=f"checksum is wrong .expected {wrong}, received {SHA256}") as caught:
        download(server.url, tmp_path / "file.bin", checksum=wrong, what="ResNet50 weights")
    assert str(caught.value).startswith("ResNet50 weights cannot be fetched from 127.0.0.1: ")
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} <= {"file.bin.lock"}


def test_refused_connection_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="connection refused"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "file.bin")


@pytest.mark.parametrize(("path", "delay"), [("hang", 0), ("file.bin", 3)])
def test_silent_server_times_out(server: Server, tmp_path: Path, path: str, delay: float) -> None:
    server.delay = delay
    with pytest.raises(DownloadError, match=r"no answer within 0\.4 seconds|timed out"):
        download(server.url.replace("file.bin", path), tmp_path / "file.bin", timeout=0.4)


def test_slow_name_look_up_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(2) or [])
    with pytest.raises(DownloadError, match=r"from example\.invalid: no answer within 0\.3 seconds"):
        download("http://example.invalid/x", tmp_path / "file.bin", timeout=0.3)


def test_unknown_host_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"cannot be fetched from nowhere\.invalid"):
        download("http://nowhere.invalid/x", tmp_path / "file.bin")


def test_http_errors_and_redirects(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(server.url.replace("file.bin", "missing"), tmp_path / "a")
    with pytest.raises(DownloadError):
        download(server.url.replace("file.bin", "elsewhere"), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    download(server.url.replace("file.bin", "moved"), tmp_path / "c", checksum=SHA256)
    assert (tmp_path / "c").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/x", "x.bin", "data:,abc"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only http and https addresses"):
        download(url, tmp_path / "file.bin")


def test_offline_downloads_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="weights is not on this machine, and offline mode forbids"):
        download(server.url, tmp_path / "new" / "file.bin", offline=True, what="weights")
    assert server.ranges_requested == []
    assert not (tmp_path / "new").exists()


def test_target_that_cannot_be_written_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "x.bin")


def test_full_disk_is_an_error(server: Server, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"file cannot be written to .*: file too large"):
            download(server.url, tmp_path / "file.bin", checksum=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "file.bin").exists()


def test_threads_download_once(server: Server, tmp_path: Path) -> None:
    server.delay = 0.3
    recorders = [Recorder() for _ in range(4)]
    threads = [
        threading.Thread(
            target=download, args=(server.url, tmp_path / "f.bin"), kwargs={"checksum": SHA256, "progress": recorder}
        )
        for recorder in recorders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges_requested == [None]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert sum("waiting for another process" in line for recorder in recorders for line in recorder.lines) == 3


def _fetch(url: str, target: Path) -> None:
    download(url, target, checksum=SHA256)


def test_processes_download_once(server: Server, tmp_path: Path) -> None:
    server.delay = 0.5
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch, args=(server.url, tmp_path / "f.bin")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.ranges_requested == [None]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


class Impatient(Recorder):
    def advance(self, amount: int = 1) -> None:
        super().advance(amount)
        if self.amount > 300_000:
            raise KeyboardInterrupt


def test_interrupted_download_is_resumed_by_the_next_call(server: Server, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        download(server.url, tmp_path / "file.bin", checksum=SHA256, progress=Impatient())
    assert not (tmp_path / "file.bin").exists()
    left = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < left < len(CONTENT)
    download(server.url, tmp_path / "file.bin", checksum=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges_requested == [None, f"bytes={left}-"]
