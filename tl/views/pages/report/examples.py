"""Answers become the places of the photos to show: wrong ones, a sample of right ones, the worst, the least sure."""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import Content, ImageLike, decode, fingerprint, read
from tl.errors import ImageError, TLError
from tl.evaluation.metrics import Pair, confusion, most_confused
from tl.runs.run import Run, check_run
from tl.views.pages.report.predictions import Answers, Labels
from tl.views.pages.report.scores import brief, percent

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tl.evaluation.gradcam import Explainer


MOST_WRONG, MOST_RIGHT, MOST_UNKNOWN = 300, 150, 50  # photos of the gallery; they fill a page of under 5 MB
MOST_WORST, MOST_UNSURE, MOST_SURE, MOST_PAIRS, OF_PAIR = 12, 12, 6, 10, 3


@dataclass(frozen=True)
class Confused:
    """A pair that is confused, and the places of its surest examples."""

    pair: Pair
    examples: tuple[int, ...]


def gallery(answers: Answers) -> Labels:
    """Wrong photos, unknown ones and right ones, in the order of their claim to a place on the page.

    Of more wrong ones than there is room for, each class gives its worst first; of right ones each class gives some.
    """
    lots = np.array([_lot(name) for name in answers.names], dtype=np.uint64)
    wrong = _by_turns(np.flatnonzero(~answers.right), answers.truth, answers.of_truth)[:MOST_WRONG]
    right = _by_turns(np.flatnonzero(answers.right), answers.truth, lots)[:MOST_RIGHT]
    unknown = np.flatnonzero(answers.unknown)
    unknown = unknown[np.argsort(lots[unknown], kind="stable")][:MOST_UNKNOWN]
    every = np.concatenate([wrong, unknown, right])
    _, first = np.unique(every, return_index=True)
    return every[np.sort(first)]


def shelved(answers: Answers, places: Labels) -> Labels:
    """The same as a reader goes through them: wrong ones, the surest first, then right ones, the least sure first."""
    right, sure = answers.right[places], answers.confidence[places]
    return places[np.lexsort((np.where(right, sure, -sure), right))]


def worst(answers: Answers) -> Labels:
    """The wrong photos whose true class was given the least."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.lexsort((-answers.confidence[wrong], answers.of_truth[wrong]))][:MOST_WORST]


def least_sure(answers: Answers) -> Labels:
    """The photos whose answer is the least ahead of the second best."""
    return np.argsort(answers.lead, kind="stable")[:MOST_UNSURE]


def most_sure(answers: Answers) -> Labels:
    """The photos answered with the most confidence."""
    return np.argsort(-answers.confidence, kind="stable")[:MOST_SURE]


def matrix(answers: Answers) -> NDArray[np.int64]:
    """The confusion matrix."""
    return confusion(answers.truth, answers.answer, len(answers.classes))


def pairs(answers: Answers, counts: NDArray[np.int64]) -> list[Confused]:
    """The pairs of a confusion matrix that are confused most, with examples."""
    found = []
    for pair in most_confused(counts, MOST_PAIRS):
        places = np.flatnonzero((answers.truth == pair.truth) & (answers.answer == pair.answer))
        surest = places[np.argsort(-answers.confidence[places], kind="stable")][:OF_PAIR]
        found.append(Confused(pair, tuple(int(at) for at in surest)))
    return found


def _by_turns(places: Labels, classes: Labels, rank: NDArray[np.generic]) -> Labels:
    """The first by rank of each class, then the second of each, and so on."""
    order = places[np.lexsort((rank[places], classes[places]))]
    starts = np.searchsorted(classes[order], classes[order], side="left")
    turn = np.arange(len(order)) - starts
    return order[np.lexsort((rank[order], turn))]


def _lot(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8])


SIDE = 176  # pixels of a thumbnail's longer side: two stand side by side on a telephone
QUALITY = 76
SMALL = 64  # pixels; below, colours are kept at full resolution and the quality is raised: it costs nothing

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


class Album:
    """The photos of a data set by name; without a data set it has none.

    `sha256` are fingerprints by name: another photo of the same name is not shown in the place of the one answered.
    """

    def __init__(self, dataset: Dataset | None, sha256: Mapping[str, str] | None = None) -> None:
        names, pictures = (dataset.names, dataset.images) if dataset is not None else ((), ())
        self._pictures: Mapping[str, ImageLike] = dict(zip(names, pictures, strict=True))
        self._sha256 = sha256 or {}
        self._thumbnails: dict[str, Thumbnail | None] = {}

    @property
    def lost(self) -> bool:
        """Whether none of the photos asked for so far can be read again."""
        return bool(self._thumbnails) and not any(self._thumbnails.values())

    def prepare(self, names: Iterable[str]) -> None:
        """Make the thumbnails of these photos, on all cores."""
        missing = [name for name in dict.fromkeys(names) if name not in self._thumbnails]
        if not missing:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._thumbnails |= dict(zip(missing, pool.map(self._made, missing), strict=True))

    def thumbnail(self, name: str) -> Thumbnail | None:
        """A photo's thumbnail; None where the photo cannot be read again."""
        self.prepare([name])
        return self._thumbnails[name]

    def image(self, name: str) -> Image | None:
        """The photo itself, RGB uint8 `[height, width, 3]`; None where it cannot be read again."""
        try:
            content = self._content(name)
            return None if content is None else decode(content, 512)
        except ImageError:
            return None

    def _made(self, name: str) -> Thumbnail | None:
        try:
            content = self._content(name)
            return None if content is None else thumbnail(decode(content, SIDE))
        except ImageError:
            return None

    def _content(self, name: str) -> Content | None:
        picture = self._pictures.get(name)
        if picture is None:
            return None
        content = read(picture)
        known = self._sha256.get(name)
        return content if known in (None, fingerprint(content).hex()) else None


