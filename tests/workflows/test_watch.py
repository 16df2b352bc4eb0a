"""`tl watch`: rows of what arrives, through kills and restarts, and a clean end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from support.data_sets import put, write
from support.live_service import until
from support.recorder import Recorder
from support.runs import read_csv
from support.session import ROOT
from tl.errors import DataError
from tl.progress import Progress
from tl.workflows.watch import Arrivals, Stamp


@pytest.fixture
def watch(tiny_run: Path, tmp_path: Path):
    """Starts `tl watch in` with options, in a process that is ended with the test."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "in").mkdir()

    def watch(*options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(ROOT / "cli.py"), "watch", "in", "--settle", "0.3", "--run", str(tiny_run)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        started.append(subprocess.Popen([*command, *options], cwd=tmp_path, env=environment, **pipes))  # type: ignore
        return started[-1]

    yield watch
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def rows(out: Path, count: int) -> list[dict[str, object]]:
    until(lambda: out.exists() and out.read_bytes().count(b"\n") >= count)
    return [json.loads(line) for line in out.read_text().splitlines()]


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def test_watch_writes_one_row_per_file_through_kills_and_restarts(watch, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / "a.png")
    options = ("--out", "rows.jsonl", "--by-class", "sorted", "--no-unknown")
    first = watch(*options)
    assert [row["path"] for row in rows(out, 1)] == ["in/a.png"]
    (tmp_path / "in" / "sub").mkdir()
    shutil.copy(shapes / "stripes" / "01.png", tmp_path / "in" / "sub" / "b.png")
    (tmp_path / "in" / "broken.png").write_text("hello")
    found = rows(out, 3)
    assert {row["path"]: row["label"] for row in found[1:]} == {"in/sub/b.png": "stripes", "in/broken.png": None}
    first.kill()
    first.communicate()
    with out.open("ab") as file:
        file.write(b'{"path": "in/torn')
    shutil.copy(shapes / "stripes" / "02.png", tmp_path / "in" / "a.png")  # changed while nothing watched
    shutil.copy(shapes / "noise" / "03.png", tmp_path / "in" / "c.png")
    second = watch(*options)
    found = rows(out, 5)
    assert {row["path"]: row["label"] for row in found[3:]} == {"in/a.png": "stripes", "in/c.png": "noise"}
    output = end(second, signal.SIGTERM)
    assert "5 in rows.jsonl, 2 of them new" in output
    assert sum(line.startswith("in/") for line in output.splitlines()) == 2
    assert len(rows(out, 5)) == 5
    there = sorted(str(path.relative_to(tmp_path / "sorted")) for path in (tmp_path / "sorted").rglob("*.png"))
    assert there == ["noise/a.png", "noise/c.png", "stripes/a.png", "stripes/b.png"]
    assert "in/broken.png,not an image" in (tmp_path / "sorted" / "errors.csv").read_text()
    assert not list(tmp_path.glob(".*"))


def test_watch_polls_and_continues_a_csv_file(watch, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    for lines, name in ((2, "a.png"), (3, "b.png")):
        shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / name)
        process = watch("--poll", "--out", "rows.csv")
        until(lambda: out.exists() and out.read_bytes().count(b"\n") >= lines)  # noqa: B023
        output = end(process, signal.SIGINT)
        assert [line.split(":")[0] for line in output.splitlines() if line.startswith("in/")] == [f"in/{name}"]
    found = read_csv(out)
    assert [row["path"] for row in found] == ["in/a.png", "in/b.png"]
    assert [int(row["bytes"]) for row in found] == [(shapes / "noise" / "00.png").stat().st_size] * 2


def test_watch_refuses_unusable_arguments(tl, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for arguments, code, message in (
        (("gone",), 1, "error: no folder 'gone' to watch"),
        (("in", "--out", "rows.parquet"), 2, "error: parquet files must be finished, and watching does not end: "),
        (("in", "--out", "in"), 2, "error: --out 'in': give a name that ends in"),
        (("in", "--by-class", "in/sorted"), 2, "error: --by-class 'in/sorted' is inside 'in'"),
        (("in", "--run", "gone"), 1, "error: no run 'gone'"),
    ):
        done = tl("watch", *arguments, *(() if "--run" in arguments else ("--run", tiny_run)), cwd=tmp_path)
        assert done.returncode == code
        assert done.stderr.startswith(message), done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "stamp", ['"bytes": 1e400, "modified": 1', '"bytes": 1', '"bytes": 1, "modified": 1, "path": "\\ud800"']
)
def test_watch_refuses_rows_it_did_not_write_and_leaves_them(tl, tiny_run: Path, tmp_path: Path, stamp: str) -> None:
    row = f'{{"path": "a.png", "error": null, {stamp}}}'
    (tmp_path / "in").mkdir()
    (tmp_path / "rows.jsonl").write_text(f"{row}\n{row[:20]}")
    done = tl("watch", "in", "--out", "rows.jsonl", "--run", tiny_run, cwd=tmp_path, expect=1)
    assert done.stderr.startswith("error: 'rows.jsonl' was not written by tl watch"), done.stderr
    assert (tmp_path / "rows.jsonl").read_text() == f"{row}\n{row[:20]}"


def test_watch_loads_no_framework(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    code = (
        "import sys, threading; from tl.workflows.watch import watch\n"
        "stop = threading.Event()\n"
        "watch(sys.argv[1], run=sys.argv[2], stop=stop, on_prediction=lambda *_: stop.set())\n"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(shapes), str(tiny_run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert done.stdout == "[]\n"


def test_printed_rows_have_no_stamps(watch, shapes: Path, tmp_path: Path) -> None:
    shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / "a.png")
    process = watch("--format", "jsonl")
    row = json.loads(process.stdout.readline())
    assert (row["path"], row["error"]) == ("in/a.png", None)
    assert not {"bytes", "modified"} & set(row)
    end(process, signal.SIGINT)


class Watcher:
    """Records in a thread what arrives."""

    def __init__(self, folder: Path, poll: bool) -> None:
        self.seen: list[str] = []
        self._stamps: dict[str, Stamp] = {}
        self._stop = Event()
        self.progress = Recorder()
        self._arrivals = Arrivals(folder, self._is_done, settle=0.3, poll=poll, interval=0.1, progress=self.progress)
        self._thread = Thread(target=self._watch)
        self._thread.start()

    def _is_done(self, name: str, stamp: Stamp) -> bool:
        return self._stamps.get(name) == stamp

    def _watch(self) -> None:
        for group in self._arrivals.groups(self._stop):
            for name, stamp in group:
                self._stamps[name] = stamp
                self.seen.append(os.path.basename(name))

    def wait(self, count: int) -> list[str]:
        until(lambda: len(self.seen) >= count, 20)
        return self.seen

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._arrivals.close()


@pytest.fixture(params=["events", "polling"])
def start(request: pytest.FixtureRequest):
    watchers: list[Watcher] = []

    def start(folder: Path) -> Watcher:
        watchers.append(Watcher(folder, request.param == "polling"))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.close()


RUN = ("run/manifest.json", "run/head.npz", "run/grid.png")


def test_arrivals_yield_existing_and_new_images_once(tmp_path: Path, shapes: Path, start) -> None:
    left_out = ("notes.txt", ".hidden.png", ".git/c.png", "@eaDir/c.png", *RUN)
    put(tmp_path, "a.png", "sub/b.JPG", *left_out)
    watcher = start(tmp_path)
    assert sorted(watcher.wait(2)) == ["a.png", "b.JPG"]
    put(tmp_path, "new/deep/d.png", "more.txt", ".git/f.png", "#recycle/f.png", "run/explain.png")
    write(tmp_path, {"e": (shapes / "noise" / "00.png").read_bytes()})
    (tmp_path / "moved.part").write_bytes(b"x")
    (tmp_path / "moved.part").rename(tmp_path / "g.png")
    assert sorted(watcher.wait(5)[2:]) == ["d.png", "e", "g.png"]
    time.sleep(0.6)
    assert len(watcher.seen) == 5
    assert watcher.progress.lines == [
        "warning: left out: '.git' (hidden), '@eaDir' (put there by the system), 1 file (not an image file: .txt),"
        " 'run' (written by tl)"
    ]


def test_arrivals_yield_images_of_a_folder_that_is_moved_in(tmp_path: Path, start) -> None:
    put(tmp_path, "outside/x/a.png", "outside/b.png")
    (tmp_path / "in").mkdir()
    watcher = start(tmp_path / "in")
    time.sleep(0.3)
    (tmp_path / "outside").rename(tmp_path / "in" / "moved")
    assert sorted(watcher.wait(2)) == ["a.png", "b.png"]


def test_arrivals_wait_while_a_file_grows_and_repeat_a_changed_one(tmp_path: Path, start) -> None:
    watcher = start(tmp_path)
    with (tmp_path / "a.png").open("wb", buffering=0) as file:
        for _ in range(8):
            file.write(b"x")
            time.sleep(0.1)
            assert watcher.seen == []
    assert watcher.wait(1) == ["a.png"]
    (tmp_path / "a.png").write_bytes(b"other")
    assert watcher.wait(2) == ["a.png", "a.png"]


def test_arrivals_yield_many_files_in_groups(tmp_path: Path, start) -> None:
    put(tmp_path, *(f"{at:03}.png" for at in range(200)))
    for at in range(200):
        os.utime(tmp_path / f"{at:03}.png", (1, 1))  # written long ago, so complete
    assert sorted(start(tmp_path).wait(200)) == [f"{at:03}.png" for at in range(200)]


def test_arrivals_raise_for_a_removed_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arrivals = Arrivals(tmp_path / "in", lambda name, stamp: False, poll=True, interval=0.01, progress=Progress())
    groups = arrivals.groups(Event())
    assert next(groups) == []
    (tmp_path / "in").rmdir()
    with pytest.raises(DataError, match="cannot be read any more: no such file"):
        list(zip(range(100), groups, strict=False))


def test_arrivals_follow_a_folder_that_replaces_the_watched_one(start, tmp_path: Path) -> None:
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
