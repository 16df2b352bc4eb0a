"""`GET /v1/jobs/{id}/events`: what a job tells while it runs, as server-sent events.

`event: state` has the job as `GET /v1/jobs/{id}` gives it, at first and whenever its state changes; `say`, `warn`,
`progress`, `figures` and `attempt` are the lines of `tl.service.progress`; `end` has the job again and is the last.
Those lines have an id, from which a client that was cut off goes on by `Last-Event-ID`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import StreamingResponse

from tl.service import job_store, progress
from tl.service.child import EVENTS
from tl.service.database import Database
from tl.service.jobs import known, train
from tl.service.problems import Problem, documented
from tl.service.replies import JobReply, job_reply
from tl.service.state import Shared, of

router = APIRouter(tags=["jobs"], dependencies=[Depends(train)], responses=documented(404))

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


@router.get(
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
