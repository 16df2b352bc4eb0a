"""`POST /v1/datasets`: an archive of photos, streamed to the disk, becomes a data set."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from tl.errors import StorageError
from tl.service import dataset_store, job_store
from tl.service.allowances import Allowances
from tl.service.archives import unpack
from tl.service.database import Database
from tl.service.keys import Key
from tl.service.problems import Problem, documented
from tl.service.receiving import Receiver, too_large
from tl.service.replies import DatasetReply, dataset_reply
from tl.service.security import needs
from tl.service.state import of


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
