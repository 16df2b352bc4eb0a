"""`POST /v1/datasets`: an archive of photos, streamed to the disk, becomes a data set."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from tl.errors import StorageError
from tl.service import dataset_store, job_store
from tl.service.archives import unpack
from tl.service.database import Database
from tl.service.keys import Key
from tl.service.options import Allowances
from tl.service.problems import Problem, documented
from tl.service.replies import DatasetReply, dataset_reply
from tl.service.security import needs
from tl.service.state import of

_FIELDS, _PARTS, _HEADERS = 4096, 16, 8192


class Receiver:
    """Writes what it is fed to `path`, up to `most` bytes; then `name` is what the sender called it, or ""."""

    def __init__(self, path: Path, content_type: str, most: int) -> None:
        self.name, self.folder = "", path.parent
        self._most, self._size, self._received = most, 0, 0
        self._file = path.open("xb")
        self._form = _Form(self, content_type) if content_type.lower().startswith("multipart/") else None

    def feed(self, content: bytes) -> None:
        """The next piece. Raises Problem for what is too large or no form."""
        self._received += len(content)
        if self._received > self._most + (1 << 16):
            raise too_large(self._most)
        if self._form is not None:
            self._form.feed(content)
        else:
            self.write(content)

    def write(self, content: bytes) -> None:
        """A piece of the file itself."""
        self._size += len(content)
        if self._size > self._most:
            raise too_large(self._most)
        self._file.write(content)

    def finish(self) -> None:
        """All has come. Raises Problem where that was nothing."""
        if self._form is not None:
            self._form.finish()
        self.close()
        if not self._size:
            raise Problem(400, "no archive was sent: send one as the body, or as the field `file` of a form")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Form:
    """multipart/form-data: one file, and the field `name`."""

    def __init__(self, receiver: Receiver, content_type: str) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._receiver, self._options = receiver, parse_options_header
        boundary = self._options(content_type)[1].get(b"boundary")
        if not boundary:
            raise Problem(400, "the form has no boundary: let your HTTP client make the Content-Type")
        self._kind, self._field, self._text = "", "", b""
        self._parts, self._files, self._ended = 0, 0, False
        self._header: list[bytes] = [b"", b""]
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": lambda data, start, end: self._data(data[start:end]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, content: bytes) -> None:
        from python_multipart.exceptions import FormParserError

        try:
            self._parser.write(content)
        except FormParserError as error:
            raise Problem(400, f"the form cannot be read ({str(error)[:100]})") from error

    def finish(self) -> None:
        if not self._ended:
            raise Problem(400, "the form ends too early")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Problem(400, f"the form has more than {_PARTS} parts: one file, and its name")
        self._kind, self._field, self._text, self._disposition = "field", "", b"", b""
        self._header = [b"", b""]

    def _add(self, which: int, content: bytes) -> None:
        self._header[which] += content
        if len(self._header[which]) > _HEADERS:
            raise Problem(400, "the form has a header larger than any needs")

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        found: dict[bytes, Any] = self._options(self._disposition)[1]
        self._field = found.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in found:
            return
        self._kind = "file"
        self._files += 1
        if self._files > 1:
            raise Problem(400, "the form has more than one file: pack them as one archive")
        if not self._receiver.name:
            self._receiver.name = stem(found[b"filename"].decode("utf-8", "replace"))

    def _data(self, content: bytes) -> None:
        if self._kind == "file":
            self._receiver.write(content)
        else:
            self._text += content
            if len(self._text) > _FIELDS:
                raise Problem(400, f"the form's field {self._field[:40]!r} is longer than {_FIELDS} bytes")

    def _end_part(self) -> None:
        if self._kind == "field" and self._field == "name":
            self._receiver.name = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def stem(file: str) -> str:
    """What an archive is called without its folders and endings."""
    name = file.replace("\\", "/").rpartition("/")[2]
    for ending in (".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def too_large(most: int) -> Problem:
    """The refusal of a body beyond the limit."""
    return Problem(413, f"the archive is larger than the {most:,} bytes that are taken", {"Connection": "close"})


@asynccontextmanager
async def _tidied(app: FastAPI) -> AsyncIterator[None]:
    await to_thread.run_sync(dataset_store.tidy, app.state.shared.database)
    yield


router = APIRouter(tags=["data sets"], lifespan=_tidied, responses=documented(409, 507))

_PIECE = 1 << 20
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"], "name": {"type": "string"}}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A zip or tar (.gz, .bz2, .xz) of one folder of photos a class: the body, or a form's `file`.",
        "content": {
            "application/zip": _BINARY,
            "application/x-tar": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {"schema": _FORM},
        },
    }
}


class Slots:
    """So many uploads at once; what comes beyond is told to come again."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of them. Raises Problem where there is none."""
        if not self._free:
            raise Problem(429, "too many archives are being uploaded: try again soon", {"Retry-After": "10"})
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@router.post(
    "/v1/datasets", summary="Upload a data set", status_code=201, response_model=DatasetReply, openapi_extra=_BODY
)
async def upload(
    request: Request,
    key: Annotated[Key, Depends(needs("train"))],
    name: Annotated[str, Query(max_length=200, description="What to call it; by default as the file is called.")] = "",
    check: Annotated[bool, Query(description="Look for what is wrong with it at once.")] = True,
) -> JSONResponse:
    """Take an archive of photos as a data set: one folder a class, or train, val and test folders of such."""
    shared = of(request)
    allowed, database = shared.options.allowances, shared.database
    _announced(request, allowed, database.folder)
    slots = request.app.state.__dict__.setdefault("upload_slots", Slots(allowed.uploads))
    with slots.taken():
        folder = await to_thread.run_sync(dataset_store.incoming, database)
        try:
            called = await _receive(request, folder / "archive", allowed)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        stop = threading.Event()
        try:
            stored = await to_thread.run_sync(
                _take, database, folder, name or called, key.name, allowed, stop, abandon_on_cancel=True
            )
        finally:
            stop.set()
    if check:
        await to_thread.run_sync(lambda: job_store.add(database, "check", stored.id, {}, owner=key.name))
    reply = await to_thread.run_sync(dataset_reply, database, stored)
    return JSONResponse(reply.model_dump(), 201, {"Location": f"/v1/datasets/{stored.id}"})


