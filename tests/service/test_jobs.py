"""Tests of tl/service/jobs.py: jobs over HTTP, checks of data sets, the event stream, and a killed server."""

import asyncio
import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.live_service import LONG, Live, is_gone, until
from support.session import TINY
from tl.service import jobs, store
from tl.service.job_process import EVENTS, JobProgress
from tl.service.options import ServeOptions

HEAD = {"backbone": TINY, "weights": "none"}


def upload(served, shapes):
    content = Path(shutil.make_archive(str(served.home / "a"), "zip", shapes)).read_bytes()
    reply = served.client.post("/v1/datasets", params={"name": "shapes", "check": False}, content=content)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


@pytest.fixture(scope="module")
def served(serve, shapes):
    live = serve(jobs=True)
    live.dataset = upload(live, shapes)
    return live


def start(served, options, **more):
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "options": options, **more})
    assert reply.status_code == 201, reply.text
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    return reply.json()


def events(served, job, last=""):
    """Name, id and content of each event."""
    headers = {"Last-Event-ID": last} if last else {}
    with served.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        fields = {}
        for line in reply.iter_lines():
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line:
                if "event" in fields:
                    yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
                fields = {}


def test_a_job_becomes_a_run(served):
    job = start(served, HEAD, run="first-shapes")
    assert job["dataset"] == {"id": served.dataset, "name": "shapes"}
    assert (job["run"], job["options"], job["result"]) == ("first-shapes", HEAD, None)
    stream = list(events(served, job["id"]))
    assert stream[0][0] == "state"
    assert [name for name, _, _ in stream].count("end") == 1
    name, _, end = stream[-1]
    assert name == "end"
    assert (end["state"], end["attempt"], end["error"]) == ("succeeded", 1, "")
    assert end["result"]["run"] == "first-shapes"
    assert 0 <= end["result"]["top1"] <= 1
    assert end["result"]["count"] > 0
    assert {"attempt", "say", "progress"} <= {name for name, _, _ in stream}
    assert served.client.get(f"/v1/jobs/{job['id']}").json() == end
    assert end in served.client.get("/v1/jobs").json()["jobs"]
    numbered = [number for _, number, _ in stream if number]
    rest = events(served, job["id"], last=numbered[-3])
    assert [number for _, number, _ in rest if number] == numbered[-2:]
    logs = served.client.get(f"/v1/jobs/{job['id']}/logs")
    assert "network" in logs.text
    assert "\x1b" not in logs.text
    offset = logs.headers["x-next-offset"]
    assert served.client.get(f"/v1/jobs/{job['id']}/logs", params={"offset": offset}).text == ""
    assert served.client.post("/v1/jobs", json={"dataset": served.dataset, "run": "first-shapes"}).status_code == 409
    names = [run["name"] for run in served.client.get("/v1/runs").json()["runs"]]
    assert "first-shapes" in names


def test_a_check_returns_findings_and_a_page(served):
    path = f"/v1/datasets/{served.dataset}/check"
    reply = served.client.post(path, json=HEAD)
    assert (reply.status_code, reply.headers["retry-after"]) == (202, "2")
    assert served.client.post(path, json=HEAD).status_code == 409
    assert served.client.post(path, json={"backbone": "no-such"}).status_code == 422
    assert served.client.get(path).status_code == 202
    check = served.until(path, {"succeeded", "failed"})
    assert check["state"] == "succeeded", check
    assert (check["images"], check["classes"]) == (24, 2)
    assert sum(check["counts"].values()) == len(check["findings"]) > 0
    assert set(check["findings"][0]) == {"kind", "severity", "files", "evidence", "mend", "score"}
    assert served.client.get(path, params={"most": 1}).json()["findings"] == check["findings"][:1]
    page = served.client.get(check["page"])
    assert "sandbox" in page.headers["content-security-policy"]
    assert "Check of shapes" in page.text
    assert str(served.home) not in page.text


