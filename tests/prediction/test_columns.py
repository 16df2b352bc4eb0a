"""Rows: the same columns for every image, in every format, whatever its name is."""

import csv
import json
import os
import sys
from io import StringIO
from pathlib import Path

import pytest

from tl.errors import StorageError, UsageError
from tl.prediction.columns import Columns, csv_line, json_line, load_pyarrow, read_parquet, row_format, write_parquet
from tl.prediction.predictor import Prediction

GOOD = Prediction("a.png", "cat", 0.75, (("cat", 0.75), ("dog", 0.25)), sha256="ab" * 32, unknown=True)
BAD = Prediction("b.png", "", 0.0, (), "empty file")


def test_json_has_the_same_keys_for_every_image() -> None:
    columns = Columns(2, sha256=True)
    good, bad = json.loads(json_line(columns.record(GOOD))), json.loads(json_line(columns.record(BAD)))
    top = [{"label": "cat", "confidence": 0.75}, {"label": "dog", "confidence": 0.25}]
    values = {"path": "a.png", "label": "cat", "confidence": 0.75, "unknown": True, "top": top, "error": None}
    assert good == values | {"sha256": "ab" * 32}
    empty = {"label": None, "confidence": None, "unknown": None, "top": [], "sha256": None}
    assert bad == {"path": "b.png", "error": "empty file"} | empty


def test_cells_follow_the_column_names() -> None:
    columns = Columns(3, sha256=True, stamped=True)
    records = [columns.record(prediction, (7, 8)) for prediction in (GOOD, BAD)]
    text = b"".join(map(csv_line, (columns.names, *map(columns.cells, records))))
    good, bad = csv.DictReader(StringIO(text.decode()))
    assert list(good) == [
        *("path", "label", "confidence", "label_2", "confidence_2", "label_3", "confidence_3"),
        *("unknown", "error", "sha256", "bytes", "modified"),
    ]
    assert list(good.values()) == ["a.png", "cat", "0.75", "dog", "0.25", "", "", "1", "", "ab" * 32, "7", "8"]
    assert [bad["path"], bad["error"], bad["label"], bad["unknown"]] == ["b.png", "empty file", "", ""]
    assert Columns(1).names == ("path", "label", "confidence", "unknown", "error")
    assert Columns(1).cells(Columns(1).record(GOOD)) == ["a.png", "cat", 0.75, True, None]


def test_names_that_are_not_utf8_are_kept() -> None:
    name = os.fsdecode('고양이, "a"\n'.encode() + b"\xe9.png")
    record = Columns(1).record(Prediction(name, "", 0.0, (), "gone"))
    assert json.loads(json_line(record))["path"] == name
    line = csv_line(Columns(1).cells(record))
    assert os.fsencode(name).replace(b'"', b'""') in line
    assert "고양이".encode() in json_line(Columns(1).record(Prediction("고양이", "", 0.0, (), "gone")))


def test_row_format_comes_from_the_option_or_the_suffix() -> None:
    assert row_format(None, None) == "table"
    assert row_format(None, "csv") == "csv"
    suffixes = ("csv", "JSON", "jsonl", "ndjson", "parquet")
    formats = ["csv", "json", "jsonl", "jsonl", "parquet"]
    assert [row_format(Path(f"rows.{suffix}"), None) for suffix in suffixes] == formats
    assert row_format(Path("rows"), "csv") == row_format(Path("rows.csv"), "csv") == "csv"


@pytest.mark.parametrize(("out", "chosen", "message"), [
    (Path("rows.csv"), "json", "means csv, but --format is json"),
    (Path("rows.txt"), None, "ends in .jsonl, .csv, .parquet or .json, or a --format"),
    (Path("rows.txt"), "table", "ends in .jsonl"),
    (None, "parquet", "parquet needs a file"),
])  # fmt: skip
def test_row_format_refuses_contradictions(out: Path | None, chosen: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        row_format(out, chosen)


def test_parquet_is_written_in_batches_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.parquet import ParquetFile

    monkeypatch.setattr("tl.prediction.columns._BATCH", 3)
    columns = Columns(2, stamped=True)
    predictions = [Prediction(f"{n}.png", "a", 0.5, (("a", 0.5), ("b", 0.25)), unknown=n == 1) for n in range(6)]
    records = [columns.record(one, (n, n << 60)) for n, one in enumerate([*predictions, BAD])]
    path = tmp_path / "rows.parquet"
    write_parquet(path, iter(records), columns)
    assert list(read_parquet(path, columns)) == records
    with ParquetFile(path) as file:
        assert file.num_row_groups == 3
        assert [str(kind) for kind in file.schema_arrow.types] == [
            *("string", "string", "float", "string", "float", "bool", "string", "int64", "int64")
        ]
    path.write_bytes(b"hello")
    with pytest.raises(StorageError, match="is not a valid Parquet file"):
        list(read_parquet(path, columns))


def test_missing_pyarrow_is_explained_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    load_pyarrow()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'tl\[parquet\]', or write .csv or .jsonl"):
        load_pyarrow()
