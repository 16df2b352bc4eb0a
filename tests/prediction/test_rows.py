"""Rows: the same columns for every picture, in every form, whatever its name is."""

import csv
import json
import os
from io import StringIO
from pathlib import Path

import pytest

from tl.errors import UsageError
from tl.prediction.predictor import Prediction
from tl.prediction.rows import Columns, csv_line, form_of, json_line

GOOD = Prediction("a.png", "cat", 0.75, (("cat", 0.75), ("dog", 0.25)), sha256="ab" * 32, unknown=True)
BAD = Prediction("b.png", "", 0.0, (), "empty file")


def test_json_has_the_same_keys_for_every_picture() -> None:
    columns = Columns(2, sha256=True)
    good, bad = json.loads(json_line(columns.record(GOOD))), json.loads(json_line(columns.record(BAD)))
    top = [{"label": "cat", "confidence": 0.75}, {"label": "dog", "confidence": 0.25}]
    said = {"path": "a.png", "label": "cat", "confidence": 0.75, "unknown": True, "top": top, "error": None}
    assert good == said | {"sha256": "ab" * 32}
    nothing = {"label": None, "confidence": None, "unknown": None, "top": [], "sha256": None}
    assert bad == {"path": "b.png", "error": "empty file"} | nothing


def test_cells_follow_the_names_of_the_columns() -> None:
    columns = Columns(3, sha256=True, stamped=True)
    text = b"".join(
        map(csv_line, (columns.names, *(columns.cells(columns.record(one, (7, 8))) for one in (GOOD, BAD))))
    )
    good, bad = csv.DictReader(StringIO(text.decode()))
    assert list(good) == [
        *("path", "label", "confidence", "label_2", "confidence_2", "label_3", "confidence_3"),
        *("unknown", "error", "sha256", "bytes", "modified"),
    ]
    assert list(good.values()) == ["a.png", "cat", "0.75", "dog", "0.25", "", "", "1", "", "ab" * 32, "7", "8"]
    assert [bad["path"], bad["error"], bad["label"], bad["unknown"]] == ["b.png", "empty file", "", ""]
    assert Columns(1).names == ("path", "label", "confidence", "unknown", "error")
    assert Columns(1).cells(Columns(1).record(GOOD)) == ["a.png", "cat", 0.75, True, None]


def test_names_in_any_bytes_survive() -> None:
    name = os.fsdecode('고양이, "a"\n'.encode() + b"\xe9.png")
    record = Columns(1).record(Prediction(name, "", 0.0, (), "gone"))
    assert json.loads(json_line(record))["path"] == name
    line = csv_line(Columns(1).cells(record))
    assert os.fsencode(name).replace(b'"', b'""') in line
    assert "고양이".encode() in json_line(Columns(1).record(Prediction("고양이", "", 0.0, (), "gone")))


def test_the_form_of_the_rows() -> None:
    assert form_of(None, None) == "table"
    assert form_of(None, "csv") == "csv"
    assert [form_of(Path(f"rows.{end}"), None) for end in ("csv", "JSON", "jsonl", "ndjson", "parquet")] == [
        *("csv", "json", "jsonl", "jsonl", "parquet")
    ]
    assert form_of(Path("rows"), "csv") == form_of(Path("rows.csv"), "csv") == "csv"
    for out, asked, message in (
        (Path("rows.csv"), "json", "says csv and --format says json"),
        (Path("rows.txt"), None, "is called .jsonl, .csv, .parquet or .json"),
        (Path("rows.txt"), "table", "is called .jsonl"),
        (None, "parquet", "parquet is a file"),
    ):
        with pytest.raises(UsageError, match=message):
            form_of(out, asked)
