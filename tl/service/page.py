"""The web page at `/`, its static files, `GET /v1/me`, and one-visit links to reports.

A browser that follows a link sends no key, and a key does not belong in an address, where logs and histories keep it.
So a key that may read a report asks for a link to it, which works once within a minute.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tl import __version__
from tl.networks.backbones import BACKBONES
from tl.service import datasets, runs
from tl.service.keys import Key
from tl.service.problems import Problem, documented
from tl.service.security import LOCAL, needs
from tl.service.state import state_of

router = APIRouter(tags=["page"], responses=documented(404))

_METHODS = ["GET", "HEAD"]
_STATIC = StaticFiles(packages=[("tl.service", "static")])
_VIEWS = StaticFiles(packages=[("tl.views", "pages")])
Reader = Annotated[Key, Depends(needs("predict"))]
Page = Callable[[Request], Awaitable[FileResponse]]


@router.api_route("/", methods=_METHODS, include_in_schema=False)
async def index(request: Request) -> Response:
    """The page; it needs no key, since it shows nothing before it has one."""
    return await static(request, "index.html")


@router.api_route("/static/{name}", methods=_METHODS, include_in_schema=False)
async def static(request: Request, name: Annotated[str, InPath(max_length=100)]) -> Response:
    """A static file of the page, or 304 where the browser has it. `shared.css` is the style of all pages of `tl`."""
    files, name = (_VIEWS, "page.css") if name == "shared.css" else (_STATIC, name)
    try:
        response = await files.get_response(name, request.scope)
    except (HTTPException, ValueError):  # ValueError: a NUL in the name
        raise Problem(404, f"the page has no file {name!r}") from None
    response.headers["Cache-Control"] = "no-cache"
    return response


class Me(BaseModel):
    """Who is asking, and the limits that a client needs to know; sizes in bytes."""

    name: str
    role: str
    keys: bool = Field(description="Whether this service requires keys")
    jobs: bool = Field(description="Whether this service fine-tunes")
    images: int = Field(description="Most images in one prediction request")
    image_bytes: int
    body_bytes: int
    upload_bytes: int
    backbones: list[str]
    version: str


@router.get("/v1/me", summary="Show what this key may do")
async def me(request: Request, key: Reader) -> Me:
    """The name and the role of the key, and the limits of the service."""
    options = state_of(request).options
    return Me(
        name=key.name,
        role=key.role,
        keys=key != LOCAL,
        jobs=options.jobs,
        images=options.limits.images,
        image_bytes=options.limits.image,
        body_bytes=options.limits.body,
        upload_bytes=options.training.upload_bytes,
        backbones=sorted(BACKBONES),
        version=__version__,
    )


class Link(BaseModel):
    """Where the report can be opened, once."""

    url: str


class Links:
    """Links that nobody has followed yet; the oldest is dropped when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: OrderedDict[str, tuple[Page, float]] = OrderedDict()

    def add(self, page: Page) -> str:
        """Store `page`; returns the name under which `take` finds it."""
        name = secrets.token_urlsafe(24)
        self._pages[name] = (page, self._clock() + 60.0)
        if len(self._pages) > 1000:
            self._pages.popitem(last=False)
        return name

    def take(self, name: str) -> Page | None:
        """The page of that name, once and in time; None otherwise."""
        page, expires = self._pages.pop(name, (None, 0.0))
        return page if self._clock() < expires else None


@router.post("/v1/runs/{name}/report/link", summary="Get a link to a run's report", dependencies=runs.readers)
async def report_link(request: Request, name: runs.Name) -> Link:
    """A link to the report for a browser: for one visit, within a minute."""
    return await _link(request, lambda visit: runs.report(visit, name))


@router.post(
    "/v1/datasets/{dataset}/check/link",
    summary="Get a link to the check of a data set",
    dependencies=[Depends(datasets.train)],
)
async def check_link(request: Request, dataset: datasets.Id) -> Link:
    """A link to the page of the check for a browser: for one visit, within a minute."""
    return await _link(request, lambda visit: run_in_threadpool(datasets.check_page, visit, dataset))


async def _link(request: Request, page: Page) -> Link:
    await page(request)  # raises now what would fail later
    return Link(url=f"/opened/{request.app.state.links.add(page)}")


@router.get("/opened/{name}", include_in_schema=False)
async def opened(request: Request, name: Annotated[str, InPath(max_length=100)]) -> FileResponse:
    """The page behind a link."""
    links: Links = request.app.state.links
    page = links.take(name)
    if page is None:
        raise Problem(404, "this link worked once, for a minute: open the report from the page again")
    response = await page(request)
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"  # HTML allows a sandboxed page no other value
    response.headers["Cache-Control"] = "no-store"
    return response
