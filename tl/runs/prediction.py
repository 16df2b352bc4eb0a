"""A run and pictures become predictions, streamed."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.datasets.images import Picture, preload
from tl.engines.engine import Engine
from tl.errors import RunError
from tl.features.cache import FeatureCache
from tl.features.extract import Row, stream
from tl.reporting import Reporter
from tl.runs import bundle


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
        """The form of the JSON output."""
        if self.error:
            return {"path": self.name, "error": self.error}
        top = [{"label": label, "confidence": round(share, 6)} for label, share in self.top]
        answer = {"path": self.name, "label": self.label, "confidence": round(self.confidence, 6)}
        return answer | {"unknown": self.unknown, "top": top}


class Predictor:
    """A run ready to answer."""

    def __init__(self, run: bundle.Run, *, engine: str = "auto", precision: str = "auto", unknown: bool = True) -> None:
        self.run = run
        self._unknown = run.unknown if unknown else None
        with ThreadPoolExecutor(1) as pool:  # the files are checked while the network is compiled
            checked = pool.submit(bundle.check, run)
            pool.submit(preload)
            self.engine = _open(run, engine, precision)
            checked.result()

    def stream(
        self,
        items: Iterable[tuple[str, Picture]],
        *,
        top: int = 5,
        cache: FeatureCache | None = None,
        report: Reporter | None = None,
    ) -> Iterator[tuple[int, Prediction]]:
        """Place and prediction of each named picture, as soon as it is known; a broken one has its error.

        Not in order, and in memory that does not grow with the number of pictures.
        """
        waiting: dict[int, str] = {}

        def pictures() -> Iterator[Picture]:
            for at, (name, picture) in enumerate(items):
                waiting[at] = name
                yield picture

        for row in stream(pictures(), self.engine, self.run.backbone.recipe, cache, report=report):
            yield row.index, self._answer(waiting.pop(row.index), row, top)

    def in_order(self, items: Iterable[tuple[str, Picture]], *, top: int = 5) -> Iterator[Prediction]:
        """The predictions of named pictures, in their order."""
        early: dict[int, Prediction] = {}
        following = 0
        for at, prediction in self.stream(items, top=top):
            early[at] = prediction
            while following in early:
                yield early.pop(following)
                following += 1

    def predict(self, pictures: Sequence[Picture], *, top: int = 5) -> list[Prediction]:
        """The predictions for pictures, in their order."""
        names = (str(picture) if isinstance(picture, Path) else str(at) for at, picture in enumerate(pictures))
        return list(self.in_order(zip(names, pictures, strict=True), top=top))

    def _answer(self, name: str, row: Row, top: int) -> Prediction:
        if row.vector is None:
            return Prediction(name, "", 0.0, (), row.error)
        shares = self.run.head.probabilities(row.vector[None])[0]
        best = np.argsort(-shares, kind="stable")[:top]
        ranked = tuple((self.run.classes[at], float(shares[at])) for at in best)
        strange = self._unknown is not None and bool(self._unknown.is_unknown(row.vector[None])[0])
        return Prediction(name, ranked[0][0], ranked[0][1], ranked, sha256=row.fingerprint.hex(), unknown=strange)


def _open(run: bundle.Run, engine: str, precision: str) -> Engine:
    from tl.engines.engine import check_names, has_gpu

    check_names(engine, precision)
    if engine == "tensorflow" or (engine == "auto" and has_gpu()):
        return _on_tensorflow(run, precision)
    from tl.engines.openvino import OpenVINOEngine

    ready = OpenVINOEngine(run.trunk, bundle.trunk_key(run), precision)
    if ready.shape != (run.backbone.recipe.image_size, run.backbone.features):  # compiled while the files are checked
        raise RunError(f"{run.folder} is damaged (its network is not the one of its manifest): make it again")
    return ready


def _on_tensorflow(run: bundle.Run, precision: str) -> Engine:
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
