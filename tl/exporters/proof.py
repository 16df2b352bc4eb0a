"""An export and the run it was made from, on the same photos, become the proof that they say the same.

Both get the pixels of the whole photo, as our decoder gives them. The run answers in f32, so that the rounding of bf16,
in which it may answer otherwise, is not put down to the export.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import decode, fit, read
from tl.engines.engine import Engine
from tl.errors import ImageError
from tl.evaluation.metrics import Z95, McNemar, mcnemar, proportion
from tl.exporters.formats import Answering, Pixels, Probabilities
from tl.progress import Progress
from tl.runs.photos import Album, Photo
from tl.runs.run import Run

_TOGETHER = 16  # photos of one size
_MOST_PIXELS = 16 << 20
_WARM = 3  # batches of a side in which things are set up
_LEAST = 1e-30  # probability: runtimes part over what is left of smaller ones


@dataclass(frozen=True)
class Change:
    """A photo that the export labels otherwise than the run, which said `ours`."""

    photo: str
    ours: str
    theirs: str
    our_confidence: float
    their_confidence: float


@dataclass(frozen=True)
class Proof:
    """How far an export is from its run, over `count` photos of a part.

    `largest` and `mean` difference of a probability; `worst` is the photo with the largest. Where a run is sure, wrong
    log-odds leave probabilities as they are: `log_odds` is how far those differ, as a share of their size (both root
    mean squares over photos and classes; a size below 1 counts as 1). `unreadable` photos took no part. `shrunk` photos
    are large JPEGs that `tl` makes smaller while it decodes them, as an export cannot: `shrunk_largest` is the largest
    difference to what `tl predict` says of their files. Rates in photos a second.
    """

    part: str
    count: int
    lost: int
    unreadable: int
    largest: float
    mean: float
    log_odds: float
    worst: str
    changes: tuple[Change, ...]
    shrunk: int
    shrunk_largest: float
    our_hits: int
    their_hits: int
    comparison: McNemar
    our_rate: float
    their_rate: float

    @property
    def accuracy_lost(self) -> tuple[float, float, float]:
        """Top-1 accuracy lost, with its 95 % interval for paired answers (Bonett and Price 2012)."""
        count, total = self.comparison.count, self.comparison.count + 2
        lost, gained = (self.comparison.lost + 1) / total, (self.comparison.gained + 1) / total
        reach = Z95 * math.sqrt(max(0.0, lost + gained - (lost - gained) ** 2) / total)
        value = (self.comparison.lost - self.comparison.gained) / count
        return value, max(-1.0, min(value, lost - gained - reach)), min(1.0, max(value, lost - gained + reach))

    def as_dict(self) -> dict[str, Any]:
        """The form of export.json."""
        told = {name: value for name, value in vars(self).items() if name not in ("changes", "comparison")}
        value, low, high = self.accuracy_lost
        for name, hits in (("our_top1", self.our_hits), ("their_top1", self.their_hits)):
            share = proportion(hits, self.count)
            told |= {name: share.value, f"{name}_interval": [share.low, share.high]}
        told |= {"accuracy_lost": value, "accuracy_lost_interval": [low, high], "mcnemar": self.comparison.as_dict()}
        return told | {"changed": [asdict(change) for change in self.changes]}


@dataclass(frozen=True)
class _Answered:
    photo: Photo
    ours: Probabilities
    theirs: Probabilities
    from_file: Probabilities | None


def prove(run: Run, engine: Engine, album: Album, theirs: Answering, progress: Progress) -> Proof | None:
    """The proof over the photos of an album; None where none of them can be read. `engine` is the run's, in f32."""
    ours = _Ours(run, engine)
    clock = _Clock()
    with progress.task("proving", len(album.photos), "photos") as task:
        answered = []
        for each in _answered(album.photos, ours, theirs, clock):
            answered.append(each)
            task.advance()
    if not answered:
        return None
    return _proof(run, album, answered, clock)


