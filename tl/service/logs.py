"""What the service does becomes lines of JSON on standard error: one a request, no key, no header, no file.

Each request has an id, its own `X-Request-ID` where that looks like one, which the answer names as well.
"""

import json
import logging
import re
import secrets
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from tl.service.metrics import Metrics

_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}
_LONGEST = 200  # letters of a path
_QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds by machines
_TOKEN = re.compile(r"tl_[A-Za-z0-9_-]{20,}")

_LOG = logging.getLogger("tl.service")


class Lines(logging.Formatter):
    """A record as one line of JSON; what looks like a key is blotted out, wherever it came from."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        said |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info and record.exc_info[0] is not None:
            said["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return _TOKEN.sub("tl_***", json.dumps(said, ensure_ascii=False, default=str))


def configure(level: str = "INFO") -> None:
    """Send the log of the service and of its server to standard error, as such lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name in ("tl.service", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level if name == "tl.service" else "CRITICAL")  # what uvicorn would say is said here already


class Requests:
    """ASGI middleware, the outermost: gives each request its id, and tells log and metrics how it ended."""

    def __init__(self, app: ASGIApp, *, metrics: "Metrics") -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        name = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = name
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = name
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._tell(scope, status or 500, time.monotonic() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(_method(scope), route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in _QUIET and status < 400:
            return
        state, client = scope["state"], scope.get("client")
        about = {
            "request_id": state["request_id"],
            "method": _method(scope),
            "path": scope["path"][:_LONGEST],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "client": client[0] if client else None,
            "key": state.get("key_name"),
        }
        _LOG.info("request", extra=about)


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "other"


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
