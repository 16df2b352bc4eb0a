"""Prove that an export and its run predict the same for the same image files.

The run reads a file as `tl predict` does, the export with the `tl_images` beside it. The run computes in f32, so that
rounding to bf16, which may change its predictions, is not blamed on the export.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from tl.data.images import Content, EncodedImage, decode, decode_for, fit, read
from tl.engines.openvino import OpenVINOEngine
from tl.errors import ImageError
from tl.evaluation.metrics import Z95, proportion
from tl.evaluation.significance import McNemar, mcnemar
from tl.exporters.formats import Classify, Pixels, Probabilities
from tl.progress import Progress
from tl.runs.photos import RunImage, RunPart
from tl.runs.run import Run
from tl.text import count, interval, percent

_BATCH = 16  # images of one size
_MOST_PIXELS = 16 << 20
_WARM_UP = 3  # batches of each side that are not timed
_MADE = (  # height and width in sides of the network's input
    ("large", 13.5, 18.0),
    ("tall", 10.7, 1.3),
    ("wide", 1.3, 10.7),
    ("middling", 2.15, 2.23),
    ("tiny", 0.1, 0.15),
)
_MADE_MOST = 4032  # pixels, a telephone's
_LEAST = 1e-30  # probability: runtimes differ in what is left of smaller ones

TOLERANCE = 0.01
"""One point of confidence, and one percent of log-odds: rounding moves both by less than a tenth of that. Another
colour order, mean or resizing moves one of them by more: confidence in an unsure run, log-odds in a confident one."""

INT8_TOLERANCE = 0.02
"""Two points of accuracy: int8 costs a convolutional network about one. A single image is always tolerated, which is
more than that where there are few."""


@dataclass(frozen=True)
class ChangedLabel:
    """An image to which the export gives another label than the run, which predicts `ours`."""

    photo: str
    ours: str
    theirs: str
    our_confidence: float
    their_confidence: float


@dataclass(frozen=True)
class Proof:
    """How far an export is from its run, on `count` images of a part.

    `largest` and `mean` are differences of a probability; `worst` is the image with the largest. Where a run is
    confident, wrong log-odds leave probabilities as they are: `log_odds` is how far those differ, relative to their
    size (both root mean squares over images and classes; a size below 1 counts as 1). `made` JPEGs of unusual sizes
    were made of those images; they count in `largest` and `worst`, `made_largest` is their part. `lost` images are
    gone, `unreadable` ones took no part. Rates are images per second.
    """

    part: str
    count: int
    lost: int
    unreadable: int
    largest: float
    mean: float
    log_odds: float
    worst: str
    changes: tuple[ChangedLabel, ...]
    made: int
    made_largest: float
    our_hits: int
    their_hits: int
    comparison: McNemar
    our_rate: float
    their_rate: float

    @property
    def accuracy_lost(self) -> tuple[float, float, float]:
        """Accuracy lost, with its 95% confidence interval for paired predictions (Bonett and Price 2012)."""
        images, total = self.comparison.count, self.comparison.count + 2
        lost, gained = (self.comparison.lost + 1) / total, (self.comparison.gained + 1) / total
        reach = Z95 * math.sqrt(max(0.0, lost + gained - (lost - gained) ** 2) / total)
        value = (self.comparison.lost - self.comparison.gained) / images
        return value, max(-1.0, min(value, lost - gained - reach)), min(1.0, max(value, lost - gained + reach))

    def as_dict(self) -> dict[str, Any]:
        """The form of export.json."""
        figures = {name: value for name, value in vars(self).items() if name not in ("changes", "comparison")}
        value, low, high = self.accuracy_lost
        for name, hits in (("our_top1", self.our_hits), ("their_top1", self.their_hits)):
            accuracy = proportion(hits, self.count)
            figures |= {name: accuracy.value, f"{name}_interval": [accuracy.low, accuracy.high]}
        figures |= {"accuracy_lost": value, "accuracy_lost_interval": [low, high], "mcnemar": self.comparison.as_dict()}
        return figures | {"changed": [asdict(change) for change in self.changes]}


def failure(proof: Proof, tolerance: float, int8: bool) -> str:
    """Why a proof fails; empty where it does not."""
    if int8:
        lost = proof.comparison.lost - proof.comparison.gained
        if lost <= max(1.0, tolerance * proof.count):
            return ""
        images = count(proof.count, "image")
        return f"it classifies {lost:,} fewer of {images} correctly, tolerance {percent(tolerance)}"
    if not proof.largest <= tolerance:
        return f"a probability differs by {_small(proof.largest)} on {proof.worst}, tolerance {tolerance:g}"
    if not proof.log_odds <= tolerance:
        return f"log-odds differ by {100 * proof.log_odds:.2g}% of their size, tolerance {100 * tolerance:g}%"
    return ""


def prove(
    run: Run,
    engine: OpenVINOEngine,
    held_out: RunPart,
    classify: Classify,
    read_image: Callable[[Content], Pixels],
    *,
    progress: Progress,
) -> Proof | None:
    """Compare an export, `classify`, with its run on the images of a part; None where none of them can be read.

    `engine` is the run's, in f32. `read_image` is what the export's own reader makes of a file.
    """
    recipe, clock = run.backbone.recipe, _Clock()

    def of_run(images: Sequence[Pixels]) -> Probabilities:
        resized = np.stack([fit(image, recipe.image_size, recipe.resize) for image in images])
        return run.head.probabilities(engine.run_one(resized))

    pairs: dict[bool, list[_PredictedPair]] = {False: [], True: []}
    made = made_photos(held_out.images, recipe.image_size)
    with progress.task("proving", len(held_out.images) + len(made), "images") as task:
        for photos in (held_out.images, made):
            for batch in _batches(photos, recipe.image_size, read_image):
                ours = clock.time("ours", of_run, [file.ours for file in batch])
                theirs = clock.time("theirs", classify, np.stack([file.theirs for file in batch]))
                for at, file in enumerate(batch):
                    pairs[photos is made].append(_PredictedPair(file.photo, ours[at], theirs[at]))
                    task.advance()
    return _summarise(run, held_out, pairs[False], pairs[True], clock=clock) if pairs[False] else None


def made_photos(images: Sequence[RunImage], size: int) -> list[RunImage]:
    """JPEGs of sizes that a data set may lack: large, tall, wide, middling and tiny, each tiled with one of the images.

    `size` is that of the network, in pixels.
    """
    from PIL import Image

    tiles: list[tuple[RunImage, Pixels]] = []
    for photo in images:
        with suppress(ImageError):
            tiles.append((photo, decode(read(photo.image))))
        if len(tiles) == len(_MADE):
            break
    made: list[RunImage] = []
    for (name, *sides), (photo, pixels) in zip(_MADE, cycle(tiles), strict=False):
        tile = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
        height, width = (max(1, min(_MADE_MOST, round(side * size))) for side in sides)
        repeats, file = (-(-height // len(tile)), -(-width // tile.shape[1]), 1), BytesIO()
        Image.fromarray(np.tile(tile, repeats)[:height, :width]).save(file, "JPEG", quality=92)
        made.append(replace(photo, name=f"{name}, {width} x {height} JPEG", image=EncodedImage(file.getvalue())))
    return made


@dataclass(frozen=True)
class _PredictedPair:
    photo: RunImage
    ours: Probabilities
    theirs: Probabilities


def _summarise(
    run: Run, held_out: RunPart, pairs: Sequence[_PredictedPair], made: Sequence[_PredictedPair], *, clock: "_Clock"
) -> Proof:
    ours, theirs = np.stack([pair.ours for pair in pairs]), np.stack([pair.theirs for pair in pairs])
    differences = np.abs(np.stack([pair.ours - pair.theirs for pair in (*pairs, *made)]))
    differences[~np.isfinite(differences)] = 1.0
    per_image = differences.max(axis=1)
    labels = np.array([pair.photo.label for pair in pairs])
    our_correct, their_correct = ours.argmax(axis=1) == labels, theirs.argmax(axis=1) == labels
    best = zip(ours.argmax(axis=1), theirs.argmax(axis=1), strict=True)
    changes = [
        ChangedLabel(
            pair.photo.name, run.classes[our], run.classes[their], float(pair.ours[our]), float(pair.theirs[their])
        )
        for pair, (our, their) in zip(pairs, best, strict=True)
        if our != their
    ]
    return Proof(
        part=held_out.part,
        count=len(pairs),
        lost=held_out.missing,
        unreadable=len(held_out.images) - len(pairs),
        largest=float(per_image.max()),
        mean=float(differences[: len(pairs)].mean()),
        log_odds=_log_odds_difference(ours, theirs),
        worst=(*pairs, *made)[int(per_image.argmax())].photo.name,
        changes=tuple(changes),
        made=len(made),
        made_largest=float(per_image[len(pairs) :].max(initial=0.0)),
        our_hits=int(our_correct.sum()),
        their_hits=int(their_correct.sum()),
        comparison=mcnemar(our_correct, their_correct),
        our_rate=clock.rate("ours"),
        their_rate=clock.rate("theirs"),
    )


def _log_odds_difference(ours: Probabilities, theirs: Probabilities) -> float:
    odds = np.log(np.maximum(np.stack([ours, theirs]).astype(np.float64), _LEAST))
    odds -= odds.mean(axis=2, keepdims=True)  # logits before they are normalised
    size = math.sqrt(np.square(odds[0]).mean())
    difference = math.sqrt(np.square(odds[0] - odds[1]).mean()) / max(1.0, size)
    return difference if math.isfinite(difference) else math.inf


class _Clock:
    """Seconds and images of each side, without the first batches, in which things are set up."""

    def __init__(self) -> None:
        self._batches: dict[str, list[tuple[float, int]]] = {"ours": [], "theirs": []}

    def time(self, side: str, classify: Callable[[Any], Probabilities], images: Any) -> Probabilities:
        started = time.perf_counter()
        probabilities = classify(images)
        self._batches[side].append((time.perf_counter() - started, len(images)))
        return probabilities

    def rate(self, side: str) -> float:
        """Images per second; 0 where there were too few."""
        timed = self._batches[side][_WARM_UP:]
        seconds = sum(lap for lap, _ in timed)
        return sum(images for _, images in timed) / seconds if seconds else 0.0


class _File(NamedTuple):
    """An image, and its pixels as `tl predict` and as the export's reader decode them."""

    photo: RunImage
    ours: Pixels
    theirs: Pixels


