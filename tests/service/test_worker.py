"""Tests of tl/service/worker.py with real child processes and tiny networks: whatever is killed, jobs become runs."""

import logging
import os
import shutil
import signal
import time

import pytest

from support.live_service import LONG, is_gone, until
from support.session import TINY
from tl.runs.run import load_run
from tl.service import store
from tl.service.archives import Unpacked
from tl.service.database import Database
from tl.service.job_process import COPY, EVENTS, LOG, read_events
from tl.service.options import TrainingLimits
from tl.service.worker import Worker

HEAD = {"backbone": TINY, "weights": "none"}
QUICK = TrainingLimits(spare=0)


class Home:
    def __init__(self, folder, shapes):
        self.database, self.runs = Database(folder / "state"), folder / "runs"
        copied = store.incoming_folder(self.database) / "photos"
        shutil.copytree(shapes, copied)
        self.stored = store.add_dataset(self.database, copied, "모양 shapes", Unpacked(24, 1, {}))
        self.worker = None

    def start(self, limits=QUICK):
        self.worker = Worker(self.database, self.runs, limits)
        self.worker.start()
        return self.worker

    def add(self, options, kind="finetune"):
        run = f"run-{time.monotonic_ns()}" if kind == "finetune" else ""
        return store.add_job(self.database, kind, self.stored.id, options, run=run).id

    def job(self, job):
        return store.get_job(self.database, job)

    def folder(self, job):
        return store.job_folder(self.database, job)

    def partial(self, job):
        return self.runs / f".{self.job(job).run}.partial"

    def events(self, job):
        return [event for _, event in read_events(self.folder(job) / EVENTS)[0]]

    def children(self):
        return [running.process.pid for running in self.worker._children.values()]

    def ended(self, job, state="succeeded"):
        until(lambda: self.job(job).has_ended, 90)
        assert self.job(job).state == state, (self.folder(job) / LOG).read_text()
        return self.job(job)


@pytest.fixture
def home(tmp_path, shapes):
    home = Home(tmp_path, shapes)
    yield home
    if home.worker is not None:
        home.worker.stop()
    home.database.close()


def trained(home, job):
    """Whether an epoch has ended."""
    return any(event["event"] == "figures" and "epoch" in event for event in home.events(job))


def test_a_cleaned_copy_is_stored_once_however_often_its_job_is_repeated(home):
    folder = store.dataset_folder(home.database, home.stored)
    shutil.copy(folder / "noise" / "00.png", folder / "noise" / "copy.png")
    job = home.add(HEAD | {"fix": True, "name": "clean"}, kind="check")
    home.start()
    for _ in range(2):
        home.ended(job)
        [copy, _] = store.list_datasets(home.database)
        assert (copy.id, copy.name, copy.images, copy.about["left_out"]) == (job, "clean", 24, {"duplicates": 1})
        assert not list(store.dataset_folder(home.database, copy).rglob("*.csv"))
        assert not (home.folder(job) / COPY).exists()
        home.database.execute("UPDATE jobs SET state = 'queued', ended = NULL WHERE id = ?", job)


@pytest.mark.slow
def test_a_killed_job_continues_from_its_checkpoint(home):
    job = home.add(LONG | {"epochs": 12})
    home.start()
    until(lambda: (home.partial(job) / "checkpoint.npz").is_file() and trained(home, job))
    before = max(event["step"] for event in home.events(job) if event["event"] == "figures")
    os.kill(home.children()[0], signal.SIGKILL)
    home.ended(job)
    attempts = [event for event in home.events(job) if event["event"] == "attempt"]
    assert [one["resumed"] for one in attempts] == [False, True]
    later = home.events(job)[home.events(job).index(attempts[1]) :]
    assert min(event["step"] for event in later if event["event"] == "figures") > before / 2
    history = (home.runs / home.job(job).run / "history.csv").read_text().splitlines()
    assert history[1].startswith("1,")
    assert len(history) == 13


def test_a_killed_job_without_a_checkpoint_starts_again(home):
    job = home.add(HEAD)
    home.start()
    until(lambda: home.children())
    os.kill(home.children()[0], signal.SIGKILL)
    ended = home.ended(job)
    assert (ended.error, ended.attempt) == ("", 2)
    run = load_run(home.runs / ended.run)
    assert (home.runs / "latest").resolve() == run.folder.resolve()
    assert run.manifest["command"][:3] == ["tl", "finetune", home.stored.folder]


def test_cancelling_kills_the_process_and_leaves_nothing(home):
    job, waiting = home.add(LONG), home.add(LONG)
    home.start()
    until(lambda: trained(home, job))
    [child] = home.children()
    assert store.cancel_job(home.database, waiting).state == "cancelled"
    assert store.cancel_job(home.database, job).state == "running"
    until(lambda: home.job(job).state == "cancelled", 10)
    assert is_gone(child)
    assert os.listdir(home.runs) == []


def test_stopping_the_worker_requeues_its_job(home):
    job = home.add(LONG)
    worker = home.start()
    until(lambda: trained(home, job))
    [child] = home.children()
    worker.stop()
    assert is_gone(child)
    found = home.job(job)
    assert (found.state, found.fruitless) == ("queued", 0)
    assert store.cancel_job(home.database, job).state == "queued"  # the worker removes what is left of it
    home.start()
    until(lambda: home.job(job).state == "cancelled")
    assert os.listdir(home.runs) == []


@pytest.mark.parametrize(("limits", "message"), [
    (TrainingLimits(spare=0, job_seconds=1), "ran longer than the limit of 1 s"),
    (TrainingLimits(spare=0, job_bytes=1000), "wrote more than the limit of 1,000 bytes"),
    (TrainingLimits(spare=1 << 60), "disk is full"),
])  # fmt: skip
def test_a_job_beyond_a_limit_fails(home, limits, message):
    job = home.add(LONG)
    home.start(limits)
    assert message in home.ended(job, "failed").error
    assert not home.partial(job).exists()


def test_an_expected_error_is_not_retried(home):
    job = home.add(HEAD | {"weights": "bsds500"})
    home.start()
    ended = home.ended(job, "failed")
    assert ended.attempt == 1
    assert "bsds500" in ended.error
    assert "\n" not in ended.error


def test_a_process_that_always_crashes_is_given_up(home):
    job = home.add(HEAD | {"progress": 1})  # the keyword twice: a TypeError
    home.start(TrainingLimits(spare=0, attempts=2))
    ended = home.ended(job, "failed")
    assert ended.attempt == 2
    assert ended.error == "its process crashed (exit code 1; see its log), 2 times in a row"
    assert "Traceback" in (home.folder(job) / LOG).read_text()


def test_a_second_worker_waits_until_the_first_stops(home, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tl.service"), "propagate", True)
    first = home.start()
    until(lambda: (home.database.folder / "worker.lock").exists())
    second = Worker(home.database, home.runs, QUICK)
    second.start()
    until(lambda: "another service runs the jobs" in caplog.text)
    job = home.add(HEAD)
    first.stop()
    home.ended(job)
    second.stop()
