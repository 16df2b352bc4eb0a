"""A run and pictures become predictions, streamed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import FeatureCache
from tl.data.images import ImageLike, preload
from tl.engines.engine import Engine, Vectors
from tl.errors import RunError
from tl.features.extract import FeatureRow, stream
from tl.progress import Progress
from tl.runs.run import Run, check_run, trunk_key

_WINDOW = 4096  # predictions held back for one that is still awaited


@dataclass(frozen=True)
class Prediction:
    """What a run says of one picture: its name, the label, how sure (0 to 1), the best labels in order; or the error;
    the sha256 of its bytes; and whether it is `unknown`, unlike all training photos, so that no label can be right.
    """

    name: str
    label: str
    confidence: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    sha256: str = ""
    unknown: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output: the same keys for every picture, None where there is nothing to say."""
        said: dict[str, Any] = {"path": self.name, "label": None, "confidence": None, "unknown": None, "top": []}
        if self.error:
            return said | {"error": self.error}
        top = [{"label": label, "confidence": round(share, 6)} for label, share in self.top]
        answer = {"label": self.label, "confidence": round(self.confidence, 6), "unknown": self.unknown, "top": top}
        return said | answer | {"error": None}


class Predictor:
    """A run ready to answer. `alone`: a single photo is to come, which is computed by all processors together."""

    def __init__(
        self,
        run: Run,
        *,
        engine: str = "auto",
        precision: str = "auto",
        unknown: bool = True,
        threads: int | None = None,
        alone: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.run = run
        self._unknown = run.unknown if unknown else None
        self.engine = run_engine(run, engine, precision, threads=threads, alone=alone, progress=progress)

    @property
    def at_least(self) -> int:
        """The side in pixels below which a picture is not to be shrunk before it comes here."""
        return math.ceil(self.run.backbone.recipe.image_size * 8 / 7)  # of which rule "crop" takes 7/8

    def stream(
        self,
        items: Iterable[tuple[str, ImageLike]],
        *,
        top: int = 5,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Prediction]]:
        """Place and prediction of each named picture, as soon as it is known; a broken one has its error.

        Not in order, and in memory that does not grow with the number of pictures.
        """
        waiting: dict[int, str] = {}

        def pictures() -> Iterator[ImageLike]:
            for at, (name, picture) in enumerate(items):
                waiting[at] = name
                yield picture

        for rows in stream(pictures(), self.engine, self.run.backbone.recipe, cache, progress=progress):
            yield from self.answered([(waiting.pop(row.index), row) for row in rows], top)

    def in_order(self, items: Iterable[tuple[str, ImageLike]], *, top: int = 5) -> Iterator[Prediction]:
        """The predictions of named pictures, in their order; in memory that does not grow with their number."""
        source = iter(items)
        early: dict[int, Prediction] = {}
        taken = following = 0

        def near() -> Iterator[tuple[str, ImageLike]]:
            # One photo can wait for its batch while thousands of broken files pass it: then no more are let in until
            # all that are under way are answered.
            nonlocal taken
            while taken - following < _WINDOW and (item := next(source, None)) is not None:
                taken += 1
                yield item

        while True:
            start = taken
            for at, prediction in self.stream(near(), top=top):
                early[start + at] = prediction
                while following in early:
                    found = early.pop(following)
                    following += 1
                    yield found
            if taken == start:
                return

    def predict(self, pictures: Sequence[ImageLike], *, top: int = 5) -> list[Prediction]:
        """The predictions for pictures, in their order."""
        names = (str(picture) if isinstance(picture, Path) else str(at) for at, picture in enumerate(pictures))
        return list(self.in_order(zip(names, pictures, strict=True), top=top))

    def answered(self, named: Sequence[tuple[str, FeatureRow]], top: int) -> Iterator[tuple[int, Prediction]]:
        """Place and prediction of each named row of features, with the `top` best labels; or its error."""
        vectors = [row.vector for _, row in named if row.vector is not None]
        judged = zip(*self.judge(np.stack(vectors)), strict=True) if vectors else iter(())
        for name, row in named:
            if row.vector is None:
                yield row.index, Prediction(name, "", 0.0, (), row.error)
                continue
            shares, strange = next(judged)
            yield row.index, self.ranked(name, shares, bool(strange), top, row.fingerprint.hex())

    def judge(self, vectors: Vectors) -> tuple[Vectors, NDArray[np.bool_]]:
        """Of features `[n, features]`: the calibrated probabilities `[n, classes]`, and which are unknown `[n]`."""
        strange = np.zeros(len(vectors), np.bool_) if self._unknown is None else self._unknown.is_unknown(vectors)
        return self.run.head.probabilities(vectors), strange

    def ranked(self, name: str, shares: Vectors, strange: bool, top: int, sha256: str = "") -> Prediction:
        """The prediction of probabilities `[classes]`, with the `top` best labels."""
        best = np.argsort(-shares, kind="stable")[:top]
        labels = tuple((self.run.classes[at], float(shares[at])) for at in best)
        return Prediction(name, labels[0][0], labels[0][1], labels, sha256=sha256, unknown=strange)


def run_engine(
    run: Run,
    engine: str = "auto",
    precision: str = "auto",
    *,
    at_once: bool = True,
    threads: int | None = None,
    alone: bool = False,
    progress: Progress | None = None,
) -> Engine:
    """The engine of a run, once its files are what was written; `at_once` it is ready, else with its first photo.
    `alone`: there will be no other.

    Raises RunError for a damaged run, UsageError and EngineError as `open_engine` does.
    """
    with ThreadPoolExecutor(1) as pool:  # the files are checked while the network is compiled
        checked = pool.submit(check_run, run)
        pool.submit(preload)
        made = _opened(run, engine, precision, at_once, threads, alone, progress)
        checked.result()
    return made


def _opened(
    run: Run,
    engine: str,
    precision: str,
    at_once: bool,
    threads: int | None,
    alone: bool,
    progress: Progress | None,
) -> Engine:
    from tl.engines import check_names, has_gpu

    check_names(engine, precision)
    if engine == "tensorflow" or (engine == "auto" and has_gpu()):
        return _on_tensorflow(run, precision)
    from tl.engines.autotune import InferenceOptions
    from tl.engines.openvino import OpenVINOEngine

    choice = InferenceOptions(streams=1, threads=threads) if alone else None
    ready = OpenVINOEngine(run.trunk, trunk_key(run), precision, threads, options=choice, progress=progress)
    if ready.shape != (run.backbone.recipe.image_size, run.backbone.features):
        raise RunError(f"{run.folder} is damaged (its network is not the one of its manifest): make it again")
    if at_once:
        ready.compile()
    return ready


def _on_tensorflow(run: Run, precision: str) -> Engine:
    from tl.engines.tensorflow import TensorFlowEngine
    from tl.networks.weights import resolve

    if run.tuned is not None:
        return TensorFlowEngine(run.backbone, run.tuned, precision)
    made_with = run.manifest["weights"]
    options = run.manifest["options"]
    weights = resolve(run.backbone, str(options["weights"]), seed=int(made_with["seed"] or 0))
    if weights.sha256 != made_with["sha256"]:
        raise RunError(
            f"{run.folder} was made with other {run.backbone.name} weights than are here: use --engine openvino"
        )
    return TensorFlowEngine(run.backbone, weights, precision)
