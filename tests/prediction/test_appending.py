"""Rows at the end of a file: cut anywhere, they are whole again, and none is lost that was whole."""

import os
from pathlib import Path

import pytest

from tl.errors import StorageError
from tl.prediction.output import Appended
from tl.prediction.predictor import Prediction
from tl.prediction.rows import Columns, Record

COLUMNS = Columns(1)
NAMES = ["a.png", "c\rd.png", 'two\nlines "quoted"\r.png', os.fsdecode(b"caf\xe9,\n.png"), "z.png"]


def record(name: str) -> Record:
    return COLUMNS.record(Prediction(name, "", 0.0, (), "x"))


def write(path: Path, form: str, names: list[str]) -> None:
    rows = Appended(path, form, COLUMNS)
    for name in names:
        rows.write(record(name))
    rows.close()


def there(path: Path, form: str) -> list[str]:
    rows = Appended(path, form, COLUMNS)
    try:
        return [row["path"] for row in rows.records()]
    finally:
        rows.close()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_file_cut_anywhere_keeps_its_whole_rows_and_goes_on(tmp_path: Path, form: str) -> None:
    path = tmp_path / "rows"
    ends = []
    for count in range(len(NAMES) + 1):
        path.unlink(missing_ok=True)
        write(path, form, NAMES[:count])
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends[1:])
        assert there(path, form) == NAMES[:kept], cut
        write(path, form, NAMES[kept:])
        assert path.read_bytes() == whole, cut


def test_rows_are_handed_to_the_system_one_by_one(tmp_path: Path) -> None:
    rows = Appended(tmp_path / "rows", "jsonl", COLUMNS)
    for at, name in enumerate(NAMES, 1):
        rows.write(record(name))
        assert (tmp_path / "rows").read_bytes().count(b"\n") == at
    rows.close()


@pytest.mark.parametrize(
    ("form", "content"),
    [
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
    ],
)
def test_what_holds_something_else_is_refused_and_left_alone(tmp_path: Path, form: str, content: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="something else than rows of tl|other columns than"):
        there(path, form)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: is a directory"):
        Appended(tmp_path, "csv", COLUMNS)
    if os.path.exists("/dev/full"):
        rows = Appended(tmp_path / "rows", "jsonl", COLUMNS)
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), rows._file.fileno())
        with pytest.raises(StorageError, match="no space left on device; the rows that are there stay"):
            rows.write(record("a"))
        rows._file.close()
