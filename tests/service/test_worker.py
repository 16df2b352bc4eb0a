"""Tests of tl/service/worker.py with real child processes and tiny networks: whatever is killed, jobs become runs."""

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.live_service import LONG, is_gone
from support.session import TINY
from tl.runs.run import load_run
from tl.service import store
from tl.service.archives import Unpacked
from tl.service.child import EVENTS, FINDINGS, LOG, PAGE, read_events
from tl.service.database import Database
from tl.service.options import TrainingLimits
from tl.service.store import Job
from tl.service.worker import Worker

HEAD = {"backbone": TINY, "weights": "none"}
QUICK = TrainingLimits(spare=0)


class Home:
    """A state folder with one data set, and a worker."""

    def __init__(self, folder: Path, shapes: Path) -> None:
        self.database, self.runs = Database(folder / "state"), folder / "runs"
        copied = store.incoming_folder(self.database) / "photos"
        shutil.copytree(shapes, copied)
        self.stored = store.add_dataset(self.database, copied, "모양 shapes", Unpacked(24, 1, {}))
        self.worker: Worker | None = None

    def start(self, limits: TrainingLimits = QUICK) -> Worker:
        self.worker = Worker(self.database, self.runs, limits)
        self.worker.start()
        return self.worker

    def add(self, options: dict[str, object], kind: str = "finetune") -> str:
        run = f"run-{time.monotonic_ns()}" if kind == "finetune" else ""
        return store.add_job(self.database, kind, self.stored.id, options, run=run).id

    def job(self, job: str) -> Job:
        found = store.get_job(self.database, job)
        assert found is not None
        return found

    def folder(self, job: str) -> Path:
        return store.job_folder(self.database, job)

    def partial(self, job: str) -> Path:
        return self.runs / f".{self.job(job).run}.partial"

    def events(self, job: str) -> list[dict[str, object]]:
        return [event for _, event in read_events(self.folder(job) / EVENTS)[0]]

    def children(self) -> list[int]:
        return [running.process.pid for running in self.worker._children.values()] if self.worker else []

    def until(self, what: Callable[[], object], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.05)

    def ended(self, job: str) -> Job:
        self.until(lambda: self.job(job).has_ended)
        return self.job(job)


@pytest.fixture
def home(tmp_path: Path, shapes: Path) -> Iterator[Home]:
    home = Home(tmp_path, shapes)
    yield home
    if home.worker is not None:
        home.worker.stop()
    home.database.close()


def trained(home: Home, job: str) -> bool:
    """Whether an epoch has ended."""
    return any(event["event"] == "figures" and "epoch" in event for event in home.events(job))


def test_a_job_becomes_a_run_and_writes_events(home):
    job = home.add(HEAD)
    home.start()
    ended = home.ended(job)
    assert (ended.state, ended.error, ended.attempt) == ("succeeded", "", 1), (home.folder(job) / LOG).read_text()
    run = load_run(home.runs / ended.run)
    assert run.classes == ("noise", "stripes")
    assert (home.runs / "latest").resolve() == (home.runs / ended.run).resolve()
    assert run.manifest["command"][:3] == ["tl", "finetune", home.stored.folder]
    kinds = [event["event"] for event in home.events(job)]
    assert kinds[0] == "attempt"
    assert {"say", "progress"} <= set(kinds)
    assert "network" in (home.folder(job) / LOG).read_text()


def test_a_check_becomes_findings_and_a_page(home):
    job = home.add({"backbone": TINY, "weights": "none", "offline": True}, "check")
    home.start()
    assert home.ended(job).state == "succeeded", (home.folder(job) / LOG).read_text()
    found = json.loads((home.folder(job) / FINDINGS).read_text())
    assert found["images"] == 24
    assert "<html" in (home.folder(job) / PAGE).read_text()[:200]


