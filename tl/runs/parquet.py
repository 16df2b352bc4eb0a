"""Rows become a Parquet file and back, a group of rows at a time, through pyarrow."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tl.errors import StorageError, UsageError
from tl.prediction.rows import Cell, Columns, Record

_GROUP = 2_000  # rows held in memory


def check() -> None:
    """Load pyarrow, so that it is known to work before the rows are made. Raises UsageError where it does not."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError("parquet needs pyarrow: pip install 'tl[parquet]', or write .csv or .jsonl") from None
    # One thread and the system's memory: rows come slower than either matters, and pyarrow's own takes 30 MB more.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    pyarrow.set_cpu_count(1)


def write(path: Path, records: Iterable[Record], columns: Columns) -> None:
    """Write records to a new file; names that are no UTF-8 are escaped, which Parquet asks for."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema([(name, _kind(name, pyarrow)) for name in columns.names])
    rows = ([_utf8(cell) for cell in columns.cells(record)] for record in records)
    with ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(rows, _GROUP)):
            arrays = [
                pyarrow.array(values, field.type)
                for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def read(path: Path, columns: Columns) -> Iterator[Record]:
    """The records of a file that `write` wrote. Raises StorageError for any other."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            if tuple(file.schema_arrow.names) != columns.names:
                raise StorageError(f"{str(path)!r} has other columns than are to be written: give another --out")
            rows = (row for batch in file.iter_batches(_GROUP) for row in batch.to_pylist())
            yield from columns.records(rows)
    except pyarrow.ArrowException as error:
        raise StorageError(f"{str(path)!r} is no sound Parquet file: remove it, or give another --out") from error


def _kind(name: str, pyarrow: Any) -> Any:
    if name.startswith("confidence"):
        return pyarrow.float32()
    if name == "unknown":
        return pyarrow.bool_()
    return pyarrow.int64() if name in ("bytes", "modified") else pyarrow.string()


def _utf8(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
