"""The body of a request becomes the images in it: the parts of a form that are files, or all of it as one image."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile

from tl.service.problems import Problem
from tl.service.state import of

Answer = TypeVar("Answer")

BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
"""Such a body in OpenAPI; parts of a form may have any name."""

_NAME = 255  # letters of a file's name that are kept
_MISSING = "send one image as the body, or a form with files"


async def photos(request: Request) -> list[tuple[str, bytes]]:
    """Name and bytes of each image. Raises Problem 413, 415 or 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request)
    if kind and kind != "application/octet-stream" and not kind.startswith("image/"):
        raise Problem(415, f"a body of {kind[:80]!r} is not understood: {_MISSING} (multipart/form-data)")
    content = await request.body()
    if not content:
        raise Problem(422, f"the body is empty: {_MISSING}")
    return [("", content)]


@contextmanager
def held(request: Request) -> Iterator[None]:
    """Memory for a request's body, for the length of a block. Raises Problem 429 while others need it."""
    shared = of(request)
    limits = shared.options.limits
    length = request.headers.get("content-length", "")
    size = min(int(length), limits.body) if length.isdecimal() and length.isascii() else limits.body
    if shared.receiving and shared.receiving + size > limits.bodies:
        raise Problem(429, "too much is being sent at once", {"Retry-After": "1"})
    shared.receiving += size
    try:
        yield
    finally:
        shared.receiving -= size


async def until_gone(request: Request, work: Awaitable[Answer]) -> Answer:
    """What `work` comes to; it is cancelled when the client hangs up. For a request whose body has been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hangs_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(408, "the client has gone")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _parts(request: Request) -> list[tuple[str, bytes]]:
    most = of(request).options.limits.images
    found = []
    async with request.form(max_files=most, max_fields=most) as form:
        for _, part in form.multi_items():
            if isinstance(part, UploadFile):
                found.append(((part.filename or "")[:_NAME], await part.read()))
    if not found:
        raise Problem(422, f"the form has no files: {_MISSING}")
    return found
