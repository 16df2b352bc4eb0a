"""Files of rows: appended to, continued after any end, never a mixture of two runs."""

import csv
import json
import multiprocessing
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tl.errors import RunError, StorageError, UsageError
from tl.prediction.columns import Columns, Record
from tl.prediction.predictor import Prediction
from tl.prediction.row_writer import DoneNames, FailureTable, RowFile, check_output_file, exclusive, open_rows
from tl.runs.run import Run, load_run

FORMATS = ("jsonl", "csv", "json", "parquet")
COLUMNS = Columns(2, sha256=True)
FAILED = Columns(1)
NAMES = ["a.png", "c\rd.png", 'two\nlines "quoted"\r.png', os.fsdecode(b"caf\xe9,\n.png"), "z.png"]


def record(name: str) -> Record:
    return FAILED.record(Prediction(name, "", 0.0, (), "x"))


def append(path: Path, form: str, names: list[str]) -> None:
    with closing(RowFile(path, form, FAILED)) as rows:
        for name in names:
            rows.write(record(name))


def names_in(path: Path, form: str) -> list[str]:
    with closing(RowFile(path, form, FAILED)) as rows:
        return [row["path"] for row in rows.records()]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_row_file_cut_anywhere_keeps_complete_rows_and_continues(tmp_path: Path, form: str) -> None:
    path = tmp_path / "rows"
    ends = []
    for count in range(len(NAMES) + 1):
        path.unlink(missing_ok=True)
        append(path, form, NAMES[:count])
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        kept = sum(end <= cut for end in ends[1:])
        assert names_in(path, form) == NAMES[:kept], cut
        append(path, form, NAMES[kept:])
        assert path.read_bytes() == content, cut


@pytest.mark.parametrize(("form", "content"), [
    ("jsonl", b"hello\n"),
    ("jsonl", b"no end"),
    ("csv", b"path,labels"),
    ("jsonl", b"[1]\n"),
    ("jsonl", b'{"a": 1}\n'),
    ("jsonl", b'{"path": "x", "label": "m"}\n{"path": "y", "la'),
    ("jsonl", b'{"path": "x", "error": ' + b"[" * 5000 + b"\n{"),
    ("csv", b"path,label\nx,y\nz"),
    ("jsonl", b"\xff\n"),
    ("csv", b"a,b\n1,2\n"),
])  # fmt: skip
def test_row_file_refuses_other_content_and_leaves_it(tmp_path: Path, form: str, content: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="does not contain rows of tl|has other columns"):
        names_in(path, form)
    assert path.read_bytes() == content


def test_row_file_writes_each_row_at_once_and_names_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: is a directory"):
        RowFile(tmp_path, "csv", FAILED)
    rows = RowFile(tmp_path / "rows", "jsonl", FAILED)
    for count, name in enumerate(NAMES, 1):
        rows.write(record(name))
        assert (tmp_path / "rows").read_bytes().count(b"\n") == count
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), rows._file.fileno())
        with pytest.raises(StorageError, match="no space left on device; the rows written so far are kept"):
            rows.write(record("a"))
    rows._file.close()


def test_done_names_are_taken_as_often_as_they_have_rows() -> None:
    assert list(DoneNames().without([("a", 1), ("a", 2)])) == [("a", 1), ("a", 2)]
    done = DoneNames()
    not_utf8 = os.fsdecode(b"caf\xe9")
    for name in ("a", "b", "b", "caf\\udce9", "gone"):  # the fourth as Parquet has it
        done.add(name, failed=name == "a")
    assert (done.rows, done.failed) == (5, 1)
    items = [(name, index) for index, name in enumerate(["new", "b", "a", "a", "b", "b", not_utf8])]
    assert list(done.without(items)) == [("new", 0), ("a", 3), ("b", 5)]
    done.close()


def test_failure_table_records_each_failure_once(tmp_path: Path) -> None:
    path = tmp_path / "errors.csv"
    FailureTable(path).close()
    assert not path.exists()
    for names in (["a", "b"], ["b", "a", "c, d"], ["a"]):
        failures = FailureTable(path)
        for name in names:
            failures.add(name, f"no {name}")
        failures.close()
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "error"], ["a", "no a"], ["b", "no b"], ["c, d", "no c, d"]]


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load_run(tiny_run)


