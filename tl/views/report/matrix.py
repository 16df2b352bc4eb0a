"""A confusion matrix becomes a table where it is small and a map of coloured squares where it is large."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.views.report.wording import brief, count, percent

MOST_IN_TABLE = 20  # classes whose counts can be read as a table
MOST_IN_MAP = 250  # classes whose squares can be seen
LEVELS = 8  # of colour

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """A count with its colour: `level` 0 (none) to LEVELS, and its share of the row."""

    count: int
    level: int
    kind: str
    said: str


@dataclass(frozen=True)
class Row:
    """The photos of one true class."""

    name: str
    total: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Layer:
    """All squares of one colour as one path, in a drawing in which a class is a unit wide."""

    kind: str
    level: int
    path: str


def table(counts: Counts, classes: Sequence[str]) -> list[Row]:
    """Rows of the classes that have photos or answers: columns are all classes."""
    shares, levels = _shares(counts), _levels(counts)
    rows = []
    for truth, row in enumerate(counts.tolist()):
        cells = []
        for answer, number in enumerate(row):
            said = f"{count(number, 'photo')} of {brief(classes[truth])} answered {brief(classes[answer])}"
            said += f", {percent(shares[truth, answer])} of the class" if sum(row) else ""
            cells.append(Cell(number, int(levels[truth, answer]), "right" if truth == answer else "wrong", said))
        rows.append(Row(brief(classes[truth]), sum(row), tuple(cells)))
    return rows


def layers(counts: Counts) -> list[Layer]:
    """The map, one path a colour: a hundred classes take some ten kilobytes."""
    levels, diagonal = _levels(counts), np.eye(len(counts), dtype=bool)
    found = []
    for kind, where in (("right", diagonal), ("wrong", ~diagonal)):
        for level in range(1, LEVELS + 1):
            truths, answers = np.nonzero(where & (levels == level))
            squares = zip(truths.tolist(), answers.tolist(), strict=True)
            path = "".join(f"M{answer} {truth}h1v1h-1z" for truth, answer in squares)
            found.append(Layer(kind, level, path))
    return [layer for layer in found if layer.path]


def sparse(counts: Counts) -> list[list[int]]:
    """Row by row the columns and counts that are not zero, one after the other: what the pointer is told."""
    told = []
    for row in counts:
        columns = np.flatnonzero(row)
        told.append(np.stack([columns, row[columns]], axis=1).ravel().tolist())
    return told


def _shares(counts: Counts) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return shares


def _levels(counts: Counts) -> Counts:
    """Colours by share of the row, errors against the largest error, so that a single one is still seen."""
    shares = _shares(counts)
    errors = shares - np.diag(np.diag(shares))
    top = np.where(np.eye(len(counts), dtype=bool), 1.0, max(errors.max(initial=0.0), 0.02))
    levels: Counts = np.ceil(LEVELS * np.sqrt(shares / top)).astype(np.int64)
    return np.where(counts > 0, np.clip(levels, 1, LEVELS), 0)
