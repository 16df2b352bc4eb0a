"""The feature cache on a real disk: crashes, parallel writers, a full disk, damage, shared environments."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest

from tl import cache as store
from tl.cache import Environments, FeatureCache
from tl.errors import CacheError

LIMIT = 10_000_000


def key(number: int) -> bytes:
    return number.to_bytes(48, "big")


def vector(number: int) -> np.ndarray:
    return np.full(512, number, np.float32)


def rows(start: int, stop: int) -> list[tuple[bytes, np.ndarray]]:
    return [(key(n), vector(n)) for n in range(start, stop)]


def get(cache: FeatureCache, one: bytes) -> np.ndarray | None:
    (stored,) = cache.find([one])
    return stored and stored.vector


@pytest.fixture
def cache(tmp_path):
    with FeatureCache(tmp_path / "features", 50_000_000) as opened:
        yield opened


def test_put_vectors_are_found_and_a_key_has_one_row(cache):
    cache.put(rows(0, 10))
    cache.put([(key(1), vector(2)), (key(1), vector(1))])
    assert all((get(cache, key(n)) == vector(n)).all() for n in range(10))
    assert get(cache, key(10)) is None
    assert cache.info().rows == 10
    with cache._store.begin() as view:
        assert view.stat(cache._used)["entries"] == 10


def test_damaged_row_counts_as_missing(cache):
    cache.put(rows(1, 2))
    with cache._store.begin(write=True) as change:
        row = bytearray(change.get(key(1), db=cache._rows))
        row[100] ^= 1
        change.put(key(1), bytes(row), db=cache._rows)
    assert get(cache, key(1)) is None


def test_least_recently_used_rows_are_removed_first(tmp_path, monkeypatch):
    with FeatureCache(tmp_path, 2_000_000) as cache:
        monkeypatch.setattr(store, "_today", lambda: 100)
        cache.put(rows(0, 100))
        monkeypatch.setattr(store, "_today", lambda: 102)
        cache.touch([key(n) for n in range(50)])
        monkeypatch.setattr(store, "_today", lambda: 101)
        for start in range(1000, 3000, 100):
            cache.put(rows(start, start + 100))
            assert cache.info().bytes < 2_500_000
            if get(cache, key(99)) is None:
                break
        else:
            pytest.fail("nothing was ever removed")
        assert all(get(cache, key(n)) is not None for n in range(50))


def test_cache_stays_near_its_limit_which_is_that_of_the_first_to_open_it(tmp_path):
    with FeatureCache(tmp_path, 1_000_000), FeatureCache(tmp_path, 500_000_000) as cache:
        for start in range(0, 5000, 100):
            cache.put(rows(start, start + 100))
        assert 600_000 < cache.info().bytes < 1_500_000
        assert cache.info().limit == 1_000_000
    assert (tmp_path / "data.mdb").stat().st_blocks * 512 < 4_000_000


WRITER = """
import sys, numpy as np
from pathlib import Path
from tl.cache import FeatureCache
start = int(sys.argv[2])
with FeatureCache(Path(sys.argv[1]), 500_000_000) as cache:
    print("ready", flush=True)
    for n in range(start, start + int(sys.argv[3]), 10):
        cache.put([(m.to_bytes(48, "big"), np.full(512, m, np.float32)) for m in range(n, n + 10)])
        print(n + 10, flush=True)
"""


def writer(folder: Path, start: int, rows: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), str(start), str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_writer_loses_nothing_that_it_wrote(tmp_path):
    with writer(tmp_path, 0, 10_000_000) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(30)]
        os.kill(process.pid, signal.SIGKILL)
        written = int((said + process.stdout.readlines())[-1].strip() or 0)
    with FeatureCache(tmp_path, 500_000_000) as cache:
        held = cache.info().rows
        assert held >= written >= 290
        assert all((get(cache, key(n)) == vector(n)).all() for n in range(held))
        cache.put([(key(10**9), vector(1))])  # and it can be written again


def test_processes_write_at_the_same_time(tmp_path):
    processes = [writer(tmp_path, start, 200) for start in (0, 100_000, 200_000)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with FeatureCache(tmp_path, 500_000_000) as cache:
        assert cache.info().rows == 600
        assert all((get(cache, key(s + n)) == vector(s + n)).all() for s in (0, 100_000, 200_000) for n in range(200))


def test_threads_with_a_cache_each_write_and_read_at_once(tmp_path):
    met = threading.Barrier(2)

    def work(start: int) -> int:
        with FeatureCache(tmp_path, 500_000_000) as cache:
            met.wait(timeout=20)  # both are open now
            for n in range(start, start + 300, 10):
                cache.put(rows(n, n + 10))
                cache.touch([key(n)])
                assert (get(cache, key(n)) == vector(n)).all()
            met.wait(timeout=20)
            return sum(get(cache, key(n)) is not None for n in (*range(300), *range(1000, 1300)))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, (0, 1000))) == [600, 600]


FULL = """
import resource, signal, sys, numpy as np
from pathlib import Path
from tl.errors import CacheError
from tl.cache import FeatureCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with FeatureCache(Path(sys.argv[1]), 500_000_000) as cache:
    cache.put([(b"a" * 48, np.ones(512, np.float32))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        cache.put([(n.to_bytes(48, "big"), np.ones(512, np.float32)) for n in range(1000)])
    except CacheError as error:
        print(error)
    assert cache.find([b"a" * 48]) != [None]
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes on this system")
def test_full_disk_is_an_error_and_keeps_the_rows(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "free space there or set TL_CACHE_DIR" in done.stdout


def test_damaged_and_truncated_stores_are_refused(tmp_path):
    with FeatureCache(tmp_path, 50_000_000) as cache:
        cache.put(rows(0, 2000))
    file = tmp_path / "data.mdb"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CacheError, match="truncated"):
        FeatureCache(tmp_path, 50_000_000)
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(CacheError, match="cannot be opened"):
        FeatureCache(tmp_path, 50_000_000)


def test_info_and_clear_of_the_whole_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    assert store.info().rows == 0
    assert not (tmp_path / "features").exists()
    with store.open_cache() as opened:
        opened.put([(key(1), vector(1))])
    (tmp_path / "weights").mkdir()
    assert store.info().rows == 1
    store.clear()
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]
    store.clear(all=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def environments() -> Environments:
    return Environments()


def test_last_user_closes_an_environment(tmp_path, environments):
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


def test_folder_has_one_environment_by_whatever_path_until_it_is_removed(tmp_path, environments):
    (tmp_path / "link").symlink_to(tmp_path / "store")
    old = environments.enter(tmp_path / "store", LIMIT)
    assert environments.enter(tmp_path / "link", LIMIT) is old
    environments.leave(old)
    assert environments.enter(tmp_path / "other", LIMIT) is not old
    shutil.rmtree(tmp_path / "store")
    new = environments.enter(tmp_path / "store", LIMIT)
    assert new is not old
    environments.leave(old)
    assert environments.enter(tmp_path / "store", LIMIT) is new


def test_threads_enter_and_leave_environments(tmp_path, environments):
    def come_and_go(number: int) -> None:
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
