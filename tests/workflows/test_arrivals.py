"""What arrives in a folder: handed on when it has settled, once, by event and by looking."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from support.data_sets import put
from tl.errors import DataError
from tl.progress import Progress
from tl.workflows.watch import Arrivals, Stamp


class Watcher:
    """Notes in a thread what arrives."""

    def __init__(self, folder: Path, poll: bool) -> None:
        self.seen: list[str] = []
        self._stamps: dict[str, Stamp] = {}
        self._stop = Event()
        self._arrivals = Arrivals(folder, self._known, settle=0.3, poll=poll, interval=0.1, progress=Progress())
        self._thread = Thread(target=self._watch)
        self._thread.start()

    def _known(self, name: str, stamp: Stamp) -> bool:
        return self._stamps.get(name) == stamp

    def _watch(self) -> None:
        for group in self._arrivals.groups(self._stop):
            for name, stamp in group:
                self._stamps[name] = stamp
                self.seen.append(os.path.basename(name))

    def wait(self, count: int) -> list[str]:
        deadline = time.monotonic() + 20
        while len(self.seen) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.seen

    def close(self) -> None:
        started = time.monotonic()
        self._stop.set()
        self._thread.join(10)
        self._arrivals.close()
        assert time.monotonic() - started < 2


Start = Callable[[Path], Watcher]


@pytest.fixture(params=["events", "polling"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    made: list[Watcher] = []

    def start(folder: Path) -> Watcher:
        made.append(Watcher(folder, request.param == "polling"))
        return made[-1]

    yield start
    for watcher in made:
        watcher.close()


def test_what_is_there_and_what_arrives_comes_once(tmp_path: Path, start: Start) -> None:
    put(tmp_path, "a.png", "sub/b.JPG", "notes.txt", ".hidden.png", ".git/c.png")
    watcher = start(tmp_path)
    assert sorted(watcher.wait(2)) == ["a.png", "b.JPG"]
    put(tmp_path, "new/deep/d.png", "e.webp", "more.txt", ".git/f.png")
    (tmp_path / "moved.part").write_bytes(b"x")
    (tmp_path / "moved.part").rename(tmp_path / "g.png")
    assert sorted(watcher.wait(5)[2:]) == ["d.png", "e.webp", "g.png"]
    time.sleep(0.6)
    assert len(watcher.seen) == 5


def test_a_folder_moved_in_brings_its_images(tmp_path: Path, start: Start) -> None:
    put(tmp_path, "outside/x/a.png", "outside/b.png")
    (tmp_path / "in").mkdir()
    watcher = start(tmp_path / "in")
    time.sleep(0.3)
    (tmp_path / "outside").rename(tmp_path / "in" / "moved")
    assert sorted(watcher.wait(2)) == ["a.png", "b.png"]


def test_a_file_is_waited_for_while_it_grows_and_comes_again_when_it_changes(tmp_path: Path, start: Start) -> None:
    watcher = start(tmp_path)
    with (tmp_path / "a.png").open("wb", buffering=0) as file:
        for _ in range(8):
            file.write(b"x")
            time.sleep(0.1)
            assert watcher.seen == []
    assert watcher.wait(1) == ["a.png"]
    (tmp_path / "a.png").write_bytes(b"other")
    assert watcher.wait(2) == ["a.png", "a.png"]


def test_many_files_come_in_groups(tmp_path: Path, start: Start) -> None:
    put(tmp_path, *(f"{at:03}.png" for at in range(200)))
    for at in range(200):
        os.utime(tmp_path / f"{at:03}.png", (1, 1))  # written long ago: nothing to wait for
    started = time.monotonic()
    assert sorted(start(tmp_path).wait(200)) == [f"{at:03}.png" for at in range(200)]
    assert time.monotonic() - started < 5


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arrivals = Arrivals(tmp_path / "in", lambda name, stamp: False, poll=True, interval=0.01, progress=Progress())
    groups = arrivals.groups(Event())
    assert next(groups) == []
    (tmp_path / "in").rmdir()
    with pytest.raises(DataError, match="cannot be read any more: no such file"):
        list(zip(range(100), groups, strict=False))


def test_another_folder_in_its_place_is_listened_to(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, "a.png")
    watcher = start(folder)
    assert watcher.wait(1) == ["a.png"]
    fresh = tmp_path / "fresh"
    put(fresh, "b.png")
    folder.rename(tmp_path / "old")
    fresh.rename(folder)
    assert watcher.wait(2) == ["a.png", "b.png"]
    put(folder, "c.png")
    assert watcher.wait(3) == ["a.png", "b.png", "c.png"]
