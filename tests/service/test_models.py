"""Tests of tl/service/models.py and tl/service/decoding.py under load: new runs, killed decoders, a full queue."""

import os
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from support.live_service import Live, problem, until
from support.runs import copy_run

LIMITS = {"decode_seconds": 1.0}


class Load:
    """Threads that send an image as fast as they can, until the end of a block."""

    def __init__(self, live, content, clients=6):
        self.responses = []
        self._live, self._content, self._stopped = live, content, threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def _send(self):
        while not self._stopped.is_set():
            try:
                response = self._live.post(self._content)
                self.responses.append((response.status, response.json()))
            except Exception as error:  # noqa: BLE001
                self.responses.append((0, repr(error)))

    def more(self, count=20):
        seen = len(self.responses)
        until(lambda: len(self.responses) > seen + count, 60)

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def image(shapes):
    return (shapes / "noise" / "00.png").read_bytes()


@pytest.fixture
def load(image):
    """Send requests until the end of a block: `with load(live) as sent`."""
    return partial(Load, content=image)


@pytest.fixture
def home(tmp_path, tiny_run):
    copy_run(tiny_run, tmp_path / "runs" / "first")
    (tmp_path / "runs" / "latest").symlink_to("first")
    return tmp_path


@pytest.fixture
def live(home):
    served = Live(home, rate=0, limits=LIMITS)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def shared(serve, tiny_run, tmp_path_factory):
    """A server for the tests that leave it as it was."""
    home = tmp_path_factory.mktemp("shared")
    copy_run(tiny_run, home / "runs" / "first")
    return serve(home, rate=0, limits=LIMITS)


def point_latest_to(home, run):
    (home / "runs" / "next").symlink_to(run)
    os.replace(home / "runs" / "next", home / "runs" / "latest")


def test_a_newer_run_takes_over_without_a_failed_request(live, load, home, tiny_run):
    with load(live) as sent:
        copy_run(tiny_run, home / "runs" / "second")
        point_latest_to(home, "second")
        until(lambda: any(body["run"] == "second" for status, body in sent.responses if status == 200))
        live.request("POST", "/v1/runs/first/activate")
        sent.more()
    assert [response for response in sent.responses if response[0] != 200] == []
    assert sent.responses[-1][1]["run"] == "first"
    until(lambda: sum(entry["message"] == "run closed" for entry in live.entries()) >= 2)


def test_an_activated_run_is_the_default_after_a_restart(live, home, tiny_run):
    copy_run(tiny_run, home / "runs" / "second")
    assert live.get("/v1/runs")["follows"]
    assert live.request("POST", "/v1/runs/second/activate").status == 200
    assert problem(live.request("POST", "/v1/runs/third/activate"))["status"] == 404
    assert problem(live.request("POST", "/v1/runs/..%2Fruns/activate"))["status"] == 404
    live.stop()
    again = Live(home)
    body = again.get("/v1/runs")
    again.stop()
    assert (body["default"], body["follows"]) == ("second", False)


def test_a_damaged_newer_run_changes_nothing(live, home, tiny_run, image):
    damaged = copy_run(tiny_run, home / "runs" / "second")
    (damaged / "trunk.bin").unlink()
    (damaged / "trunk.bin").write_bytes(b"damaged")
    point_latest_to(home, "second")
    until(lambda: any(entry["level"] == "error" for entry in live.entries()))
    assert live.post(image).json()["run"] == "first"
    time.sleep(1)
    assert sum(entry["level"] == "error" for entry in live.entries()) == 1


def test_a_killed_decoder_costs_at_most_one_request(shared, load):
    before = shared.children()
    with load(shared) as sent:
        for victim in before:
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(shared.children()) == len(before) and victim not in shared.children())  # noqa: B023
        sent.more()
    failed = [status for status, _ in sent.responses if status != 200]
    assert len(failed) <= len(before), failed
    assert set(failed) <= {422}
    assert not set(shared.children()) & set(before)


