"""Draw a grid of images with their predicted labels, green where correct and red where wrong."""

import difflib
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.cache import usable_cache
from tl.data.dataset import Dataset
from tl.data.images import ImageLike, decode, read
from tl.data.inputs import ImageInputs, read_inputs
from tl.data.load import Data, load
from tl.errors import DataError, ImageError, UsageError
from tl.evaluation.gradcam import Explainer, Explanation
from tl.evaluation.predictions import Predictions
from tl.networks.backbones import Recipe
from tl.options import keywords, option, run_option
from tl.prediction.predictor import Prediction, Predictor
from tl.progress import Progress
from tl.runs.cross_validation import read_cross_validation
from tl.runs.photos import held_out
from tl.runs.run import Run, load_run
from tl.runs.training_images import find_originals, trained_on
from tl.text import in_order, judged_by, listed
from tl.views.pictures.explain import overlay
from tl.views.pictures.grid import Tile, draw_grid, scale_to_square
from tl.views.pictures.show import save_png

if TYPE_CHECKING:
    from PIL.Image import Image

_TILE = 224
_TOP = 5  # classes of a prediction in the JSON form


@dataclass(frozen=True)
class GridOptions:
    """The options of `tl grid`."""

    run: str | None = run_option()
    only: str = option("all", "Which images to show.", choices=("all", "correct", "wrong"))
    class_: str | None = option(None, "Only images of this class, true or predicted.")
    sort: str = option(
        "name", "By confidence: the highest first; uncertain: the lowest.", choices=("name", "confidence", "uncertain")
    )
    count: int = option(25, "Number of images; 0 for all.", low=0)
    columns: int = option(5, "Images side by side.", low=1, high=20)
    explain: bool = option(False, "Lay a heatmap of the evidence for the label over each image (Grad-CAM).")
    seed: int = option(0, "Seed of the random choice of images.")


@dataclass(frozen=True)
class GridImage:
    """An image of a grid: its prediction and explanation, its true label (None: unknown), if it was `trained` on.

    `copied`: the run was trained on a photo that it is a copy of.
    """

    image: ImageLike
    prediction: Prediction
    truth: str | None
    explanation: Explanation | None = None
    trained: bool = False
    copied: bool = False

    @property
    def correct(self) -> bool:
        """Whether the predicted label is the true one."""
        return self.prediction.label == self.truth


@dataclass(frozen=True)
class Grid:
    """Images with their predictions, chosen from `predicted` of the `total` images of a data set.

    Of those predicted, `labelled` have a true label, of which `correct` are predicted; `trained` were trained on,
    `copied` of them as the photos they are copies of; `broken` could not be read. Of those labelled, `unseen` were not
    trained on, of which `unseen_correct` are correct. `held_out` is the run's part that the images are, where they are
    its own. `only` and `class_` say which images are shown.
    """

    title: str
    shown: tuple[GridImage, ...] = field(repr=False)
    total: int
    predicted: int
    labelled: int
    correct: int
    trained: int = 0
    copied: int = 0
    broken: int = 0
    unseen: int = 0
    unseen_correct: int = 0
    held_out: str = ""
    only: str = "all"
    class_: str | None = None
    columns: int = 5
    recipe: Recipe | None = field(default=None, repr=False)

    @cached_property
    def image(self) -> "Image":
        """The grid as a PIL image."""
        tiles = [_tile(entry, self.recipe) for entry in self.shown]
        explained = any(entry.explanation is not None for entry in self.shown)
        caption = f"{self.caption} · yellow: evidence for the label" if explained else self.caption
        return draw_grid(
            tiles, columns=self.columns, title=self.title, summary=caption, tile_size=_TILE, nothing=self.nothing
        )

    @property
    def summary(self) -> str:
        """How many of the labelled images are classified correctly."""
        if not self.labelled:
            return "no class folders, so there are no true labels"
        return f"{self.correct:,} of {self.labelled:,} correct"

    @property
    def caption(self) -> str:
        """The summary, and whether the images were held out from training or how many were trained on."""
        parts = [self.summary, "held out from training" if self.held_out else "", self._training_note()]
        return " · ".join(filter(None, parts))

    @property
    def nothing(self) -> str:
        """Why no image is shown, "" where some are."""
        if self.shown:
            return ""
        if self.class_ is not None and self.predicted > self.broken:
            return f"no image is or is predicted as {self.class_}" + (f" and {self.only}" if self.only != "all" else "")
        return "no image can be read" if self.only == "all" or not self.labelled else f"no image is {self.only}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        rows = [row.prediction.as_dict() | {"truth": row.truth, "trained_on": row.trained} for row in self.shown]
        return {
            "title": self.title,
            "caption": self.caption,
            "held_out": self.held_out or None,
            "photos": self.total,
            "predicted": self.predicted,
            "known": self.labelled,
            "right": self.correct,
            "trained": self.trained,
            "copied": self.copied,
            "fresh": self.unseen,
            "fresh_right": self.unseen_correct,
            "broken": self.broken,
            "shown": rows,
        }

    def _repr_png_(self) -> bytes | None:
        return self.image._repr_png_()

    def _training_note(self) -> str:
        count, copies = self.predicted - self.broken, " or copies" if self.copied else ""
        if not self.trained:
            return ""
        if self.trained == count:
            return f"all of them are training images{copies}" if count > 1 else f"it is a training image{copies}"
        note = f"{self.trained:,} of the {count:,} are training images{copies}"
        if self.unseen == 1:
            return f"{note}; the other one is {'correct' if self.unseen_correct else 'wrong'}"
        return note + (f"; {self.unseen_correct:,} of the {self.unseen:,} others correct" if self.unseen else "")


