"""`POST /v1/predict` and `POST /v1/explain`: classify images, and show the evidence for a class (Grad-CAM)."""

import asyncio
import io
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from tl.errors import ImageError
from tl.evaluation.selective import Selection
from tl.prediction.predictor import Prediction
from tl.service.models import Model
from tl.service.problems import BINARY, Problem, Responses, documented, file_body
from tl.service.security import needs
from tl.service.state import ServiceState, state_of

Result = TypeVar("Result")
Upload = tuple[str, bytes]
"""Name and content of an image file."""

router = APIRouter(tags=["predict"], dependencies=[Depends(needs("predict"))], responses=documented(404, 415, 504))

MAX_SIDE = 1024  # pixels of an explanation
_HOW_TO_SEND = "send one image as the body, or a form with files"
_PNG: Responses = {200: {"description": "The image with the heat map over it", "content": {"image/png": {}}}}
_IMAGES = {"type": "array", "items": BINARY}
_BODY = file_body("One image, or a form with several.", "application/octet-stream", "image/*", image=_IMAGES)


class LabelReply(BaseModel):
    """A class and its probability, 0 to 1."""

    label: str
    confidence: float


class PredictionReply(BaseModel):
    """The prediction for one image; `error` says why there is none. `review` is null without `max_error`."""

    name: str
    label: str | None
    confidence: float | None
    unknown: bool | None
    review: bool | None
    top: list[LabelReply]
    error: str | None


class PredictReply(BaseModel):
    """One prediction per image, in their order; the run that made them, and the milliseconds it took."""

    run: str
    milliseconds: float
    predictions: list[PredictionReply]


@router.post("/v1/predict", response_model=PredictReply, openapi_extra=_BODY, summary="Classify images")
async def predict(
    request: Request,
    run: Annotated[str | None, Query(max_length=255, description="A served run; the default one if omitted")] = None,
    top: Annotated[int, Query(ge=1, le=1000, description="Number of classes per image")] = 5,
    max_error: Annotated[
        str | None,
        Query(max_length=20, description="At most this fraction of the images without `review` is wrong: 0.01, 1%"),
    ] = None,
    deadline_ms: Annotated[
        int | None, Query(ge=1, le=60_000, description="Milliseconds until the request gets a 504")
    ] = None,
) -> JSONResponse:
    """Classify one image (the body) or several (files of a form). A broken one among several has its `error`."""
    started, state = time.monotonic(), state_of(request)
    seconds = state.options.deadline if deadline_ms is None else deadline_ms / 1000
    with _body_memory(request):
        uploads = await _read_images(request)
        with state.models.using(run) as model, _queued(state, len(uploads)):
            deadline = time.monotonic() + seconds
            selection = await asyncio.to_thread(model.predictor.selection, max_error)
            each = (_predict_one(state, model, one, top=top, deadline=deadline, selection=selection) for one in uploads)
            work = asyncio.gather(*each)
            predictions = await _within(seconds, request, work)
            for prediction in predictions:
                state.metrics.record(model.run.name, prediction)
    if all(prediction.error for prediction in predictions):
        errors = [f"{one.name}: {one.error}" if one.name else one.error for one in predictions[:5]]
        subject = "the image cannot" if len(predictions) == 1 else "none of the images can"
        raise Problem(422, f"{subject} be used: {'; '.join(errors)}")
    milliseconds = round((time.monotonic() - started) * 1000, 2)
    rows = [prediction.as_dict() | {"review": prediction.review} for prediction in predictions]
    for row in rows:
        row["name"] = row.pop("path")
    return JSONResponse({"run": model.run.name, "milliseconds": milliseconds, "predictions": rows})


@router.post(
    "/v1/explain", response_class=Response, responses=_PNG, openapi_extra=_BODY, summary="Explain a prediction"
)
async def explain(
    request: Request,
    run: Annotated[str | None, Query(max_length=255)] = None,
    label: Annotated[str | None, Query(max_length=1000, description="A class; the predicted one if omitted")] = None,
    side: Annotated[int, Query(ge=16, le=MAX_SIDE, description="Most pixels of the longer side")] = 512,
) -> Response:
    """One image in, a PNG out: warm areas are evidence for the class, which `X-Label` names (percent-encoded)."""
    state = state_of(request)
    seconds = state.options.deadline
    with _body_memory(request):
        uploads = await _read_images(request)
        if len(uploads) != 1:
            raise Problem(422, f"{len(uploads)} images: send one image at a time")
        with state.models.using(run) as model, _queued(state, 1):
            work = _explain_one(state, model, uploads[0], label=label, side=side, deadline=time.monotonic() + seconds)
            png, headers = await _within(seconds, request, work)
    return Response(png, media_type="image/png", headers=headers)


