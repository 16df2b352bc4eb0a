"""An address becomes a verified file, whole or not at all; unreachable ones are given up within seconds."""

import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tl.errors import DownloadError, StorageError
from tl.progress import Progress

_CHUNK = 1 << 18
_ATTEMPTS = 5  # connections that broke in the middle are taken up again so many times


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    checksum: str
    what: str
    timeout: float
    progress: Progress

    def error(self, reason: str) -> DownloadError:
        host = urlsplit(self.url).hostname
        return DownloadError(f"{self.what} cannot be fetched from {host}: {reason}")


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
    """The file at `url`, at `target`; a file that is there already is taken as it is.

    `checksum` is "sha256:…" or "md5:…", or "" where none is published. `timeout` in seconds bounds the look-up of the
    name, the connection and the first bytes together, and later each silence. What was received stays in `target`.part
    and is taken up by the next call, if a checksum can tell that it still fits. Several processes may ask for the same
    target at once: one fetches, the others wait. Raises DownloadError, or StorageError when the file cannot be written.
    """
    if target.is_file():
        return target
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{what} cannot be fetched from {url!r}: only http and https addresses are allowed")
    if offline:
        raise DownloadError(f"{what} is not on this machine, and offline mode forbids fetching it from {url}")
    part = target.with_name(target.name + ".part")
    job = _Job(url, part, checksum, what, timeout, progress or Progress())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_locked(job, target)
    except OSError as error:
        raise StorageError(f"{what} cannot be written to {target}: {_plain(error)}") from None
    return target


def _fetch_locked(job: _Job, target: Path) -> None:
    with _lock(job, target):
        if not target.is_file():
            _fetch_verified(job)
            os.replace(job.part, target)


def _lock(job: _Job, target: Path) -> AbstractContextManager[object]:
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        job.progress.log("download", f"waiting for another process that fetches {job.what}")
        return lock.acquire()


def _fetch_verified(job: _Job) -> None:
    # Without a checksum nothing would tell when two halves of different files were joined.
    resumed = bool(job.checksum) and _size(job.part) > 0
    if not resumed:
        job.part.unlink(missing_ok=True)
    _fetch(job)
    found = _digest(job)
    if found != job.checksum and resumed:
        job.progress.log("download", f"what an earlier attempt left of {job.what} does not fit: starting again")
        job.part.unlink()
        _fetch(job)
        found = _digest(job)
    if found != job.checksum:
        job.part.unlink()
        raise job.error(f"its checksum is wrong (expected {job.checksum}, received {found}); try again later")


def _fetch(job: _Job) -> None:
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
    answer = _open(job, start)
    if answer is None:  # the server has nothing beyond `start`: either all is here, or it is another file
        if _digest(job) == job.checksum:
            return
        job.part.unlink()
        start, answer = 0, _open(job, 0)
    if answer is None:
        raise job.error("the server answers 416 to a request for the whole file")
    response, first = answer
    with response:
        if not _continues(response, start):
            start = 0
        total = _total(response, start)
        with job.progress.task(job.what, total, "B") as task, open(job.part, "ab" if start else "wb") as file:
            task.advance(start)
            _copy(response, first, file, task.advance)
    if total is not None and _size(job.part) != total:
        raise _Interrupted(f"the connection broke after {_size(job.part)} of {total} bytes")


def _copy(response: HTTPResponse, first: bytes, file: BinaryIO, advance: Callable[[int], None]) -> None:
    chunk = first
    while chunk:
        file.write(chunk)
        advance(len(chunk))
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, HTTPException):
            raise _Interrupted("the connection broke") from None
    file.flush()
    os.fsync(file.fileno())


def _open(job: _Job, start: int) -> tuple[HTTPResponse, bytes] | None:
    """The response and its first bytes, within `timeout` altogether; None for 416."""
    box: list[tuple[HTTPResponse, bytes] | Exception] = []
    done = threading.Event()

    # The look-up of a name and a second address take their own time, which no socket timeout bounds: hence a thread
    # that can be left behind.
    def work() -> None:
        try:
            box.append(_connect(job, start))
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which tells them apart
            box.append(error)
        done.set()

    threading.Thread(target=work, daemon=True, name="tl-download").start()
    if not done.wait(job.timeout):
        raise job.error(f"no answer within {job.timeout:g} seconds; check the connection")
    (outcome,) = box
    if isinstance(outcome, tuple):
        return outcome
    if isinstance(outcome, HTTPError) and outcome.code == 416 and start:
        outcome.close()
        return None
    raise _failure(job, outcome)


def _connect(job: _Job, start: int) -> tuple[HTTPResponse, bytes]:
    response: HTTPResponse = _opener().open(_request(job.url, start), timeout=job.timeout)
    try:
        return response, response.read1(_CHUNK)
    except BaseException:
        response.close()
        raise


def _failure(job: _Job, error: Exception) -> Exception:
    if isinstance(error, HTTPError):
        error.close()
        return job.error(f"the server answers {error.code}")
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, OSError):
        return job.error(_plain(cause))
    if isinstance(cause, HTTPException):
        return job.error(f"the server does not speak HTTP ({type(cause).__name__})")
    return job.error(cause) if isinstance(cause, str) else error


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError(f"it leads from https to {urlsplit(newurl).scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # build_opener() would add handlers for files and FTP, to which a server could redirect.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str, start: int) -> urllib.request.Request:
    headers = {"User-Agent": "tl", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - download() lets http and https through alone


def _continues(response: HTTPResponse, start: int) -> bool:
    span = response.headers.get("Content-Range", "")
    return start > 0 and response.status == 206 and span.startswith(f"bytes {start}-")


def _total(response: HTTPResponse, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() and len(length) < 19 else None


def _digest(job: _Job) -> str:
    if not job.checksum:
        return ""
    kind = job.checksum.partition(":")[0]
    with job.part.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _plain(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
