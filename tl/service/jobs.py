"""`/v1/jobs`: fine-tuning that was asked for, how it goes, and what came of it.

`event: state` has the job as `GET /v1/jobs/{id}` gives it, at first and whenever its state changes; `say`, `warn`,
`progress`, `figures` and `attempt` are the lines of `tl.service.progress`; `end` has the job again and is the last.
Those lines have an id, from which a client that was cut off goes on by `Last-Event-ID`.
"""

import asyncio
import datetime
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tl.errors import BackboneError, UsageError
from tl.networks.backbones import backbone as find_backbone
from tl.runs.folder import is_taken
from tl.runs.options import Options
from tl.service import dataset_store, job_store, progress
from tl.service.child import EVENTS, LOG
from tl.service.database import Database
from tl.service.dataset_store import Stored
from tl.service.job_store import ConflictError, Job
from tl.service.keys import Key
from tl.service.problems import Problem, documented
from tl.service.replies import JobReply, JobsReply, job_reply
from tl.service.security import needs
from tl.service.state import Shared, of

train = needs("train")
router = APIRouter(tags=["jobs"], dependencies=[Depends(train)], responses=documented(404, 409))

Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
Trainer = Annotated[Key, Depends(train)]
_LOG = 1 << 20  # most bytes of a log in one answer
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\n\t\x20-\x7e\u00a0-\U0010ffff]")


class FinetuneOptions(BaseModel):
    """The options of `tl finetune` by these names, but for paths and those of the machine."""

    model_config = ConfigDict(extra="forbid")

    backbone: Annotated[str, Field(max_length=60)] = "resnet50"
    weights: Literal["imagenet", "bsds500", "none"] = "imagenet"
    val: float = 0.2
    seed: int = 0
    image_size: int | None = None
    unfreeze: Literal["none", "last", "half", "all", "auto"] = "none"
    epochs: int | None = None
    batch: Annotated[int, Field(le=1024)] | None = None
    lr: float | Literal["auto"] | None = None
    optimizer: Literal["adamw", "sgd"] | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    augment: Literal["none", "light", "strong"] | None = None
    views: int | None = None
    balance: Literal["auto", "none", "weights", "sampling"] = "auto"
    unknown_rate: float = 0.01
    budget: Annotated[str, Field(max_length=20)] | None = None


class JobRequest(BaseModel):
    """What to fine-tune: the id of a data set, options, and what to call the run (by default time, network, data)."""

    model_config = ConfigDict(extra="forbid")

    dataset: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    options: FinetuneOptions = FinetuneOptions()
    run: Annotated[str, Field(pattern=r"^\w[\w.-]{0,79}$")] | None = None


@router.post("/v1/jobs", summary="Fine-tune", status_code=201, response_model=JobReply)
def start(request: Request, wanted: JobRequest, key: Trainer) -> JSONResponse:
    """Ask for fine-tuning; it begins when those before it have ended."""
    shared = of(request)
    stored = dataset_store.get(shared.database, wanted.dataset)
    if stored is None:
        raise Problem(422, f"no data set {wanted.dataset}: GET /v1/datasets lists them")
    options = _checked(wanted.options)
    most = shared.options.allowances.waiting
    for run in _names(wanted, stored):
        if run == "latest" or is_taken(shared.options.root / run):
            continue
        with suppress(ConflictError):
            job = job_store.add(shared.database, "finetune", stored.id, options, run=run, owner=key.name, most=most)
            return JSONResponse(_reply(request, job).model_dump(), 201, {"Location": f"/v1/jobs/{job.id}"})
    raise Problem(409, f"a run is called {wanted.run!r} already, or a job makes it: choose another name")


