"""Tests of tl/service/models.py and tl/service/decoding.py under load: new runs, killed decoders, a full queue."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.live_service import Live, problem
from support.runs import copy_run

Responses = list[tuple[int, Any]]


class Load:
    """Threads that send requests as fast as they can, until `stop`."""

    def __init__(self, live: Live, content: bytes, clients: int = 6) -> None:
        self.responses: Responses = []
        self._live, self._content, self._stopped = live, content, threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stopped.is_set():
            try:
                response = self._live.post(self._content)
                self.responses.append((response.status, json.loads(response.data)))
            except Exception as error:  # noqa: BLE001
                self.responses.append((0, repr(error)))

    def stop(self) -> Responses:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
        return self.responses


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path, tiny_run: Path) -> Path:
    copy_run(tiny_run, tmp_path / "runs" / "first")
    (tmp_path / "runs" / "latest").symlink_to("first")
    return tmp_path


@pytest.fixture
def live(home: Path) -> Iterator[Live]:
    served = Live(home, rate=0, limits={"decode_seconds": 1.0})
    yield served
    served.stop()


def test_a_newer_run_takes_over_without_a_failed_request(live: Live, home: Path, tiny_run: Path, shapes: Path):
    load = Load(live, (shapes / "noise" / "00.png").read_bytes())
    until(lambda: len(load.responses) > 20)
    copy_run(tiny_run, home / "runs" / "second")
    (home / "runs" / "next").symlink_to("second")
    os.replace(home / "runs" / "next", home / "runs" / "latest")
    until(lambda: any(body["run"] == "second" for status, body in load.responses if status == 200))
    live.request("POST", "/v1/runs/first/activate")
    seen = len(load.responses)
    until(lambda: len(load.responses) > seen + 20)
    responses = load.stop()
    assert [response for response in responses if response[0] != 200] == []
    assert [body["run"] for _, body in responses][-1] == "first"
    until(lambda: sum(entry["message"] == "run closed" for entry in live.entries()) >= 2)


def test_an_activated_run_is_the_default_after_a_restart(live: Live, home: Path, tiny_run: Path):
    copy_run(tiny_run, home / "runs" / "second")
    assert json.loads(live.request("GET", "/v1/runs").data)["follows"]
    assert live.request("POST", "/v1/runs/second/activate").status == 200
    assert problem(live.request("POST", "/v1/runs/third/activate"))["status"] == 404
    assert problem(live.request("POST", "/v1/runs/..%2Fruns/activate"))["status"] == 404
    live.stop()
    again = Live(home)
    body = json.loads(again.request("GET", "/v1/runs").data)
    again.stop()
    assert body["default"] == "second"
    assert not body["follows"]


def test_a_damaged_newer_run_changes_nothing(live: Live, home: Path, tiny_run: Path, shapes: Path):
    damaged = copy_run(tiny_run, home / "runs" / "second")
    (damaged / "trunk.bin").unlink()
    (damaged / "trunk.bin").write_bytes(b"damaged")
    (home / "runs" / "next").symlink_to("second")
    os.replace(home / "runs" / "next", home / "runs" / "latest")
    until(lambda: any(entry["level"] == "error" for entry in live.entries()))
    response = live.post((shapes / "noise" / "00.png").read_bytes())
    assert json.loads(response.data)["run"] == "first"
    time.sleep(1)
    assert sum(entry["level"] == "error" for entry in live.entries()) == 1


def test_a_killed_decoder_costs_at_most_one_request(live: Live, shapes: Path):
    load = Load(live, (shapes / "noise" / "00.png").read_bytes())
    until(lambda: len(load.responses) > 20)
    before = live.decoders()
    for victim in before:
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(live.decoders()) == len(before) and victim not in live.decoders())  # noqa: B023
    seen = len(load.responses)
    until(lambda: len(load.responses) > seen + 20)
    responses = load.stop()
    failed = [response for response in responses if response[0] != 200]
    assert len(failed) <= len(before), failed
    assert {status for status, _ in failed} <= {422}
    assert not set(live.decoders()) & set(before)


def test_a_hanging_decoder_is_replaced(live: Live, shapes: Path):
    content = (shapes / "noise" / "00.png").read_bytes()
    before = live.decoders()
    for victim in before:
        os.kill(victim, signal.SIGSTOP)
    body = problem(live.post(content))
    assert body["status"] == 422
    assert "longer than 1 s" in body["detail"]
    assert live.request("GET", "/healthz").status == 200
    until(lambda: live.post(content).status == 200)


def test_images_of_many_clients_share_batches(live: Live, shapes: Path):
    load = Load(live, (shapes / "noise" / "00.png").read_bytes(), clients=16)
    until(lambda: len(load.responses) > 100, 60)
    load.stop()
    figures = dict(
        line.rsplit(" ", 1) for line in live.request("GET", "/metrics").data.decode().splitlines() if line[0] != "#"
    )
    batches, photos = (float(figures[f'tl_batch_photos_{what}{{run="first"}}']) for what in ("count", "sum"))
    assert photos == sum(status == 200 for status, _ in load.responses)
    assert photos / batches > 1.5
    assert (
        float(figures['tl_photos_total{outcome="known",run="first"}'])
        + float(figures.get('tl_photos_total{outcome="unknown",run="first"}', 0))
        == photos
    )
    assert float(figures["tl_queue_photos"]) == 0
    assert float(figures['tl_confidence_mean{of="late",run="first"}']) > 0.5
    assert 'tl_confidence_drift{run="first"}' in figures
    assert 'tl_unknown_share{run="first"}' in figures


def test_a_full_queue_gets_a_429(home: Path, shapes: Path):
    live = Live(home, queue=2, rate=0)
    try:
        load = Load(live, (shapes / "noise" / "00.png").read_bytes(), clients=8)
        until(lambda: any(status == 429 for status, _ in load.responses))
        until(lambda: any(status == 200 for status, _ in load.responses))
        responses = load.stop()
        assert {status for status, _ in responses} == {200, 429}
        parts: Any = [("image", (str(at), (shapes / "noise" / "00.png").read_bytes(), "image/png")) for at in range(4)]
        assert live.request("POST", "/v1/predict", fields=parts).status == 200  # alone, even more than the queue holds
    finally:
        live.stop()


def test_stopping_answers_running_requests_first(live: Live, shapes: Path):
    load = Load(live, (shapes / "noise" / "00.png").read_bytes())
    until(lambda: len(load.responses) > 20)
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(30) == 0
    responses = load.stop()
    cut = [body for status, body in responses if status != 200 and "refused" not in str(body)]
    assert all("Connection" in body or "connection" in body for body in cut)  # none was taken and then not answered
    assert not [status for status, _ in responses if status not in (0, 200)]
    assert not any("Traceback" in line for line in live.log)
    assert live.decoders() == []


def test_stopping_waits_for_a_body_under_way(live: Live, shapes: Path):
    content = (shapes / "noise" / "00.png").read_bytes()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(head.encode() + content[:100])
        time.sleep(0.5)
        live.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        client.sendall(content[100:])
        assert b" 200 " in client.recv(65536)[:20]
    assert live.process.wait(30) == 0


def test_the_log_is_json_with_request_ids(live: Live, shapes: Path):
    response = live.request("GET", "/v1/runs", headers={"X-Request-ID": "my-own-request"})
    assert response.headers["X-Request-ID"] == "my-own-request"
    odd = live.request("GET", "/v1/runs?secret=tl-test-secret", headers={"X-Request-ID": "a b"})
    assert odd.headers["X-Request-ID"] != "a b"
    until(lambda: any(entry.get("request_id") == odd.headers["X-Request-ID"] for entry in live.entries()))
    [entry] = [entry for entry in live.entries() if entry.get("request_id") == "my-own-request"]
    assert entry["status"] == 200
    assert entry["path"] == "/v1/runs"
    assert len(live.entries()) == len(live.log)
    assert "tl-test-secret" not in "\n".join(live.log)


def test_decoders_have_no_secrets_and_limited_memory(live: Live):
    for process in live.decoders():
        assert b"tl-test-secret" not in Path(f"/proc/{process}/environ").read_bytes()
        limits = Path(f"/proc/{process}/limits").read_text()
        assert "unlimited" not in next(line for line in limits.splitlines() if line.startswith("Max address space"))
