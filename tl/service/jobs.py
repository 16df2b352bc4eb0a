"""`/v1/jobs`: start, list, watch and cancel fine-tuning jobs.

`GET /v1/jobs/{id}/events` is a stream of server-sent events. `state` has the job as `GET /v1/jobs/{id}` returns it, at
the start and whenever its state changes; `say`, `warn`, `progress`, `figures` and `attempt` are the events of
`tl.service.job_process`; `end` has the job again and is the last. The former have an id, from which a client that
lost its connection continues with `Last-Event-ID`.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from tl.runs.finetune_options import FinetuneOptions
from tl.runs.folder import is_taken
from tl.service import store
from tl.service.datasets import Id, Trainer, check_options, iso_time, options_schema, read_json, train
from tl.service.job_process import EVENTS, LOG, last_event, read_events
from tl.service.problems import Problem, documented
from tl.service.state import ServiceState, state_of
from tl.service.store import ENDED, ConflictError, Job

router = APIRouter(tags=["jobs"], dependencies=[Depends(train)], responses=documented(404, 409))

_MAX_LOG = 1 << 20  # bytes of a log in one response
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\n\t\x20-\x7e\u00a0-\U0010ffff]")
_POLL = 0.4  # seconds
_HEARTBEAT = 15.0  # seconds
_MAX_LISTENERS = 100
_LOCAL = ("data", "from_run", "out", "tensorboard", "engine", "precision", "threads", "cache", "download", "offline")
_SCHEMA = options_schema(FinetuneOptions, leave_out=_LOCAL)


class JobRequest(BaseModel):
    """What to fine-tune: the id of a data set, options, and the name of the run (by default time, network, data)."""

    model_config = ConfigDict(extra="forbid")

    dataset: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    options: Annotated[dict[str, Any], WithJsonSchema(_SCHEMA)] = {}
    run: Annotated[str, Field(pattern=r"^\w[\w.-]{0,79}$")] | None = None


class DatasetName(BaseModel):
    """A data set by id; the name is empty if it was removed."""

    id: str
    name: str


class ResultReply(BaseModel):
    """The run of a job and its metrics on the validation images; `folds`: all images were cross-validated."""

    run: str
    top1: float | None = None
    top1_interval: list[float] | None = None
    top5: float | None = None
    count: int | None = None
    folds: int | None = None


class JobReply(BaseModel):
    """A job: queued, running, succeeded, failed or cancelled. `cancelling`: it was cancelled and still runs; `ahead`:
    jobs that come before it; `seconds`: total run time of its processes; `progress`: its latest progress event.
    """

    id: str
    state: str
    dataset: DatasetName
    options: dict[str, Any]
    run: str
    error: str
    created: str
    started: str | None
    ended: str | None
    seconds: float
    attempt: int
    cancelling: bool
    ahead: int
    progress: dict[str, Any] | None
    result: ResultReply | None


class JobsReply(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobReply]


@router.post("/v1/jobs", summary="Start fine-tuning", status_code=201, response_model=JobReply)
def start_job(request: Request, job_request: JobRequest, key: Trainer) -> JSONResponse:
    """Add a fine-tuning job to the queue."""
    state = state_of(request)
    stored = store.get_dataset(state.database, job_request.dataset)
    if stored is None:
        raise Problem(422, f"there is no data set {job_request.dataset}: GET /v1/datasets lists all data sets")
    options = check_options(FinetuneOptions, _SCHEMA, job_request.options)
    most = state.options.training.waiting
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{options['backbone']}-{stored.folder}"
    names = [job_request.run] if job_request.run else [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    for run in names:
        if run == "latest" or is_taken(state.options.root / run):
            continue
        with suppress(ConflictError):
            job = store.add_job(state.database, "finetune", stored.id, options, run=run, owner=key.name, most=most)
            return JSONResponse(_reply(state, job).model_dump(), 201, {"Location": f"/v1/jobs/{job.id}"})
    raise Problem(409, f"there is already a run {job_request.run!r}, or a job that makes it: choose another name")


@router.get("/v1/jobs", summary="List the jobs")
def list_jobs(
    request: Request,
    dataset: Annotated[str, Query(pattern="^([0-9a-f]{16})?$")] = "",
    most: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> JobsReply:
    """Jobs, newest first."""
    state = state_of(request)
    return JobsReply(jobs=[_reply(state, job) for job in store.list_jobs(state.database, dataset=dataset, most=most)])


@router.get("/v1/jobs/{job}", summary="Show one job")
def show_job(request: Request, job: Id) -> JobReply:
    """A job: its progress, and its result once it has ended."""
    return _reply(state_of(request), _find(state_of(request), job))


@router.post("/v1/jobs/{job}/cancel", summary="Cancel a job")
def cancel_job(request: Request, job: Id) -> JobReply:
    """Cancel a job; what it has written is removed. A job that has ended stays as it is."""
    state = state_of(request)
    _find(state, job)
    store.cancel_job(state.database, job)
    return _reply(state, _find(state, job))


@router.get("/v1/jobs/{job}/logs", summary="Read the log of a job", response_class=PlainTextResponse)
def read_log(request: Request, job: Id, offset: Annotated[int, Query(ge=0)] = 0) -> PlainTextResponse:
    """The output of its processes from byte `offset` on; `X-Next-Offset` is the offset of the next request."""
    path = store.job_folder(state_of(request).database, _find(state_of(request), job).id) / LOG
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(_MAX_LOG)
    except FileNotFoundError:
        content = b""
    text = _UNPRINTABLE.sub("", content.decode("utf-8", "replace"))
    return PlainTextResponse(text, headers={"X-Next-Offset": str(offset + len(content))})


@router.get(
    "/v1/jobs/{job}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}},
)
async def watch_job(
    request: Request, job: Id, last_event_id: Annotated[str, Header(max_length=40)] = ""
) -> StreamingResponse:
    """The events of a job, from the start or from `Last-Event-ID` on, until it has ended."""
    await to_thread.run_sync(_find, state_of(request), job)
    state = state_of(request)
    if state.listeners >= _MAX_LISTENERS:
        raise Problem(429, "too many clients are watching jobs: try again soon", {"Retry-After": "10"})
    start = int(last_event_id) if last_event_id.isascii() and last_event_id.isdecimal() else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_event_stream(state, job, start), media_type="text/event-stream", headers=headers)


async def _event_stream(state: ServiceState, job: str, start: int) -> AsyncIterator[bytes]:
    job_state, sent, path = "", time.monotonic(), store.job_folder(state.database, job) / EVENTS
    state.listeners += 1
    try:
        yield b"retry: 2000\n\n"
        while True:
            # The job is read before its events, so all events of a job that has ended are read.
            reply = await to_thread.run_sync(lambda: _reply(state, _find(state, job)))
            events, start = await to_thread.run_sync(read_events, path, start)
            chunks = [_event("state", reply.model_dump())] if reply.state != job_state else []
            chunks += [_event(event.pop("event"), event, at) for at, event in events]
            job_state = reply.state
            if not events and job_state in ENDED:
                yield b"".join([*chunks, _event("end", reply.model_dump())])
                return
            if state.stopping.is_set():
                return  # the client reconnects to the next server
            if not chunks and time.monotonic() - sent > _HEARTBEAT:
                chunks = [b": heartbeat\n\n"]
            if chunks:
                sent = time.monotonic()
                yield b"".join(chunks)
            if not events:
                await asyncio.sleep(_POLL)
    finally:
        state.listeners -= 1


def _event(name: str, content: dict[str, Any], number: int | None = None) -> bytes:
    head = f"event: {name}\n" if number is None else f"id: {number}\nevent: {name}\n"
    return (head + f"data: {json.dumps(content, ensure_ascii=False)}\n\n").encode("utf-8", "replace")


def _find(state: ServiceState, job: str) -> Job:
    stored = store.get_job(state.database, job)
    if stored is None or stored.kind != "finetune":
        raise Problem(404, f"there is no job {job}: GET /v1/jobs lists all jobs")
    return stored


def _reply(state: ServiceState, job: Job) -> JobReply:
    database = state.database
    dataset = store.get_dataset(database, job.dataset)
    fields = vars(job) | {
        "dataset": {"id": job.dataset, "name": dataset.name if dataset is not None else ""},
        "created": iso_time(job.created),
        "started": iso_time(job.started) if job.started else None,
        "ended": iso_time(job.ended) if job.ended else None,
        "seconds": round(job.seconds, 1),
        "cancelling": job.cancel and not job.has_ended,
        "ahead": store.jobs_ahead(database, job) if job.state == "queued" else 0,
        "progress": None if job.has_ended else last_event(store.job_folder(database, job.id) / EVENTS, "progress"),
        "result": _result(state.options.root / job.run) if job.state == "succeeded" else None,
    }
    return JobReply(**fields)


def _result(run: Path) -> ResultReply:
    try:
        scores = read_json(run / "manifest.json")["metrics"].get("validation", {})
    except (Problem, KeyError, AttributeError):
        return ResultReply(run=run.name)  # it was removed
    return ResultReply(run=run.name, **{name: scores.get(name) for name in ResultReply.model_fields if name != "run"})
