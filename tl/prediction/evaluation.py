"""The result of `tl evaluate`: how good a run is on labelled images, alone and against another run."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl.data.dataset import Dataset
from tl.evaluation.metrics import Estimate, Metrics, Proportion
from tl.evaluation.predictions import Predictions
from tl.evaluation.significance import McNemar
from tl.runs.run import Run
from tl.text import count, html_table, interval, percent

PART = "evaluation"  # the name of the evaluated images in metrics.json and predictions.csv


@dataclass(frozen=True)
class Evaluation:
    """A run's predictions for labelled images and their metrics; `folder` has them as files.

    `left_out` counts the images that were not evaluated, by reason, `trained_on` those evaluated that a run was trained
    on, `copies` copies of training images, judged by heads fitted without these. `held_out` names the part of the run's
    own data that was evaluated, or is "cross-validated". `against` is the name of the other run, `comparison` McNemar's
    test of the two.
    """

    run: Run
    folder: Path
    data: str
    predictions: Predictions = field(repr=False)
    left_out: dict[str, int]
    trained_on: int = 0
    copies: int = 0
    held_out: str = ""
    against: str = ""
    comparison: McNemar | None = None

    @property
    def dataset(self) -> Dataset:
        """The evaluated images, with the classes of the run."""
        return self.predictions.dataset

    @property
    def metrics(self) -> Metrics:
        """The metrics of the evaluated images."""
        return self.predictions.metrics[PART]

    @property
    def against_accuracy(self) -> float:
        """The accuracy of the other run on the same images; NaN without one."""
        if self.comparison is None or not self.comparison.count:
            return math.nan
        return float(self.predictions.correct.mean()) - self.comparison.difference

    def against_sentence(self, other: str, own: str) -> str:
        """The accuracies of both runs, called by these names, and the test in words; "" without another run."""
        if self.comparison is None:
            return ""
        theirs, ours = percent(self.against_accuracy), percent(float(self.predictions.correct.mean()))
        return f"{other} {theirs}, {own} {ours}; {self.comparison.sentence(other, own)}"

    def as_dict(self) -> dict[str, Any]:
        """The contents of metrics.json."""
        about: dict[str, Any] = {"run": str(self.run.folder), "data": self.data, "left_out": self.left_out}
        about |= {"trained_on": self.trained_on, "copies": self.copies}
        if self.held_out:
            about["held_out"] = self.held_out
        if self.comparison is not None:
            figures = {"run": self.against, "top1": self.against_accuracy, **self.comparison.as_dict()}
            about["against"] = figures | {"sentence": self.against_sentence(self.against, self.run.name)}
        return self.predictions.as_dict() | about

    def _repr_html_(self) -> str:
        metrics = self.metrics
        figures: list[tuple[str, Proportion | Estimate]] = [
            ("accuracy", metrics.top1),
            ("balanced accuracy", metrics.balanced_accuracy),
            ("macro F1", metrics.macro_f1),
            ("expected calibration error", metrics.calibration_error),
        ]
        if metrics.top5 is not None:
            figures.insert(1, ("top-5 accuracy", metrics.top5))
        rows = [(name, f"{percent(value.value)} ({interval(value.low, value.high)})") for name, value in figures]
        rows += [("log-loss", f"{metrics.log_loss:.3f}"), ("folder", str(self.folder))]
        if self.comparison is not None:
            rows.insert(1, (f"accuracy of {self.against}", percent(self.against_accuracy)))
        images = count(metrics.count, f"{self.held_out} image".lstrip())
        return html_table(rows, caption=f"{self.run.name} on {images} of {self.data}")
