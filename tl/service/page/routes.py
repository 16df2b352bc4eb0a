"""The files of this package become the page at `/`, with what only the page asks for."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi import Path as InPath
from fastapi.responses import Response

from tl.service.page import links, visitor
from tl.service.page.assets import Asset, assets
from tl.service.problems import Problem

router = APIRouter()
router.include_router(visitor.router)
router.include_router(links.router)

_METHODS = ["GET", "HEAD"]
Known = Annotated[str, Header(alias="If-None-Match", max_length=1000)]


@router.api_route("/", methods=_METHODS, include_in_schema=False)
async def page(known: Known = "") -> Response:
    """The page itself; it needs no key, since it shows nothing before it is given one."""
    return _sent(assets()["index.html"], known)


@router.api_route("/static/{name}", methods=_METHODS, include_in_schema=False)
async def static(name: Annotated[str, InPath(max_length=100)], known: Known = "") -> Response:
    """A file that the page is made of."""
    asset = assets().get(name)
    if asset is None:
        raise Problem(404, f"the page has no file {name[:100]!r}")
    return _sent(asset, known)


def _sent(asset: Asset, known: str) -> Response:
    headers = {"ETag": asset.tag, "Cache-Control": "no-cache"}
    if asset.tag in {one.strip().removeprefix("W/") for one in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.type, headers=headers)
