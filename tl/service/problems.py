"""Error responses: every refusal is RFC 9457 `application/problem+json`."""

import http
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from tl.errors import DataError, ImageError, RunError, ServiceError, StorageError, TLError, UsageError

CLIENT_GONE = 499
"""The status, in log and metrics, of a request whose client hung up before it was answered."""

MEDIA_TYPE = "application/problem+json"
_STATUS = {UsageError: 400, ImageError: 422, DataError: 422, RunError: 422, StorageError: 507, ServiceError: 503}
_ALWAYS = (400, 401, 403, 408, 413, 421, 422, 429, 503)
_KINDS = {"type": "string", "title": "string", "status": "integer", "detail": "string", "request_id": "string"}
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {name: {"type": kind} for name, kind in _KINDS.items()},
}

BINARY = {"type": "string", "format": "binary"}
Responses = dict[int | str, dict[str, Any]]
"""The `responses` of a route, as FastAPI takes them."""


def documented(*statuses: int) -> Responses:
    """The error `responses` of a route: `statuses`, and those that every route may give."""
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": content}
        for status in sorted({*_ALWAYS, *statuses})
    }


def file_body(description: str, *kinds: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes a file as its body, or a form whose first field is one."""
    form = {"type": "object", "required": [next(iter(fields))], "properties": fields}
    content = {kind: {"schema": BINARY} for kind in kinds} | {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


class Problem(ServiceError):
    """A refusal with its HTTP `status`; `headers` such as Retry-After are sent with it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})


def problem_response(
    status: int, detail: str, request_id: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response of a refusal; `request_id` names the request in the log."""
    body = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    if request_id:
        body["request_id"] = request_id
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let the application answer expected errors, refusals of the router and its own bugs as problems."""
    app.add_exception_handler(TLError, _expected)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=CLIENT_GONE))  # nobody receives it
    app.add_exception_handler(Exception, _unexpected)


def request_id_of(scope: Scope) -> str:
    """The id of a request in the log."""
    return str(scope.get("state", {}).get("request_id", ""))


async def _expected(request: Request, error: Any) -> Response:
    request_id = request_id_of(request.scope)
    if isinstance(error, Problem):
        return problem_response(error.status, str(error), request_id, error.headers)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return problem_response(status, str(error), request_id)


async def _refused(request: Request, error: Any) -> Response:
    return problem_response(error.status_code, str(error.detail), request_id_of(request.scope), error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    details = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5]]
    return problem_response(422, "; ".join(details) or "the request cannot be read", request_id_of(request.scope))


async def _unexpected(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request.scope)
    logging.getLogger("tl.service").error("internal error", exc_info=error, extra={"request_id": request_id})
    return problem_response(500, "internal error: the log has the details under this request id", request_id)
