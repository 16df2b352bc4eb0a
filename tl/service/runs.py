"""`/v1/runs`: which runs there are, which answer, and which is to answer from now on."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from pydantic import BaseModel

from tl.errors import RunError, TLError
from tl.runs.catalogue import Listed, catalogue
from tl.runs.folder import RUNS
from tl.service.keys import Key
from tl.service.middleware import REPORT_POLICY
from tl.service.models import NEWEST
from tl.service.problems import Problem, Responses, documented
from tl.service.security import needs
from tl.service.state import Shared, of

router = APIRouter(tags=["runs"])
Reader = Annotated[Key, Depends(needs("predict"))]
Name = Annotated[str, InPath(max_length=255, description="As GET /v1/runs has it")]

_REPORT: Responses = {200: {"content": {"text/html": {}}, "description": "The run's report"}}
_TOLD = ("name", "state", "note", "created", "backbone", "images", "classes", "part", "top1", "top1_interval", "newest")


class Run(BaseModel):
    """A run on this machine: `served` while it answers, `default` while it does where none is named."""

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
    top1: float | None
    top1_interval: list[float] | None
    note: str
    labels: list[str] | None = None
    unknown: dict[str, Any] | None = None


class Runs(BaseModel):
    """All runs, the newest first; `follows` is true while the newest one becomes the default by itself."""

    default: str | None
    follows: bool
    runs: list[Run]


@router.get(
    "/v1/runs",
    dependencies=[Depends(needs("predict"))],
    response_model=Runs,
    responses=documented(),
    summary="List the runs",
)
async def runs(request: Request) -> Runs:
    """Every run of the service's folder."""
    shared = of(request)
    found = await asyncio.to_thread(_listed, shared)
    default = _default(shared)
    return Runs(default=default, follows=shared.models.default == NEWEST, runs=[_about(shared, one) for one in found])


@router.get(
    "/v1/runs/{name}",
    dependencies=[Depends(needs("predict"))],
    response_model=Run,
    responses=documented(404),
    summary="One run, with its labels",
)
async def run(request: Request, name: Name) -> Run:
    """A run with its labels and what it promises about unknown photos."""
    shared = of(request)
    about = _about(shared, await _find(shared, name))
    model = next((one for one in shared.models.served if one.run.name == about.name), None)
    if model is None:
        return about
    unknown = None if model.run.unknown is None else model.run.unknown.as_dict()
    return about.model_copy(update={"labels": list(model.run.classes), "unknown": unknown})


@router.post(
    "/v1/runs/{name}/activate",
    dependencies=[Depends(needs("admin"))],
    response_model=Run,
    responses=documented(404),
    summary="Let a run answer from now on",
)
async def activate(request: Request, name: Name) -> Run:
    """Make a run the default, without losing a request; `latest` follows the newest one again."""
    shared = of(request)
    try:
        model = await shared.models.activate(name)
    except RunError as error:
        raise Problem(404, str(error)) from None
    return _about(shared, await _find(shared, model.run.name))


@router.get(
    "/v1/runs/{name}/report",
    response_class=FileResponse,
    responses=_REPORT | documented(404),
    summary="The report of a run",
)
async def report(request: Request, name: Name, key: Reader) -> FileResponse:  # noqa: ARG001
    """The page `report.html` of a run, in a sandbox of its own: its scripts reach nothing of the service."""
    shared = of(request)
    page = (await _find(shared, name)).folder / "report.html"
    if not page.is_file() or page.is_symlink():
        raise Problem(404, f"run {name} has no report: `tl report {shlex.quote(name)}` makes it")
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


async def _find(shared: Shared, name: str) -> Listed:
    wanted = _default(shared) if name == NEWEST else name
    found = await asyncio.to_thread(_listed, shared)
    for one in found:
        if one.name == wanted:
            return one
    raise Problem(404, f"no run is called {name!r}: GET /v1/runs names them")


def _listed(shared: Shared) -> list[Listed]:
    """Those of the folder, and those that were asked for by a path."""
    root = shared.options.root
    try:
        found = catalogue(root) if root.is_dir() or root == RUNS else []
        for model in shared.models.served:
            folder = Path(model.run.folder)
            if not any(one.name == model.run.name for one in found):
                found += [one for one in catalogue(folder.resolve().parent) if one.name == model.run.name]
    except TLError as error:
        raise Problem(503, str(error)) from None
    return found


def _default(shared: Shared) -> str | None:
    name = shared.models.default
    return next((one.run.name for one in shared.models.served if name in (one.name, one.run.name)), None)


def _about(shared: Shared, one: Listed) -> Run:
    told = {name: value for name, value in one.as_dict().items() if name in _TOLD}
    served = any(model.run.name == one.name for model in shared.models.served)
    return Run(**told, served=served, default=one.name == _default(shared))