def test_a_cleaned_copy_is_a_new_data_set(served, shapes, tmp_path):
    folder = shutil.copytree(shapes, tmp_path / "doubled")
    shutil.copy(folder / "noise" / "00.png", folder / "noise" / "copy.png")
    (folder / "stripes" / "broken.png").write_bytes((folder / "stripes" / "00.png").read_bytes()[:60])
    doubled = upload(served, folder)
    path = f"/v1/datasets/{doubled}"
    assert served.client.get(f"{path}/fix").status_code == 404
    served.client.post(f"{path}/check", json=HEAD)
    check = served.until(f"{path}/check", {"succeeded", "failed"})
    assert not [one["mend"] for one in check["findings"] if one["mend"].startswith(("rm ", "mv ", "tl "))]
    page = served.client.get(check["page"]).text
    assert "rm --" not in page
    assert "tl data" not in page
    reply = served.client.post(f"{path}/fix", params={"name": "정리됨"})
    assert (reply.status_code, reply.headers["location"]) == (202, f"{path}/fix")
    assert served.client.post(f"{path}/fix").status_code == 409
    fixed = served.until(f"{path}/fix", {"succeeded", "failed"})
    assert fixed["state"] == "succeeded", fixed
    copy = served.client.get(f"/v1/datasets/{fixed['dataset']}").json()
    assert (copy["name"], copy["images"], copy["left_out"]) == ("정리됨", 24, {"duplicates": 1, "unreadable": 1})
    assert served.get(path)["images"] == 26
    assert served.get(f"{path}/check")["job"] == check["job"]
    again = served.until(f"/v1/datasets/{copy['id']}/check", {"succeeded", "failed"})  # as the original was
    assert again["kinds"].keys() < check["kinds"].keys()
    assert str(served.home) not in json.dumps([fixed, copy, again])
    served.client.post(f"/v1/datasets/{copy['id']}/fix")
    same = served.until(f"/v1/datasets/{copy['id']}/fix", {"succeeded", "failed"})
    assert (same["state"], same["dataset"]) == ("failed", "")
    assert same["error"] == "a cleaned copy would be the same: what was found needs a decision of yours"
    assert served.client.post(f"{path}/fix", json={"out": "/x"}).status_code == 422


def test_a_running_job_streams_its_curve_and_can_be_cancelled(served):
    job = start(served, LONG)
    waiting = start(served, LONG)
    assert waiting["ahead"] == 1
    curve = (event for _, _, event in events(served, job["id"]) if "epoch" in event)
    next(curve)
    last = next(curve)
    assert last["epochs"] == 10_000
    assert last["loss"] > 0
    assert last["step"] >= 2
    now = served.client.get(f"/v1/jobs/{job['id']}").json()
    assert (now["state"], now["progress"]["task"]) == ("running", "training")
    assert served.client.delete(f"/v1/datasets/{served.dataset}").status_code == 409
    assert served.client.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    assert served.client.post(f"/v1/jobs/{job['id']}/cancel").json()["cancelling"] is True
    assert served.until(f"/v1/jobs/{job['id']}", {"cancelled"}, 15)["result"] is None
    assert served.client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert not list((served.home / "runs").glob(".*.partial"))


@pytest.mark.parametrize(("options", "message"), [
    ({"out": "/tmp/x"}, "out"),  # noqa: S108
    ({"data": "/etc"}, "data"),
    ({"weights": "/etc/passwd"}, "weights"),
    ({"backbone": "../x"}, "no backbone"),
    ({"engine": "tensorflow"}, "engine"),
    ({"download": True}, "download"),
    ({"val": 3}, "--val 3"),
    ({"epochs": -1}, "--epochs"),
    ({"lr": "fast"}, "lr"),
    ({"lr": 1000}, "--lr"),
    ({"budget": "soon"}, "--budget"),
    ({"batch": 10**9}, "batch"),
    ({"seed": 2**80}, "seed"),
    ({"seed": 10**400}, "options"),
    ({"epochs": True}, "epochs"),
    ({"val": "much"}, "val"),
    ({"epocs": 3}, "epocs"),
])  # fmt: skip
def test_invalid_and_local_options_are_refused(served, options, message):
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "options": options})
    assert reply.status_code in (400, 422)
    assert message in reply.json()["detail"]


@pytest.mark.parametrize("run", ["../x", "a/b", ".hidden", "latest", "", "a" * 81, "a\n"])
def test_invalid_run_names_are_refused(served, run):
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "run": run})
    assert reply.status_code in (409, 422)


