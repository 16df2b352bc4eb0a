"""Turn predictions into rows: JSON objects, CSV lines, Parquet."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from tl.errors import StorageError, UsageError
from tl.evaluation.selective import Selection, rate_text
from tl.prediction.predictor import Prediction

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
"""Lines of text for people, and four formats for programs."""

_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_BATCH = 2_000  # rows of Parquet held in memory

_OPTIONAL = ("review", "seconds", "sha256")

Record = dict[str, Any]
Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Columns:
    """The columns of a row: the `top` labels; optionally whether it is to be reviewed so that at most `max_error` of
    the others are wrong, the time of a video's frame, the file's sha256, and its size and modification time.

    A record is a row as a JSON object (`Prediction.as_dict`). Size is in bytes, time in nanoseconds since 1970.
    """

    top: int
    sha256: bool = False
    stamped: bool = False
    max_error: float | None = None
    seconds: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a table: path, label, confidence, label_2, confidence_2, …, unknown, error, …"""
        more = (f"{kind}_{rank}" for rank in range(2, self.top + 1) for kind in ("label", "confidence"))
        return ("path", "label", "confidence", *more, "unknown", "error", *self._last)

    @property
    def _last(self) -> tuple[str, ...]:
        optional = ("review",) * (self.max_error is not None) + ("seconds",) * self.seconds
        return optional + ("sha256",) * self.sha256 + ("bytes", "modified") * self.stamped

    def record(self, prediction: Prediction, stamp: tuple[int, int] | None = None) -> Record:
        """A prediction as a JSON object; `stamp` is the file's size and modification time."""
        record = prediction.as_dict()
        if self.max_error is not None:
            record["review"] = prediction.review
        if self.seconds:
            record["seconds"] = prediction.seconds
        if self.sha256:
            record["sha256"] = prediction.sha256 or None
        if self.stamped:
            record["bytes"], record["modified"] = stamp or (None, None)
        return record

    def cells(self, record: Record) -> list[Cell]:
        """A record as the cells of a table, in the order of `names`."""
        rest = [cell for item in record["top"][1 : self.top] for cell in (item["label"], item["confidence"])]
        rest += [None] * (2 * (self.top - 1) - len(rest))
        first, end = ("path", "label", "confidence"), ("unknown", "error", *self._last)
        return [*(record[name] for name in first), *rest, *(record.get(name) for name in end)]

    def check(self, record: Record, out: Path, selection: Selection | None = None) -> None:
        """Raises StorageError where a JSON row read from `out` has more or fewer labels, sha256, review or seconds.

        With `selection` also where another error bound, or another run, decided about the review of the image.
        """
        top, optional = record.get("top"), {name for name in _OPTIONAL if name in record}
        if top and (len(top) != self.top or optional != set(self._last) & set(_OPTIONAL)):
            raise other_columns(out)
        if selection is not None and record.get("review") not in (None, ""):
            review, unknown = (str(record[name]) in ("1", "True") for name in ("review", "unknown"))
            if review != selection.needs_review(float(record["confidence"]), unknown):
                raise StorageError(
                    f"{str(out)!r} was written with another --max-error than {rate_text(selection.max_error)}, or with "
                    "another run: give the same as before, or another --out"
                )

    def records(self, rows: Iterable[dict[str, Any]]) -> Iterator[Record]:
        """The rows of a table as records again."""
        pairs = [("label", "confidence"), *((f"label_{rank}", f"confidence_{rank}") for rank in range(2, self.top + 1))]
        for row in rows:
            top = [{"label": row[label], "confidence": row[value]} for label, value in pairs if row[label] is not None]
            record = {name: row[name] for name in ("path", "label", "confidence", "unknown")}
            yield record | {"top": top} | {name: row[name] for name in ("error", *self._last)}


def other_columns(out: Path) -> StorageError:
    """The error for a file whose rows have other columns than those to be written."""
    same = "give the same --top, --max-error and --sha256 as before, or another --out"
    return StorageError(f"{str(out)!r} has other columns than the new rows: {same}")


def json_line(record: Record) -> bytes:
    """A record as a line of JSON; names that are not UTF-8 are escaped so that they can be read back."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def csv_line(cells: Sequence[Cell]) -> bytes:
    """Cells as a line of CSV; names that are not UTF-8 keep their bytes, booleans are 1 and 0."""
    text = StringIO()
    plain = [int(cell) if isinstance(cell, bool) else cell for cell in cells]
    csv.writer(text).writerow(plain)  # with its default line end, "\r\n", a cell with either character is quoted
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"


def row_format(out: Path | None, chosen: str | None) -> str:
    """The format of the rows: the chosen one, else that of the file's suffix, else "table".

    Raises UsageError where the two contradict each other, and for a format that cannot go where it should.
    """
    if out is None:
        if chosen == "parquet":
            raise UsageError("--format parquet needs a file: give its name, such as --out rows.parquet")
        return chosen or "table"
    named = _SUFFIXES.get(out.suffix.lower())
    if chosen and named and chosen != named:
        raise UsageError(f"--out {str(out)!r} means {named}, but --format is {chosen}: leave one of them out")
    result = chosen or named
    if result is None or result == "table":
        raise UsageError(f"--out {str(out)!r}: give a name that ends in .jsonl, .csv, .parquet or .json, or a --format")
    return result


def load_pyarrow() -> None:
    """Import pyarrow before the first row is predicted. Raises UsageError where it is missing or broken."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError("parquet needs pyarrow: pip install 'tl[parquet]', or write .csv or .jsonl") from None
    # One thread and the system's allocator are fast enough here; pyarrow's own pool takes 30 MB more.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    pyarrow.set_cpu_count(1)


def write_parquet(path: Path, records: Iterable[Record], columns: Columns) -> None:
    """Write records to a new file; names that are not UTF-8 are escaped, because Parquet takes only UTF-8."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = dict.fromkeys(("confidence", "seconds"), "float") | dict.fromkeys(("unknown", "review"), "bool")
    types |= dict.fromkeys(("bytes", "modified"), "int64")
    schema = pyarrow.schema([(name, types.get(name.partition("_")[0], "string")) for name in columns.names])
    rows = ([_utf8(cell) for cell in columns.cells(record)] for record in records)
    with ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BATCH)):
            cells = zip(zip(*batch, strict=True), schema, strict=True)
            arrays = [pyarrow.array(values, field.type) for values, field in cells]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def read_parquet(path: Path, columns: Columns) -> Iterator[Record]:
    """The records of a file that `write_parquet` wrote. Raises StorageError for any other file."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            if tuple(file.schema_arrow.names) != columns.names:
                raise other_columns(path)
            yield from columns.records(row for batch in file.iter_batches(_BATCH) for row in batch.to_pylist())
    except pyarrow.ArrowException as error:
        raise StorageError(f"{str(path)!r} is not a valid Parquet file: remove it, or give another --out") from error


def _utf8(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
