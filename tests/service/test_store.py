"""Tests of tl/service/store.py: data sets and jobs in the database and its folders."""

import os
import shutil
import time
from pathlib import Path

import pytest

from tl.errors import DataError, ServiceError
from tl.service import store
from tl.service.archives import Unpacked
from tl.service.store import ConflictError

UNPACKED = Unpacked(24, 1000, {"hidden": 2})


def add_dataset(database, shapes, name="shapes", most=10):
    folder = store.incoming_folder(database) / "photos"
    shutil.copytree(shapes, folder)
    return store.add_dataset(database, folder, name, UNPACKED, owner="ann", most=most)


def state(database, job):
    return store.get_job(database, job.id).state


@pytest.mark.parametrize(("name", "stored_name", "folder"), [
    ("꽃 2026", "꽃 2026", "꽃-2026"),
    ("../../etc", "../../etc", "etc"),
    ("\n\x1b[31m\t", "[31m", "31m"),
    ("", "data", "data"),
])  # fmt: skip
def test_add_dataset_uses_its_name(database, shapes, name, stored_name, folder):
    stored = add_dataset(database, shapes, name)
    assert (stored.name, stored.folder, stored.images) == (stored_name, folder, 24)
    home = store.dataset_folder(database, stored)
    assert home.parent.parent == database.folder / "datasets"
    assert sorted(os.listdir(home)) == ["noise", "stripes"]
    assert store.get_dataset(database, stored.id) == stored == store.list_datasets(database)[0]
    assert stored.about["classes"] == {"noise": 12, "stripes": 12}
    assert stored.about["left_out"] == {"hidden": 2}


def test_add_dataset_describes_parts_and_imbalance(database, shapes, tmp_path):
    for folder, count in (("train/noise", 12), ("train/stripes", 2), ("val/noise", 4), ("val/stripes", 2)):
        shutil.copytree(shapes / Path(folder).name, tmp_path / "photos" / folder)
        for at in range(count, 12):
            (tmp_path / "photos" / folder / f"{at:02}.png").unlink()
    stored = store.add_dataset(database, tmp_path / "photos", "p", UNPACKED)
    assert stored.about["parts"] == {"train": 14, "validation": 6}
    assert stored.about["findings"][0]["severity"] == "warning"
    assert any(one["evidence"].startswith("class stripes has 2 ") for one in stored.about["findings"])


def test_a_refused_dataset_leaves_nothing(database, shapes, tmp_path):
    add_dataset(database, shapes)
    with pytest.raises(ConflictError, match="1 data sets are stored already"):
        add_dataset(database, shapes, most=1)
    assert len(os.listdir(database.folder / "datasets")) == 1
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        store.add_dataset(database, tmp_path / "photos", "mine", UNPACKED)
    assert str(tmp_path) not in str(caught.value)


def test_remove_dataset_removes_its_checks_but_not_while_a_job_trains_on_it(database, shapes):
    stored = add_dataset(database, shapes)
    job = store.add_job(database, "finetune", stored.id, {}, run="r")
    ended, queued = (store.add_job(database, "check", stored.id, {}) for _ in range(2))
    store.end_job(database, ended.id, "succeeded")
    store.job_folder(database, ended.id).mkdir(parents=True)
    with pytest.raises(ConflictError, match=job.id):
        store.remove_dataset(database, stored)
    store.cancel_job(database, job.id)
    store.remove_dataset(database, stored)
    assert store.get_dataset(database, stored.id) is None
    assert os.listdir(database.folder / "datasets") == []
    assert store.get_job(database, ended.id) is None
    assert not store.job_folder(database, ended.id).exists()
    assert store.get_job(database, queued.id).cancel


def test_tidy_removes_what_a_killed_server_left(database, shapes):
    stored = add_dataset(database, shapes)
    (store.incoming_folder(database) / "archive").write_bytes(b"half")
    (database.folder / "datasets" / "0123456789abcdef" / "x").mkdir(parents=True)
    store.tidy(database)
    assert os.listdir(database.folder / "datasets") == [stored.id]
    assert not (database.folder / "incoming").exists()


