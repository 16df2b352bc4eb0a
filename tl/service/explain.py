"""`POST /v1/explain`: a photo becomes a picture of what speaks for its label, by Grad-CAM."""

import asyncio
import io
import time
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from tl.errors import ImageError
from tl.service.models import Model
from tl.service.photos import BODY, held, photos, until_gone
from tl.service.predict import admitted, labelled
from tl.service.problems import Problem, documented
from tl.service.security import needs
from tl.service.state import Shared, of

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
                work = _drawn(shared, model, *given[0], label, side, time.monotonic() + seconds)
                png, said = await until_gone(request, work)
        except TimeoutError:
            raise Problem(504, f"no answer within {seconds * 1000:.0f} ms: try again later") from None
    return Response(png, media_type="image/png", headers=said)


async def _drawn(
    shared: Shared, model: Model, name: str, content: bytes, label: str | None, side: int, until: float
) -> tuple[bytes, dict[str, str]]:
    if label is not None and label not in model.run.classes:
        raise Problem(422, f"run {model.run.name} has no class {label[:80]!r}")
    answer = await labelled(shared, model, name, content, len(model.run.classes), until)
    if answer.error:
        raise ImageError(answer.error)
    shown = answer.label if label is None else label
    photo = await shared.decoders.decode(content, side, "view")
    async with model.turn:  # else those who wait for it would take all threads
        png = await asyncio.to_thread(_draw, photo, model, model.run.classes.index(shown))
    return png, {"X-Label": quote(shown), "X-Confidence": f"{dict(answer.top)[shown]:.6f}"}


def _draw(photo: NDArray[np.uint8], model: Model, label: int) -> bytes:
    from PIL import Image

    from tl.workflows.explain import overlay

    with model.explainer() as explainer:
        [found] = explainer.explain([photo], [label])
    stream = io.BytesIO()
    Image.fromarray(overlay(photo, found, model.run.backbone.recipe)).save(stream, "PNG", compress_level=3)
    return stream.getvalue()
