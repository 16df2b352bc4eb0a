"""What could not be done becomes a table path,error in which nothing stands twice."""

from dataclasses import dataclass
from pathlib import Path

from tl.prediction.rows import Cell, Record
from tl.runs.appending import Appended
from tl.runs.resuming import Done


@dataclass(frozen=True)
class _Columns:
    names: tuple[str, ...] = ("path", "error")

    def cells(self, record: Record) -> list[Cell]:
        return [record[name] for name in self.names]


class Failures:
    """A table of failures, made with the first of them and added to by later calls."""

    def __init__(self, path: Path) -> None:
        self._path, self._done = path, Done()
        self._rows: Appended | None = None
        if path.exists():
            self._open()

    def add(self, name: str, error: str) -> None:
        """Note a failure, unless an earlier call of the command did."""
        if not self._done.take(name):
            self._open().write({"path": name, "error": error})

    def close(self) -> None:
        """Make it last."""
        self._done.close()
        if self._rows is not None:
            self._rows.close()

    def _open(self) -> Appended:
        if self._rows is None:
            self._rows = Appended(self._path, "csv", _Columns())
            for record in self._rows.records():
                self._done.add(record["path"], failed=True)
        return self._rows
