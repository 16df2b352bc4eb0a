"""A run folder becomes a classifier: its answers for images, as Python objects."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tl.data.inputs import ImageInputs, read_inputs
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

    def predict(self, images: ImageInputs, *, top: int = 5) -> list[Prediction]:
        """Predict the labels of one image or several, in their order.

        Images are files, folders (all images below), patterns such as "photos/*.jpg", tables, videos, addresses, RGB
        uint8 arrays `[height, width, 3]`, encoded images as bytes, or Pillow images (see `tl.data.inputs.read_inputs`).
        An image that cannot be read is a prediction with an `error`. Raises DataError for a folder without images.
        """
        return list(self.stream(images, top=top))

    def stream(self, images: ImageInputs, *, top: int = 5, every: int = 30) -> Iterator[Prediction]:
        """Predict one image after the other, in constant memory; of a video, every `every`-th frame."""
        if top < 1 or every < 1:
            raise UsageError(f"top={top}, every={every}: at least 1 each")
        inputs = read_inputs(images, every=every, min_side=self._predictor.at_least)
        return self._predictor.in_order(inputs, top=top)

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

    def explain(self, images: ImageInputs, *, label: str | None = None) -> "Image":
        """Draw each image beside its Grad-CAM heatmap for the predicted class, or for the class called `label`.

        Images are given as for `predict`. Raises ImageError for one that cannot be read, UsageError for an unknown
        class or too many images.
        """
        from tl.workflows.explain import MOST, heatmaps, sheet

        inputs = list(islice(read_inputs(images, min_side=self._predictor.at_least), MOST + 1))
        found = list(heatmaps(self._predictor, inputs, label))
        for entry in found:
            if entry.error:
                raise ImageError(f"{entry.name}: {entry.error}")
        return sheet(found, f"{self.run.name}: what speaks for the label")


def load(
    run: str | Path | None = None, *, engine: str = "auto", precision: str = "auto", threads: int | None = None
) -> Classifier:
    """The classifier in a run folder, or the newest one. Raises RunError when there is none or it is damaged."""
    return Classifier(load_run(run), engine=engine, precision=precision, threads=threads)
