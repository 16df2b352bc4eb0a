"""A finished run or assessment becomes all that people look at: its grid, its curves, its report."""

from pathlib import Path

from tl.data.load import Dataset, load
from tl.errors import DataError, DownloadError
from tl.runs.run import Run, load_run
from tl.views.pages.report.predictions import read_fingerprints, read_metrics, readable
from tl.views.pages.report.report import Subject, write_report
from tl.views.pictures.charts import save_learning_curves
from tl.workflows.evaluate import Assessment
from tl.workflows.grid import draw_run


def draw_finished(run: Run) -> None:
    """Write `grid.png`, after a training `curves.png`, and `report.html` into a run."""
    dataset = _photos(run, None)
    if dataset is not None:
        draw_run(run, dataset)
    save_learning_curves(run.folder)
    write_report(Subject(run, run.folder, dataset, _given(run)))


def draw_assessed(made: Assessment, command: str) -> Path:
    """Write `report.html` into an assessment's folder."""
    return write_report(Subject(made.run, made.folder, made.dataset, made.data, command, checked=True))


def draw_report(run: Run, data: str | None = None) -> Path:
    """Write a run's `report.html` anew; `data` is where its photos are now.

    Without the photos the page says so. Raises DataError when `data` is given and has none of them.
    """
    return write_report(Subject(run, run.folder, _photos(run, data), data or _given(run)))


def draw_evaluation(folder: Path, data: str | None = None) -> Path:
    """Write the `report.html` of an evaluation's folder anew; `data` is where its photos are now.

    Raises RunError for a folder that is none, or whose run is gone.
    """
    with readable(folder):
        told = read_metrics(folder)
        home, given = str(told["run"]), str(told["data"])
    run = load_run(home)
    dataset = load(data, labelled=False) if data is not None else _loaded(given)
    return write_report(Subject(run, folder, dataset, data or given))


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation, and not a run."""
    return (folder / "metrics.json").is_file() and not (folder / "manifest.json").exists()


def _photos(run: Run, data: str | None) -> Dataset | None:
    if data is not None:
        dataset = load(data, labelled=False)
        with readable(run.folder):
            known = read_fingerprints(run.folder)
        if known.keys().isdisjoint(dataset.names):
            raise DataError(
                f"--data {data}: none of the run's photos is there under its name, such as {next(iter(known), '')!r}: "
                "give the data set that the run was made with, where it is now"
            )
        return dataset
    return _loaded(_given(run))


def _loaded(given: str) -> Dataset | None:
    try:
        return load(given, labelled=False) if given else None
    except (DataError, DownloadError):
        return None


def _given(run: Run) -> str:
    options = run.manifest.get("options")  # which may hold anything
    return str(options.get("data", "")) if isinstance(options, dict) else ""