def test_jobs_are_claimed_in_order_and_once(database):
    jobs = [store.add_job(database, "finetune", "d", {"lr": "auto", "이름": 1}, run=f"r{at}") for at in range(3)]
    check = store.add_job(database, "check", "d", {})
    assert [store.jobs_ahead(database, job) for job in jobs] == [0, 1, 2]
    claimed = [store.claim_job(database, "finetune") for _ in range(4)]
    assert [job and job.id for job in claimed] == [*(job.id for job in jobs), None]
    assert (claimed[0].options, claimed[0].attempt, claimed[0].state) == ({"lr": "auto", "이름": 1}, 1, "running")
    assert store.claim_job(database, "check").id == check.id
    assert [job.id for job in store.list_jobs(database)] == [job.id for job in reversed(jobs)]
    assert [job.id for job in store.list_jobs(database, kind="check", dataset="d")] == [check.id]
    assert store.list_jobs(database, dataset="other") == []


def test_a_run_has_one_job_until_it_fails_and_the_queue_is_bounded(database):
    job = store.add_job(database, "finetune", "d", {}, run="r")
    with pytest.raises(ConflictError, match="another job makes the run 'r'"):
        store.add_job(database, "finetune", "d", {}, run="r")
    store.end_job(database, job.id, "failed", "why")
    assert store.add_job(database, "finetune", "d", {}, run="r", most=1).state == "queued"
    with pytest.raises(ServiceError, match="1 jobs are queued already"):
        store.add_job(database, "check", "d", {}, most=1)


def test_recover_jobs_requeues_those_of_a_killed_worker_but_gives_up_one_that_kills_workers(database):
    first, second = (store.add_job(database, "finetune", "d", {}) for _ in range(2))
    store.claim_job(database, "finetune")
    assert store.recover_jobs(database, 10) == [first.id]
    again = store.claim_job(database, "finetune")
    assert (again.id, again.attempt, again.fruitless) == (first.id, 2, 2)
    store.record_progress(database, first.id)
    assert store.get_job(database, first.id).fruitless == 0
    assert state(database, second) == "queued"
    for _ in range(3):
        store.recover_jobs(database, 3)
        assert store.claim_job(database, "finetune").id == first.id
    store.recover_jobs(database, 3)
    assert state(database, first) == "failed"
    assert "3 times" in store.get_job(database, first.id).error


def test_requeue_job_waits(database):
    job = store.add_job(database, "finetune", "d", {})
    store.claim_job(database, "finetune")
    store.requeue_job(database, job.id, wait=0.3)
    assert store.claim_job(database, "finetune") is None
    time.sleep(0.35)
    assert store.claim_job(database, "finetune").fruitless == 2
    store.requeue_job(database, job.id, at_fault=False)
    assert store.claim_job(database, "finetune").fruitless == 2


def test_cancel_job_in_each_state(database):
    queued, running, interrupted = (store.add_job(database, "finetune", "d", {}) for _ in range(3))
    store.cancel_job(database, queued.id)
    assert state(database, queued) == "cancelled"
    store.claim_job(database, "finetune")
    assert store.cancel_job(database, running.id).state == "running"
    store.claim_job(database, "finetune")
    store.requeue_job(database, interrupted.id, wait=100)
    assert store.cancel_job(database, interrupted.id).state == "queued"  # the worker has to remove its files
    assert store.claim_job(database, "finetune").cancel
    assert store.heartbeat(database, [(running.id, 2.5)]) == {running.id, interrupted.id}
    assert store.get_job(database, running.id).seconds == 2.5
    store.end_job(database, running.id, "cancelled")
    store.end_job(database, running.id, "failed", "late")
    assert state(database, running) == "cancelled"
    assert store.cancel_job(database, "none") is None