def add(out: Path, form: str, run: Run, names: list[str], *, resume: bool = True, stop: bool = False) -> int:
    """Write the rows that are missing; with `stop` end with an error. Returns how many there were before."""
    try:
        with open_rows(out, form, COLUMNS, run, resume=resume) as (rows, done):
            for name, _ in done.without((name, None) for name in names):
                if name.startswith("bad"):
                    prediction = Prediction(name, "", 0.0, (), "broken")
                else:
                    prediction = Prediction(name, "noise", 0.75, (("noise", 0.75), ("stripes", 0.25)), sha256="f")
                rows.write(COLUMNS.record(prediction))
            if stop:
                raise InterruptedError
            return done.rows
    except InterruptedError:
        return -1


def read(out: Path, form: str) -> list[dict[str, Any]]:
    if form == "parquet":
        from pyarrow.parquet import read_table

        return list(read_table(out).to_pylist())
    if form == "csv":
        with out.open(newline="") as file:
            return list(csv.DictReader(file))
    text = out.read_text()
    return list(json.loads(text)) if form == "json" else [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("form", FORMATS)
def test_rows_are_continued_after_an_interruption_and_after_completion(tmp_path: Path, form: str, run: Run) -> None:
    out, journal = tmp_path / f"rows.{form}", tmp_path / f"rows.{form}.unfinished"
    names = ["a", "bad", "é\udce9", "b", "b"]
    add(out, form, run, names[:1], resume=False, stop=True)
    assert journal.exists()
    add(out, form, run, names[:3], stop=True)
    assert add(out, form, run, names[:4]) == 3
    assert sorted(tmp_path.iterdir()) == [out]
    assert add(out, form, run, names) == 4  # of a complete file
    assert add(out, form, run, names) == 5
    assert sorted(tmp_path.iterdir()) == [out]
    if form == "csv":
        assert out.read_bytes().count(b"\n") == 6
        return
    rows = read(out, form)
    for row, name in zip(rows, names, strict=True):
        assert row["path"] in (name, name.encode("utf-8", "backslashreplace").decode())
        assert row["error"] == ("broken" if name == "bad" else None)
        assert row["label"] == (None if name == "bad" else "noise")
    if form == "parquet":
        assert (rows[0]["label_2"], rows[0]["confidence_2"], rows[0]["sha256"]) == ("stripes", 0.25, "f")


@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_are_a_complete_file(tmp_path: Path, form: str, run: Run) -> None:
    out = tmp_path / f"rows.{form}"
    for _ in range(2):
        assert add(out, form, run, []) == 0
    assert read(out, form) == []


def test_only_rows_of_the_same_run_and_columns_are_continued_and_only_with_resume(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "rows.csv"
    add(out, "csv", run, ["a"], stop=True)
    with pytest.raises(UsageError, match=r"rows.csv' is unfinished: continue with --resume"):
        add(out, "csv", run, ["a"], resume=False)
    other = replace(run, manifest={**run.manifest, "files": {"head.npz": "0"}})
    with pytest.raises(RunError, match="was begun with run"):
        add(out, "csv", other, ["a"])
    with pytest.raises(RunError, match="was begun with run"), open_rows(out, "csv", FAILED, run, resume=True):
        pass
    add(out, "csv", run, ["a"])
    with pytest.raises(UsageError, match=r"rows.csv' exists already: continue with --resume, give a new name"):
        add(out, "csv", run, ["a"], resume=False)


@pytest.mark.parametrize("columns", [FAILED, Columns(2)])
@pytest.mark.parametrize("form", FORMATS)
def test_complete_file_with_other_columns_is_left_unchanged(tmp_path: Path, form: str, columns, run: Run) -> None:
    out = tmp_path / f"rows.{form}"
    add(out, form, run, ["a"])
    before = out.read_bytes()
    with pytest.raises(StorageError, match="other columns"), open_rows(out, form, columns, run, resume=True):
        pass
    assert sorted(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == before


@pytest.mark.parametrize("form", FORMATS)
def test_files_of_others_are_left_unchanged(tmp_path: Path, form: str, run: Run) -> None:
    out = tmp_path / f"rows.{form}"
    out.write_bytes(b"my notes\nof today\n")
    with pytest.raises(StorageError):
        add(out, form, run, ["a"])
    assert out.read_bytes() == b"my notes\nof today\n"
    assert sorted(tmp_path.iterdir()) == [out]


def _hold(out: Path, held: Any, end: Any) -> None:
    with exclusive(out):
        held.set()
        end.wait(30)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "rows", held, end))
    other.start()
    assert held.wait(60)
    with pytest.raises(StorageError, match="being written by another process"), exclusive(tmp_path / "rows"):
        pass
    end.set()
    other.join()
    with exclusive(tmp_path / "rows"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_output_file_must_be_a_regular_file(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null"), Path()):
        with pytest.raises(UsageError, match="is not a file"):
            check_output_file(place)
    check_output_file(tmp_path / "new.csv")
