"""Two or more runs become what differs in how they were made, in their data, and in what came of it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import PARTS
from tl.errors import RunError, UsageError
from tl.evaluation.metrics import McNemar, mcnemar
from tl.runs.options import FinetuneOptions
from tl.runs.summary import Figure, Summary, summarize

Value = str | int | float | bool | None
Rows = dict[str, tuple[Value, ...]]
Figures = dict[str, tuple[Figure | None, ...]]
_ELSEWHERE = ("out", "backbone", "weights", "image_size")


@dataclass(frozen=True)
class Pair:
    """Two runs, by their places, on the photos that neither was trained on; a photo is known by its sha256.

    `images` are in both data sets; `trained` were answered by one and trained on by the other, `disputed` have another
    label in one than in the other: both are left out of the `test`, which is None without a photo in common.
    """

    first: int
    second: int
    images: int
    trained: int
    disputed: int
    test: McNemar | None

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output."""
        return vars(self) | {"test": None if self.test is None else self.test.as_dict()}


@dataclass(frozen=True)
class Difference:
    """What differs between runs, by name, with a value for each run; None where a run has none.

    `results` are by part, each with its figures, top-1 and count even where they are the same.
    """

    runs: tuple[Summary, ...]
    options: Rows
    network: Rows
    data: Rows
    per_class: Rows
    versions: Rows
    results: Mapping[str, Figures]
    outcome: Rows
    pairs: tuple[Pair, ...]

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output."""
        told = {name: getattr(self, name) for name in ("options", "network", "data", "per_class", "versions")}
        results = {
            part: {name: [None if one is None else asdict(one) for one in row] for name, row in figures.items()}
            for part, figures in self.results.items()
        }
        return {
            "runs": [{"name": run.name, "folder": str(run.folder)} for run in self.runs],
            **told,
            "results": results,
            "outcome": self.outcome,
            "pairs": [pair.as_dict() for pair in self.pairs],
        }


@dataclass(frozen=True)
class _Photos:
    """A run's photos by sha256: those trained on, and of the others the label and whether the answer was right."""

    trained: frozenset[str]
    answered: Mapping[str, tuple[str, bool]]
    all: frozenset[str]


def difference(runs: Sequence[str | Path]) -> Difference:
    """What differs between runs, each later one tested against the first on the photos they have in common.

    Raises UsageError for fewer than two or the same run twice, RunError for one that is missing or damaged.
    """
    about = tuple(summarize(run) for run in runs)
    folders = [one.folder.resolve() for one in about]
    if len(about) < 2 or len(set(folders)) < len(folders):
        raise UsageError("a comparison takes two runs or more, each once: `tl runs list` names them")
    photos = [_photos(one) for one in about]
    return Difference(
        runs=about,
        options=_rows([_options(one) for one in about]),
        network=_rows([_network(one) for one in about]),
        data=_rows([_data(one) for one in about]),
        per_class=_rows([one.per_class for one in about]),
        versions=_rows([one.versions for one in about]),
        results=_results(about),
        outcome=_rows([_outcome(one) for one in about]),
        pairs=tuple(_pair(photos, at) for at in range(1, len(about))),
    )


def changed(about: Summary) -> dict[str, Value]:
    """The options that are not the defaults, but for those that choose the network and the data."""
    defaults = asdict(FinetuneOptions())
    return {
        name: value
        for name, value in about.options.items()
        if name not in ("data", *_ELSEWHERE) and value != defaults.get(name)
    }


def _rows(runs: Sequence[Mapping[str, Any]]) -> Rows:
    names = dict.fromkeys(name for run in runs for name in run)
    found = {name: tuple(run.get(name) for run in runs) for name in names}
    return {name: row for name, row in found.items() if len(set(map(repr, row))) > 1}


def _options(about: Summary) -> dict[str, Value]:
    """All that `_network` does not have; an option that a run knew nothing of had the effect of its default."""
    whole = asdict(FinetuneOptions()) | dict(about.options)
    return {name: value for name, value in whole.items() if name not in _ELSEWHERE}