@router.get("/v1/jobs", summary="List the jobs", response_model=JobsReply)
def every(
    request: Request,
    dataset: Annotated[str, Query(pattern="^([0-9a-f]{16})?$")] = "",
    most: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> JobsReply:
    """Jobs, the newest first."""
    found = job_store.listed(of(request).database, dataset=dataset, most=most)
    return JobsReply(jobs=[_reply(request, job) for job in found])


@router.get("/v1/jobs/{job}", summary="One job", response_model=JobReply)
def one(request: Request, job: Id) -> JobReply:
    """A job: how far it is, and in the end what came of it."""
    return _reply(request, known(request, job))


@router.post("/v1/jobs/{job}/cancel", summary="End a job", response_model=JobReply)
def cancel(request: Request, job: Id) -> JobReply:
    """Ask for a job's end; what it has written is removed. One that has ended stays as it is."""
    known(request, job)
    found = job_store.cancel(of(request).database, job)
    if found is None:
        raise Problem(404, f"no job {job}")
    return _reply(request, found)


@router.get("/v1/jobs/{job}/logs", summary="What a job printed", response_class=PlainTextResponse)
def logs(request: Request, job: Id, offset: Annotated[int, Query(ge=0)] = 0) -> PlainTextResponse:
    """What its processes have said, from a byte on; `X-Next-Offset` is where to ask on."""
    path = job_store.job_folder(of(request).database, known(request, job).id) / LOG
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(_LOG)
    except FileNotFoundError:
        content = b""
    text = _UNPRINTABLE.sub("", content.decode("utf-8", "replace"))
    return PlainTextResponse(text, headers={"X-Next-Offset": str(offset + len(content))})


def known(request: Request, job: str) -> Job:
    """The job of that id. Raises Problem where there is none."""
    found = job_store.get(of(request).database, job)
    if found is None or found.kind != "finetune":
        raise Problem(404, f"no job {job}: GET /v1/jobs lists them")
    return found


def _reply(request: Request, job: Job) -> JobReply:
    shared = of(request)
    return job_reply(shared.database, job, shared.options.root)


def _checked(wanted: FinetuneOptions) -> dict[str, object]:
    """The options that were given. Raises Problem for those that cannot be meant."""
    given = wanted.model_dump(exclude_unset=True, exclude_none=True)
    if "lr" in given:
        given["lr"] = str(given["lr"])
    try:
        Options(data="", **given).check()
        return {**given, "backbone": find_backbone(wanted.backbone).name}
    except (UsageError, BackboneError) as error:
        raise Problem(422, f"options: {error}") from error


def _names(wanted: JobRequest, stored: Stored) -> Iterator[str]:
    """What the run may be called: as was asked, else the first of these that is free."""
    if wanted.run is not None:
        yield wanted.run
        return
    network = find_backbone(wanted.options.backbone).name
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{network}-{stored.folder}"
    yield stem
    yield from (f"{stem}-{number}" for number in range(2, 1000))


events_router = APIRouter(tags=["jobs"], dependencies=[Depends(train)], responses=documented(404))

_TURN = 0.4  # seconds between two looks
_HEARTBEAT = 15.0
_MOST = 100  # who listen at once
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Listeners:
    """How many listen; what comes beyond is told to come again."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Listen for the length of a `with` block."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


@events_router.get(
    "/v1/jobs/{job}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}},
)
async def events(
    request: Request,
    job: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
    last_event_id: Annotated[str, Header(max_length=40)] = "",
) -> StreamingResponse:
    """What a job tells, from its beginning or from `Last-Event-ID` on, until it has ended."""
    await to_thread.run_sync(known, request, job)
    listeners = request.app.state.__dict__.setdefault("event_listeners", Listeners())
    if listeners.count >= _MOST:
        raise Problem(429, "too many listen to jobs: try again soon", {"Retry-After": "10"})
    start = int(last_event_id) if last_event_id.isascii() and last_event_id.isdecimal() else 0
    told = _told(of(request), job, start, listeners)
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


async def _told(shared: Shared, job: str, start: int, listeners: Listeners) -> AsyncIterator[bytes]:
    state, spoke = "", time.monotonic()
    with listeners.one_more():
        yield b"retry: 2000\n\n"
        while True:
            # The job is looked up before its events, so that one that has ended has told them all.
            reply, found, start = await to_thread.run_sync(_look, shared, job, start)
            pieces = [_event("state", reply.model_dump())] if reply.state != state else []
            pieces += [_event(event.pop("event"), event, at) for at, event in found]
            state = reply.state
            if not found and state in job_store.ENDED:
                yield b"".join([*pieces, _event("end", reply.model_dump())])
                return
            if shared.stopping.is_set():
                return  # the server leaves; the client comes back to the next one
            if not pieces and time.monotonic() - spoke > _HEARTBEAT:
                pieces = [b": still here\n\n"]
            if pieces:
                spoke = time.monotonic()
                yield b"".join(pieces)
            if not found:
                await asyncio.sleep(_TURN)


def _look(shared: Shared, job: str, start: int) -> tuple[JobReply, list[tuple[int, dict[str, Any]]], int]:
    database: Database = shared.database
    found = job_store.get(database, job)
    if found is None:
        raise Problem(404, f"no job {job}")
    reply = job_reply(database, found, shared.options.root)
    told, at = progress.events(job_store.job_folder(database, job) / EVENTS, start)
    return reply, told, at


def _event(name: str, content: dict[str, Any], number: int | None = None) -> bytes:
    head = f"event: {name}\n" if number is None else f"id: {number}\nevent: {name}\n"
    return (head + f"data: {json.dumps(content, ensure_ascii=False)}\n\n").encode("utf-8", "replace")
