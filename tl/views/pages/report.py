"""Write `report.html`, the report of a run or of an evaluation: one page without any other file or network access."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Skipped
from tl.errors import RunError
from tl.evaluation.metrics import confusion
from tl.files import write_text
from tl.learning.head_fit import Trial
from tl.runs.folder import History
from tl.runs.run import Run
from tl.text import count, judged_by, one_line
from tl.views.pages import render
from tl.views.pages import report_charts as charts
from tl.views.pages import report_examples as examples
from tl.views.pages import report_scores as scores
from tl.views.pages import report_sections as sections
from tl.views.pages.report_examples import Thumbnails, tile
from tl.views.pages.report_scores import PHRASES, PredictionTable, decimal, headline_part, short_name

MOST_BYTES = 5_000_000  # of the page
_GALLERY_BYTES = 3_300_000  # the other images take half a million, text and charts the rest

Values = dict[str, Any]
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, csv.Error)


@dataclass(frozen=True)
class ReportData:
    """What a report is made from. `metrics` are the contents of metrics.json, `predictions` those of its first part.

    `dataset` has the images, None where they cannot be read. `data` names it as the user did. `sha256` are the
    fingerprints of images by name, where they may have changed. `trials` are the candidates for the head. `command` is
    the command line that made the report; a run's own is used where it is empty. `checked` says that the run's files
    were compared with their sha256 just now.
    """

    run: Run
    metrics: Mapping[str, Any]
    predictions: PredictionTable
    dataset: Dataset | None
    data: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    trials: Sequence[Trial] = ()
    history: History | None = None
    command: str = ""
    checked: bool = False


@contextmanager
def damage_as_error(folder: Path) -> Iterator[None]:
    """Raises RunError for a folder with contents that make no sense."""
    try:
        yield
    except _DAMAGE as error:
        reason = one_line(f"{type(error).__name__}: {error}"[:200])
        raise RunError(
            f"{folder} is damaged, its report cannot be made ({reason}): make it again with `tl finetune`"
        ) from error


def write_report(data: ReportData, folder: Path) -> Path:
    """Write `report.html` into a folder, whole or not at all.

    Raises RunError when the data is damaged, StorageError when the page cannot be written.
    """
    target = folder / "report.html"
    write_text(target, compose(data, folder), hint="free some space or correct its permissions")
    return target


def compose(data: ReportData, folder: Path) -> str:
    """The page; `folder` is named where the data is damaged."""
    table = data.predictions
    if not headline_part(data.metrics):
        with damage_as_error(folder):
            values = _run_details(data) | {"title": _title(data), "run_name": short_name(data.run.name, 300)}
            values["classes"] = [short_name(label) for label in table.classes]
        return render("report_unjudged.html.jinja", values, style="report.css")
    with ThreadPoolExecutor(1) as pool:  # the network is loaded and explains while metrics and images are prepared
        worst, explainer = examples.worst(table).tolist(), None
        if worst:
            explainer = pool.submit(examples.open_explainer, data.run, checked=data.checked)
        with damage_as_error(folder):
            matrix = confusion(table.truth, table.predicted, len(table.classes))
            values = _head(data) | _metrics(data, matrix) | _calibration(data) | _run_details(data)
        thumbnails = Thumbnails(data.dataset, data.sha256)
        errors = pool.submit(examples.explain, data.run, table, rows=worst, thumbnails=thumbnails, explainer=explainer)
        values |= _examples(table, thumbnails, matrix, worst)
        values["errors"], values["not_explained"] = errors.result()
    values["explained"] = any(heat is not None for _, _, heat in values["errors"])
    values["unreadable"] = data.dataset is None or thumbnails.none_readable
    return _within_limit(values, table, thumbnails)


def _within_limit(values: Values, table: PredictionTable, thumbnails: Thumbnails) -> str:
    from markupsafe import Markup

    tools = {"LEVELS": charts.LEVELS, "svg": Markup}
    budget = _GALLERY_BYTES
    while True:
        whole = values | tools | _gallery(table, thumbnails, budget)
        page = render("report.html.jinja", whole, style="report.css", script="report.js")
        if len(page.encode("utf-8", "replace")) <= MOST_BYTES or budget < 100_000:
            return page
        budget //= 2  # thousands of classes: their rows need the room


def _head(data: ReportData) -> Values:
    metrics, run, table = data.metrics, data.run, data.predictions
    part = headline_part(metrics)
    return {
        "title": _title(data),
        "run_name": short_name(run.name, 300),
        "kind": _kind(metrics),
        "trained_on": int(metrics.get("trained_on") or 0),  # old evaluations do not record it
        "copies": int(metrics.get("copies") or 0),
        "created": one_line(str(run.manifest.get("created", ""))).replace("T", " "),
        "headline": scores.headline(metrics, table),
        "part": judged_by(part, metrics[part].get("folds")),
        "part_phrase": PHRASES[part],
        "classes": [short_name(label) for label in table.classes],
        "foreign": table.foreign,
        "left_out": [(int(number), one_line(why)) for why, number in (metrics.get("left_out") or {}).items()],
        "against": sections.sentence(str((metrics.get("against") or {}).get("sentence", ""))),
        "total": len(table.names),
    }


def _title(data: ReportData) -> str:
    name = Path(data.data).name or data.data
    if "from" in data.run.manifest and headline_part(data.metrics) != "evaluation":
        name = str(data.run.manifest["data"]["name"])  # those of all places
    return f"{data.run.backbone.name} on {short_name(name)}"


def _kind(metrics: Mapping[str, Any]) -> str:
    if headline_part(metrics) != "evaluation":
        return "Run"
    trained_on = metrics.get("trained_on")
    if trained_on is None:
        return "Evaluation"
    return "Evaluation, training images included" if trained_on else "Evaluation on images not trained on"


def _metrics(data: ReportData, matrix: NDArray[np.int64]) -> Values:
    parts, rows = scores.metric_rows(data.metrics, data.predictions)
    names = data.predictions.classes
    small = len(names) <= charts.MOST_IN_TABLE
    as_map = not small and len(names) <= charts.MOST_IN_MAP
    class_rows = scores.class_rows(data.metrics[parts[0]], data.predictions)
    return {
        "metric_parts": [
            (judged_by(part, data.metrics[part].get("folds")), count(int(data.metrics[part]["count"]), "image"))
            for part in parts
        ],
        "metric_rows": rows,
        "matrix_rows": charts.matrix_rows(matrix, names) if small else [],
        "matrix_layers": charts.matrix_layers(matrix) if as_map else [],
        "matrix_cells": charts.sparse_matrix(matrix) if as_map else [],
        "class_rows": class_rows,
        "empty_classes": [row["name"] for row in class_rows if not row["support"]],
        "classes_left_out": max(0, len(names) - scores.MOST_CLASSES),
        "growth": charts.growth_chart(data.metrics["learning_curve"]) if "learning_curve" in data.metrics else None,
    }


def _calibration(data: ReportData) -> Values:
    metrics, table = data.metrics, data.predictions
    scaled = metrics.get("calibration") or {}
    if scaled.get("temperature") == 1:  # calibrated by the weights of the head's members: nothing was scaled
        scaled = {}
    part, where = headline_part(metrics), str(scaled.get("part", "validation"))
    diagrams, scaling = [], {}
    if scaled:
        diagrams.append(charts.reliability_diagram("before", f"Before scaling ({where})", scaled["before"]))
        diagrams.append(charts.reliability_diagram("after", f"After scaling ({where})", scaled["after"]))
        scaling = {
            "temperature": decimal(float(scaled["temperature"])),
            "before": decimal(float(scaled["log_loss_before"])),
            "after": decimal(float(scaled["log_loss_after"])),
            "part": where,
            "fitted_on": str(scaled.get("fitted_on", "images the head was not fitted on")),
        }
    if not scaled or where != part:
        figures = metrics[part].get("reliability") or charts.reliability_of(table)
        diagrams.append(
            charts.reliability_diagram(
                "this", f"Confidence and accuracy ({judged_by(part, metrics[part].get('folds'))})", figures
            )
        )
    return {
        "diagrams": diagrams,
        "geometry": charts.GEOMETRY,
        "scaling": scaling,
        "selective": charts.selective_curve(metrics["selective"]) if metrics.get("selective") else None,
        "unknown": sections.sentence(str((metrics.get("unknown") or {}).get("sentence", ""))),
        "unknown_count": int(table.unknown.sum()),
    }


def _run_details(data: ReportData) -> Values:
    manifest, table, metrics = data.run.manifest, data.predictions, data.metrics
    evaluated = headline_part(metrics) == "evaluation"
    own = sections.command_line(manifest.get("command"))
    source = str(manifest.get("options", {}).get("data", "")) if evaluated else data.data
    about = manifest["data"]
    support = np.bincount(table.truth, minlength=len(table.classes)).tolist()
    history = None if evaluated else data.history
    return {
        "evaluated": evaluated,
        "facts": sections.facts(manifest, source, own if evaluated else data.command or own),
        "evaluated_with": one_line(data.command),
        "evaluated_data": one_line(data.data),
        "run_classes": sections.classes(about["per_class"], dict(zip(table.classes, support, strict=True))),
        "skipped": len(data.skipped),
        "skipped_named": [(short_name(file.path), one_line(file.reason)) for file in data.skipped[:300]],
        "phases": sections.phases(metrics, len(table.names) if evaluated else int(about["images"])),
        "heads": [] if evaluated else sections.heads(data.trials),
        "history": history,
        "curves": [] if history is None else charts.curve_drawings(history),
    }


def _examples(
    table: PredictionTable, thumbnails: Thumbnails, matrix: NDArray[np.int64], worst: Sequence[int]
) -> Values:
    # No image is shown twice above the gallery.
    pairs = examples.confused_pairs(table, matrix, worst)
    shown = [*worst, *(row for _, rows in pairs for row in rows)]
    uncertain = examples.least_certain(table, shown).tolist()
    confident = examples.most_confident(table, [*shown, *uncertain]).tolist()
    rows = [*shown, *uncertain, *confident, *examples.gallery(table)]
    thumbnails.prepare(table.names[row] for row in rows)
    return {
        "pairs": [(pair, [tile(table, row, thumbnails) for row in rows]) for pair, rows in pairs],
        "uncertain": [tile(table, row, thumbnails) for row in uncertain],
        "confident": [tile(table, row, thumbnails) for row in confident],
    }


def _gallery(table: PredictionTable, thumbnails: Thumbnails, budget: int) -> Values:
    rows, correct = examples.gallery(table), table.correct
    fits = examples.fitting([thumbnails.get(table.names[row]) for row in rows], budget)
    shown = examples.reading_order(table, rows[:fits])
    return {
        "tiles": [tile(table, row, thumbnails) for row in shown],
        "shown_wrong": int(np.sum(~correct[shown])),
        "shown_correct": int(np.sum(correct[shown])),
        "all_wrong": int(np.sum(~correct)),
        "all_correct": int(np.sum(correct)),
    }