@pytest.mark.slow
def test_a_killed_job_continues_from_its_checkpoint(home):
    job = home.add(LONG | {"epochs": 40})
    home.start()
    home.until(lambda: (home.partial(job) / "checkpoint.npz").is_file() and trained(home, job))
    before = max(event["step"] for event in home.events(job) if event["event"] == "figures")
    os.kill(home.children()[0], signal.SIGKILL)
    assert home.ended(job).state == "succeeded", (home.folder(job) / LOG).read_text()
    attempts = [event for event in home.events(job) if event["event"] == "attempt"]
    assert [one["resumed"] for one in attempts] == [False, True]
    later = home.events(job)[home.events(job).index(attempts[1]) :]
    assert min(event["step"] for event in later if event["event"] == "figures") > before / 2
    history = (home.runs / home.job(job).run / "history.csv").read_text().splitlines()
    assert history[1].startswith("1,")
    assert len(history) == 41


def test_a_killed_job_without_a_checkpoint_starts_again(home):
    job = home.add(HEAD)
    home.start()
    home.until(lambda: home.children())
    os.kill(home.children()[0], signal.SIGKILL)
    ended = home.ended(job)
    assert (ended.state, ended.attempt) == ("succeeded", 2)


def test_cancelling_kills_the_process_and_leaves_nothing(home):
    job, waiting = home.add(LONG), home.add(LONG)
    home.start()
    home.until(lambda: trained(home, job))
    [child] = home.children()
    assert store.cancel_job(home.database, waiting).state == "cancelled"
    assert store.cancel_job(home.database, job).state == "running"
    home.until(lambda: home.job(job).state == "cancelled", 10)
    assert is_gone(child)
    assert os.listdir(home.runs) == []


def test_stopping_the_worker_requeues_its_job(home):
    job = home.add(LONG)
    worker = home.start()
    home.until(lambda: trained(home, job))
    [child] = home.children()
    worker.stop()
    assert is_gone(child)
    found = home.job(job)
    assert (found.state, found.fruitless) == ("queued", 0)
    assert store.cancel_job(home.database, job).state == "queued"  # the worker removes what is left of it
    home.start()
    home.until(lambda: home.job(job).state == "cancelled")
    assert os.listdir(home.runs) == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (TrainingLimits(spare=0, job_seconds=1), "ran longer than the limit of 1 s"),
        (TrainingLimits(spare=0, job_bytes=1000), "wrote more than the limit of 1,000 bytes"),
        (TrainingLimits(spare=1 << 60), "disk is full"),
    ],
)
def test_a_job_beyond_a_limit_fails(home, limits, message):
    job = home.add(LONG)
    home.start(limits)
    ended = home.ended(job)
    assert ended.state == "failed"
    assert message in ended.error
    assert not home.partial(job).exists()


def test_an_expected_error_is_not_retried(home):
    job = home.add(HEAD | {"weights": "bsds500"})
    home.start()
    ended = home.ended(job)
    assert (ended.state, ended.attempt) == ("failed", 1)
    assert "bsds500" in ended.error
    assert "\n" not in ended.error


def test_a_process_that_always_crashes_is_given_up(home):
    job = home.add(HEAD | {"val": "x"})
    home.start(TrainingLimits(spare=0, attempts=2))
    ended = home.ended(job)
    assert (ended.state, ended.attempt) == ("failed", 2)
    assert ended.error == "its process crashed (exit code 1; see its log), 2 times in a row"
    assert "Traceback" in (home.folder(job) / LOG).read_text()


def test_a_second_worker_waits_until_the_first_stops(home, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tl.service"), "propagate", True)
    first = home.start()
    home.until(lambda: (home.database.folder / "worker.lock").exists())
    second = Worker(home.database, home.runs, QUICK)
    second.start()
    home.until(lambda: "another service runs the jobs" in caplog.text)
    job = home.add(HEAD)
    first.stop()
    assert home.ended(job).state == "succeeded"
    second.stop()