def test_unknown_jobs_get_a_404(served):
    for path in ("", "/events", "/logs"):
        assert served.client.get(f"/v1/jobs/{'0' * 16}{path}").status_code == 404
        assert served.client.get(f"/v1/jobs/..%2f..{path}").status_code in (404, 422)
    assert served.client.post("/v1/jobs", json={"dataset": "0" * 16}).status_code == 422


def test_an_invalid_last_event_id_starts_from_the_beginning(served):
    job = start(served, LONG)["id"]
    served.client.post(f"/v1/jobs/{job}/cancel")
    for last in ("99999999999999999999", "-5", "x", "7"):
        assert list(events(served, job, last=last))[-1][0] == "end"


@pytest.mark.slow
def test_a_killed_server_loses_nothing(serve, tmp_path, shapes):
    first = Live(tmp_path, jobs=True)
    try:
        first.dataset = upload(first, shapes)
        job = start(first, LONG)["id"]
        until(lambda: list((tmp_path / "runs").glob(".*.partial/checkpoint.npz")), 120)
        [child] = first.children("tl.service.job_process")
        leftover = tmp_path / "state" / "incoming" / "half"
        leftover.mkdir()
    finally:
        first.stop(signal.SIGKILL)
    until(lambda: is_gone(child))
    second = serve(tmp_path, jobs=True)
    assert not leftover.exists()
    again = next(event for name, _, event in events(second, job) if name == "attempt" and event["attempt"] == 2)
    assert again["resumed"] is True
    assert second.get(f"/v1/jobs/{job}")["attempt"] == 2
    second.stop_cleanly()  # with the job running


def stream(database, job, act, start=0):
    """All chunks of an event stream; `act(number, state)` is called after each."""

    async def listen():
        options, stopping = ServeOptions(root=database.folder / "runs"), asyncio.Event()
        state = SimpleNamespace(options=options, database=database, stopping=stopping, listeners=0)
        chunks = []
        async for chunk in jobs._event_stream(state, job, start):
            assert state.listeners == 1
            chunks.append(chunk.decode())
            act(len(chunks), state)
        assert state.listeners == 0
        return chunks

    return asyncio.run(asyncio.wait_for(listen(), 20))


def test_event_stream_ends_with_the_job_and_can_be_resumed(database, monkeypatch):
    monkeypatch.setattr(jobs, "_POLL", 0.02)
    job = store.add_job(database, "finetune", "d", {}, run="r").id
    folder = store.job_folder(database, job)
    folder.mkdir(parents=True)
    progress = JobProgress(folder / EVENTS)

    def act(number, state):
        if number == 2:
            store.claim_job(database, "finetune")
        if number == 3:
            progress.log("topic", "줄\nline")
        if number == 4:
            progress.metrics(1, {"loss": 0.5})
            store.end_job(database, job, "failed", "why")

    chunks = stream(database, job, act)
    assert chunks[0] == "retry: 2000\n\n"
    assert chunks[1].startswith('event: state\ndata: {"id": ')
    assert '"state": "running"' in chunks[2]
    number, name, data = chunks[3].strip().split("\n", 2)
    assert (number[:4], name) == ("id: ", "event: say")
    assert json.loads(data.removeprefix("data: "))["text"] == "줄\nline"
    rest = "".join(chunks[4:])
    assert rest.index("event: figures") < rest.index("event: end")
    assert rest.count('"state": "failed"') == 2
    resumed = "".join(stream(database, job, lambda *_: None, start=int(number.removeprefix("id: "))))
    assert "event: say" not in resumed
    assert "event: figures" in resumed


def test_event_stream_sends_heartbeats_and_ends_with_the_server(database, monkeypatch):
    monkeypatch.setattr(jobs, "_POLL", 0.02)
    monkeypatch.setattr(jobs, "_HEARTBEAT", 0.05)
    job = store.add_job(database, "finetune", "d", {}, run="r").id

    def act(number, state):
        if number == 4:
            state.stopping.set()

    assert stream(database, job, act)[2:] == [": heartbeat\n\n"] * 2
