"""A prediction becomes a row: an object of JSON, or the cells of a table."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from tl.errors import StorageError, UsageError
from tl.prediction.predictor import Prediction

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
"""How predictions can be given: lines for people, and four forms for machines."""

SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}

Record = dict[str, Any]
Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Columns:
    """What a row has: the `top` labels, if asked for the sha256 of the file's bytes, and its size and time of change.

    A record is a row as JSON has it (`Prediction.as_dict`); size is in bytes, the time in nanoseconds since 1970.
    """

    top: int
    sha256: bool = False
    stamped: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a table: path, label, confidence, label_2, confidence_2, …, unknown, error."""
        more = (f"{kind}_{place}" for place in range(2, self.top + 1) for kind in ("label", "confidence"))
        last = (*(["sha256"] if self.sha256 else []), *(["bytes", "modified"] if self.stamped else []))
        return ("path", "label", "confidence", *more, "unknown", "error", *last)

    def record(self, prediction: Prediction, stamp: tuple[int, int] | None = None) -> Record:
        """A prediction as JSON has it."""
        made = prediction.as_dict()
        if self.sha256:
            made["sha256"] = prediction.sha256 or None
        if self.stamped:
            made["bytes"], made["modified"] = stamp or (None, None)
        return made

    def cells(self, record: Record) -> list[Cell]:
        """A record as a table has it, in the order of `names`."""
        rest = [(item["label"], item["confidence"]) for item in record["top"][1 : self.top]]
        rest += [(None, None)] * (self.top - 1 - len(rest))
        flat = [cell for pair in rest for cell in pair]
        last = [record.get(name) for name in self.names[self.names.index("error") + 1 :]]
        return [record["path"], record["label"], record["confidence"], *flat, record["unknown"], record["error"], *last]

    def check(self, record: Record, out: Path) -> None:
        """Raises StorageError where a row of JSON that was read from `out` has more or fewer labels, or no sha256."""
        top = record.get("top")
        if top and (len(top) != self.top or ("sha256" in record) != self.sha256):
            raise StorageError(
                f"{str(out)!r} has other columns than are to be written: give the same --top and --sha256, or another"
                " --out"
            )

    def records(self, rows: Iterator[dict[str, Any]]) -> Iterator[Record]:
        """Rows of a table as the records they came from."""
        for row in rows:
            pairs = [("label", "confidence"), *((f"label_{at}", f"confidence_{at}") for at in range(2, self.top + 1))]
            top = [{"label": row[label], "confidence": row[share]} for label, share in pairs if row[label] is not None]
            names = ("path", "label", "confidence", "unknown")
            last = {name: row[name] for name in self.names[self.names.index("error") :]}
            yield {name: row[name] for name in names} | {"top": top} | last


def json_line(record: Record) -> bytes:
    """A record as a line of JSON; names that are no UTF-8 are escaped so that reading gives them back."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def csv_line(cells: "list[Cell] | tuple[str, ...]") -> bytes:
    """Cells as a line of comma-separated values; names that are no UTF-8 keep their bytes, yes and no are 1 and 0."""
    text = StringIO()
    plain = [int(cell) if isinstance(cell, bool) else cell for cell in cells]
    csv.writer(text).writerow(plain)  # its own end of a line, "\r\n", is what it puts into quotes inside of a cell
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"


def form_of(out: Path | None, asked: str | None) -> str:
    """The form of the rows: the one asked for, else what the file's name says, else lines for people.

    Raises UsageError where these contradict each other, or a file is to have lines for people.
    """
    if out is None:
        if asked == "parquet":
            raise UsageError("parquet is a file: give its name, such as --out rows.parquet")
        return asked or "table"
    named = SUFFIXES.get(out.suffix.lower())
    if asked and named and asked != named:
        raise UsageError(f"--out {str(out)!r} says {named} and --format says {asked}: leave one of them out")
    form = asked or named
    if form is None or form == "table":
        raise UsageError(
            f"--out {str(out)!r}: a file of rows is called .jsonl, .csv, .parquet or .json, or has its --format"
        )
    return form


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
