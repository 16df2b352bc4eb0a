"""A folder's predictions.csv and metrics.json become what was answered for each photo, and the figures of it."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import RunError

MOST_BYTES = 1 << 30  # of predictions.csv: ten million photos
PARTS = ("evaluation", "test", "validation")  # the first that there is heads the page
PHRASES = {
    "evaluation": "evaluated",
    "test": "of the test part, which nothing was trained or chosen on",
    "validation": "held out for validation",
}

Labels = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What was answered for the `n` photos of one part, the classes by their place in `classes`.

    `second` is -1 where it is not known. `left_out` counts photos of classes that the run does not know.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    truth: Labels
    answer: Labels
    second: Labels
    confidence: Shares
    of_truth: Shares
    of_second: Shares
    unknown: NDArray[np.bool_]
    left_out: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which photos were answered with their true class `[n]`."""
        return np.equal(self.truth, self.answer)

    @property
    def lead(self) -> Shares:
        """How far the answer is ahead of the second best class `[n]`; of old runs, how sure it is."""
        return self.confidence - np.where(self.second >= 0, self.of_second, 0.0)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What cannot be read inside is a damaged folder: RunError."""
    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}"[:200].split())
        raise RunError(
            f"{folder} is damaged, its report cannot be made ({reason}): make it again with `tl finetune`"
        ) from error


def read_metrics(folder: Path) -> dict[str, Any]:
    """The contents of metrics.json, which has at least one part with figures."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if not any(part in metrics for part in PARTS):
        raise ValueError("metrics.json has no figures")
    return dict(metrics)


def headed(metrics: Mapping[str, Any]) -> str:
    """The part whose photos the page shows: of a run with a test part that, else validation."""
    return next(part for part in PARTS if part in metrics)


def read_answers(folder: Path, part: str, classes: tuple[str, ...]) -> Answers:
    """What predictions.csv says of the photos of one part."""
    path = folder / "predictions.csv"
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"predictions.csv is larger than {MOST_BYTES >> 30} GB")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == part]
    if any(row["path"] is None for row in rows):
        raise ValueError("predictions.csv has a line that is cut short")
    number = {name: at for at, name in enumerate(classes)}
    known = [row for row in rows if row["label"] in number and row["predicted"] in number]

    def shares(column: str) -> Shares:
        values = np.array([float(row.get(column) or 0) for row in known], dtype=np.float64)
        if not ((values >= 0) & (values <= 1.001)).all():
            raise ValueError(f"predictions.csv has a {column} that is no share")
        return values

    return Answers(
        classes,
        tuple(row["path"] for row in known),
        np.array([number[row["label"]] for row in known], dtype=np.int64),
        np.array([number[row["predicted"]] for row in known], dtype=np.int64),
        np.array([number.get(row.get("second") or "", -1) for row in known], dtype=np.int64),
        shares("confidence"),
        shares("confidence_of_label"),
        shares("confidence_of_second"),
        np.array([row.get("unknown") == "1" for row in known], dtype=np.bool_),
        len(rows) - len(known),
    )


def read_fingerprints(folder: Path) -> dict[str, str]:
    """The sha256 of a run's photos by name, from split.csv; an evaluation, which has just read its photos, has none."""
    path = folder / "split.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["path"]: row["sha256"] for row in csv.DictReader(stream)}
