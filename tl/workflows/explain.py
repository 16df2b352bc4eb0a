"""Explain predictions: draw which regions of an image are evidence for its label."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from tl.data.images import ImageLike, decode, read
from tl.data.inputs import ImageInputs, as_list, is_single_file, read_inputs
from tl.data.listing import LeftOut
from tl.errors import ImageError, UsageError
from tl.evaluation.gradcam import Explainer
from tl.options import keywords, option, run_option
from tl.prediction.predictor import Prediction, Predictor
from tl.progress import Progress
from tl.runs.run import Run, load_run
from tl.views.pictures.explain import SIDE, Heatmap, draw_heatmaps, overlay, reduce
from tl.workflows.grid import check_class

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 100  # images on one sheet


@dataclass(frozen=True)
class ExplainOptions:
    """The options of `tl explain`."""

    run: str | None = run_option()
    label: str | None = option(None, "The class to explain.", metavar="NAME", default_text="the predicted one")


@dataclass(frozen=True)
class HeatmapSheet:
    """The heatmaps of some images, and the sheet that shows them."""

    title: str
    heatmaps: tuple[Heatmap, ...] = field(repr=False)

    @cached_property
    def image(self) -> "Image":
        """The sheet as a PIL image; images with an error are left out."""
        return draw_heatmaps(self.heatmaps, self.title)

    def _repr_png_(self) -> bytes | None:
        return self.image._repr_png_()


@keywords(ExplainOptions)
def explain(
    images: ImageInputs,
    *,
    options: ExplainOptions,
    predictor: Predictor | None = None,
    on_heatmap: Callable[[Heatmap], None] = lambda _: None,
    progress: Progress | None = None,
) -> HeatmapSheet:
    """Compute the evidence for the predicted label of each image, or for `label`, with Grad-CAM.

    `predictor` is used instead of the one of `options.run`; `on_heatmap` receives each heatmap as soon as it is
    computed. An image that cannot be read has its error. Raises UsageError for a class that the run does not have, and
    for more images than fit on a sheet.
    """
    images = as_list(images)
    predictor = predictor or Predictor(load_run(options.run), single=is_single_file(images))
    progress, left_out = progress or Progress(), LeftOut()
    items = list(islice(read_inputs(images, min_side=predictor.min_side, skip=left_out), MOST + 1))
    if left_out.counts:
        progress.warn(f"left out: {left_out}")
    if not items:
        raise UsageError("no images: give a file, a folder or a pattern")
    if len(items) > MOST:
        raise UsageError(f"more than {MOST} images: at most {MOST} are explained at a time; give fewer")
    heatmaps = []
    with progress.task("explaining", len(items), "images") as task:
        for heatmap in _heatmaps(predictor, items, options.label):
            heatmaps.append(heatmap)
            on_heatmap(heatmap)
            task.advance()
    return HeatmapSheet(f"{predictor.run.name}: evidence for the label", tuple(heatmaps))


def _heatmaps(predictor: Predictor, items: Sequence[tuple[str, ImageLike]], label: str | None) -> Iterator[Heatmap]:
    """The heatmaps of named images, in order.

    Label and confidence are those of the prediction; the heat is computed in float32, where another class may have the
    highest probability.
    """
    run = predictor.run
    if label is not None:
        check_class(run, label, "--label")
    explainer = Explainer(run.trunk, run.backbone.recipe, run.head)
    predictions = predictor.in_order(items, top=len(run.classes))
    for (_, image), prediction in zip(items, predictions, strict=True):
        try:
            yield _heatmap(explainer, run, image, prediction, label or prediction.label)
        except ImageError as error:
            yield Heatmap(prediction.name, error=str(error))


def _heatmap(explainer: Explainer, run: Run, image: ImageLike, prediction: Prediction, label: str) -> Heatmap:
    if prediction.error:
        raise ImageError(prediction.error)
    reduced = reduce(decode(read(image), SIDE))
    [explanation] = explainer.explain([image], [run.classes.index(label)])
    explanation = replace(explanation, confidence=dict(prediction.top)[label])
    overlaid = overlay(reduced, explanation, run.backbone.recipe)
    return Heatmap(prediction.name, label, explanation, reduced, overlaid, unknown=prediction.unknown)
