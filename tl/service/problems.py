"""Whatever a request is refused for becomes an answer of one form: RFC 9457, `application/problem+json`."""

import http
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from tl.errors import DataError, ImageError, RunError, ServiceError, StorageError, TLError, UsageError

MEDIA_TYPE = "application/problem+json"
_STATUS = {UsageError: 400, ImageError: 422, DataError: 422, RunError: 422, StorageError: 507, ServiceError: 503}
_SHOWN = 5  # faults of one request that are named

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


Responses = dict[int | str, dict[str, Any]]
"""What a route may answer, as OpenAPI has it."""


def documented(*statuses: int) -> Responses:
    """What a route may refuse with, for its `responses`, beside what each of them may refuse with."""
    always = (400, 401, 403, 408, 413, 421, 422, 429, 503)
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": content}
        for status in sorted({*always, *statuses})
    }


class Problem(ServiceError):
    """A refusal with its HTTP `status`; `headers` go with it, such as Retry-After."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})


def answer(status: int, detail: str, request_id: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says so."""
    return JSONResponse(body(status, detail, request_id), status, dict(headers or {}), MEDIA_TYPE)


def body(status: int, detail: str, request_id: str = "") -> dict[str, Any]:
    """The members of RFC 9457; `request_id` is the one of the log."""
    title = http.HTTPStatus(status).phrase
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return said | ({"request_id": request_id} if request_id else {})


def install(app: FastAPI) -> None:
    """Let the application answer so for expected failures, for what the routing refuses, and for its own faults."""
    app.add_exception_handler(TLError, _expected)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def request_id(request: Request) -> str:
    """What names this request in the log."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _expected(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return answer(error.status, str(error), request_id(request), error.headers)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return answer(status, str(error), request_id(request))


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return await _unexpected(request, error)
    return answer(error.status_code, str(error.detail), request_id(request), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    said = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults[:_SHOWN]]
    return answer(422, "; ".join(said) or "the request cannot be read", request_id(request))


async def _unexpected(request: Request, error: Exception) -> Response:
    logging.getLogger("tl.service").error("fault", exc_info=error, extra={"request_id": request_id(request)})
    return answer(500, "this is a fault of the service; the log has it under the request id", request_id(request))
