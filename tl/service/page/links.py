"""A key that may read a report becomes a link to it, for one visit within a minute.

A browser that follows a link sends no key, and a key has no place in an address, where logs and histories keep it.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel

from tl.service import datasets, runs
from tl.service.keys import Key
from tl.service.problems import Problem, documented
from tl.service.security import needs

router = APIRouter(tags=["page"])

_SECONDS = 60.0
_MOST = 1000
Page = Callable[[Request], Awaitable[FileResponse]]


class Link(BaseModel):
    """Where the report is, once."""

    url: str


class Links:
    """The links that nobody has followed yet; the oldest is forgotten where there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: OrderedDict[str, tuple[Page, float]] = OrderedDict()

    def add(self, page: Page) -> str:
        """The name by which `page` can be taken."""
        name = secrets.token_urlsafe(24)
        self._pages[name] = (page, self._clock() + _SECONDS)
        if len(self._pages) > _MOST:
            self._pages.popitem(last=False)
        return name

    def take(self, name: str) -> Page | None:
        """The page of that name, if it is there in time and for the first time."""
        page, until = self._pages.pop(name, (None, 0.0))
        return page if self._clock() < until else None


@router.post(
    "/v1/runs/{name}/report/link", response_model=Link, responses=documented(404), summary="A link to a run's report"
)
async def report_link(request: Request, name: runs.Name, key: Annotated[Key, Depends(needs("predict"))]) -> Link:
    """A link to the report for a browser: for one visit, within a minute."""

    async def page(visit: Request) -> FileResponse:
        return await runs.report(visit, name, key)

    await page(request)  # refuses what is not there
    return _link(request, page)


@router.post(
    "/v1/datasets/{dataset}/check/link",
    response_model=Link,
    responses=documented(404),
    summary="A link to what is wrong with a data set",
    dependencies=[Depends(needs("train"))],
)
async def check_link(request: Request, dataset: datasets.Id) -> Link:
    """A link to the page of the check for a browser: for one visit, within a minute."""

    async def page(visit: Request) -> FileResponse:
        return await run_in_threadpool(datasets.check_page, visit, dataset)

    await page(request)
    return _link(request, page)


@router.get("/opened/{name}", include_in_schema=False)
async def opened(request: Request, name: Annotated[str, InPath(max_length=100)]) -> FileResponse:
    """What a link leads to."""
    page = _links(request).take(name)
    if page is None:
        raise Problem(404, "this link was for one visit, within a minute: open the report from the page again")
    answer = await page(request)
    answer.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"  # HTML lets no sandboxed page have another
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _link(request: Request, page: Page) -> Link:
    return Link(url=f"/opened/{_links(request).add(page)}")


def _links(request: Request) -> Links:
    found: Links = request.app.state.__dict__.setdefault("links", Links())
    return found
