"""Data sets over real HTTP become findings and runs: jobs, their progress, cancelling, and a server that is killed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.hostile import zipped
from support.serving import Served
from support.session import TINY

HEAD = {"backbone": TINY, "weights": "none"}
LONG = {"backbone": "simple-cnn", "weights": "none", "unfreeze": "all", "epochs": 10_000, "image_size": 32, "batch": 8}


def upload(served: Served, shapes: Path, folder: Path) -> str:
    files = {path.relative_to(shapes).as_posix(): path.read_bytes() for path in shapes.rglob("*.png")}
    body = zipped(folder / "a.zip", files).read_bytes()
    reply = served.client.post("/v1/datasets", params={"name": "shapes", "check": False}, content=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, shapes: Path, cache_dir: Path) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("home"))
    made.dataset = upload(made, shapes, made.home)  # type: ignore[attr-defined]
    yield made
    made.stop()


def start(served: Served, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "options": options, **more})
    assert reply.status_code == 201, reply.text
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    told: dict[str, Any] = reply.json()
    return told


def events(served: Served, job: str, last: str = "") -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    headers = {"Last-Event-ID": last} if last else {}
    with served.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in reply.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            if "event" in event:
                found.append((event["event"], event.get("id", ""), json.loads(event["data"])))
            event = {}
    return found


def test_a_data_set_becomes_a_run(served):
    job = start(served, HEAD, run="first-shapes")
    assert job["dataset"] == {"id": served.dataset, "name": "shapes"}
    assert (job["run"], job["options"], job["result"]) == ("first-shapes", HEAD, None)
    told = events(served, job["id"])
    assert told[0][0] == "state"
    assert [name for name, _, _ in told].count("end") == 1
    name, _, end = told[-1]
    assert name == "end"
    assert (end["state"], end["attempt"], end["error"]) == ("succeeded", 1, "")
    assert end["result"]["run"] == "first-shapes"
    assert 0 <= end["result"]["top1"] <= 1
    assert end["result"]["count"] > 0
    assert {"attempt", "say", "progress"} <= {name for name, _, _ in told}
    assert served.client.get(f"/v1/jobs/{job['id']}").json() == end
    assert end in served.client.get("/v1/jobs").json()["jobs"]
    numbered = [number for _, number, _ in told if number]
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


def test_a_check_tells_what_is_wrong(served):
    path = f"/v1/datasets/{served.dataset}/check"
    reply = served.client.post(path, json=HEAD)
    assert (reply.status_code, reply.headers["retry-after"]) == (202, "2")
    assert served.client.post(path, json=HEAD).status_code == 409
    assert served.client.post(path, json={"backbone": "no-such"}).status_code == 422
    assert served.client.get(path).status_code == 202
    told = served.until(path, {"succeeded", "failed"})
    assert told["state"] == "succeeded", told
    assert (told["images"], told["classes"]) == (24, 2)
    assert sum(told["counts"].values()) == len(told["findings"]) > 0
    assert set(told["findings"][0]) == {"kind", "severity", "files", "evidence", "mend", "score"}
    assert served.client.get(path, params={"most": 1}).json()["findings"] == told["findings"][:1]
    page = served.client.get(told["page"])
    assert "sandbox" in page.headers["content-security-policy"]
    assert "Check of shapes" in page.text
    assert str(served.home) not in page.text


def test_a_curve_is_there_while_it_trains_and_a_job_can_be_cancelled(served):
    job = start(served, LONG)
    waiting = start(served, LONG)
    assert waiting["ahead"] == 1
    seen = []
    with served.client.stream("GET", f"/v1/jobs/{job['id']}/events") as reply:
        for line in reply.iter_lines():
            if line.startswith("data: ") and '"loss"' in line:
                seen.append(json.loads(line[6:]))
            if sum("epoch" in one for one in seen) >= 2:
                break
    last = [one for one in seen if "epoch" in one][-1]
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
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
    ],
)
def test_options_that_are_none_or_lead_elsewhere_are_refused(served, options, said):
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "options": options})
    assert reply.status_code in (400, 422)
    assert said in reply.json()["detail"]


@pytest.mark.parametrize("run", ["../x", "a/b", ".hidden", "latest", "", "a" * 81, "a\n"])
def test_names_of_runs_that_lead_elsewhere_are_refused(served, run):
    reply = served.client.post("/v1/jobs", json={"dataset": served.dataset, "run": run})
    assert reply.status_code in (409, 422)


def test_what_is_not_there_is_404(served):
    for path in ("", "/events", "/logs"):
        assert served.client.get(f"/v1/jobs/{'0' * 16}{path}").status_code == 404
        assert served.client.get(f"/v1/jobs/..%2f..{path}").status_code in (404, 422)
    assert served.client.post("/v1/jobs", json={"dataset": "0" * 16}).status_code == 422


def test_a_listener_that_leaves_is_forgotten_and_a_wrong_place_begins_anew(served):
    job = served.client.get("/v1/jobs").json()["jobs"][0]["id"]
    for last in ("99999999999999999999", "-5", "x", "7"):
        assert events(served, job, last=last)[-1][0] == "end"


@pytest.mark.slow
def test_a_killed_server_loses_nothing(tmp_path, shapes):
    first = Served(tmp_path)
    first.dataset = upload(first, shapes, tmp_path)
    job = start(first, LONG)
    try:
        first.until(f"/v1/jobs/{job['id']}", {"running"})
        while not list((tmp_path / "runs").glob(".*.partial/checkpoint.npz")):
            assert first.process.poll() is None
            assert first.client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("queued", "running")
        leftover = tmp_path / "state" / "incoming" / "half"
        leftover.mkdir()
    finally:
        first.client.close()
        first.process.kill()
        first.process.wait()
        if first.process.stdout is not None:
            first.process.stdout.close()
    second = Served(tmp_path)
    try:
        assert not leftover.exists()
        with second.client.stream("GET", f"/v1/jobs/{job['id']}/events") as reply:
            line = next(line for line in reply.iter_lines() if line.startswith('data: {"attempt": 2'))
        assert json.loads(line[6:])["resumed"] is True
        assert second.client.get(f"/v1/jobs/{job['id']}").json()["attempt"] == 2
    finally:
        second.stop()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{second.client.base_url}/healthz")
