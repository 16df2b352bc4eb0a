"""A predictor and a folder of photos become the picture of its predictions."""

import csv
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import usable_cache
from tl.data.images import ImageLike, decode, read
from tl.data.load import Dataset, load
from tl.errors import DataError, ImageError, UsageError
from tl.evaluation.gradcam import Explainer, Explanation
from tl.networks.backbones import Recipe
from tl.prediction.predictor import Prediction, Predictor
from tl.progress import Progress
from tl.runs.photos import held_out
from tl.runs.run import Run, trained_on
from tl.views.pictures.grid import Tile, draw
from tl.views.pictures.show import save_png
from tl.workflows.explain import overlay

if TYPE_CHECKING:
    from PIL.Image import Image

_TILE = 224
STRANGE = "unlike all training photos"
ONLY = ("all", "right", "wrong")
SORTS = ("name", "confidence")


@dataclass(frozen=True)
class Shown:
    """One photo of the gallery: what was said of it and why, what is true (None: unknown), if it was `trained` on."""

    picture: ImageLike
    prediction: Prediction
    truth: str | None
    explanation: Explanation | None = None
    trained: bool = False

    @property
    def right(self) -> bool:
        """Whether the label is the true one."""
        return self.prediction.label == self.truth


@dataclass(frozen=True)
class Gallery:
    """The photos to draw, chosen from `predicted` of the `photos` in the data set.

    Of those predicted, `known` have a truth, `right` of these are right, `trained` were seen in training, and `broken`
    could not be read. Of those `known`, `fresh` were not seen in training, of which `fresh_right` are right. `held_out`
    is the part of the run that the photos are, where they are its own. `only` is what is shown of them.
    """

    title: str
    shown: tuple[Shown, ...]
    photos: int
    predicted: int
    known: int
    right: int
    trained: int
    broken: int
    fresh: int = 0
    fresh_right: int = 0
    held_out: str = ""
    only: str = "all"
    recipe: Recipe | None = None

    @property
    def summary(self) -> str:
        """How many are right, of those that have a truth."""
        return (
            f"{self.right:,} of {self.known:,} right" if self.known else "no class folders, so no truth to compare with"
        )

    @property
    def caption(self) -> str:
        """The summary, and what it is worth: whether the photos were held out, or how many were trained on."""
        told = [self.summary, "held out from training" if self.held_out else "", self._trained()]
        return " · ".join(part for part in told if part)

    @property
    def nothing(self) -> str:
        """Why there is nothing to show; "" where there is."""
        if self.shown:
            return ""
        if self.only == "all" or not self.known:
            return "no photo can be read"
        return f"no photo is {self.only}"

    def draw(self, *, columns: int = 5) -> "Image":
        """The grid as a picture."""
        tiles = [_tile(item, self.recipe) for item in self.shown]
        explained = any(item.explanation is not None for item in self.shown)
        caption = f"{self.caption} · yellow: speaks for the label" if explained else self.caption
        return draw(tiles, columns=columns, title=self.title, summary=caption, tile_size=_TILE, nothing=self.nothing)

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output."""
        counts = ("photos", "predicted", "known", "right", "trained", "fresh", "fresh_right", "broken")
        shown = [item.prediction.as_dict() | {"truth": item.truth, "trained_on": item.trained} for item in self.shown]
        told = {"title": self.title, "caption": self.caption, "held_out": self.held_out or None}
        return told | {name: getattr(self, name) for name in counts} | {"shown": shown}

    def _trained(self) -> str:
        count = self.predicted - self.broken
        if not self.trained:
            return ""
        if self.trained == count:
            return "it was trained on all of them" if count > 1 else "it was trained on this photo"
        told = f"{self.trained:,} of the {count:,} were trained on"
        if self.fresh == 1:
            return f"{told}; the other one is {'right' if self.fresh_right else 'wrong'}"
        return told + (f"; {self.fresh_right:,} of the {self.fresh:,} others right" if self.fresh else "")


def pick(
    predictor: Predictor,
    data: str | Path | None = None,
    *,
    only: str = "all",
    sort: str = "name",
    count: int = 25,
    seed: int = 0,
    explain: bool = False,
    progress: Progress | None = None,
) -> Gallery:
    """Predict the photos of a data set and choose which to show; `explain` finds what spoke for each of these labels.

    Without `data` these are the photos that the run held out, where it found them. Without `only` and `sort` the photos
    are drawn at random, with `seed`, and only these are predicted.
    Raises UsageError for `only` right or wrong where no photo has a truth, DataError for photos that are gone.
    """
    _check(only, ONLY, "--only")
    _check(sort, SORTS, "--sort")
    progress = progress or Progress()
    own = held_out(predictor.run, progress) if data is None else None
    dataset = own.dataset if own is not None else load(str(data), labelled=False, progress=progress)
    _check_classes(predictor.run, dataset)
    chosen = list(range(len(dataset.images)))
    if only == "all" and sort == "name" and 0 < count < len(chosen):
        chosen = sorted(sorted(chosen, key=lambda at: _lot(seed, dataset.names[at]))[:count])
    shown = _answered(predictor, dataset, chosen, progress)
    known = [item for item in shown if item.truth is not None]
    if only != "all" and not known:
        raise UsageError(f"--only {only} needs to know what is true: {dataset.name} has no class folders")
    wanted = _wanted(shown, only, sort)[: count or None]
    on = dataset.name if own is None else f"its {own.part} photos of {dataset.name}"
    if explain:
        wanted = _explained(predictor.run, wanted, progress)
    fresh = [item for item in known if not item.trained]
    return Gallery(
        f"{predictor.run.name} on {on}",
        tuple(wanted),
        photos=len(dataset.images),
        predicted=len(chosen),
        known=len(known),
        right=sum(item.right for item in known),
        trained=sum(item.trained for item in shown),
        broken=len(chosen) - len(shown),
        fresh=len(fresh),
        fresh_right=sum(item.right for item in fresh),
        only=only,
        held_out=own.part if own is not None else "",
        recipe=predictor.run.backbone.recipe,
    )


def _wanted(shown: list[Shown], only: str, sort: str) -> list[Shown]:
    found = [item for item in shown if only == "all" or (item.truth is not None and item.right == (only == "right"))]
    return sorted(found, key=lambda item: -item.prediction.confidence) if sort == "confidence" else found


def draw_run(run: Run, dataset: Dataset, *, count: int = 25) -> Path:
    """Write `grid.png` into a run: validation photos of the data set, and what it says of them."""
    places = {name: at for at, name in enumerate(dataset.names)}
    with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "validation" and row["path"] in places]
    chosen = sorted(sorted(rows, key=lambda row: _lot(0, row["path"]))[:count], key=lambda row: row["path"])
    shown = []
    for row in chosen:
        strange = row.get("unknown") == "1"
        prediction = Prediction(row["path"], row["predicted"], float(row["confidence"]), (), unknown=strange)
        shown.append(Shown(dataset.images[places[row["path"]]], prediction, row["label"]))
    right = sum(item.right for item in shown)
    count = len(shown)
    title = f"{dataset.name}: {count} of {len(rows)} validation photos"
    gallery = Gallery(title, tuple(shown), len(rows), count, count, right, 0, 0, count, right, held_out="validation")
    target = run.folder / "grid.png"
    save_png(gallery.draw(), target)
    return target


def _answered(predictor: Predictor, dataset: Dataset, chosen: Sequence[int], progress: Progress) -> list[Shown]:
    """Those of the chosen photos that can be read, with what is said of them."""
    items = [(dataset.names[at], dataset.images[at]) for at in chosen]
    with usable_cache(progress) as cache:
        answers = {chosen[at]: answer for at, answer in predictor.stream(items, cache=cache, progress=progress)}
    seen = trained_on(predictor.run)
    return [
        Shown(dataset.images[at], answers[at], _truth(dataset, at), trained=answers[at].sha256 in seen)
        for at in chosen
        if not answers[at].error
    ]


def _explained(run: Run, items: list[Shown], progress: Progress) -> list[Shown]:
    explainer = Explainer(run.trunk, run.backbone.recipe, run.head)
    made = []
    with progress.task("explaining", len(items), "photos") as task:
        for item in items:
            with suppress(ImageError):  # gone since it was predicted: it is drawn as missing
                [why] = explainer.explain([item.picture], [run.classes.index(item.prediction.label)])
                item = replace(item, explanation=why)
            made.append(item)
            task.advance()
    return made


def _check_classes(run: Run, dataset: Dataset) -> None:
    if dataset.class_names and not set(dataset.class_names) & set(run.classes):
        theirs, ours = ", ".join(dataset.class_names[:5]), ", ".join(run.classes[:5])
        raise DataError(
            f"{dataset.name} has the classes {theirs}, run {run.name} knows {ours}: none in common; give another --run"
        )


def _truth(dataset: Dataset, at: int) -> str | None:
    label = int(dataset.labels[at])
    return None if label < 0 else dataset.class_names[label]


def _tile(item: Shown, recipe: Recipe | None) -> Tile:
    prediction, photo = item.prediction, _photo(item.picture)
    if item.explanation is not None and recipe is not None:
        photo = overlay(photo, item.explanation, recipe)
    note = STRANGE if prediction.unknown else ""
    return Tile(photo, prediction.label, prediction.confidence, item.truth, prediction.name, note)


def _photo(picture: ImageLike) -> NDArray[np.uint8]:
    try:
        return _shrunk(decode(read(picture), _TILE))
    except ImageError:
        return np.full((_TILE, _TILE, 3), 200, np.uint8)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """No larger than a tile shows, so that a hundred large photos fit in memory."""
    import cv2

    scale = _TILE / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _check(given: str, allowed: tuple[str, ...], option: str) -> None:
    if given not in allowed:
        raise UsageError(f"{option} {given!r}: choose {', '.join(allowed)}")
