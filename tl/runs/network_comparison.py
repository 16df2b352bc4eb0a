"""The result of `tl compare`: several networks trained on the same split, and its files."""

import csv
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tl.evaluation.metrics import Proportion
from tl.text import html_table, interval, judged_by, one_line, percent


@dataclass(frozen=True)
class ComparedNetwork:
    """One network: its run, its accuracy on the validation images, and its cost.

    `p_value` is McNemar's against the best (1 for the best itself). `seconds` is the whole training time, less what the
    cache already had; `speed` is images per second of the network alone, `size` bytes of the files that predict.
    `learned` is False where it is hardly better than the majority class, None where there are too few images to tell.
    Where `error` says why there is no run, only `name`, `scratch` and `error` mean something.
    """

    name: str
    scratch: bool
    top1: Proportion
    top5: Proportion | None = None
    p_value: float = 1.0
    parameters: int = 0
    seconds: float = 0.0
    speed: float = 0.0
    size: int = 0
    learned: bool | None = True
    folder: str = ""
    error: str = ""

    @property
    def title(self) -> str:
        """Its name, and that it was trained from random weights."""
        return one_line(self.name) + (" from random weights" if self.scratch else "")

    @property
    def weights(self) -> str:
        """What its training started from: `random` or `pretrained` weights."""
        return "random" if self.scratch else "pretrained"


@dataclass(frozen=True)
class ComparedPrediction:
    """What one network predicts for one image."""

    label: str
    confidence: float


@dataclass(frozen=True)
class ComparedImage:
    """A validation image, its true label, and the predictions of the networks that have a run, in their order."""

    path: str
    truth: str
    answers: tuple[ComparedPrediction, ...]

    @property
    def correct(self) -> tuple[bool, ...]:
        """Which networks are correct."""
        return tuple(answer.label == self.truth for answer in self.answers)


@dataclass(frozen=True)
class Comparison:
    """Networks from best to worst, those without a run last, and the validation images that all of them classified.

    With `folds` they were cross-validated.
    """

    folder: Path
    data: str
    count: int
    classes: tuple[str, ...]
    entries: tuple[ComparedNetwork, ...] = field(repr=False)
    photos: tuple[ComparedImage, ...] = field(repr=False)
    command: str
    folds: int = 0

    @property
    def ranked(self) -> tuple[ComparedNetwork, ...]:
        """The networks that have a run."""
        return tuple(entry for entry in self.entries if not entry.error)

    @property
    def best_run(self) -> Path:
        """The run of the best network."""
        return self.folder / self.ranked[0].folder

    @property
    def majority(self) -> float | None:
        """The accuracy of always predicting the largest class; None without images."""
        counts = Counter(photo.truth for photo in self.photos)
        return max(counts.values()) / len(self.photos) if counts else None

    def _repr_html_(self) -> str:
        rows = [
            (entry.name, entry.weights, f"left out: {entry.error}", "", "", "")
            if entry.error
            else (
                entry.name,
                entry.weights,
                f"{percent(entry.top1.value)} ({interval(entry.top1.low, entry.top1.high)})",
                f"{entry.p_value:.3f}" if place else "best",
                f"{entry.parameters:,}",
                f"{entry.seconds:.1f}",
            )
            for place, entry in enumerate(self.entries)
        ]
        headings = ("network", "weights", "accuracy", "p vs best", "parameters", "training, s")
        images = f"{self.count:,} {judged_by('validation', self.folds)} images"
        return html_table(rows, headings, caption=f"{self.data}: {images}")


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.json` and `comparison.csv`."""
    entries = [asdict(entry) for entry in comparison.entries]
    about = {name: getattr(comparison, name) for name in ("data", "count", "folds", "command")} | {"entries": entries}
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (folder / "comparison.json").write_text(text, encoding="utf-8", errors="replace")
    columns = ("name", "weights", "top1", "low", "high", "top5", "p_value", "parameters", "seconds", "speed", "size")
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream)
        writer.writerow((*columns, "learned", "error"))
        for entry in comparison.entries:
            top1, top5 = entry.top1, "" if entry.top5 is None else entry.top5.value
            cost = (entry.p_value, entry.parameters, entry.seconds, round(entry.speed, 2), entry.size)
            row = (entry.name, entry.weights, top1.value, top1.low, top1.high, top5, *cost, entry.learned, entry.error)
            writer.writerow(row)
