"""A request's body is cut off where it grows too large, comes too slowly, or never ends."""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl.service.options import Options
from tl.service.problems import answer

_PHOTOS = ("/v1/predict", "/v1/explain")
_UPLOADS = "/v1/datasets"
_FORM = 1 << 20  # bytes that a form may add to the archive in it


class BodyLimits:
    """ASGI middleware: 413 for a body that is too large, 408 for one that is too slow; then the connection is closed.

    How large and slow depends on what is sent: photos, data sets, or a few lines of JSON.
    """

    def __init__(self, app: ASGIApp, *, options: Options) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most, seconds, idle = self._allowed(scope["path"])
        meter = _Meter(receive, most, seconds, idle)
        try:
            if (length := _length(scope)) is not None and length > most:
                raise _too_large(most)
            await self._app(scope, meter.receive, meter.watching(send))
        except HTTPException as problem:  # of a route that reads its body outside of what the application catches
            if meter.answering:
                raise
            request_id = scope.get("state", {}).get("request_id", "")
            told = answer(problem.status_code, problem.detail, request_id, problem.headers)
            await told(scope, receive, send)

    def _allowed(self, path: str) -> tuple[int, float, float]:
        limits, allowances = self._options.limits, self._options.allowances
        if path in _PHOTOS:
            return limits.body, limits.body_seconds, limits.idle_seconds
        if path.startswith(_UPLOADS):
            return allowances.upload_bytes + _FORM, allowances.upload_seconds, allowances.idle_seconds
        return limits.json, limits.body_seconds, limits.idle_seconds


class _Meter:
    def __init__(self, receive: Receive, most: int, seconds: float, idle: float) -> None:
        self._receive, self._most, self._idle = receive, most, idle
        self._until = time.monotonic() + seconds
        self._have = 0
        self._ended = False
        self.answering = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()  # for the end of the connection, which may be waited for
        try:
            async with asyncio.timeout(max(0.0, min(self._idle, self._until - time.monotonic()))):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None
        self._have += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._have > self._most:
            raise _too_large(self._most)
        return message

    def watching(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            self.answering = True
            await send(message)

        return sending


def _length(scope: Scope) -> int | None:
    given = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(given) if given.isdigit() else None


def _too_large(most: int) -> HTTPException:
    size = f"{most / 2**20:.0f} MB" if most >= 2**20 else f"{most} bytes"
    return HTTPException(413, f"the body is larger than {size}", {"Connection": "close"})