async def _predict_one(
    state: ServiceState, model: Model, upload: Upload, *, top: int, deadline: float, selection: Selection | None = None
) -> Prediction:
    """The prediction of one image, or its error. Raises TimeoutError, EngineError."""
    recipe = model.run.backbone.recipe
    name, content = upload
    model.decoding += 1
    try:
        pixels = await state.decoders.decode(content, recipe.image_size, recipe.resize)
    except ImageError as error:
        return Prediction(name, "", 0.0, (), str(error))
    finally:
        model.decoding -= 1
    probabilities, is_unknown = await model.batcher.submit(pixels, deadline)
    return model.predictor.ranked(name, probabilities, is_unknown, top=top, selection=selection)


async def _explain_one(
    state: ServiceState, model: Model, upload: Upload, *, label: str | None, side: int, deadline: float
) -> tuple[bytes, dict[str, str]]:
    if label is not None and label not in model.run.classes:
        raise Problem(422, f"run {model.run.name} has no class {label[:80]!r}")
    prediction = await _predict_one(state, model, upload, top=len(model.run.classes), deadline=deadline)
    if prediction.error:
        raise ImageError(prediction.error)
    shown = prediction.label if label is None else label
    pixels = await state.decoders.decode(upload[1], side, "view")
    async with model.explain_lock:  # waiting in threads would use up the thread pool
        png = await asyncio.to_thread(_heatmap, pixels, model, model.run.classes.index(shown))
    return png, {"X-Label": quote(shown), "X-Confidence": f"{dict(prediction.top)[shown]:.6f}"}


def _heatmap(pixels: NDArray[np.uint8], model: Model, label: int) -> bytes:
    from PIL import Image

    from tl.views.pictures.explain import overlay

    [explanation] = model.explainer().explain([pixels], [label])
    stream = io.BytesIO()
    Image.fromarray(overlay(pixels, explanation, model.run.backbone.recipe)).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


@contextmanager
def _queued(state: ServiceState, count: int) -> Iterator[None]:
    """Places in the queue for the length of a block. Raises Problem 429 when it is full."""
    if state.pending and state.pending + count > state.options.queue:
        state.metrics.full.inc()
        wait = min(60, max(1, round(state.pending / max(1.0, state.throughput))))
        raise Problem(429, f"the queue is full: {state.pending} images are waiting", {"Retry-After": str(wait)})
    state.pending += count
    started = time.monotonic()
    try:
        yield
    finally:
        state.finish(count, time.monotonic() - started)


@contextmanager
def _body_memory(request: Request) -> Iterator[None]:
    """Memory for a request's body, for the length of a block. Raises Problem 429 while other requests need it."""
    state = state_of(request)
    limits = state.options.limits
    length = request.headers.get("content-length", "")
    size = min(int(length), limits.body) if length.isdecimal() and length.isascii() else limits.body
    if state.receiving and state.receiving + size > limits.bodies:
        raise Problem(429, "too much data is being sent at once", {"Retry-After": "1"})
    state.receiving += size
    try:
        yield
    finally:
        state.receiving -= size


async def _read_images(request: Request) -> list[Upload]:
    """The images in the body: the files of a form, or all of it as one. Raises Problem 413, 415 or 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form_files(request)
    if kind and kind != "application/octet-stream" and not kind.startswith("image/"):
        raise Problem(415, f"a body of type {kind[:80]!r} is not understood: {_HOW_TO_SEND} (multipart/form-data)")
    content = await request.body()
    if not content:
        raise Problem(422, f"the body is empty: {_HOW_TO_SEND}")
    return [("", content)]


async def _form_files(request: Request) -> list[Upload]:
    most = state_of(request).options.limits.images
    async with request.form(max_files=most, max_fields=most) as form:
        uploads = [
            ((part.filename or "")[:255], await part.read())
            for _, part in form.multi_items()
            if isinstance(part, UploadFile)
        ]
    if not uploads:
        raise Problem(422, f"the form has no files: {_HOW_TO_SEND}")
    return uploads


async def _within(seconds: float, request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`. Raises Problem 504 after `seconds`, ClientDisconnect when the client hangs up."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it after a 504
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            return task.result()
    except TimeoutError:
        raise Problem(504, f"no answer within {seconds * 1000:.0f} ms: send fewer images, or try again later") from None
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