def have_limits(processes):
    """Whether these decoders have set their limits, which they do before they take requests."""
    limits = [Path(f"/proc/{process}/limits").read_text() for process in processes]
    lines = [line for text in limits for line in text.splitlines() if line.startswith("Max address space")]
    return bool(lines) and not any("unlimited" in line for line in lines)


def test_a_hanging_decoder_is_replaced(shared, image):
    until(lambda: have_limits(shared.children()))  # one that is stopped while it starts is not missed for a minute
    for victim in shared.children():
        os.kill(victim, signal.SIGSTOP)
    body = problem(shared.post(image))
    assert body["status"] == 422
    assert "longer than 1 s" in body["detail"]
    assert shared.request("GET", "/healthz").status == 200
    until(lambda: shared.post(image).status == 200)


def test_images_of_many_clients_share_batches(live, load):
    with load(live, clients=16) as sent:
        sent.more(80)
    lines = live.request("GET", "/metrics").data.decode().splitlines()
    figures = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
    batches, photos = (figures[f'tl_batch_photos_{what}{{run="first"}}'] for what in ("count", "sum"))
    outcomes = [figures.get(f'tl_photos_total{{outcome="{name}",run="first"}}', 0) for name in ("known", "unknown")]
    assert photos == sum(status == 200 for status, _ in sent.responses) == sum(outcomes)
    assert photos / batches > 1.5
    assert figures["tl_queue_photos"] == 0
    assert figures['tl_confidence_mean{of="late",run="first"}'] > 0.5
    assert {'tl_confidence_drift{run="first"}', 'tl_unknown_share{run="first"}'} <= set(figures)


def test_a_full_queue_gets_a_429(serve, load, home, image):
    live = serve(home, queue=2, rate=0)
    with load(live, clients=8) as sent:
        until(lambda: {status for status, _ in sent.responses} == {200, 429})
    assert {status for status, _ in sent.responses} == {200, 429}
    parts = [("image", (str(at), image, "image/png")) for at in range(4)]
    assert live.request("POST", "/v1/predict", fields=parts).status == 200  # alone, even more than the queue holds


def test_stopping_answers_running_requests_first(live, load):
    with load(live) as sent:
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(30) == 0
    cut = [body for status, body in sent.responses if status != 200 and "refused" not in str(body)]
    assert all("Connection" in body or "connection" in body for body in cut)  # none was taken and then not answered
    assert {status for status, _ in sent.responses} <= {0, 200}
    assert not any("Traceback" in line for line in live.log)
    assert live.children() == []


def test_stopping_waits_for_a_body_under_way(live, image):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(image)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(head.encode() + image[:100])
        time.sleep(0.5)
        live.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        client.sendall(image[100:])
        assert b" 200 " in client.recv(65536)[:20]
    assert live.process.wait(30) == 0


def test_the_log_is_json_with_request_ids(shared):
    response = shared.request("GET", "/v1/runs", headers={"X-Request-ID": "my-own-request"})
    assert response.headers["X-Request-ID"] == "my-own-request"
    odd = shared.request("GET", "/v1/runs?secret=tl-test-secret", headers={"X-Request-ID": "a b"})
    assert odd.headers["X-Request-ID"] != "a b"
    until(lambda: any(entry.get("request_id") == odd.headers["X-Request-ID"] for entry in shared.entries()))
    [entry] = [entry for entry in shared.entries() if entry.get("request_id") == "my-own-request"]
    assert (entry["status"], entry["path"]) == (200, "/v1/runs")
    assert len(shared.entries()) == len(shared.log)
    assert "tl-test-secret" not in "\n".join(shared.log)


def test_decoders_have_no_secrets_and_limited_memory(shared):
    until(lambda: have_limits(shared.children()))
    for process in shared.children():
        assert b"tl-test-secret" not in Path(f"/proc/{process}/environ").read_bytes()
