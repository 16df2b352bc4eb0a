"""A trained run as a Python object that predicts, draws and explains images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data.inputs import ImageInputs, read_inputs
from tl.data.load import Data
from tl.errors import ImageError, UsageError
from tl.prediction.predictor import HEADINGS, Prediction, Predictor, cells
from tl.runs.run import Run, load_run
from tl.text import HtmlList

if TYPE_CHECKING:
    from PIL.Image import Image


class Classifier:
    """A trained run, ready to predict."""

    def __init__(self, run: Run, *, engine: str = "auto", precision: str = "auto", threads: int | None = None) -> None:
        self.run = run
        self._predictor = Predictor(run, engine=engine, precision=precision, threads=threads)

    def __repr__(self) -> str:
        return f"<Classifier {self.run!r}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the columns of `predict_proba`."""
        return self.run.classes

    def predict(self, images: ImageInputs, *, top: int = 5, max_error: str | float | None = None) -> list[Prediction]:
        """The predictions for images, in order.

        Images are files, folders (all images in and below them), patterns such as "photos/*.jpg", tables, videos,
        addresses, encoded images as bytes, Pillow images, arrays or tensors of pixels `[height, width, 3]` or `[n,
        height, width, 3]` with values from 0 to 255 or from 0 to 1: see `tl.data.images.from_array`. An image that
        cannot be read has a prediction with `error`. With `max_error`, such as 0.01 or "1%", at most that fraction of
        the labels without `review` is wrong, with 90% confidence. Raises DataError for a folder without images,
        UsageError where the run has too few images to promise that.
        """
        return HtmlList(self.stream(images, top=top, max_error=max_error), HEADINGS, cells)

    def predict_proba(self, images: ImageInputs) -> NDArray[np.float32]:
        """The calibrated probabilities of images as for `predict`: float32 `[n, classes]`, columns as in `classes`.

        Raises ImageError for an image that cannot be read.
        """
        return self.run.head.probabilities(self.embed(images)).astype(np.float32)

    def embed(self, images: ImageInputs) -> NDArray[np.float32]:
        """Features `[n, features]` of images as for `predict`. Raises ImageError for one that cannot be read."""
        return self._predictor.features(list(read_inputs(images, min_side=self._predictor.min_side)))

    def stream(
        self, images: ImageInputs, *, top: int = 5, every: int = 30, max_error: str | float | None = None
    ) -> Iterator[Prediction]:
        """The predictions for images as for `predict`, one by one in constant memory; of a video, every n-th frame."""
        for name, number in (("top", top), ("every", every)):
            if number < 1:
                raise UsageError(f"{name}={number}: give at least 1")
        inputs = read_inputs(images, every=every, min_side=self._predictor.min_side)
        return self._predictor.in_order(inputs, top=top, selection=self._predictor.selection(max_error))

    def grid(
        self,
        data: "Data | None" = None,
        *,
        only: str = "all",
        class_: str | None = None,
        sort: str = "name",
        count: int = 25,
        columns: int = 5,
        seed: int = 0,
        explain: bool = False,
    ) -> "Image":
        """A picture of the images of a data set: green where correct, red where wrong, grey without a true label.

        `data` may also be images without labels, such as an array or a list of paths. Without `data`, the images that
        the run held out. The options are those of `tl.grid`.
        """
        from tl.workflows.grid import GridOptions
        from tl.workflows.grid import grid as build_grid

        options = GridOptions(
            only=only, class_=class_, sort=sort, count=count, columns=columns, seed=seed, explain=explain
        )
        return build_grid(data, options=options, predictor=self._predictor).image

    def explain(self, images: ImageInputs, *, label: str | None = None) -> "Image":
        """A picture of each image beside a heatmap of the evidence for its predicted label, or for `label` (Grad-CAM).

        Images as for `predict`. Raises ImageError for one that cannot be read, UsageError for a class that the run does
        not have and for too many images.
        """
        from tl.workflows.explain import ExplainOptions
        from tl.workflows.explain import explain as compute_heatmaps

        sheet = compute_heatmaps(images, options=ExplainOptions(label=label), predictor=self._predictor)
        for heatmap in sheet.heatmaps:
            if heatmap.error:
                raise ImageError(f"{heatmap.name}: {heatmap.error}")
        return sheet.image


def load(
    run: str | Path | None = None, *, engine: str = "auto", precision: str = "auto", threads: int | None = None
) -> Classifier:
    """The classifier in a run folder; without `run`, in the newest. Raises RunError for a missing or damaged run."""
    return Classifier(load_run(run), engine=engine, precision=precision, threads=threads)
