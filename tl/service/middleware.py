"""Every answer gets the headers that keep a browser from doing more with it than is meant.

On a machine without keys every program may use the service, but no web page: browsers send such requests from foreign
pages, too, and a page whose name was made to mean 127.0.0.1 (DNS rebinding) would even read the answer. Its requests
carry its own name in Host, and foreign pages carry theirs in Origin or say so in Sec-Fetch-Site.
"""

import asyncio
import ipaddress
import time
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl.service.options import LOOPBACK, Options
from tl.service.problems import answer

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For the page: its own files and nothing else."""

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""For reports, whose scripts and pictures stand in the page: they run in an origin of their own and load nothing."""

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
}


class Headers:
    """ASGI middleware that sets them where a route has not; with `secure`, also that TLS is to be used from now on."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._given = _ALWAYS | ({"Strict-Transport-Security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._given.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)


_SAME = (b"same-origin", b"none")  # "none": somebody typed the address
_SAFE = ("GET", "HEAD")


class Origins:
    """ASGI middleware: 421 for another Host, 403 for another Origin."""

    def __init__(self, app: ASGIApp, *, options: Options) -> None:
        self._app = app
        self._names = frozenset({options.host, *options.hosts, *LOOPBACK})
        self._any_address = not options.local  # by an IP address nobody can be lured: only names can be rebound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := self._refused(scope)) is not None:
            await answer(*refused, request_id=scope.get("state", {}).get("request_id", ""))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 421, "this service does not go by that name: call it by its address, or start it with --allow-host"
        given = {name: value for name, value in headers if name in (b"origin", b"sec-fetch-site")}
        origin = given.get(b"origin", b"").decode("latin-1")
        if origin and not _same(origin, hosts[0]):
            return 403, "a page of another origin may not use this service"
        if given.get(b"sec-fetch-site", b"none") not in _SAME and not _is_visit(scope):
            return 403, "a page of another site may not use this service"
        return None

    def _known(self, host: str) -> bool:
        name = _name(host)
        return name in self._names or (self._any_address and _is_address(name))


def _is_visit(scope: Scope) -> bool:
    """Whether somebody follows a link to the page from elsewhere, which shows it to them and to nobody else."""
    dest = next((value for name, value in scope["headers"] if name == b"sec-fetch-mode"), b"")
    return scope["method"] in _SAFE and dest == b"navigate"


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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
