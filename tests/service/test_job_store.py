"""The queue: who is taken when, what is tried again, and what ends."""

import time

import pytest

from tl.errors import ServiceError
from tl.service import job_store
from tl.service.database import Database
from tl.service.job_store import ConflictError


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "state")
    yield made
    made.close()


def state(database, job):
    return job_store.get(database, job.id).state


def test_jobs_are_taken_in_their_order_and_each_once(database):
    made = [job_store.add(database, "finetune", "d", {"lr": "auto", "이름": 1}, run=f"r{at}") for at in range(3)]
    check = job_store.add(database, "check", "d", {})
    assert [job_store.ahead(database, job) for job in made] == [0, 1, 2]
    taken = [job_store.claim(database, "finetune") for _ in range(4)]
    assert [job and job.id for job in taken] == [*(job.id for job in made), None]
    assert (taken[0].options, taken[0].attempt, taken[0].state) == ({"lr": "auto", "이름": 1}, 1, "running")
    assert job_store.claim(database, "check").id == check.id
    assert [job.id for job in job_store.listed(database)] == [job.id for job in reversed(made)]
    assert [job.id for job in job_store.listed(database, kind="check", dataset="d")] == [check.id]
    assert job_store.listed(database, dataset="other") == []


def test_a_run_has_one_job_until_that_has_failed(database):
    job = job_store.add(database, "finetune", "d", {}, run="r")
    with pytest.raises(ConflictError, match="another job makes the run 'r'"):
        job_store.add(database, "finetune", "d", {}, run="r")
    job_store.end(database, job.id, "failed", "why")
    assert job_store.add(database, "finetune", "d", {}, run="r").state == "queued"


def test_the_queue_is_bounded(database):
    job_store.add(database, "check", "d", {}, most=1)
    with pytest.raises(ServiceError, match="1 jobs wait already"):
        job_store.add(database, "check", "d", {}, most=1)


def test_what_a_killed_worker_left_is_taken_first_again(database):
    first, second = (job_store.add(database, "finetune", "d", {}) for _ in range(2))
    job_store.claim(database, "finetune")
    assert job_store.recover(database, 10) == [first.id]
    again = job_store.claim(database, "finetune")
    assert (again.id, again.attempt, again.fruitless) == (first.id, 2, 2)
    job_store.fruitful(database, first.id)
    assert job_store.get(database, first.id).fruitless == 0
    assert state(database, second) == "queued"


def test_a_job_over_which_workers_die_is_given_up(database):
    job = job_store.add(database, "finetune", "d", {})
    for _ in range(3):
        assert job_store.claim(database, "finetune") is not None
        job_store.recover(database, 3)
    assert state(database, job) == "failed"
    assert "3 times" in job_store.get(database, job.id).error


def test_a_job_is_tried_again_after_a_while(database):
    job = job_store.add(database, "finetune", "d", {})
    job_store.claim(database, "finetune")
    job_store.again(database, job.id, wait=0.3)
    assert job_store.claim(database, "finetune") is None
    time.sleep(0.35)
    assert job_store.claim(database, "finetune").fruitless == 2
    job_store.again(database, job.id, counted=False)
    assert job_store.claim(database, "finetune").fruitless == 2


def test_cancelling(database):
    waiting, running, interrupted = (job_store.add(database, "finetune", "d", {}) for _ in range(3))
    job_store.cancel(database, waiting.id)
    assert state(database, waiting) == "cancelled"
    job_store.claim(database, "finetune")
    assert job_store.cancel(database, running.id).state == "running"
    job_store.claim(database, "finetune")
    job_store.again(database, interrupted.id, wait=100)
    assert job_store.cancel(database, interrupted.id).state == "queued"  # something of it may have to be removed
    assert job_store.claim(database, "finetune").cancel
    assert job_store.beat(database, [(running.id, 2.5)], 1) == {running.id, interrupted.id}
    assert job_store.get(database, running.id).seconds == 2.5
    job_store.end(database, running.id, "cancelled")
    job_store.end(database, running.id, "failed", "late")
    assert state(database, running) == "cancelled"
    assert job_store.cancel(database, "none") is None
    assert job_store.worker_beat(database) < 5
