"""The table of failures: made with the first, added to, none twice."""

import csv
from pathlib import Path

from tl.prediction.output import Failures


def test_failures_are_noted_once(tmp_path: Path) -> None:
    path = tmp_path / "errors.csv"
    nothing = Failures(path)
    nothing.close()
    assert not path.exists()
    for names in (["a", "b"], ["b", "a", "c, d"], ["a"]):
        failures = Failures(path)
        for name in names:
            failures.add(name, f"no {name}")
        failures.close()
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "error"], ["a", "no a"], ["b", "no b"], ["c, d", "no c, d"]]
