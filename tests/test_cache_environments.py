"""One environment a folder in a process: shared, closed by the last, and never confused with one that was removed."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest

from tl.cache import Environments

LIMIT = 10_000_000


def test_a_folder_has_one_environment_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    environments = Environments()
    first = environments.enter(tmp_path / "store", LIMIT)
    assert environments.enter(tmp_path / "link", LIMIT) is first
    assert environments.enter(tmp_path / "other", LIMIT) is not first


def test_the_last_to_leave_closes_it(tmp_path: Path) -> None:
    environments = Environments()
    first, second = environments.enter(tmp_path, LIMIT), environments.enter(tmp_path, LIMIT)
    environments.leave(first)
    with second.store.begin() as view:
        assert view.stat(second.rows)["entries"] == 0
    environments.leave(second)
    with pytest.raises(lmdb.Error, match="closed"):
        second.store.begin()
    with lmdb.open(str(tmp_path)):  # LMDB refuses what is open in this process
        pass
    assert environments.enter(tmp_path, LIMIT) is not first


def test_a_store_removed_while_open_gives_way_to_a_new_one(tmp_path: Path) -> None:
    environments = Environments()
    old = environments.enter(tmp_path / "store", LIMIT)
    shutil.rmtree(tmp_path / "store")
    new = environments.enter(tmp_path / "store", LIMIT)
    assert new is not old
    environments.leave(old)
    assert environments.enter(tmp_path / "store", LIMIT) is new


def test_threads_that_come_and_go(tmp_path: Path) -> None:
    environments = Environments()
    together = threading.Barrier(4)

    def come_and_go(number: int) -> None:
        together.wait(timeout=20)
        for at in range(40):
            environment = environments.enter(tmp_path, LIMIT)
            with environment.store.begin(write=True) as change:
                change.put(b"%d %d" % (number, at), b"", db=environment.rows)
            environments.leave(environment)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    environment = environments.enter(tmp_path, LIMIT)
    with environment.store.begin() as view:
        assert view.stat(environment.rows)["entries"] == 160