def _network(about: Summary) -> dict[str, Value]:
    recipe = {name: _words(value) for name, value in about.recipe.items() if name != "image_size"}
    return {
        "backbone": about.backbone,
        "pixels": about.recipe["image_size"],
        "weights": about.options.get("weights") if about.weights == "file" else about.weights,
        "weights sha256": about.sha256,
        "precision": about.precision,
        **recipe,
    }


def _words(value: Any) -> Value:
    return ", ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value


def _data(about: Summary) -> dict[str, Value]:
    return {
        "name": about.data,
        "images": about.images,
        "skipped": about.skipped,
        "classes": len(about.classes),
        "split seed": about.seed,
        **{part: about.split.get(part, 0) for part in PARTS},
    }


def _outcome(about: Summary) -> dict[str, Value]:
    kept = "none" if about.tuning is None else f"{about.unfreeze}, {'kept' if about.tuning.kept else 'not kept'}"
    kept = "from scratch" if about.unfreeze == "scratch" else kept
    return {
        "fine-tuning": kept,
        "temperature": about.head.get("temperature"),
        "seconds": about.seconds.get("total"),
        "bytes": about.size.whole,
    }


def _results(runs: Sequence[Summary]) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for part in PARTS:
        scores = [run.parts.get(part) for run in runs]
        names = dict.fromkeys(name for score in scores if score is not None for name in score.figures)
        rows = {name: tuple(None if score is None else score.figures.get(name) for score in scores) for name in names}
        counts = tuple(None if score is None else Figure(score.count) for score in scores)
        if rows:
            differing = {name: row for name, row in rows.items() if name == "top1" or len(set(row)) > 1}
            found[part] = {"count": counts, **differing}
    return found


def _pair(photos: Sequence[_Photos], at: int) -> Pair:
    first, second = photos[0], photos[at]
    trained = (first.answered.keys() & second.trained) | (second.answered.keys() & first.trained)
    common = sorted((first.answered.keys() & second.answered.keys()) - first.trained - second.trained)
    agreed = [sha256 for sha256 in common if first.answered[sha256][0] == second.answered[sha256][0] != ""]
    right = [np.array([run.answered[sha256][1] for sha256 in agreed], bool) for run in (first, second)]
    return Pair(
        first=0,
        second=at,
        images=len(first.all & second.all),
        trained=len(trained),
        disputed=len(common) - len(agreed),
        test=mcnemar(*right) if agreed else None,
    )


def _photos(about: Summary) -> _Photos:
    sha256_of, trained = {}, set()
    for row in _table(about, "split.csv", ("path", "split", "sha256")):
        sha256_of[row["path"]] = row["sha256"]
        if row["split"] == "train":
            trained.add(row["sha256"])
    answered: dict[str, tuple[str, bool]] = {}
    for row in _table(about, "predictions.csv", ("path", "label", "predicted")):
        sha256 = sha256_of.get(row["path"])
        if sha256 is None:
            raise _damaged(about, f"predictions.csv names {row['path'][:80]!r}, which split.csv does not")
        label = row["label"] if answered.get(sha256, (row["label"],))[0] == row["label"] else ""
        answered[sha256] = label, row["label"] == row["predicted"]
    return _Photos(frozenset(trained), answered, frozenset(sha256_of.values()))


def _table(about: Summary, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    path = about.folder / name
    if not path.is_file():
        raise _damaged(about, f"{name} is missing")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [{column: row[column] for column in columns} for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise _damaged(about, f"{name} cannot be read") from error
    if any(value is None for row in rows for value in row.values()):
        raise _damaged(about, f"{name} is cut short")
    return rows


def _damaged(about: Summary, reason: str) -> RunError:
    return RunError(f"{about.folder} is damaged ({reason}): make it again with `tl finetune`, or copy it whole")
