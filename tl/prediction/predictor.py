"""Predict images with a run."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import FeatureCache
from tl.data.images import SHRUNK, ImageLike, VideoFrame, preload
from tl.engines.engine import Engine, Vectors
from tl.errors import ImageError, RunError
from tl.evaluation.selective import MAX_ERROR, HeldOutAnswers, Selection
from tl.features.extract import FeatureRow, stream
from tl.options import as_fraction
from tl.progress import Progress
from tl.runs.run import Run, check_run, read_answers, trunk_key, weights_of
from tl.text import NONE, percent

if TYPE_CHECKING:
    from tl.engines.openvino import OpenVINOEngine

_WINDOW = 4096  # predictions held back while an earlier one is still being computed


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    `label` is the most probable class, `confidence` its calibrated probability, `top` the best (label, probability)
    pairs in order. `error` says why an image could not be read. `sha256` is that of the file's bytes. `unknown` means
    that the image is unlike the training images, so that no label may be right. `review` means that it is handed back
    because the label may be wrong; None where no error bound was chosen. `seconds` is the time of a video's frame.
    `remarks` are the kinds of what was decided while the image was decoded (`tl.data.decoding.count_remarks`).
    """

    name: str
    label: str
    confidence: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    sha256: str = field(default="", repr=False)
    unknown: bool = False
    review: bool | None = None
    seconds: float | None = None
    remarks: tuple[str, ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: the same keys for every image, None where there is no value."""
        row: dict[str, Any] = {"path": self.name, "label": None, "confidence": None, "unknown": None, "top": []}
        if self.error:
            return row | {"error": self.error}
        top = [{"label": label, "confidence": round(probability, 6)} for label, probability in self.top]
        values = {"label": self.label, "confidence": round(self.confidence, 6), "unknown": self.unknown, "top": top}
        return row | values | {"error": None}


HEADINGS = ("image", "label", "confidence", "")


def cells(prediction: Prediction) -> tuple[str, ...]:
    """A prediction as a row of a table in a notebook, under HEADINGS."""
    if prediction.error:
        return prediction.name, NONE, NONE, prediction.error
    note = "unlike the training images" if prediction.unknown else "review" if prediction.review else ""
    return prediction.name, prediction.label, percent(prediction.confidence), note


class Predictor:
    """A run with its engine, ready to predict. With `single`, one image is expected, and all cores work on it."""

    def __init__(
        self,
        run: Run,
        *,
        engine: str = "auto",
        precision: str = "auto",
        unknown: bool = True,
        threads: int | None = None,
        single: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.run = run
        self._unknown = run.unknown if unknown else None
        self.engine = run_engine(run, engine, precision, threads=threads, single=single, progress=progress)

    def selection(self, max_error: str | float | None) -> Selection | None:
        """Which images to answer so that at most `max_error` of the answers is wrong, such as "1%" or 0.01.

        Raises UsageError where the run cannot show that, RunError where its predictions.csv is missing or damaged.
        """
        if max_error is None:
            return None
        rate = as_fraction(max_error, MAX_ERROR, "max_error")
        return self._answers.select_or_raise(rate, self.run.name)

    @cached_property
    def _answers(self) -> HeldOutAnswers:
        return read_answers(self.run, unknown=self._unknown is not None)

    @property
    def min_side(self) -> int:
        """The side in pixels below which an image should not be shrunk before it is predicted."""
        return SHRUNK * self.run.backbone.recipe.image_size

    def stream(
        self,
        items: Iterable[tuple[str, ImageLike]],
        *,
        top: int = 5,
        selection: Selection | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Prediction]]:
        """Index and prediction of each named image as soon as it is computed; a broken image has its error.

        `selection` says which are to be reviewed. Not in order; memory does not grow with the number of images.
        """
        names: dict[int, tuple[str, float | None]] = {}

        def images() -> Iterator[ImageLike]:
            for index, (name, image) in enumerate(items):
                names[index] = name, image.seconds if isinstance(image, VideoFrame) else None
                yield image

        for rows in stream(images(), self.engine, self.run.backbone.recipe, cache, progress=progress):
            named = [(*names.pop(row.index), row) for row in rows]
            for (_, seconds, _), (index, prediction) in zip(
                named, self._predictions([(name, row) for name, _, row in named], top, selection), strict=True
            ):
                yield index, prediction if seconds is None else replace(prediction, seconds=seconds)

    def in_order(
        self, items: Iterable[tuple[str, ImageLike]], *, top: int = 5, selection: Selection | None = None
    ) -> Iterator[Prediction]:
        """The predictions of named images, in order; memory does not grow with the number of images."""
        source = iter(items)
        ready: dict[int, Prediction] = {}
        started = emitted = 0

        def window() -> Iterator[tuple[str, ImageLike]]:
            # An image can wait for its batch to fill while thousands of broken files overtake it: at some point no
            # more are started until all earlier ones are predicted.
            nonlocal started
            while started - emitted < _WINDOW and (item := next(source, None)) is not None:
                started += 1
                yield item

        while True:
            first = started
            for index, prediction in self.stream(window(), top=top, selection=selection):
                ready[first + index] = prediction
                while emitted in ready:
                    following = ready.pop(emitted)
                    emitted += 1
                    yield following
            if started == first:
                return

    def predict(self, images: Sequence[ImageLike], *, top: int = 5) -> list[Prediction]:
        """The predictions for images, in order; each is named by its path, or by its index."""
        names = (str(image) if isinstance(image, Path) else str(index) for index, image in enumerate(images))
        return list(self.in_order(zip(names, images, strict=True), top=top))

    def features(self, items: Sequence[tuple[str, ImageLike]]) -> Vectors:
        """The features of named images, float32 `[n, features]`. Raises ImageError for one that cannot be read."""
        features = np.zeros((len(items), self.run.backbone.features), np.float32)
        for rows in stream((image for _, image in items), self.engine, self.run.backbone.recipe, None):
            for row in rows:
                if row.vector is None:
                    raise ImageError(f"{items[row.index][0]}: {row.error}")
                features[row.index] = row.vector
        return features

    def judge(self, features: Vectors) -> tuple[Vectors, NDArray[np.bool_]]:
        """Of features `[n, features]`: the calibrated probabilities `[n, classes]`, and which are unknown `[n]`."""
        probabilities = self.run.head.probabilities(features)
        if self._unknown is None:
            return probabilities, np.zeros(len(features), np.bool_)
        return probabilities, self._unknown.is_unknown(features, probabilities)

    def ranked(
        self,
        name: str,
        probabilities: Vectors,
        unknown: bool,
        *,
        top: int,
        sha256: str = "",
        selection: Selection | None = None,
    ) -> Prediction:
        """The prediction from probabilities `[classes]`, with the `top` best labels."""
        best = np.argsort(-probabilities, kind="stable")[:top]
        labels = tuple((self.run.classes[index], float(probabilities[index])) for index in best)
        label, confidence = labels[0]
        review = None if selection is None else selection.needs_review(confidence, unknown)
        return Prediction(name, label, confidence, labels, sha256=sha256, unknown=unknown, review=review)

    def _predictions(
        self, named: Sequence[tuple[str, FeatureRow]], top: int, selection: Selection | None
    ) -> Iterator[tuple[int, Prediction]]:
        vectors = [row.vector for _, row in named if row.vector is not None]
        judged = zip(*self.judge(np.stack(vectors)), strict=True) if vectors else iter(())
        for name, row in named:
            if row.vector is None:
                yield row.index, Prediction(name, "", 0.0, (), row.error)
                continue
            probabilities, unknown = next(judged)
            sha256 = row.fingerprint.hex()
            ranked = self.ranked(name, probabilities, bool(unknown), top=top, sha256=sha256, selection=selection)
            yield row.index, replace(ranked, remarks=row.remarks)


def run_engine(
    run: Run,
    engine: str = "auto",
    precision: str = "auto",
    *,
    compiled: bool = True,
    threads: int | None = None,
    single: bool = False,
    progress: Progress | None = None,
) -> Engine:
    """The engine of a run, whose files are checked meanwhile.

    Unless `compiled`, the network is compiled with its first image. `single`: only one image will be predicted. Raises
    RunError for a damaged run, UsageError and EngineError as `open_engine` does.
    """
    from tl.engines import check_names, uses_tensorflow

    with ThreadPoolExecutor(1) as pool:  # checks the files while the network is being compiled
        checked = pool.submit(check_run, run)
        pool.submit(preload)
        check_names(engine, precision)
        opened: Engine
        if uses_tensorflow(engine):
            from tl.engines.tensorflow import TensorFlowEngine

            opened = TensorFlowEngine(run.backbone, weights_of(run, "use --engine openvino"), precision)
        else:
            opened = _openvino_engine(run, precision, threads, single, progress)
            if compiled:
                opened.compile()
        checked.result()
    return opened


def _openvino_engine(
    run: Run, precision: str, threads: int | None, single: bool, progress: Progress | None
) -> "OpenVINOEngine":
    from tl.engines.autotune import InferenceOptions
    from tl.engines.openvino import OpenVINOEngine

    options = InferenceOptions(streams=1, threads=threads) if single else None
    engine = OpenVINOEngine(run.trunk, trunk_key(run), precision, threads, options=options, progress=progress)
    if engine.shape != (run.backbone.recipe.image_size, run.backbone.features):
        raise RunError(f"{run.folder} is damaged (trunk.xml is not the network in its manifest): train it again")
    return engine