def _proof(run: Run, album: Album, answered: Sequence[_Answered], clock: "_Clock") -> Proof:
    mine, others = (np.stack([getattr(each, side) for each in answered]) for side in ("ours", "theirs"))
    apart = np.abs(mine - others)
    apart[~np.isfinite(apart)] = 1.0
    each_apart = apart.max(axis=1)
    labels = np.array([each.photo.label for each in answered])
    right, still = mine.argmax(axis=1) == labels, others.argmax(axis=1) == labels
    filed = [np.abs(each.from_file - each.theirs).max() for each in answered if each.from_file is not None]
    return Proof(
        part=album.part,
        count=len(answered),
        lost=album.lost,
        unreadable=len(album.photos) - len(answered),
        largest=float(each_apart.max()),
        mean=float(apart.mean()),
        log_odds=_apart(_log_odds(mine), _log_odds(others)),
        worst=answered[int(each_apart.argmax())].photo.name,
        changes=tuple(_changes(run.classes, answered)),
        shrunk=len(filed),
        shrunk_largest=float(max(filed, default=0.0)),
        our_hits=int(right.sum()),
        their_hits=int(still.sum()),
        comparison=mcnemar(right, still),
        our_rate=clock.rate("ours"),
        their_rate=clock.rate("theirs"),
    )


def _log_odds(shares: Probabilities) -> NDArray[np.float64]:
    """The logarithms of probabilities `[n, classes]`, about their mean: what a head says before it is normalised."""
    logs = np.log(np.maximum(shares.astype(np.float64), _LEAST))
    logs -= logs.mean(axis=1, keepdims=True)
    return logs


def _apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    far = math.sqrt(float(((ours - theirs) ** 2).mean())) / max(1.0, math.sqrt(float((ours**2).mean())))
    return far if math.isfinite(far) else math.inf


def _changes(classes: Sequence[str], answered: Sequence[_Answered]) -> Iterator[Change]:
    for each in answered:
        ours, theirs = int(each.ours.argmax()), int(each.theirs.argmax())
        if ours != theirs:
            sure = float(each.ours[ours]), float(each.theirs[theirs])
            yield Change(each.photo.name, classes[ours], classes[theirs], *sure)


class _Ours:
    """The run itself, in f32."""

    def __init__(self, run: Run, engine: Any) -> None:
        self._run, self._engine, self._recipe = run, engine, run.backbone.recipe

    def answer(self, photos: Pixels) -> Probabilities:
        fitted = np.stack([fit(photo, self._recipe.image_size, self._recipe.resize) for photo in photos])
        return self._run.head.probabilities(self._engine.run_one(fitted))

    def decoded(self, photo: Photo) -> tuple[Pixels, Pixels | None] | None:
        """A photo's pixels, and those it is decoded to from its file where they are fewer; None: unreadable."""
        try:
            content = read(photo.picture)
            whole, seen = decode(content), decode(content, self._recipe.image_size)
        except ImageError:
            return None
        return whole, None if seen.shape == whole.shape else seen


class _Clock:
    """Seconds and photos of each side, without the first batches, in which things are set up."""

    def __init__(self) -> None:
        self._seconds = {"ours": 0.0, "theirs": 0.0}
        self._photos = {"ours": 0, "theirs": 0}
        self._batches = {"ours": 0, "theirs": 0}

    def timed(self, side: str, answer: Answering, photos: Pixels) -> Probabilities:
        began = time.perf_counter()
        made = answer(photos)
        self._batches[side] += 1
        if self._batches[side] > _WARM:
            self._seconds[side] += time.perf_counter() - began
            self._photos[side] += len(photos)
        return made

    def rate(self, side: str) -> float:
        """Photos a second; 0 where there were but few."""
        return self._photos[side] / self._seconds[side] if self._seconds[side] else 0.0


def _answered(photos: Sequence[Photo], ours: _Ours, theirs: Answering, clock: _Clock) -> Iterator[_Answered]:
    for group in _groups(photos, ours):
        pixels = np.stack([whole for _, whole, _ in group])
        said = clock.timed("ours", ours.answer, pixels)
        other = clock.timed("theirs", theirs, pixels)
        for at, (photo, _, seen) in enumerate(group):
            yield _Answered(photo, said[at], other[at], None if seen is None else ours.answer(seen[None])[0])


_Decoded = tuple[Photo, Pixels, Pixels | None]


def _groups(photos: Sequence[Photo], ours: _Ours) -> Iterator[list[_Decoded]]:
    """Photos of one size that follow each other, so many that they fit in memory."""
    group: list[_Decoded] = []
    for photo in photos:
        pixels = ours.decoded(photo)
        if pixels is None:
            continue
        full = len(group) == _TOGETHER or sum(whole.size for _, whole, _ in group) > _MOST_PIXELS
        if group and (full or group[0][1].shape != pixels[0].shape):
            yield group
            group = []
        group.append((photo, *pixels))
    if group:
        yield group


