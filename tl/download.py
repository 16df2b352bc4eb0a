"""Download files, verified and resumed where a connection broke, and single images from a URL."""

import hashlib
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from tl.errors import DownloadError, ImageError, StorageError, TLError
from tl.files import locked
from tl.progress import Progress
from tl.text import size

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CHUNK = 1 << 18
_ATTEMPTS = 5  # how often a download is resumed when the connection breaks
_MAX_REDIRECTS = 10
_IMAGE_SECONDS, _IMAGE_BYTES, _IMAGE_REDIRECTS, _IMAGE_CHUNK = 60.0, 50 * 10**6, 5, 1 << 16


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    checksum: str
    what: str
    timeout: float
    progress: Progress

    def error(self, reason: str) -> DownloadError:
        return DownloadError(f"{self.what} cannot be fetched from {urlsplit(self.url).hostname}: {reason}")


class _Interrupted(Exception):
    """The connection broke after it had delivered something."""


def download(
    url: str,
    target: Path,
    *,
    checksum: str = "",
    offline: bool = False,
    progress: Progress | None = None,
    what: str = "file",
    timeout: float = 5.0,
) -> Path:
    """Download the file at `url` to `target`, unless it is there already.

    `checksum` is "sha256:…" or "md5:…", or "" where none is published. `timeout` in seconds limits the name look-up,
    the connection and the first bytes together, and later each wait. What was received stays in `target`.part and is
    resumed by the next call, if a checksum can tell that it still fits. Where several processes want the same target,
    one downloads and the others wait. Raises DownloadError, or StorageError when the file cannot be written.
    """
    if target.is_file():
        return target
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{what} cannot be fetched from {url!r}: only http and https addresses are supported")
    if offline:
        raise DownloadError(f"{what} is not on this machine, and offline mode forbids fetching it from {url}")
    part = target.with_name(target.name + ".part")
    job = _Job(url, part, checksum, what, timeout, progress or Progress())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download_once(job, target)
    except OSError as error:
        raise StorageError(f"{what} cannot be written to {target}: {_reason(error)}") from None
    return target


def _download_once(job: _Job, target: Path) -> None:
    lock, busy = target.with_name(target.name + ".lock"), TLError(f"{job.what} is being downloaded")
    try:
        with locked(lock, busy=busy, timeout=0):
            return _download_verified(job, target)
    except TLError as error:
        if error is not busy:
            raise
    job.progress.log("download", f"waiting for another process that downloads {job.what}")
    with locked(lock):
        if not target.is_file():
            _download_verified(job, target)


def _download_verified(job: _Job, target: Path) -> None:
    # Without a checksum nothing would tell when two halves of different files were joined.
    resumed = bool(job.checksum) and _size(job.part) > 0
    if not resumed:
        job.part.unlink(missing_ok=True)
    _download(job)
    received = _checksum(job)
    if received != job.checksum and resumed:
        job.progress.log("download", f"the partial download of {job.what} does not fit: starting again")
        job.part.unlink()
        _download(job)
        received = _checksum(job)
    if received != job.checksum:
        job.part.unlink()
        raise job.error(f"its checksum is wrong (expected {job.checksum}, received {received}); try again later")
    os.replace(job.part, target)


def _download(job: _Job) -> None:
    for attempt in range(_ATTEMPTS):
        before = _size(job.part)
        try:
            return _receive(job)
        except _Interrupted as error:
            if attempt + 1 == _ATTEMPTS or _size(job.part) == before:
                raise job.error(f"{error}; try again") from None
            if not job.checksum:
                job.part.unlink(missing_ok=True)


