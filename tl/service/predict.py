"""`POST /v1/predict`: photos become labels."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tl.errors import ImageError
from tl.prediction.predictor import Prediction
from tl.service.models import Model
from tl.service.photos import BODY, held, photos, until_gone
from tl.service.problems import Problem, documented
from tl.service.security import needs
from tl.service.state import Shared, of

router = APIRouter(tags=["predict"])

_LONGEST = 60_000  # milliseconds


class Share(BaseModel):
    """A label and how sure the run is of it, 0 to 1."""

    label: str
    confidence: float


class Answer(BaseModel):
    """What the run says of one image; `error` says why it says nothing."""

    name: str
    label: str | None
    confidence: float | None
    unknown: bool | None
    top: list[Share]
    error: str | None


class Answers(BaseModel):
    """One answer an image, in their order; the run that gave them, and the milliseconds that it took."""

    run: str
    milliseconds: float
    predictions: list[Answer]


@router.post(
    "/v1/predict",
    dependencies=[Depends(needs("predict"))],
    response_model=Answers,
    responses=documented(404, 415, 504),
    openapi_extra={"requestBody": BODY},
    summary="Label photos",
)
async def predict(
    request: Request,
    run: Annotated[
        str | None, Query(max_length=255, description="A run that is served; without it, the default")
    ] = None,
    top: Annotated[int, Query(ge=1, le=1000, description="Labels an image")] = 5,
    deadline_ms: Annotated[int | None, Query(ge=1, le=_LONGEST, description="After which nobody wants it")] = None,
) -> JSONResponse:
    """Label one image (the body) or several (files of a form). A broken one among several has its `error`."""
    with held(request):
        return await _answered(request, run, top, deadline_ms)


async def _answered(request: Request, run: str | None, top: int, deadline_ms: int | None) -> JSONResponse:
    started, shared = time.monotonic(), of(request)
    given = await photos(request)
    seconds = shared.options.deadline if deadline_ms is None else deadline_ms / 1000
    with shared.models.using(run) as model, admitted(shared, len(given)):
        work = _all(shared, model, given, top, time.monotonic() + seconds)
        try:
            async with asyncio.timeout(seconds):
                answers = await until_gone(request, work)
        except TimeoutError:
            raise Problem(504, f"no answer within {seconds * 1000:.0f} ms: ask for less, or later") from None
        for answer in answers:
            shared.metrics.answered(model.run.name, answer)
    if all(answer.error for answer in answers):
        raise Problem(422, _why(answers))
    took = round((time.monotonic() - started) * 1000, 2)
    said = [_said(answer) for answer in answers]
    return JSONResponse({"run": model.run.name, "milliseconds": took, "predictions": said})


@contextmanager
def admitted(shared: Shared, count: int) -> Iterator[None]:
    """Room for so many photos in the queue, for the length of a block. Raises Problem 429 when it is full."""
    if shared.pending and shared.pending + count > shared.options.queue:
        shared.metrics.full.inc()
        wait = min(60, max(1, round(shared.pending / max(1.0, shared.pace))))
        raise Problem(429, f"{shared.pending} photos are waiting already", {"Retry-After": str(wait)})
    shared.pending += count
    started = time.monotonic()
    try:
        yield
    finally:
        shared.left(count, time.monotonic() - started)


async def _all(
    shared: Shared, model: Model, given: list[tuple[str, bytes]], top: int, until: float
) -> list[Prediction]:
    if len(given) == 1:
        return [await labelled(shared, model, *given[0], top, until)]
    return await asyncio.gather(*(labelled(shared, model, name, content, top, until) for name, content in given))


async def labelled(shared: Shared, model: Model, name: str, content: bytes, top: int, until: float) -> Prediction:
    """The prediction of one photo, or its error. Raises TimeoutError, EngineError."""
    recipe = model.run.backbone.recipe
    model.decoding += 1
    try:
        photo = await shared.decoders.decode(content, recipe.image_size, recipe.resize)
    except ImageError as error:
        return Prediction(name, "", 0.0, (), str(error))
    finally:
        model.decoding -= 1
    shares, strange = await model.judged(photo, until)
    return model.predictor.ranked(name, shares, strange, top)


def _said(prediction: Prediction) -> dict[str, Any]:
    said = prediction.as_dict()
    return {"name": said.pop("path"), **said}


def _why(answers: list[Prediction]) -> str:
    named = [f"{answer.name}: {answer.error}" if answer.name else answer.error for answer in answers[:5]]
    return (
        ("the image cannot be used" if len(answers) == 1 else "none of the images can be used")
        + ": "
        + "; ".join(named)
    )