BOUND = 0.01
"""One point of confidence, and one percent of log-odds: rounding moves both by less than a tenth of that, another order
of colours, mean or resize either by more, of a run that is unsure the one, of a run that is sure the other."""

INT8_BOUND = 0.02
"""Two points of accuracy: int8 costs a convolutional network about one. One photo is always let pass, which on few
photos is more than that."""

_SHOWN = 12  # changed labels; export.json has all
_NAME = 34  # columns


def beyond(proof: Proof, bound: float, int8: bool) -> str:
    """Why a proof is not let pass; empty where it is."""
    if not int8:
        if not proof.largest <= bound:
            return f"a probability differs by {_small(proof.largest)} on {proof.worst}, {bound:g} is let pass"
        told = f"log-odds differ by {100 * proof.log_odds:.2g} % of their size, {100 * bound:g} % is let pass"
        return told if not proof.log_odds <= bound else ""
    lost = proof.comparison.lost - proof.comparison.gained
    told = f"it gets {lost:,} fewer of {_photos(proof.count)} right, {100 * bound:g} % are let pass"
    return told if lost > max(1.0, bound * proof.count) else ""


def lines(proof: Proof, runtime: str, bound: float, calibrated: int) -> Iterator[tuple[str, str]]:
    """Topic and text of each line."""
    yield "proved", f"by {runtime} on {_photos(proof.count)} of the {proof.part} part, against the run in f32"
    if proof.lost or proof.unreadable:
        yield "", f"{_photos(proof.lost + proof.unreadable)} of it are not there as they were, and prove nothing"
    passing = "" if calibrated else f"; {bound:g} is let pass"
    yield "difference", f"of a probability: largest {_small(proof.largest)}, mean {_small(proof.mean)}{passing}"
    if proof.shrunk:
        large = "1 large JPEG, which" if proof.shrunk == 1 else f"{proof.shrunk:,} large JPEGs, which"
        yield "", f"on {large} `tl predict` shrinks while decoding: {_small(proof.shrunk_largest)} from what it says"
    passing = "" if calibrated else f"; {100 * bound:g} % is let pass"
    yield "log-odds", f"differ by {100 * proof.log_odds:.2g} % of their size{passing}"
    yield from _labels(proof)
    if calibrated:
        yield from _int8(proof, bound, calibrated)
    if proof.our_rate and proof.their_rate:
        yield "speed", f"{proof.their_rate:.3g} photos/s, tl {proof.our_rate:.3g}, from pixels to answers, in turn"


def _labels(proof: Proof) -> Iterator[tuple[str, str]]:
    if not proof.changes:
        yield "labels", "the same on every photo"
        return
    yield "labels", f"{_photos(len(proof.changes))} of {proof.count:,} labelled otherwise:"
    for change in proof.changes[:_SHOWN]:
        yield "", _change(change)
    if len(proof.changes) > _SHOWN:
        yield "", f"and {len(proof.changes) - _SHOWN:,} more, in export.json"


def _change(change: Change) -> str:
    name = change.photo if len(change.photo) <= _NAME else "…" + change.photo[1 - _NAME :]
    sure, less = 100 * change.our_confidence, 100 * change.their_confidence
    return f"{name}: {change.ours} {sure:.1f} %, export {change.theirs} {less:.1f} %"


def _int8(proof: Proof, bound: float, calibrated: int) -> Iterator[tuple[str, str]]:
    value, low, high = (100 * share for share in proof.accuracy_lost)
    ours, theirs = (100 * hits / proof.count for hits in (proof.our_hits, proof.their_hits))
    yield "int8", f"calibrated on {_photos(calibrated)} of the training part"
    interval = f"95 % interval {low:.1f} to {high:.1f}; McNemar's p {_p(proof.comparison.p_value)}"
    yield "accuracy", f"{ours:.1f} % of the run, {theirs:.1f} % of the export: lost {value:.1f} points ({interval})"
    yield "", f"{100 * bound:g} points are let pass, and one photo always"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value < 0.001 else f"{value:.3f}"


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