def _batches(photos: Sequence[RunImage], size: int, read_image: Callable[[Content], Pixels]) -> Iterator[list[_File]]:
    """Readable images of one size that follow each other, as many as fit in memory."""
    batch: list[_File] = []
    for photo in photos:
        try:
            content = read(photo.image)
            file = _File(photo, decode_for(content, size), read_image(content))
        except ImageError:
            continue
        full = len(batch) == _BATCH or sum(each.theirs.size for each in batch) > _MOST_PIXELS
        if batch and (full or batch[0].theirs.shape != file.theirs.shape):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


_SHOWN = 12  # changed labels; export.json has all
_NAME = 34  # columns


def lines(proof: Proof, runtime: str, tolerance: float, calibrated: int) -> Iterator[tuple[str, str]]:
    """The proof as text: topic and text of each line."""
    images = count(proof.count, "image")
    yield "verified", f"with {runtime} on {count(proof.count, f'{proof.part} image')}, against the run in f32"
    if proof.lost or proof.unreadable:
        yield "", f"{count(proof.lost + proof.unreadable, 'more image')} missing, changed or unreadable"
    limit = "" if calibrated else f" (tolerance {tolerance:g})"
    yield "difference", f"of a probability: largest {_small(proof.largest)}{limit}, mean {_small(proof.mean)}"
    if proof.made:
        made = f"{_small(proof.made_largest)} on {count(proof.made, 'JPEG')} made of them"
        yield "", f"{made}: {', '.join(name for name, *_ in _MADE[: proof.made])}"
    limit = "" if calibrated else f" (tolerance {100 * tolerance:g}%)"
    yield "log-odds", f"differ by {100 * proof.log_odds:.2g}% of their size{limit}"
    yield "labels", "the same for every image" if not proof.changes else f"{len(proof.changes):,} of {images} changed:"
    for change in proof.changes[:_SHOWN]:
        name = change.photo if len(change.photo) <= _NAME else "…" + change.photo[1 - _NAME :]
        ours = f"{change.ours} {percent(change.our_confidence)}"
        yield "", f"{name}: {ours}, export {change.theirs} {percent(change.their_confidence)}"
    if len(proof.changes) > _SHOWN:
        yield "", f"and {len(proof.changes) - _SHOWN:,} more, in export.json"
    if calibrated:
        yield from _int8_lines(proof, tolerance, calibrated)
    if proof.our_rate and proof.their_rate:
        rates = f"{proof.their_rate:.3g} images/s, tl {proof.our_rate:.3g} images/s"
        yield "speed", f"{rates}, from pixels to probabilities"


def _int8_lines(proof: Proof, tolerance: float, calibrated: int) -> Iterator[tuple[str, str]]:
    value, low, high = proof.accuracy_lost
    ours, theirs = (percent(hits / proof.count) for hits in (proof.our_hits, proof.their_hits))
    p_value = proof.comparison.p_value
    p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    yield "int8", f"calibrated on {count(calibrated, 'training image')}"
    yield "accuracy", f"{ours} of the run, {theirs} of the export"
    lost = f"{100 * value:.1f} points lost ({interval(low, high)}, McNemar {p})"
    yield "", f"{lost}; tolerance {100 * tolerance:g} points, and always one image"


def _small(value: float) -> str:
    return f"{value:.1g}" if value < 0.001 else f"{value:.3f}"
