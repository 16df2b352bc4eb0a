"""The images of a report: which ones it shows, and as what small pictures; the worst errors with Grad-CAM."""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import ImageLike, decode, fingerprint, read
from tl.errors import ImageError, TLError
from tl.evaluation.metrics import ConfusedClasses, most_confused
from tl.runs.run import Run, check_run
from tl.text import percent
from tl.views.pages.report_scores import Labels, PredictionTable, short_name

if TYPE_CHECKING:
    from tl.evaluation.gradcam import Explainer

MOST_WRONG, MOST_CORRECT, MOST_UNKNOWN = 300, 150, 50  # images of the gallery; they fill a page of under 5 MB
MOST_WORST, MOST_UNCERTAIN, MOST_CONFIDENT, MOST_PAIRS, PER_PAIR = 12, 12, 6, 10, 3

# which images


def gallery(table: PredictionTable) -> Labels:
    """Wrong, unknown and correct images, in the order of their claim to a place on the page.

    Of too many wrong ones each class gives its worst first; of correct ones each class gives some.
    """
    digests = [hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8] for name in table.names]
    ranks = np.array([int.from_bytes(digest) for digest in digests], np.uint64)  # random, and the same every time
    wrong = _by_turns(np.flatnonzero(~table.correct), table.truth, table.truth_confidence)[:MOST_WRONG]
    correct = _by_turns(np.flatnonzero(table.correct), table.truth, ranks)[:MOST_CORRECT]
    unknown = np.flatnonzero(table.unknown)
    unknown = unknown[np.argsort(ranks[unknown], kind="stable")][:MOST_UNKNOWN]
    every = np.concatenate([wrong, unknown, correct])
    _, first = np.unique(every, return_index=True)
    return every[np.sort(first)]


def reading_order(table: PredictionTable, rows: Labels) -> Labels:
    """Wrong images first, the most confident first; then correct ones, the least confident first."""
    correct, confidence = table.correct[rows], table.confidence[rows]
    return rows[np.lexsort((np.where(correct, confidence, -confidence), correct))]


def worst(table: PredictionTable) -> Labels:
    """The wrong images with the lowest probability of the true class."""
    wrong = np.flatnonzero(~table.correct)
    return wrong[np.lexsort((-table.confidence[wrong], table.truth_confidence[wrong]))][:MOST_WORST]