@keywords(GridOptions)
def grid(
    data: "Data | None" = None,
    *,
    options: GridOptions,
    predictor: Predictor | None = None,
    progress: Progress | None = None,
) -> Grid:
    """Predict the images of a data set and choose those to show; without `data`, the images that the run held out.

    Where all are to be shown by name, a random sample is chosen and only that is predicted. `predictor` is used instead
    of the one of `options.run`. Raises UsageError for `only` where no image has a true label, DataError for images that
    are gone.
    """
    progress = progress or Progress()
    predictor = predictor or Predictor(load_run(options.run))
    run = predictor.run
    own = held_out(run, progress) if data is None else None
    dataset = own.dataset if own is not None else load(data, labelled=False, progress=progress)
    check_classes(run, dataset)
    if options.class_ is not None:
        check_class(run, options.class_, "--class")
    indices = _sample(dataset, options)
    predicted = _predict(predictor, dataset, indices, progress)
    labelled = [entry for entry in predicted if entry.truth is not None]
    if options.only != "all" and not labelled:
        raise UsageError(f"--only {options.only} needs true labels, but {dataset.name} has no class folders")
    shown = _select(predicted, options)
    if options.explain:
        shown = _explain(run, shown, progress)
    unseen = [entry for entry in labelled if not entry.trained]
    source = dataset.name if own is None else f"its {own.part} images of {dataset.name}"
    return Grid(
        f"{run.name} on {source}",
        tuple(shown),
        total=len(dataset.images),
        predicted=len(indices),
        labelled=len(labelled),
        correct=sum(entry.correct for entry in labelled),
        trained=sum(entry.trained for entry in predicted),
        copied=sum(entry.copied for entry in predicted),
        broken=len(indices) - len(predicted),
        unseen=len(unseen),
        unseen_correct=sum(entry.correct for entry in unseen),
        held_out=own.part if own is not None else "",
        only=options.only,
        class_=options.class_,
        columns=options.columns,
        recipe=run.backbone.recipe,
    )


def display_image_grid(
    images: ImageInputs,
    labels: Any,
    predictions: Any = None,
    columns: int = 5,
    *,
    class_names: Sequence[str] | None = None,
) -> "Image":
    """A picture of images with the labels of any model, for a notebook: green where a prediction is correct, else red.

    `images` are arrays, tensors, paths or whatever else `tl.predict` takes; without `predictions` they have their
    labels alone, and with `labels=None` their predictions. Both are names or class numbers, `[n]`, or one-hot vectors
    or probabilities, `[n, classes]`; `class_names` names the numbers. Predictions may also be the probability of class
    1, `[n, 1]`, or those of `classifier.predict`. Raises UsageError where they do not fit the images.
    """
    inputs = list(read_inputs(images))
    none = [_Label("")] * len(inputs)
    truths = none if labels is None else _read_labels(labels, class_names, len(inputs), "labels")
    predicted = truths if predictions is None else _read_labels(predictions, class_names, len(inputs), "predictions")
    if labels is not None and {isinstance(each.name, int) for each in (*truths, *predicted)} == {True, False}:
        raise UsageError("labels and predictions are names and numbers: give class_names, in the order of the numbers")
    tiles = []
    for one, (truth, _, _), (label, confidence, note) in zip(inputs, truths, predicted, strict=True):
        name = Path(one.name).name if isinstance(one.image, Path) else ""
        true = None if labels is None else str(truth)
        tile = Tile(_pixels(one.image), str(label), confidence, true, name, note)
        tiles.append(tile if predictions is not None else replace(tile, confidence=None, predicted=False))
    correct = sum(tile.verdict == "correct" for tile in tiles)
    summary = f"{correct:,} of {len(tiles):,} correct" if labels is not None and predictions is not None else ""
    return draw_grid(tiles, columns=columns, summary=summary, tile_size=_TILE)