def _announced(request: Request, allowed: Allowances, folder: Path) -> None:
    """Refuse by its length what need not be read."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() and len(length) < 20 else 0
    if size > allowed.upload_bytes + (1 << 16):
        raise too_large(allowed.upload_bytes)
    if shutil.disk_usage(folder).free < size + allowed.spare:
        raise StorageError("the disk has no room for this: remove data sets or runs, or free space")


async def _receive(request: Request, path: Path, allowed: Allowances) -> str:
    """The body in a file; returns what the sender called it."""
    receiver = Receiver(path, request.headers.get("content-type", ""), allowed.upload_bytes)
    try:
        async for piece in _pieces(request, allowed):
            await to_thread.run_sync(_write, receiver, piece, allowed)
        receiver.finish()
    except ClientDisconnect as error:
        raise Problem(400, "the sender went away") from error
    except OSError as error:
        raise StorageError(f"the archive cannot be stored ({(error.strerror or '').lower()})") from error
    finally:
        receiver.close()
    return receiver.name


async def _pieces(request: Request, allowed: Allowances) -> AsyncIterator[bytes]:
    """The body in pieces of a size that is worth a write; neither it nor a pause in it may take too long."""
    source = aiter(request.stream())
    deadline = time.monotonic() + allowed.upload_seconds
    gathered = bytearray()
    while True:
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(allowed.idle_seconds, max(0.0, left))):
                chunk = await anext(source, None)
        except TimeoutError as error:
            raise Problem(408, "the archive did not come in time: send it again", {"Connection": "close"}) from error
        gathered += chunk or b""
        if gathered and (chunk is None or len(gathered) >= _PIECE):
            yield bytes(gathered)
            gathered.clear()
        if chunk is None:
            return


def _write(receiver: Receiver, piece: bytes, allowed: Allowances) -> None:
    receiver.feed(piece)
    if shutil.disk_usage(receiver.folder).free < allowed.spare:
        raise StorageError("the disk is full: remove data sets or runs, or free space")


def _take(
    database: Database, folder: Path, name: str, owner: str, allowed: Allowances, stop: threading.Event
) -> dataset_store.Stored:
    try:
        unpacked = unpack(folder / "archive", folder / "photos", allowed.archive, stop.is_set)
        (folder / "archive").unlink()
        return dataset_store.keep(database, folder / "photos", name, unpacked, owner=owner, most=allowed.datasets)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
