"""`POST /v1/explain`: a photo becomes a picture of what speaks for its label, by Grad-CAM."""

import asyncio
import io
from collections.abc import Awaitable
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from tl.service.models import Model
from tl.service.photos import BODY, held, photos, until_gone
from tl.service.predict import admitted
from tl.service.problems import Problem, documented
from tl.service.security import needs
from tl.service.state import of

router = APIRouter(tags=["predict"])

SIDE = 1024
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The photo with the heat over it", "content": {"image/png": {}}}
}


@router.post(
    "/v1/explain",
    dependencies=[Depends(needs("predict"))],
    response_class=Response,
    responses=_PNG | documented(404, 415, 504),
    openapi_extra={"requestBody": BODY},
    summary="Show what speaks for a label",
)
async def explain(
    request: Request,
    run: Annotated[str | None, Query(max_length=255)] = None,
    label: Annotated[str | None, Query(max_length=1000, description="A class; without it, the predicted one")] = None,
    side: Annotated[int, Query(ge=16, le=SIDE, description="Pixels of the longer side, at most")] = 512,
) -> Response:
    """One image in, a PNG out: where it is warm, it speaks for the label, which `X-Label` names (percent-encoded)."""
    with held(request):
        return await _explained(request, run, label, side)


async def _explained(request: Request, run: str | None, label: str | None, side: int) -> Response:
    shared = of(request)
    given = await photos(request)
    if len(given) != 1:
        raise Problem(422, f"{len(given)} images: one at a time is explained")
    seconds = shared.options.deadline
    with shared.models.using(run) as model, admitted(shared, 1):
        try:
            async with asyncio.timeout(seconds):
                work = _drawn(shared.decoders.decode(given[0][1], side, "view"), model, label)
                png, said = await until_gone(request, work)
        except TimeoutError:
            raise Problem(504, f"no answer within {seconds * 1000:.0f} ms: try again later") from None
    return Response(png, media_type="image/png", headers=said)


async def _drawn(
    decoding: Awaitable[NDArray[np.uint8]], model: Model, label: str | None
) -> tuple[bytes, dict[str, str]]:
    photo = await decoding
    async with model.turn:  # else those who wait for it would take all threads
        return await asyncio.to_thread(_draw, photo, model, label)


def _draw(photo: NDArray[np.uint8], model: Model, label: str | None) -> tuple[bytes, dict[str, str]]:
    from PIL import Image

    from tl.views.heatmap import overlay

    if label is not None and label not in model.run.classes:
        raise Problem(422, f"run {model.run.name} has no class {label[:80]!r}")
    with model.explainer() as explainer:
        [found] = explainer.explain([photo], None if label is None else [model.run.classes.index(label)])
    stream = io.BytesIO()
    Image.fromarray(overlay(photo, found, model.run.backbone.recipe)).save(stream, "PNG", compress_level=3)
    said = {"X-Label": quote(model.run.classes[found.label]), "X-Confidence": f"{found.confidence:.6f}"}
    return stream.getvalue(), said
