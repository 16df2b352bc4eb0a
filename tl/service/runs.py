"""`/v1/runs`: list runs, show which are served, choose the default one, and read reports."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from pydantic import BaseModel

from tl.errors import RunError, TLError
from tl.runs.catalogue import ListedRun, list_runs
from tl.runs.folder import RUNS
from tl.service.models import NEWEST
from tl.service.problems import Problem, Responses, documented
from tl.service.security import REPORT_POLICY, needs
from tl.service.state import ServiceState, state_of

router = APIRouter(tags=["runs"], responses=documented(404))
readers, admins = [Depends(needs("predict"))], [Depends(needs("admin"))]
Name = Annotated[str, InPath(max_length=255, description="A name from GET /v1/runs")]

_REPORT: Responses = {200: {"content": {"text/html": {}}, "description": "The run's report"}}


class RunReply(BaseModel):
    """A run on this machine: `served` while it answers, `default` while it answers requests that name no run."""

    name: str
    state: str
    served: bool
    default: bool
    newest: bool
    created: str
    backbone: str
    images: int | None
    classes: int | None
    part: str
    folds: int
    top1: float | None
    top1_interval: list[float] | None
    note: str
    labels: list[str] | None = None
    unknown: dict[str, Any] | None = None


class RunsReply(BaseModel):
    """All runs, newest first; `follows` is true while the newest one becomes the default automatically."""

    default: str | None
    follows: bool
    runs: list[RunReply]


@router.get("/v1/runs", dependencies=readers, summary="List the runs")
async def runs(request: Request) -> RunsReply:
    """All runs in the service's folder."""
    state = state_of(request)
    rows = await asyncio.to_thread(_list, state)
    return RunsReply(
        default=_default(state), follows=state.models.default == NEWEST, runs=[_reply(state, row) for row in rows]
    )


@router.get("/v1/runs/{name}", dependencies=readers, summary="Show one run")
async def run(request: Request, name: Name) -> RunReply:
    """A run with its classes and its settings for unknown images."""
    state = state_of(request)
    reply = _reply(state, await _find(state, name))
    model = next((model for model in state.models.served if model.run.name == reply.name), None)
    if model is None:
        return reply
    unknown = None if model.run.unknown is None else model.run.unknown.as_dict()
    return reply.model_copy(update={"labels": list(model.run.classes), "unknown": unknown})


@router.post("/v1/runs/{name}/activate", dependencies=admins, summary="Make it the default")
async def activate(request: Request, name: Name) -> RunReply:
    """Make a run the default without losing a request; `latest` follows the newest one again."""
    state = state_of(request)
    try:
        model = await state.models.activate(name)
    except RunError as error:
        raise Problem(404, str(error)) from None
    return _reply(state, await _find(state, model.run.name))


@router.get(
    "/v1/runs/{name}/report",
    dependencies=readers,
    response_class=FileResponse,
    responses=_REPORT,
    summary="Read the report of a run",
)
async def report(request: Request, name: Name) -> FileResponse:
    """The `report.html` of a run, in a sandbox: its scripts cannot reach the service."""
    state = state_of(request)
    page = (await _find(state, name)).folder / "report.html"
    if not page.is_file() or page.is_symlink():
        raise Problem(404, f"run {name} has no report: make one with `tl report {shlex.quote(name)}`")
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


async def _find(state: ServiceState, name: str) -> ListedRun:
    name = _default(state) or name if name == NEWEST else name
    for row in await asyncio.to_thread(_list, state):
        if row.name == name:
            return row
    raise Problem(404, f"there is no run {name!r}: GET /v1/runs lists all runs")


def _list(state: ServiceState) -> list[ListedRun]:
    """The runs in the service's folder, and those served from elsewhere."""
    root = state.options.root
    try:
        rows = list_runs(root) if root.is_dir() or root == RUNS else []
        for model in state.models.served:
            if not any(row.name == model.run.name for row in rows):
                folder = Path(model.run.folder).resolve()
                rows += [row for row in list_runs(folder.parent) if row.name == model.run.name]
    except TLError as error:
        raise Problem(503, str(error)) from None
    return rows


def _default(state: ServiceState) -> str | None:
    name = state.models.default
    return next((model.run.name for model in state.models.served if name in (model.name, model.run.name)), None)


def _reply(state: ServiceState, row: ListedRun) -> RunReply:
    fields = {name: value for name, value in row.as_dict().items() if name in RunReply.model_fields}
    served = any(model.run.name == row.name for model in state.models.served)
    return RunReply(**fields, served=served, default=row.name == _default(state))
