"""A run folder becomes a classifier: its answers for images, as Python objects."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl.data.images import ImageLike
from tl.data.inputs import Request, named, pictures_of, requested
from tl.errors import ImageError, UsageError
from tl.prediction.predictor import Prediction, Predictor
from tl.runs.run import Run, load_run

if TYPE_CHECKING:
    from PIL.Image import Image


class Classifier:
    """A trained run, ready to answer."""

    def __init__(self, run: Run, *, engine: str = "auto", precision: str = "auto", threads: int | None = None) -> None:
        self.run = run
        self._predictor = Predictor(run, engine=engine, precision=precision, threads=threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the head's outputs."""
        return self.run.classes

    def predict(
        self, images: str | Path | ImageLike | Sequence[str | Path | ImageLike], *, top: int = 5
    ) -> list[Prediction]:
        """Predictions for one image or several, in their order: files, or RGB uint8 arrays `[height, width, 3]`.

        A folder stands for all images below it, a pattern such as "photos/*.jpg" for what it matches; a file that
        exists always for itself. A broken or missing image is a prediction whose `error` says why. Raises DataError for
        a folder without images.
        """
        if top < 1:
            raise UsageError(f"top={top}: at least one label is shown")
        return self._predictor.predict(pictures_of(images), top=top)

    def stream(
        self, images: str | Path | Sequence[str | Path], *, top: int = 5, every: int = 30
    ) -> Iterator[Prediction]:
        """Predictions one after the other, in order and in constant memory, of whatever `tl predict` takes.

        Files, folders, patterns, tables, every `every`-th frame of videos, http and https addresses. What cannot be
        read is a prediction whose `error` says why. Raises DataError for a folder without images.
        """
        if top < 1 or every < 1:
            raise UsageError(f"top={top}, every={every}: at least 1 each")
        given = [images] if isinstance(images, (str, os.PathLike)) else images
        request = Request([os.fspath(image) for image in given], every=every)
        return self._predictor.in_order(requested(request, at_least=self._predictor.at_least), top=top)

    def grid(
        self,
        data: str | Path | None = None,
        *,
        only: str = "all",
        sort: str = "name",
        count: int = 25,
        columns: int = 5,
        seed: int = 0,
        explain: bool = False,
    ) -> "Image":
        """The photos of a folder with their predictions: green where right, red where wrong, grey where unknown.

        Without `data`, the photos that the run held out, where it found them. `only` is "all", "right" or "wrong";
        `sort` is "name" or "confidence" (surest first); `count` 0 means all; `explain` lays over each photo what
        speaks for its label.
        """
        from tl.workflows.grid import pick

        gallery = pick(self._predictor, data, only=only, sort=sort, count=count, seed=seed, explain=explain)
        return gallery.draw(columns=columns)

    def explain(
        self, images: str | Path | ImageLike | Sequence[str | Path | ImageLike], *, label: str | None = None
    ) -> "Image":
        """Each image beside what speaks for its label, or for the class called `label`, as Grad-CAM finds it.

        Images are given as for `predict`. Raises ImageError for one that cannot be read, UsageError for an unknown
        class or too many images.
        """
        from tl.workflows.explain import heatmaps, sheet

        found = list(heatmaps(self._predictor, named(pictures_of(images)), label))
        for entry in found:
            if entry.error:
                raise ImageError(f"{entry.name}: {entry.error}")
        return sheet(found, f"{self.run.name}: what speaks for the label")


def load(
    run: str | Path | None = None, *, engine: str = "auto", precision: str = "auto", threads: int | None = None
) -> Classifier:
    """The classifier in a run folder, or the newest one. Raises RunError when there is none or it is damaged."""
    return Classifier(load_run(run), engine=engine, precision=precision, threads=threads)
