"""Parquet: groups of rows, types that other programs understand, and one line where pyarrow is missing."""

import sys
from pathlib import Path

import pytest

from tl.errors import StorageError, UsageError
from tl.prediction import rows as parquet
from tl.prediction.predictor import Prediction
from tl.prediction.rows import Columns


def test_rows_come_back_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.parquet import ParquetFile

    monkeypatch.setattr(parquet, "_GROUP", 3)
    columns = Columns(2, stamped=True)
    said = [Prediction(f"{at}.png", "a", 0.5, (("a", 0.5), ("b", 0.25)), unknown=at == 1) for at in range(6)]
    records = [
        columns.record(one, (at, at << 60)) for at, one in enumerate([*said, Prediction("x", "", 0.0, (), "broken")])
    ]
    path = tmp_path / "rows.parquet"
    parquet.write(path, iter(records), columns)
    assert list(parquet.read(path, columns)) == records
    with ParquetFile(path) as file:
        assert file.num_row_groups == 3
        assert [str(kind) for kind in file.schema_arrow.types] == [
            *("string", "string", "float", "string", "float", "bool", "string", "int64", "int64")
        ]


def test_no_sound_file(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"hello")
    with pytest.raises(StorageError, match="is no sound Parquet file"):
        list(parquet.read(tmp_path / "rows.parquet", Columns(1)))


def test_without_pyarrow_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.check()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'tl\[parquet\]', or write .csv or .jsonl"):
        parquet.check()