def least_certain(table: PredictionTable, besides: Sequence[int] = ()) -> Labels:
    """The images with the smallest margin between the two most likely classes, without the rows `besides`.

    At most a sixth of all images: the gallery has them, too, and of few images a page would repeat every one.
    """
    order = np.argsort(table.margin, kind="stable")
    return order[~np.isin(order, besides)][: min(MOST_UNCERTAIN, len(order) // 6)]


def most_confident(table: PredictionTable, besides: Sequence[int] = ()) -> Labels:
    """The images with the highest confidence, at most a twelfth of all, without the rows `besides`."""
    order = np.argsort(-table.confidence, kind="stable")
    return order[~np.isin(order, besides)][: min(MOST_CONFIDENT, len(order) // 12)]


def confused_pairs(
    table: PredictionTable, matrix: NDArray[np.int64], besides: Sequence[int] = ()
) -> list[tuple[ConfusedClasses, list[int]]]:
    """The most confused pairs of a confusion matrix; the rows of their most confident examples, without `besides`."""
    pairs = []
    for pair in most_confused(matrix, MOST_PAIRS):
        rows = np.flatnonzero((table.truth == pair.truth) & (table.predicted == pair.predicted))
        rows = rows[~np.isin(rows, besides)]
        pairs.append((pair, rows[np.argsort(-table.confidence[rows], kind="stable")][:PER_PAIR].tolist()))
    return pairs


def _by_turns(rows: Labels, classes: Labels, rank: NDArray[np.generic]) -> Labels:
    """The first by rank of each class, then the second of each, and so on."""
    order = rows[np.lexsort((rank[rows], classes[rows]))]
    starts = np.searchsorted(classes[order], classes[order], side="left")
    turn = np.arange(len(order)) - starts
    return order[np.lexsort((rank[order], turn))]


# thumbnails

SIDE, HEATMAP_SIDE = 176, 224  # pixels of the longer side; two of the smaller ones fit side by side on a phone
_QUALITY = 76
_SMALL = 64  # pixels; below, colours keep their full resolution and the quality is raised: it costs nothing

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


class Thumbnails:
    """The images of a data set by name, as thumbnails; without a data set there are none.

    `sha256` are fingerprints by name: another image of the same name is not shown in place of the one predicted.
    """

    def __init__(self, dataset: Dataset | None, sha256: Mapping[str, str] | None = None) -> None:
        names, images = (dataset.names, dataset.images) if dataset is not None else ((), ())
        self._images: Mapping[str, ImageLike] = dict(zip(names, images, strict=True))
        self._sha256 = sha256 or {}
        self._made: dict[str, Thumbnail | None] = {}

    @property
    def none_readable(self) -> bool:
        """Whether none of the images used so far can be read."""
        return bool(self._made) and not any(self._made.values())

    def prepare(self, names: Iterable[str]) -> None:
        """Make the thumbnails of these images, on all cores."""
        missing = [name for name in dict.fromkeys(names) if name not in self._made]
        if missing:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self._made |= dict(zip(missing, pool.map(self._make, missing), strict=True))

    def get(self, name: str) -> Thumbnail | None:
        """An image's thumbnail; None where the image cannot be read."""
        self.prepare([name])
        return self._made[name]

    def image(self, name: str, side: int = 512) -> Pixels | None:
        """The image itself, RGB uint8 `[height, width, 3]`, not shrunk below `side`; None where it cannot be read."""
        try:
            content = read(self._images[name])
            same = self._sha256.get(name) in (None, fingerprint(content).hex())
            return decode(content, side) if same else None
        except (KeyError, ImageError):
            return None

    def _make(self, name: str) -> Thumbnail | None:
        image = self.image(name, SIDE)
        return None if image is None else thumbnail(image)


def thumbnail(image: Pixels, side: int = SIDE) -> Thumbnail:
    """An RGB uint8 image `[height, width, 3]` as a thumbnail with no side longer than `side` pixels."""
    import cv2
    import simplejpeg

    scale = side / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = image.shape[:2]
    quality, subsampling = (92, "444") if max(height, width) <= _SMALL else (_QUALITY, "420")
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", subsampling)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}", width, height)


def fitting(thumbnails: Sequence[Thumbnail | None], budget: int) -> int:
    """How many of the first thumbnails fit into a budget of characters."""
    sizes = np.cumsum([0 if one is None else len(one.uri) for one in thumbnails], dtype=np.int64)
    return int(np.searchsorted(sizes, budget, side="right"))


# tiles

_LONGEST = 40  # letters of a class below an image: three lines


def tile(table: PredictionTable, row: int, thumbnails: Thumbnails) -> dict[str, Any]:
    """One image of the page. `second` is empty where it is not known, or is the true class, which is shown anyway."""
    truth, predicted, second = int(table.truth[row]), int(table.predicted[row]), int(table.second[row])
    confidence = float(table.confidence[row])
    return {
        "photo": thumbnails.get(table.names[row]),
        "name": short_name(table.names[row]),
        "verdict": "right" if table.correct[row] else "wrong",
        "unknown": bool(table.unknown[row]),
        "predicted": short_name(table.classes[predicted], _LONGEST),
        "confidence": percent(confidence),
        "truth": short_name(table.classes[truth], _LONGEST),
        "truth_confidence": percent(float(table.truth_confidence[row])),
        "second": short_name(table.classes[second], _LONGEST) if second not in (-1, truth) else "",
        "second_confidence": percent(float(table.second_confidence[row])),
        "truth_index": truth,
        "predicted_index": predicted,
        "percent": f"{100 * confidence:.2f}",
    }


def explain(
    run: Run,
    table: PredictionTable,
    rows: Sequence[int],
    thumbnails: Thumbnails,
    *,
    explainer: "Future[Explainer] | None",
) -> tuple[list[tuple[dict[str, Any], Thumbnail | None, Thumbnail | None]], str]:
    """Tile, image and heat map of the images at these rows, and why some have no heat map, or nothing."""
    from tl.views.pictures.explain import overlay

    images = [thumbnails.image(table.names[row]) for row in rows]
    ready, reason = None, ""
    if explainer is not None and any(image is not None for image in images):
        try:
            ready = explainer.result()
        except TLError as error:
            reason = str(error)
    errors = []
    for row, image in zip(rows, images, strict=True):
        heat = None
        if ready is not None and image is not None:
            try:
                (explanation,) = ready.explain([image], [int(table.predicted[row])])
                heat = thumbnail(overlay(image, explanation, run.backbone.recipe), HEATMAP_SIDE)
            except TLError as error:
                reason = str(error)
        photo = None if image is None else thumbnail(image, HEATMAP_SIDE)
        errors.append((tile(table, row, thumbnails), photo, heat))
    return errors, reason


def open_explainer(run: Run, *, checked: bool = False) -> "Explainer":
    """The network of a run, ready to explain; its files are compared with their sha256 unless they were `checked`.

    Raises RunError for a damaged run, EngineError for a network that cannot be explained.
    """
    from tl.evaluation.gradcam import Explainer

    if not checked:
        check_run(run)
    return Explainer(run.trunk, run.backbone.recipe, run.head, precision="auto")
