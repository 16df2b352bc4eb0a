"""What `import tl` offers: the whole job as functions, the same as the commands."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl.datasets.images import Picture
from tl.reporting import Reporter
from tl.runs import bundle
from tl.runs.prediction import Prediction, Predictor
from tl.runs.training import Options
from tl.runs.training import finetune as _finetune
from tl.views.gallery import draw_run, pick

if TYPE_CHECKING:
    from PIL.Image import Image


class Classifier:
    """A trained run, ready to answer."""

    def __init__(self, run: bundle.Run, *, engine: str = "auto", precision: str = "auto") -> None:
        self.run = run
        self._predictor = Predictor(run, engine=engine, precision=precision)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the head's outputs."""
        return self.run.classes

    def predict(
        self, images: str | Path | Picture | Sequence[str | Path | Picture], *, top: int = 5
    ) -> list[Prediction]:
        """Predictions for one image or several, in their order: paths, or RGB uint8 arrays `[height, width, 3]`.

        A broken image is a prediction whose `error` says why.
        """
        single = isinstance(images, (str, os.PathLike)) or getattr(images, "ndim", None) == 3
        given: Iterable[str | Path | Picture] = [images] if single else images  # type: ignore[assignment, list-item]
        return self._predictor.predict([Path(item) if isinstance(item, str) else item for item in given], top=top)

    def grid(
        self,
        data: str | Path,
        *,
        only: str = "all",
        sort: str = "name",
        count: int = 25,
        columns: int = 5,
        seed: int = 0,
    ) -> "Image":
        """The photos of a folder with their predictions: green where right, red where wrong, grey where unknown.

        `only` is "all", "right" or "wrong"; `sort` is "name" or "confidence" (surest first); `count` 0 means all.
        """
        return pick(self._predictor, data, only=only, sort=sort, count=count, seed=seed).draw(columns=columns)


def finetune(
    data: str | Path = "data",
    *,
    backbone: str = "resnet50",
    weights: str | Path = "imagenet",
    out: str | Path | None = None,
    val: float = 0.2,
    seed: int = 0,
    engine: str = "auto",
    precision: str = "auto",
    cache: bool = True,
    offline: bool = False,
    download: bool = False,
    report: Reporter | None = None,
) -> bundle.Run:
    """Train a classifier on a data set and write its run folder; each argument is the command's option of that name.

    Raises a `tl.errors.TLError` whose message says what to do.
    """
    options = Options(
        str(data),
        backbone,
        str(weights),
        None if out is None else str(out),
        val,
        seed,
        engine,
        precision,
        cache,
        offline,
        download,
    )
    run = _finetune(options, report=report)
    draw_run(run, str(data))
    return run


def load(run: str | Path | None = None, *, engine: str = "auto", precision: str = "auto") -> Classifier:
    """The classifier in a run folder, or the newest one. Raises RunError when there is none or it is damaged."""
    return Classifier(bundle.load(run), engine=engine, precision=precision)
