"""What a job tells becomes server-sent events: kept alive while nothing happens, ended with the job or the server."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from tl.progress import Progress
from tl.service import job_store
from tl.service import jobs as events
from tl.service.child import EVENTS
from tl.service.database import Database
from tl.service.options import Options
from tl.service.progress import JobProgress


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "state")
    yield made
    made.close()


def listen(database, job, act, start=0):
    """All pieces of a stream; `act(number, shared)` is called after each."""

    async def listening():
        shared = SimpleNamespace(
            options=Options(root=database.folder / "runs"), database=database, stopping=asyncio.Event()
        )
        listeners, pieces = events.Listeners(), []
        async for piece in events._told(shared, job, start, listeners):
            assert listeners.count == 1
            pieces.append(piece.decode())
            act(len(pieces), shared)
        assert listeners.count == 0
        return pieces

    return asyncio.run(asyncio.wait_for(listening(), 20))


def test_a_stream_tells_what_happens_and_ends_with_the_job(database, monkeypatch):
    monkeypatch.setattr(events, "_TURN", 0.02)
    job = job_store.add(database, "finetune", "d", {}, run="r").id
    folder = job_store.job_folder(database, job)
    folder.mkdir(parents=True)
    progress = JobProgress(folder / EVENTS, Progress())

    def act(number, shared):
        if number == 2:
            job_store.claim(database, "finetune")
        if number == 3:
            progress.log("topic", "줄\nline")
        if number == 4:
            progress.metrics(1, {"loss": 0.5})
            job_store.end(database, job, "failed", "why")

    pieces = listen(database, job, act)
    assert pieces[0] == "retry: 2000\n\n"
    assert pieces[1].startswith('event: state\ndata: {"id": ')
    assert '"state": "running"' in pieces[2]
    head, data = pieces[3].strip().rsplit("\n", 1)
    assert head.splitlines()[0].startswith("id: ")
    assert head.splitlines()[1] == "event: say"
    assert json.loads(data.removeprefix("data: "))["text"] == "줄\nline"
    rest = "".join(pieces[4:])
    assert rest.index("event: figures") < rest.index("event: end")
    assert rest.count('"state": "failed"') == 2
    place = int(head.splitlines()[0].removeprefix("id: "))
    later = "".join(listen(database, job, lambda *_: None, start=place))
    assert "event: say" not in later
    assert "event: figures" in later
    progress.close()


def test_a_quiet_stream_is_kept_alive_and_ends_with_the_server(database, monkeypatch):
    monkeypatch.setattr(events, "_TURN", 0.02)
    monkeypatch.setattr(events, "_HEARTBEAT", 0.05)
    job = job_store.add(database, "finetune", "d", {}, run="r").id

    def act(number, shared):
        if number == 4:
            shared.stopping.set()

    pieces = listen(database, job, act)
    assert pieces[2:] == [": still here\n\n"] * 2