def thumbnail(image: Image, side: int = SIDE) -> Thumbnail:
    """An RGB uint8 image `[height, width, 3]` as a thumbnail with no side longer than `side` pixels."""
    small = shrunk(image, side)
    height, width = small.shape[:2]
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(_jpeg(small)).decode('ascii')}", width, height)


def shrunk(image: Image, side: int) -> Image:
    """The image with no side longer than `side` pixels; a smaller one as it is."""
    import cv2

    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.shape[1::-1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(image: Image) -> bytes:
    import simplejpeg

    tiny = max(image.shape[:2]) <= SMALL
    quality, colours = (92, "444") if tiny else (QUALITY, "420")
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", colours))


def within(thumbnails: Sequence[Thumbnail | None], budget: int) -> int:
    """How many of the first thumbnails have no more than `budget` characters together."""
    sizes = np.cumsum([0 if made is None else len(made.uri) for made in thumbnails], dtype=np.int64)
    return int(np.searchsorted(sizes, budget, side="right"))


_LONGEST = 40  # letters of a class below a photo: three lines


@dataclass(frozen=True)
class Tile:
    """A photo with what was answered; `truth_at` and `answer_at` are places among the classes.

    `second` is empty where the second best class is not known, or said already as the truth.
    """

    photo: Thumbnail | None
    name: str
    verdict: str
    unknown: bool
    answer: str
    confidence: str
    truth: str
    of_truth: str
    second: str
    of_second: str
    truth_at: int
    answer_at: int
    percent: str


def tile(answers: Answers, at: int, album: Album) -> Tile:
    """One photo of the page."""
    truth, answer, second = int(answers.truth[at]), int(answers.answer[at]), int(answers.second[at])
    classes, sure = answers.classes, float(answers.confidence[at])
    return Tile(
        album.thumbnail(answers.names[at]),
        brief(answers.names[at]),
        "right" if answers.right[at] else "wrong",
        bool(answers.unknown[at]),
        brief(classes[answer], _LONGEST),
        percent(sure),
        brief(classes[truth], _LONGEST),
        percent(answers.of_truth[at]),
        brief(classes[second], _LONGEST) if second not in (-1, truth) else "",
        percent(answers.of_second[at]),
        truth,
        answer,
        f"{100 * sure:.2f}",
    )


EXPLAINED_SIDE = 224  # pixels of the longer side


@dataclass(frozen=True)
class Explained:
    """An error: what was answered, the photo, and the photo under its heat map, where that could be made."""

    tile: Tile
    photo: Thumbnail | None
    heat: Thumbnail | None


def explained(
    run: Run, answers: Answers, places: Sequence[int], album: Album, made: "Future[Explainer]"
) -> tuple[list[Explained], str]:
    """The photos at these places with what spoke for their answers, and why some have none, in words or empty."""
    photos = [album.image(answers.names[at]) for at in places]
    if all(photo is None for photo in photos):
        return [Explained(tile(answers, at, album), None, None) for at in places], ""
    try:
        explainer: Explainer | None = made.result()
        reason = ""
    except TLError as error:
        explainer, reason = None, str(error)
    shown = []
    for at, photo in zip(places, photos, strict=True):
        heat = None
        if explainer is not None and photo is not None:
            try:
                heat = _heat(explainer, run, photo, int(answers.answer[at]))
            except TLError as error:
                reason = str(error)
        plain = None if photo is None else thumbnail(photo, EXPLAINED_SIDE)
        shown.append(Explained(tile(answers, at, album), plain, heat))
    return shown, reason


def explainer_of(run: Run, *, checked: bool = False) -> "Explainer":
    """The network of a run, ready to say why; unless they were `checked` just now, its files are.

    Raises RunError for a damaged run, EngineError for a network that cannot be explained.
    """
    from tl.evaluation.gradcam import Explainer

    if not checked:
        check_run(run)
    return Explainer(run.trunk, run.backbone.recipe, run.head, precision="auto")


def _heat(explainer: "Explainer", run: Run, photo: Image, label: int) -> Thumbnail:
    from tl.workflows.explain import overlay

    (explanation,) = explainer.explain([photo], [label])
    return thumbnail(overlay(photo, explanation, run.backbone.recipe), EXPLAINED_SIDE)
