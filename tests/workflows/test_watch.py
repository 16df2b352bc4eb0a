"""`tl watch`: rows of what arrives, through kills and restarts, and a clean end."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.session import ROOT

Watch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def watch(tiny_run: Path, tmp_path: Path) -> Iterator[Watch]:
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
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if out.exists() and out.read_bytes().count(b"\n") >= count:
            break
        time.sleep(0.05)
    return [json.loads(line) for line in out.read_text().splitlines()]


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    started = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert time.monotonic() - started < 3
    return said


def test_what_arrives_is_a_row_once_through_kills_and_restarts(watch: Watch, shapes: Path, tmp_path: Path) -> None:
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
    shutil.copy(shapes / "stripes" / "02.png", tmp_path / "in" / "a.png")  # changed while nobody looked
    shutil.copy(shapes / "noise" / "03.png", tmp_path / "in" / "c.png")
    second = watch(*options)
    found = rows(out, 5)
    assert {row["path"]: row["label"] for row in found[3:]} == {"in/a.png": "stripes", "in/c.png": "noise"}
    said = end(second, signal.SIGTERM)
    assert "5 in rows.jsonl, 2 of them new" in said
    assert sum(line.startswith("in/") for line in said.splitlines()) == 2
    assert len(rows(out, 5)) == 5
    there = sorted(str(path.relative_to(tmp_path / "sorted")) for path in (tmp_path / "sorted").rglob("*.png"))
    assert there == ["noise/a.png", "noise/c.png", "stripes/a.png", "stripes/b.png"]
    assert "in/broken.png,not an image" in (tmp_path / "sorted" / "errors.csv").read_text()
    assert not list(tmp_path.glob(".*"))


def test_polling_and_csv_and_an_interrupt(watch: Watch, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    for lines, name in ((2, "a.png"), (3, "b.png")):
        shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / name)
        process = watch("--poll", "--out", "rows.csv", "--json")
        deadline = time.monotonic() + 60
        while (not out.exists() or out.read_bytes().count(b"\n") < lines) and time.monotonic() < deadline:
            time.sleep(0.05)
        said = end(process, signal.SIGINT)
        assert [json.loads(line)["path"] for line in said.splitlines()] == [f"in/{name}"]
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["path"] for row in found] == ["in/a.png", "in/b.png"]
    assert [int(row["bytes"]) for row in found] == [(shapes / "noise" / "00.png").stat().st_size] * 2


def test_what_cannot_be_watched(tl, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"path": "a.png", "error": null}\n')
    for arguments, code, message in (
        (("gone",), 1, "error: no folder 'gone' to watch"),
        (("in", "--out", "rows.parquet"), 2, "error: parquet has an end, and watching has none: write jsonl or csv"),
        (("in", "--out", "in"), 2, "error: --out 'in': a file of rows is called"),
        (("in", "--by-class", "in/sorted"), 2, "error: --by-class 'in/sorted' lies inside of 'in'"),
        (("in", "--out", "rows.jsonl"), 1, "error: 'rows.jsonl' was not written by tl watch"),
        (("in", "--run", "gone"), 1, "error: no run 'gone'"),
    ):
        done = tl("watch", *arguments, *(() if "--run" in arguments else ("--run", tiny_run)), cwd=tmp_path)
        assert done.returncode == code
        assert done.stderr.startswith(message), done.stderr
        assert done.stderr.count("\n") == 1


def test_neither_tensorflow_nor_keras_is_loaded(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from tl.workflows.watch import Watched, watch\n"
        "stop = threading.Event()\n"
        "watch(Watched(Path(sys.argv[1]), run=sys.argv[2]), stop, lambda *_: stop.set())\n"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(shapes), str(tiny_run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert done.stdout == "[]\n"


def test_rows_without_a_file_have_no_stamps(watch: Watch, shapes: Path, tmp_path: Path) -> None:
    shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / "a.png")
    process = watch("--json")
    assert process.stdout is not None
    row = json.loads(process.stdout.readline())
    assert (row["path"], row["error"]) == ("in/a.png", None)
    assert not {"bytes", "modified"} & set(row)
    end(process, signal.SIGINT)


def test_a_folder_that_is_gone_ends_it(watch: Watch, shapes: Path, tmp_path: Path) -> None:
    shutil.copy(shapes / "noise" / "00.png", tmp_path / "in" / "a.png")
    process = watch("--out", "rows.jsonl")
    rows(tmp_path / "rows.jsonl", 1)
    shutil.rmtree(tmp_path / "in")
    said, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "error: folder 'in' cannot be read any more: no such file or directory" in said


@pytest.mark.parametrize(
    "row",
    [
        '{"path": "a.png", "error": null, "bytes": 1e400, "modified": 1}',
        '{"path": "a.png", "error": null, "bytes": 99999999999999999999, "modified": 1}',
        '{"path": "\\ud800", "error": null, "bytes": 1, "modified": 1}',
        '{"path": "a.png", "error": null}',
    ],
)
def test_rows_of_somebody_else_are_refused_and_left_alone(watch: Watch, tmp_path: Path, row: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{row}\n{row[:20]}")
    process = watch("--out", "rows.jsonl")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: 'rows.jsonl' was not written by tl watch"), said
    assert (tmp_path / "rows.jsonl").read_text() == f"{row}\n{row[:20]}"
