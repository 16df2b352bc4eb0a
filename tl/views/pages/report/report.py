"""A run or an evaluation becomes `report.html`: the composer of figures, photos, charts and the account."""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.errors import StorageError
from tl.runs.run import Run
from tl.views.pages.report import account, charts, scores
from tl.views.pages.report import charts as matrix
from tl.views.pages.report import examples as choice
from tl.views.pages.report import render as page
from tl.views.pages.report.examples import Album, Explained, explained, explainer_of, tile, within
from tl.views.pages.report.predictions import (
    PHRASES,
    Answers,
    headed,
    read_answers,
    read_fingerprints,
    read_metrics,
    readable,
)
from tl.views.pages.report.scores import brief, count, decimal, name
from tl.views.terminal import runs as history

if TYPE_CHECKING:
    from tl.evaluation.gradcam import Explainer

MOST_BYTES = 5_000_000  # of the page
_PHOTOS = 3_300_000  # of them for the gallery; the other photos take half a million, words and charts the rest

Parts = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What a report is about: a run, and the folder with the figures and answers of the run or of an evaluation.

    `dataset` has the photos, None where they cannot be read again. `data` is what was given as DATA, `command` the
    exact command; a run's own is taken where it is empty. `checked` tells that the run's files were
    found whole just now.
    """

    run: Run
    folder: Path
    dataset: Dataset | None
    data: str
    command: str = ""
    checked: bool = False


def write_report(subject: Subject, *, explain: bool = True) -> Path:
    """Write `report.html` into the subject's folder, whole or not at all; `explain` adds Grad-CAM of the worst errors.

    Raises RunError when the folder's files are damaged, StorageError when the page cannot be written.
    """
    text = compose(subject, explain=explain)
    target = subject.folder / "report.html"
    scratch = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        scratch.write_bytes(text.encode("utf-8", "replace"))
        os.replace(scratch, target)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}; free some space or correct its permissions"
        ) from error
    return target


def compose(subject: Subject, *, explain: bool = True) -> str:
    """The page."""
    with ThreadPoolExecutor(1) as pool:  # the network is read and answers while figures and photos are
        with readable(subject.folder):
            metrics = read_metrics(subject.folder)
            answers = read_answers(subject.folder, headed(metrics), subject.run.classes)
            worst, explainer = choice.worst(answers).tolist(), None
            if explain and worst:
                explainer = pool.submit(explainer_of, subject.run, checked=subject.checked)
            told = _head(subject, metrics, answers) | _figures(metrics, answers) | _sureness(metrics, answers)
            told |= _account(subject, metrics, answers)
            album = Album(subject.dataset, read_fingerprints(subject.folder))
        errors = pool.submit(_errors, subject, answers, album, worst, explainer)
        told |= _examples(answers, album, told["counts"])
        told |= _worst(*errors.result())
    told["photos_gone"] = subject.dataset is None or album.lost
    budget = _PHOTOS
    while True:
        whole = page.render(told | _gallery(answers, album, budget))
        if len(whole.encode("utf-8", "replace")) <= MOST_BYTES or budget < 100_000:
            return whole
        budget //= 2  # thousands of classes: their rows need the room


def _head(subject: Subject, metrics: Mapping[str, Any], answers: Answers) -> Parts:
    part, run = headed(metrics), subject.run
    data = name(Path(subject.data).name or subject.data)
    return {
        "title": f"{run.backbone.name} on {brief(data)}",
        "run_name": name(run.folder.resolve().name),
        "kind": _kind(metrics),
        "trained_on": _trained_on(metrics),
        "created": account.plain(str(run.manifest.get("created", ""))).replace("T", " "),
        "headline": scores.headline(metrics, answers),
        "part": part,
        "part_phrase": PHRASES[part],
        "classes": [brief(label) for label in answers.classes],
        "foreign": answers.left_out,
        "left_out": [(int(number), name(why)) for why, number in (metrics.get("left_out") or {}).items()],
        "against": account.sentence(str((metrics.get("against") or {}).get("sentence", ""))),
        "total": len(answers.names),
    }


def _kind(metrics: Mapping[str, Any]) -> str:
    if headed(metrics) != "evaluation":
        return "Report of a run"
    if metrics.get("trained_on") is None:
        return "Evaluation of a run"
    if _trained_on(metrics):
        return "Evaluation of a run, photos that were trained on included"
    return "Evaluation of a run on photos it was not trained on"


def _trained_on(metrics: Mapping[str, Any]) -> int:
    """How many of the photos were trained on; of old evaluations it is not known."""
    return int(metrics.get("trained_on") or 0)


def _figures(metrics: Mapping[str, Any], answers: Answers) -> Parts:
    parts, rows = scores.figure_rows(metrics, answers)
    counts = choice.matrix(answers)
    classes = len(answers.classes)
    small = classes <= matrix.MOST_IN_TABLE
    drawn = not small and classes <= matrix.MOST_IN_MAP
    lines = scores.class_rows(metrics[parts[0]], answers)
    return {
        "figure_parts": [(part, count(int(metrics[part]["count"]), "photo")) for part in parts],
        "figure_rows": rows,
        "matrix_rows": matrix.table(counts, answers.classes) if small else [],
        "matrix_layers": matrix.layers(counts) if drawn else [],
        "matrix_cells": matrix.sparse(counts) if drawn else [],
        "counts": counts,
        "class_rows": lines,
        "empty_classes": [line.name for line in lines if not line.support],
        "classes_left_out": max(0, classes - scores.MOST_CLASSES),
    }


def _sureness(metrics: Mapping[str, Any], answers: Answers) -> Parts:
    scaled = metrics.get("calibration") or {}
    part, where = headed(metrics), str(scaled.get("part", "validation"))
    diagrams = []
    if scaled:
        diagrams.append(charts.diagram("before", f"Before scaling ({where})", scaled["before"]))
        diagrams.append(charts.diagram("after", f"After scaling ({where})", scaled["after"]))
    if not scaled or where != part:
        given = metrics[part].get("reliability") or charts.counted(answers)
        diagrams.append(charts.diagram("this", f"As answered ({part})", given))
    return {
        "diagrams": diagrams,
        "geometry": charts.GEOMETRY,
        "scaling": _scaling(scaled, where),
        "unknown": account.sentence(str((metrics.get("unknown") or {}).get("sentence", ""))),
        "strange": int(answers.unknown.sum()),
    }


def _scaling(scaled: Mapping[str, Any], where: str) -> Parts:
    if not scaled:
        return {}
    told = {"temperature": float(scaled["temperature"])}
    told |= {side: float(scaled[f"log_loss_{side}"]) for side in ("before", "after")}
    fitted_on = str(scaled.get("fitted_on", "photos the head was not fitted on"))
    return {key: decimal(value) for key, value in told.items()} | {"part": where, "fitted_on": fitted_on}


def _account(subject: Subject, metrics: Mapping[str, Any], answers: Answers) -> Parts:
    manifest, folder = subject.run.manifest, subject.folder
    evaluated = headed(metrics) == "evaluation"
    own = account.typed(manifest.get("command"))
    data = str(manifest.get("options", {}).get("data", "")) if evaluated else subject.data
    facts = account.facts(manifest, data, own if evaluated else subject.command or own)
    about = manifest["data"]
    left_out, named = account.skipped(folder, subject.dataset.skipped if subject.dataset is not None else ())
    support = np.bincount(answers.truth, minlength=len(answers.classes)).tolist()
    here = dict(zip(answers.classes, support, strict=True))
    story = None if evaluated else history.read(folder)
    return {
        "evaluated": evaluated,
        "facts": facts,
        "evaluated_with": account.plain(subject.command),
        "evaluated_data": account.plain(subject.data),
        "trained_classes": account.classes(about["per_class"], here),
        "skipped": left_out,
        "skipped_named": named,
        "phases": account.phases(metrics, len(answers.names) if evaluated else int(about["images"])),
        "strengths": [] if evaluated else account.strengths(folder, manifest["head"]["strength"]),
        "story": story,
        "curves": [] if story is None else charts.curves(story),
    }


def _examples(answers: Answers, album: Album, counts: NDArray[np.int64]) -> Parts:
    confused, unsure, sure = choice.pairs(answers, counts), choice.least_sure(answers), choice.most_sure(answers)
    album.prepare(answers.names[at] for at in [*unsure, *sure, *(at for found in confused for at in found.examples)])
    album.prepare(answers.names[at] for at in choice.gallery(answers))
    return {
        "pairs": [(found.pair, [tile(answers, at, album) for at in found.examples]) for found in confused],
        "unsure": [tile(answers, at, album) for at in unsure],
        "sure": [tile(answers, at, album) for at in sure],
    }


def _worst(errors: list[Explained], reason: str) -> Parts:
    explained_some = any(error.heat is not None for error in errors)
    return {"errors": errors, "explained": explained_some, "not_explained": reason}


def _gallery(answers: Answers, album: Album, budget: int) -> Parts:
    places, right = choice.gallery(answers), answers.right
    album.prepare(answers.names[at] for at in places)
    fits = within([album.thumbnail(answers.names[at]) for at in places], budget)
    shown = choice.shelved(answers, places[:fits])
    return {
        "tiles": [tile(answers, at, album) for at in shown],
        "shown_wrong": int(np.sum(~right[shown])),
        "shown_right": int(np.sum(right[shown])),
        "all_wrong": int(np.sum(~right)),
        "all_right": int(np.sum(right)),
    }


def _errors(
    subject: Subject, answers: Answers, album: Album, places: list[int], explainer: "Future[Explainer] | None"
) -> tuple[list[Explained], str]:
    if explainer is not None:
        return explained(subject.run, answers, places, album, explainer)
    plain = [Explained(tile(answers, at, album), album.thumbnail(answers.names[at]), None) for at in places]
    return plain, "they were not asked for" if places else ""
