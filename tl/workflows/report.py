"""Write the report of a run or an evaluation, and all pictures of a finished run.

`tl finetune` and `tl evaluate` pass on the predictions and the data set they hold; `tl report` reads a folder.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, Skipped
from tl.data.load import load
from tl.errors import DataError, DownloadError
from tl.evaluation.predictions import Predictions
from tl.learning.head_fit import Trial
from tl.options import keywords, option
from tl.prediction.evaluation import PART, Evaluation
from tl.progress import Progress
from tl.runs.folder import HEAD_COLUMNS, History, read_history
from tl.runs.photos import listed_images, load_sources, recorded_sources, sources_text
from tl.runs.run import RECORDS, Run, check_run, load_run
from tl.text import one_line
from tl.views.pages.report import ReportData, damage_as_error, write_report
from tl.views.pages.report_scores import PredictionTable, headline_part, table_of
from tl.views.pictures.charts import learning_curves, save_figure
from tl.workflows.grid import save_run_grid


@dataclass(frozen=True)
class ReportOptions:
    """The options of `tl report`."""

    data: str | Path | None = option(None, "Where the images are now.", default_text="where they were")


@keywords(ReportOptions)
def report(run: str | Path | None = None, *, options: ReportOptions, progress: Progress | None = None) -> Path:
    """Write `report.html` of a run, the newest by default, or of an evaluation, from the files in its folder.

    Without its images the page says so. Raises RunError for a damaged folder, DataError when `data` has none of the
    run's images.
    """
    progress, folder = progress or Progress(), Path(run) if run is not None else None
    if folder is not None and (folder / "metrics.json").is_file() and not (folder / "manifest.json").exists():
        data = _read_evaluation(folder, options.data, progress)
    else:
        loaded = load_run(run)
        folder, data = loaded.folder, _read_run(loaded, options.data, progress)
    return write_report(data, folder)


def write_run_artifacts(
    run: Run, predictions: Predictions, *, trials: Sequence[Trial], history: History | None
) -> None:
    """Write `grid.png`, `report.html` and, after a training, `curves.png` into a run that was just made."""
    save_run_grid(run, predictions)
    if history is not None:
        save_figure(learning_curves(history), run.folder / "curves.png")
    metrics = predictions.as_dict()
    metrics |= {key: run.metrics[key] for key in ("fine-tuning", "learning_curve", "seconds") if key in run.metrics}
    data = ReportData(
        run=run,
        metrics=metrics,
        predictions=table_of(predictions, headline_part(metrics)),
        dataset=predictions.dataset,
        data=sources_text(run),
        skipped=predictions.dataset.skipped,
        trials=trials,
        history=history,
    )
    write_report(data, run.folder)


def write_evaluation_report(evaluation: Evaluation, *, command: str = "") -> Path:
    """Write `report.html` into the folder of an evaluation that was just made."""
    data = ReportData(
        run=evaluation.run,
        metrics=evaluation.as_dict(),
        predictions=table_of(evaluation.predictions, PART),
        dataset=evaluation.dataset,
        data=evaluation.data,
        skipped=evaluation.dataset.skipped,
        command=command,
        checked=True,
    )
    return write_report(data, evaluation.folder)


def _read_run(run: Run, data: str | Path | None, progress: Progress) -> ReportData:
    check_run(run, RECORDS)
    with damage_as_error(run.folder):
        sha256 = {row["path"]: row["sha256"] for row in _rows(run.folder / "split.csv")}
    source = str(data) if data is not None else sources_text(run)
    if data is None:
        sources = recorded_sources(run)
        dataset = _load_if_there(*sources) if sources else listed_images(run)
        return read_report(run, run.folder, dataset, source, sha256=sha256)
    dataset = load(source, labelled=False, progress=progress)
    if sha256.keys().isdisjoint(dataset.names):
        raise DataError(
            f"--data {data}: none of the run's images is there under its name, such as {next(iter(sha256), '')!r}: "
            "give the data set that the run was made with, where it is now"
        )
    return read_report(run, run.folder, dataset, source, sha256)


def _read_evaluation(folder: Path, data: str | Path | None, progress: Progress) -> ReportData:
    with damage_as_error(folder):
        metrics = _read_metrics(folder)
        run_folder, source = str(metrics["run"]), str(metrics["data"])
    if data is None:
        return read_report(load_run(run_folder), folder, _load_if_there(source), source)
    dataset = load(str(data), labelled=False, progress=progress)
    return read_report(load_run(run_folder), folder, dataset, str(data))


def read_report(
    run: Run, folder: Path, dataset: Dataset | None, source: str, sha256: Mapping[str, str] = MappingProxyType({})
) -> ReportData:
    """What the tables in a folder say about a run or an evaluation. Raises RunError where they are damaged."""
    with damage_as_error(folder):
        metrics = _read_metrics(folder)
        if not headline_part(metrics) and any(_rows(folder / "predictions.csv")):
            raise ValueError("metrics.json has no metrics")
        return ReportData(
            run=run,
            metrics=metrics,
            predictions=_read_predictions(folder, headline_part(metrics), run.classes),
            dataset=dataset,
            data=source,
            sha256=sha256,
            skipped=[Skipped(row["path"], row["reason"]) for row in _rows(folder / "skipped.csv")],
            trials=list(_read_trials(folder)),
            history=read_history(folder),
        )


def _read_trials(folder: Path) -> Iterator[Trial]:
    name, loss, accuracy = HEAD_COLUMNS
    for row in _rows(folder / "heads.csv"):
        yield Trial(one_line(row[name]), float(row[loss]), float(row[accuracy]))
    for row in _rows(folder / "strengths.csv"):  # of format 1
        named = f"softmax regression, L2 {float(row['strength']):.2g}"
        yield Trial(named, float(row["held_out_log_loss"]), float(row["held_out_top1"]))


def _load_if_there(*sources: str) -> Dataset | None:
    try:
        return load_sources(sources, Progress()) if any(sources) else None
    except (DataError, DownloadError):
        return None


def _read_metrics(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return dict(metrics)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)


def _read_predictions(folder: Path, part: str, classes: tuple[str, ...]) -> PredictionTable:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        every = [row for row in csv.DictReader(stream) if row["split"] == part]
    if any(row["path"] is None for row in every):
        raise ValueError("predictions.csv has a truncated line")
    index = {name: at for at, name in enumerate(classes)}
    rows = [row for row in every if row["label"] in index and row["predicted"] in index]

    def fractions(column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        values = np.array([float(row.get(column) or 0) for row in rows], dtype=np.float64)
        if not ((values >= 0) & (values <= 1.001)).all():
            raise ValueError(f"predictions.csv has a {column} that is not between 0 and 1")
        return values

    return PredictionTable(
        classes=classes,
        names=tuple(row["path"] for row in rows),
        truth=np.array([index[row["label"]] for row in rows], dtype=np.int64),
        predicted=np.array([index[row["predicted"]] for row in rows], dtype=np.int64),
        second=np.array([index.get(row.get("second") or "", -1) for row in rows], dtype=np.int64),
        confidence=fractions("confidence"),
        truth_confidence=fractions("confidence_of_label"),
        second_confidence=fractions("confidence_of_second"),
        unknown=np.array([row.get("unknown") == "1" for row in rows], dtype=np.bool_),
        foreign=len(every) - len(rows),
    )
