"""A finished run or assessment becomes all that people look at: its grid, its curves, its report."""

from pathlib import Path

from tl.datasets.sources import Dataset, load
from tl.errors import DataError, DownloadError
from tl.runs.assessment import Assessment
from tl.runs.bundle import Run
from tl.views.gallery import draw_run
from tl.views.plots import learning_curves
from tl.views.report.report import Subject, write_report


def draw_finished(run: Run) -> None:
    """Write `grid.png`, after a training `curves.png`, and `report.html` into a run."""
    dataset = _photos(run, None)
    if dataset is not None:
        draw_run(run, dataset)
    learning_curves(run.folder)
    write_report(Subject(run, run.folder, dataset, _given(run)))


def draw_assessed(made: Assessment, command: str) -> Path:
    """Write `report.html` into an assessment's folder."""
    return write_report(Subject(made.run, made.folder, made.dataset, made.data, command))


def draw_report(run: Run, data: str | None = None) -> Path:
    """Write a run's `report.html` anew; `data` is where its photos are now.

    Without the photos the page says so. Raises DataError when `data` is given and is no data set.
    """
    return write_report(Subject(run, run.folder, _photos(run, data), data or _given(run)))


def _photos(run: Run, data: str | None) -> Dataset | None:
    if data is not None:
        return load(data, labelled=False)
    try:
        return load(_given(run))
    except (DataError, DownloadError):
        return None


def _given(run: Run) -> str:
    return str(run.manifest["options"]["data"])