def _receive(job: _Job) -> None:
    start = _size(job.part)
    response, first = _open(job, start)
    if response.status == 416 and start:  # the server has nothing beyond `start`: all is here, or it is another file
        response.close()
        if _checksum(job) == job.checksum:
            return
        job.part.unlink()
        start = 0
        response, first = _open(job, start)
    with closing(response):
        if response.status not in (200, 206):
            raise job.error(f"the server answers {response.status}")
        if not (response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() and len(length) < 19 else None
        with job.progress.task(job.what, total, "B") as task, open(job.part, "ab" if start else "wb") as file:
            task.advance(start)
            _copy(response, first, file, task.advance)
    if total is not None and _size(job.part) != total:
        raise _Interrupted(f"the connection broke after {_size(job.part)} of {total} bytes")


def _copy(response: "BaseHTTPResponse", first: bytes, file: BinaryIO, advance: Callable[[int], None]) -> None:
    from urllib3.exceptions import HTTPError

    chunk = first
    while chunk:
        file.write(chunk)
        advance(len(chunk))
        try:
            chunk = response.read1(_CHUNK)
        except (HTTPError, TimeoutError, ConnectionError):
            raise _Interrupted("the connection broke") from None
    file.flush()
    os.fsync(file.fileno())


def _open(job: _Job, start: int) -> tuple["BaseHTTPResponse", bytes]:
    """The response and its first bytes, within `timeout` altogether."""
    from urllib3.exceptions import HTTPError

    box: list[Any] = []
    done = threading.Event()

    # The look-up of a name and a second address take their own time, which no socket timeout limits: hence a thread
    # that can be left behind.
    def work() -> None:
        try:
            box.append(_connect(job, start))
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            box.append(error)
        done.set()

    threading.Thread(target=work, daemon=True, name="tl-download").start()
    if not done.wait(job.timeout):
        raise job.error(f"no answer within {job.timeout:g} seconds; check the connection")
    (result,) = box
    if isinstance(result, (HTTPError, OSError)):
        raise job.error(_reason(result))
    if isinstance(result, Exception):
        raise result
    response, first = result
    return response, first


def _connect(job: _Job, start: int) -> tuple["BaseHTTPResponse", bytes]:
    import urllib3

    proxy = urllib.request.getproxies().get(urlsplit(job.url).scheme)
    pool = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
    headers = {"User-Agent": "tl", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    retries = urllib3.Retry(_MAX_REDIRECTS, connect=0, read=0, status=0, other=0)
    response = pool.request(
        "GET", job.url, headers=headers, preload_content=False, retries=retries, timeout=job.timeout,
        enforce_content_length=False,
    )  # fmt: skip
    return response, response.read1(_CHUNK)


def _checksum(job: _Job) -> str:
    if not job.checksum:
        return ""
    kind = job.checksum.partition(":")[0]
    with job.part.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    cause: BaseException = getattr(error, "reason", None) or error
    while not isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError):
        return (cause.strerror or str(cause) or type(cause).__name__).lower()
    return str(cause).rsplit(": ", 1)[-1].lower()


def download_image(
    url: str, timeout: float = 10.0, *, total: float = _IMAGE_SECONDS, most: int = _IMAGE_BYTES
) -> bytes:
    """Download an image of at most `most` bytes; `timeout` and `total` in seconds limit each wait and the whole.

    Raises ImageError with the reason.
    """
    import urllib3

    deadline = time.monotonic() + total
    retries = urllib3.Retry(_IMAGE_REDIRECTS, connect=0, read=0, status=0, other=0)
    try:
        if urllib3.util.parse_url(url).scheme not in ("http", "https"):
            raise ImageError("not downloaded: only http and https addresses are supported")
        response = _pool().request(
            "GET", url, preload_content=False, retries=retries, timeout=urllib3.Timeout(connect=timeout, read=timeout)
        )
        try:
            return _receive_image(response, deadline, total, most)
        finally:
            response.close()
    except urllib3.exceptions.HTTPError as error:
        raise ImageError(f"cannot be downloaded: {_image_failure(error, timeout)}") from None


def _receive_image(response: "BaseHTTPResponse", deadline: float, total: float, most: int) -> bytes:
    if response.status != 200:
        raise ImageError(f"cannot be downloaded: the server answers {response.status}")
    content = bytearray()
    while chunk := response.read1(_IMAGE_CHUNK):
        content += chunk
        if len(content) > most:
            raise ImageError(f"not downloaded: larger than {size(most)}")
        if time.monotonic() > deadline:
            raise ImageError(f"cannot be downloaded: not done within {total:g} s")
    return bytes(content)


@cache
def _pool() -> "PoolManager":
    import urllib3

    headers = {"User-Agent": "tl", "Accept": "image/*", "Accept-Encoding": "identity"}
    return urllib3.PoolManager(maxsize=16, headers=headers)


def _image_failure(error: Exception, timeout: float) -> str:
    from urllib3 import exceptions

    cause = getattr(error, "reason", None) or error
    if isinstance(cause, exceptions.NameResolutionError):
        return "no server has this name"
    if isinstance(cause, exceptions.TimeoutError) and not isinstance(cause, exceptions.NewConnectionError):
        return f"no answer within {timeout:g} s"
    if isinstance(cause, exceptions.ResponseError):
        return f"more than {_IMAGE_REDIRECTS} redirections"
    if isinstance(cause, exceptions.LocationValueError):
        return "the address is malformed"
    return "the connection broke" if isinstance(cause, exceptions.ProtocolError) else _reason(error)
