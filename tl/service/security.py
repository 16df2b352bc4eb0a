"""Who and what is let in: keys and their rates, other origins, slow or large bodies, and the headers of responses.

There are no cookies and no passwords, so a foreign page in somebody's browser has nothing to misuse. Without keys the
service listens on this machine alone, where every program may use it, but no foreign page: browsers send its requests
with its own name in Origin, or mark them in Sec-Fetch-Site, and one whose name was made to point to 127.0.0.1 (DNS
rebinding) has that name in Host.
"""

import asyncio
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl.service.database import Database
from tl.service.keys import Key, find_key, list_keys
from tl.service.options import LOOPBACK, ServeOptions
from tl.service.problems import Problem, problem_response, request_id_of
from tl.text import size as size_text

LOCAL = Key(id=0, name="local", role="admin", prefix="", created=0.0)
"""The key of everybody while the service has no keys: somebody on this machine."""

_KEY_SECONDS = 2.0  # for which a key is cached, and so may still work after it was revoked
_MAX_ENTRIES = 10_000
_BEARER = HTTPBearer(auto_error=False, description="A key of `tl keys add`")


class RateLimiter:
    """A token bucket per name: `rate` requests per minute, a tenth of that (at least ten) at once; 0 for no limit."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = rate / 60
        self._burst = max(10.0, rate / 10) if rate > 60 else float(rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        tokens, updated = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - updated) * self._per_second)
        if tokens < 1:
            return (1 - tokens) / self._per_second
        self._buckets[name] = (tokens - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MAX_ENTRIES:
            self._buckets.popitem(last=False)
        return 0.0


class Guard:
    """Checks keys, roles and rates."""

    def __init__(self, database: Database, options: ServeOptions) -> None:
        self._database = database
        self._requests = RateLimiter(options.rate)
        self._failures = RateLimiter(options.limits.failures)
        self._cache: dict[bytes, tuple[Key | None, float]] = {}

    async def admit(self, token: str | None, role: str, address: str) -> Key:
        """The key of a request. Raises Problem 401, 403 or 429."""
        key = await self._find(token)
        if key is None:
            if token is not None and (wait := self._failures.wait(address)):
                raise _too_many(wait, "too many wrong keys from this address")
            detail = "a key is needed: send `Authorization: Bearer …`" if token is None else "this key is not valid"
            raise Problem(401, detail, {"WWW-Authenticate": 'Bearer realm="tl"'})
        if not key.may(role):
            raise Problem(403, f"the key {key.name!r} has the role {key.role}; this needs {role}")
        if key != LOCAL and (wait := self._requests.wait(str(key.id))):
            raise _too_many(wait, f"too many requests with the key {key.name!r}")
        return key

    async def _find(self, token: str | None) -> Key | None:
        """The key of a token; without one, LOCAL on a service that never had keys. Cached for `_KEY_SECONDS`."""
        digest = b"" if token is None else hashlib.sha256(token.encode()).digest()
        key, checked = self._cache.get(digest, (None, -math.inf))
        if time.monotonic() - checked < _KEY_SECONDS:
            return key
        if token is not None:
            key = await run_in_threadpool(find_key, self._database, token)
        else:
            key = None if await run_in_threadpool(list_keys, self._database) else LOCAL
        if len(self._cache) >= _MAX_ENTRIES:
            self._cache.clear()
        self._cache[digest] = (key, time.monotonic())
        return key


def needs(role: str) -> Callable[..., Awaitable[Key]]:
    """The dependency of a route that only keys of `role` and above may use: `key: Key = Depends(needs("train"))`."""

    async def admit(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Key:
        guard: Guard = request.app.state.guard
        if credentials is None and "authorization" in request.headers:
            raise Problem(401, "only `Authorization: Bearer …` is understood", {"WWW-Authenticate": "Bearer"})
        address = request.client.host if request.client else ""
        key = await guard.admit(None if credentials is None else credentials.credentials, role, address)
        request.state.key_name = key.name
        return key

    return admit


def _too_many(seconds: float, reason: str) -> Problem:
    return Problem(429, reason, {"Retry-After": str(max(1, math.ceil(seconds)))})


PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: it loads its own files and nothing else."""

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""That of reports, which contain their scripts and pictures: they run in an origin of their own and load nothing."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_POLICY,
}


class SecurityHeaders:
    """ASGI middleware that adds security headers where a route set none; with `secure`, HSTS as well."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class OriginCheck:
    """ASGI middleware: 421 for an unknown Host, 403 for a request from a page of another origin."""

    def __init__(self, app: ASGIApp, *, options: ServeOptions) -> None:
        self._app = app
        self._names = frozenset({options.host, *(name.lower() for name in options.allow_host), *LOOPBACK})
        self._any_address = not options.is_local  # only names can be rebound, addresses cannot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refuse(scope)) is not None:
            await problem_response(*refusal, request_id=request_id_of(scope))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            return 421, "unknown host name: use the service's address, or start it with --allow-host NAME"
        origin = headers.get("origin")
        if origin and origin.lower() not in (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower()):
            return 403, "a page of another origin may not use this service"
        # A link that somebody followed from another site shows the page to them and to nobody else.
        is_visit = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        # "none": somebody typed the address
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_visit:
            return 403, "a page of another site may not use this service"
        return None

    def _is_known(self, host: str) -> bool:
        name = (host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host).lower()
        if self._any_address:
            with suppress(ValueError):
                ipaddress.ip_address(name)
                return True
        return name in self._names


class BodyLimits:
    """ASGI middleware: 413 for a body that is too large, 408 for one that is too slow; then it closes the connection.

    The limits depend on the route: images, data sets, or a few lines of JSON.
    """

    def __init__(self, app: ASGIApp, *, options: ServeOptions) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(receive, *self._limits(scope["path"]))
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            length = Headers(scope=scope).get("content-length", "")
            body.check(int(length) if length.isascii() and length.isdecimal() else 0)
            await self._app(scope, body.receive, send_and_note)
        except HTTPException as error:  # of a route that reads its body outside of the application's error handlers
            if started:
                raise
            response = problem_response(error.status_code, error.detail, request_id_of(scope), error.headers)
            await response(scope, receive, send)

    def _limits(self, path: str) -> tuple[int, float, float]:
        """Bytes, seconds, and seconds of a pause."""
        limits, training = self._options.limits, self._options.training
        if path in ("/v1/predict", "/v1/explain"):
            return limits.body, limits.body_seconds, limits.idle_seconds
        if path.startswith("/v1/datasets"):
            return training.upload_bytes, training.upload_seconds, training.idle_seconds
        return limits.json, limits.body_seconds, limits.idle_seconds


class _LimitedBody:
    def __init__(self, receive: Receive, size: int, seconds: float, idle_seconds: float) -> None:
        self._receive, self._size, self._idle_seconds = receive, size, idle_seconds
        self._deadline = time.monotonic() + seconds
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()  # a disconnect, which may be waited for
        try:
            async with asyncio.timeout(max(0.0, min(self._idle_seconds, self._deadline - time.monotonic()))):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body was sent too slowly", {"Connection": "close"}) from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        self.check(self._received)
        return message

    def check(self, size: int) -> None:
        if size > self._size:
            raise HTTPException(413, f"the body is larger than {size_text(self._size)}", {"Connection": "close"})