class _Label(NamedTuple):
    """The name or number of a class, the confidence in it, and a remark."""

    name: str | int
    confidence: float | None = None
    note: str = ""


def _read_labels(values: Any, names: Sequence[str] | None, count: int, what: str) -> list[_Label]:
    """Labels in any of the forms that `display_image_grid` takes."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    items: list[Any] = [values] if isinstance(values, str) else list(values)
    if len(items) != count:
        raise UsageError(f"{count:,} images have {len(items):,} {what}: give one for each image")
    if all(isinstance(item, Prediction) for item in items):
        return [_Label(item.label, item.confidence, _remark(item)) for item in items]
    array = np.asarray(items)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        return [_Label(str(item)) for item in items]
    confidences: list[float | None] = [None] * count
    if array.ndim == 2:
        if array.dtype.kind == "f" and array.min() >= 0 and np.allclose(array.sum(axis=1), 1, atol=0.01):
            confidences = array.max(axis=1).tolist()
        array = array.argmax(axis=1)
    elif (array != array.astype(np.int64)).any():
        if array.min() < 0 or array.max() > 1:
            raise UsageError(f"{what} from {array.min():g} to {array.max():g} are no classes: give names or numbers")
        confidences, array = np.maximum(array, 1 - array).tolist(), array >= 0.5
    numbers = [int(value) for value in array]
    if names is not None and not set(numbers) <= set(range(len(names))):
        raise UsageError(f"{what} go from {min(numbers)} to {max(numbers)}, but class_names has {len(names):,} names")
    labels: list[Any] = numbers if names is None else [str(names[at]) for at in numbers]
    return [_Label(*each) for each in zip(labels, confidences, strict=True)]


def save_run_grid(run: Run, predictions: Predictions, *, count: int = 25) -> Path:
    """Write `grid.png` into a run that was just made: some of the images it was judged by, with their predictions."""
    dataset, classes = predictions.dataset, predictions.dataset.class_names
    rows = [(dataset.names[predictions.indices[row]], row) for row in predictions.of_part("validation")]
    sample = sorted(rows, key=lambda item: _random_order(0, item[0]))[:count]
    shown = []
    for name, row in sorted(sample):
        index, probabilities = predictions.indices[row], predictions.probabilities[row]
        best, unknown = int(probabilities.argmax()), bool(predictions.is_unknown[row])
        prediction = Prediction(name, classes[best], float(probabilities[best]), (), unknown=unknown)
        shown.append(GridImage(dataset.images[index], prediction, classes[dataset.labels[index]]))
    judged = predictions.metrics.get("validation")
    kind = judged_by("validation", judged is not None and judged.folds)
    picture = Grid(
        f"{dataset.name}: {len(shown)} of {len(rows)} {kind} images",
        tuple(shown),
        total=len(rows),
        predicted=len(shown),
        labelled=len(shown),
        correct=sum(entry.correct for entry in shown),
        held_out=kind,
    )
    target = run.folder / "grid.png"
    save_png(picture.image, target)
    return target


def _sample(dataset: Dataset, options: GridOptions) -> list[int]:
    """The images to predict: all, or a random sample where that does not change which are shown."""
    indices = list(range(len(dataset.images)))
    by_prediction = options.only != "all" or options.sort != "name" or options.class_ is not None
    if by_prediction or not 0 < options.count < len(indices):
        return indices
    shuffled = sorted(indices, key=lambda index: _random_order(options.seed, dataset.names[index]))
    return sorted(shuffled[: options.count])


def _predict(predictor: Predictor, dataset: Dataset, indices: Sequence[int], progress: Progress) -> list[GridImage]:
    items = [(dataset.names[index], dataset.images[index]) for index in indices]
    with usable_cache(progress) as cache:
        stream = predictor.stream(items, cache=cache, progress=progress)
        predictions = {indices[at]: prediction for at, prediction in stream}
        readable = [index for index in indices if not predictions[index].error]
        images, sha256 = (
            [dataset.images[index] for index in readable],
            [predictions[index].sha256 for index in readable],
        )
        originals = find_originals(predictor.run, images, sha256, cache=cache, progress=progress)
    validated, training = read_cross_validation(predictor.run), trained_on(predictor.run)
    rows = []
    for index, original in zip(readable, originals, strict=True):
        prediction, label = predictions[index], int(dataset.labels[index])
        row = None if validated is None else validated.row_of.get(original)
        trained, copied = original in training and row is None, original != prediction.sha256
        if validated is not None and row is not None:  # by heads fitted without it
            probabilities, unknown = np.exp(validated.log_probabilities[row]), bool(validated.is_unknown[row])
            prediction = predictor.ranked(prediction.name, probabilities, unknown, top=_TOP, sha256=prediction.sha256)
        truth = None if label < 0 else dataset.class_names[label]
        image = dataset.images[index]
        rows.append(GridImage(image, prediction, truth, trained=trained, copied=trained and copied))
    return rows


def _select(predicted: list[GridImage], options: GridOptions) -> list[GridImage]:
    rows = predicted
    if options.only != "all":
        correct = options.only == "correct"
        rows = [entry for entry in predicted if entry.truth is not None and entry.correct == correct]
    if options.class_ is not None:
        rows = [entry for entry in rows if options.class_ in (entry.truth, entry.prediction.label)]
    if options.sort != "name":
        sign = -1 if options.sort == "confidence" else 1
        rows = sorted(rows, key=lambda entry: sign * entry.prediction.confidence)
    return rows[: options.count or None]


def _explain(run: Run, shown: list[GridImage], progress: Progress) -> list[GridImage]:
    explainer = Explainer(run.trunk, run.backbone.recipe, run.head)
    explained = []
    with progress.task("explaining", len(shown), "images") as task:
        for entry in shown:
            with suppress(ImageError):  # gone since it was predicted: drawn as missing
                [explanation] = explainer.explain([entry.image], [run.classes.index(entry.prediction.label)])
                entry = replace(entry, explanation=explanation)
            explained.append(entry)
            task.advance()
    return explained


def check_classes(run: Run, dataset: Dataset) -> None:
    """Raise DataError for a data set with classes none of which the run has."""
    if dataset.class_names and not set(dataset.class_names) & set(run.classes):
        raise DataError(
            f"{dataset.name} has the classes {listed(dataset.class_names, 5)}, run {run.name} knows"
            f" {listed(run.classes, 5)}: none in common{differ_in_case(dataset.class_names, run.classes)};"
            " give another --run"
        )


def differ_in_case(in_data: Iterable[str], in_run: Iterable[str]) -> str:
    """Words for an error: which classes of the data are in the run in another case, and what to do; or ""."""
    known = {name.casefold(): name for name in in_run}
    pairs = [f"{name}={known[name.casefold()]}" for name in in_order(in_data) if name.casefold() in known]
    option = shlex.join(["--map", ",".join(pairs[:5])])
    return f", but {len(pairs)} differ only in case (tl evaluate {option})" if pairs else ""


def check_class(run: Run, name: str, option: str) -> None:
    """Raise UsageError with the nearest names where the value of an option is no class of the run."""
    if name in run.classes:
        return
    folded = {known.casefold(): known for known in run.classes}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {listed(run.classes, 5)}"
    raise UsageError(f"{option} {name!r}: run {run.name} has no such class; {hint}")


def _tile(entry: GridImage, recipe: Recipe | None) -> Tile:
    prediction, pixels = entry.prediction, _pixels(entry.image)
    if entry.explanation is not None and recipe is not None:
        pixels = overlay(pixels, entry.explanation, recipe)
    note = _remark(prediction)
    return Tile(pixels, prediction.label, prediction.confidence, entry.truth, prediction.name, note)


def _remark(prediction: Prediction) -> str:
    return "unlike the training images" if prediction.unknown else ""


def _pixels(image: ImageLike) -> NDArray[np.uint8]:
    """The image no larger than a tile, so that a hundred large ones fit in memory; grey where it cannot be read."""
    try:
        pixels = decode(read(image), _TILE)
    except ImageError:
        return np.full((_TILE, _TILE, 3), 200, np.uint8)
    return pixels if max(pixels.shape[:2]) <= _TILE else np.asarray(scale_to_square(pixels, _TILE))


def _random_order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
