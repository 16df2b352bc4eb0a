"""Files of rows: complete or marked unfinished, gone on with after any end, and never a mixture."""

import csv
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from tl.errors import RunError, StorageError, UsageError
from tl.prediction.output import alone, check_file, rows_file
from tl.prediction.predictor import Prediction
from tl.prediction.rows import Columns
from tl.runs.run import Run, load_run

FORMS = ("jsonl", "csv", "json", "parquet")
COLUMNS = Columns(2, sha256=True)


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load_run(tiny_run)


def add(out: Path, form: str, run: Run, names: list[str], *, resume: bool = True, stop: bool = False) -> int:
    """Write the rows that are missing; with `stop` end as an error ends it. Returns how many there were."""
    try:
        with rows_file(out, form, COLUMNS, run, resume=resume) as (rows, done):
            for name, _ in done.without((name, None) for name in names):
                error = "broken" if name.startswith("bad") else ""
                top = () if error else (("noise", 0.75), ("stripes", 0.25))
                said = Prediction(
                    name, "" if error else "noise", 0.0 if error else 0.75, top, error, "" if error else "f"
                )
                rows.write(COLUMNS.record(said))
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


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_gone_on_with_after_every_kind_of_end(tmp_path: Path, form: str, run: Run) -> None:
    out, journal = tmp_path / f"rows.{form}", tmp_path / f"rows.{form}.unfinished"
    names = ["a", "bad", "é\udce9", "b", "b"]
    add(out, form, run, names[:1], resume=False, stop=True)
    assert journal.exists()
    add(out, form, run, names[:3], stop=True)
    assert add(out, form, run, names[:4]) == 3
    assert sorted(tmp_path.iterdir()) == [out]
    assert add(out, form, run, names) == 4  # of a file that was complete
    assert add(out, form, run, names) == 5
    assert sorted(tmp_path.iterdir()) == [out]
    rows = read(out, form) if form != "csv" else []
    if form == "csv":
        assert out.read_bytes().count(b"\n") == 6
    for row, name in zip(rows, names, strict=bool(rows)):
        assert row["path"] in (name, name.encode("utf-8", "backslashreplace").decode())
        assert row["error"] == ("broken" if name == "bad" else None)
        assert row["label"] == (None if name == "bad" else "noise")
    if form == "parquet":
        assert (rows[0]["label_2"], rows[0]["confidence_2"], rows[0]["sha256"]) == ("stripes", 0.25, "f")


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_at_all_are_a_whole_file(tmp_path: Path, form: str, run: Run) -> None:
    out = tmp_path / f"rows.{form}"
    assert add(out, form, run, []) == 0
    assert add(out, form, run, []) == 0
    assert read(out, form) == []


def test_what_is_there_is_refused_without_resume(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "rows.csv"
    add(out, "csv", run, ["a"], stop=True)
    with pytest.raises(UsageError, match=r"rows.csv' is unfinished: go on with --resume"):
        add(out, "csv", run, ["a"], resume=False)
    add(out, "csv", run, ["a"])
    with pytest.raises(UsageError, match=r"rows.csv' is there already: go on with --resume, give a new name"):
        add(out, "csv", run, ["a"], resume=False)


def test_rows_of_another_run_or_with_other_columns_are_not_mixed(tmp_path: Path, run: Run) -> None:
    from dataclasses import replace

    out = tmp_path / "rows.csv"
    add(out, "csv", run, ["a"], stop=True)
    other = replace(run, manifest={**run.manifest, "files": {"head.npz": "0"}})
    with pytest.raises(RunError, match="was begun with run"):
        add(out, "csv", other, ["a"])
    with pytest.raises(RunError, match="was begun with run"), rows_file(out, "csv", Columns(1), run, resume=True):
        pass
    add(out, "csv", run, ["a"])
    before = out.read_bytes()
    with pytest.raises(StorageError, match="other columns"), rows_file(out, "csv", Columns(1), run, resume=True):
        pass
    assert sorted(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == before


@pytest.mark.parametrize("form", FORMS)
def test_files_of_something_else_are_left_as_they_are(tmp_path: Path, form: str, run: Run) -> None:
    out = tmp_path / f"rows.{form}"
    out.write_bytes(b"my notes\nof today\n")
    with pytest.raises(StorageError):
        add(out, form, run, ["a"])
    assert out.read_bytes() == b"my notes\nof today\n"
    assert sorted(tmp_path.iterdir()) == [out]


def _hold(out: Path, held: Any, end: Any) -> None:
    with alone(out):
        held.set()
        end.wait(30)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "rows", held, end))
    other.start()
    assert held.wait(60)
    with pytest.raises(StorageError, match="being written by another process"), alone(tmp_path / "rows"):
        pass
    end.set()
    other.join()
    with alone(tmp_path / "rows"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null"), Path()):
        with pytest.raises(UsageError, match="is no file"):
            check_file(place)
    check_file(tmp_path / "new.csv")
