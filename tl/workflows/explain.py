"""Photos and what speaks for their labels -> pictures: the heat laid over each photo, and a sheet of both side by side.

The colours go from violet over red to yellow (matplotlib's "inferno"), each lighter than the one before: they keep
their order for colour-blind people and in grey. The photo shows through; its own colours are taken back, so that a red
cat is not taken for a hot one.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, decode, read
from tl.errors import ImageError, UsageError
from tl.evaluation.gradcam import Explainer, Explanation
from tl.networks.backbones import Recipe
from tl.prediction.predictor import Prediction, Predictor
from tl.runs.run import Run
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOUNT, PAGE, QUIET, confidence_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Pixels = NDArray[np.uint8]

MOST = 100  # photos on one sheet
NOTHING = "nothing speaks for it"
_OPAQUE = 0.65  # at the greatest heat
_FAINT = 0.35  # of the photo's colours are left,
_DIM = 0.8  # and so much of its brightness,
_UNSEEN = 0.35  # and less where the network does not see it
_CROP = 7 / 8  # of the short side: what `tl.data.images.fit` takes by its rule "crop"

# pixels
SIDE = 288  # of a photo, at most
LARGE, LETTER, SMALL = 24, 17, 13  # letters
MARGIN, GAP, PAD = 20, 8, 26


@dataclass(frozen=True)
class Heatmap:
    """What speaks for `label` in the picture of that name: the photo, small, and the heat over it; or the error.

    `unknown` says that the picture is unlike all training photos, so that no label can be right.
    """

    name: str
    label: str = ""
    explanation: Explanation | None = None
    photo: Pixels | None = None
    overlaid: Pixels | None = None
    error: str = ""
    unknown: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing in the picture speaks for the label."""
        return self.explanation is None or not self.explanation.heat.any()

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output; `heat` is rows of columns, from the top left."""
        if self.explanation is None:
            return {"path": self.name, "error": self.error}
        heat = [[round(float(value), 4) for value in row] for row in self.explanation.heat]
        return {
            "path": self.name,
            "label": self.label,
            "confidence": round(self.explanation.confidence, 6),
            "unknown": self.unknown,
            "heat": heat,
        }


def overlay(image: Pixels, explanation: Explanation, recipe: Recipe) -> Pixels:
    """A photo, RGB uint8 `[height, width, 3]` of any size, with the heat laid over what the network sees of it.

    What it does not see, the rim around the centre where `recipe` crops, is darkened. The photo itself is not changed.
    """
    import cv2

    grey = cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    faint = image * np.float32(_FAINT) + grey * np.float32(1 - _FAINT)
    made: Pixels = (faint * np.float32(_UNSEEN)).astype(np.uint8)
    seen = _seen(image, recipe)
    photo = faint[seen] * np.float32(_DIM)
    heat = cv2.resize(explanation.heat, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = (heat * np.float32(_OPAQUE))[:, :, None]
    made[seen] = np.round(photo * (1 - share) + colours * share).astype(np.uint8)
    return made


def heatmaps(
    predictor: Predictor, items: Sequence[tuple[str, ImageLike]], label: str | None = None
) -> Iterator[Heatmap]:
    """What speaks for the class called `label` in each named picture, in order; None: for the one that is predicted.

    Label and confidence are the predictor's, in whose precision another may come out ahead; the heat is of that class,
    computed in float32. A picture that cannot be read has its error. Raises UsageError for a class that the run does
    not have, or more pictures than a sheet can show.
    """
    run = predictor.run
    if len(items) > MOST:
        raise UsageError(f"more than {MOST} images: at most {MOST} are explained at a time; give fewer of them")
    wanted = None if label is None else run.classes[_class(run, label)]
    explainer = Explainer(run.trunk, run.backbone.recipe, run.head)
    answers = predictor.in_order(items, top=len(run.classes))
    for (_, picture), answer in zip(items, answers, strict=True):
        try:
            yield _heatmap(explainer, run, picture, answer, wanted or answer.label)
        except ImageError as error:
            yield Heatmap(answer.name, error=str(error))


def _heatmap(explainer: Explainer, run: Run, picture: ImageLike, answer: Prediction, label: str) -> Heatmap:
    if answer.error:
        raise ImageError(answer.error)
    photo = _small(decode(read(picture), SIDE))
    [found] = explainer.explain([picture], [run.classes.index(label)])
    explanation = replace(found, confidence=dict(answer.top)[label])
    overlaid = overlay(photo, explanation, run.backbone.recipe)
    return Heatmap(answer.name, label, explanation, photo, overlaid, unknown=answer.unknown)


def sheet(maps: Iterable[Heatmap], title: str = "") -> "Image":
    """Each photo beside its heat, with label and confidence below, in rows; those with an error are left out."""
    from PIL import Image

    rows = [_row(entry) for entry in maps if entry.explanation is not None]
    header = _header(title, len(rows))
    page = Image.new("RGB", (header.width, header.height + sum(row.height + PAD for row in rows) + MARGIN), PAGE)
    page.paste(header, (0, 0))
    top = header.height
    for row in rows:
        page.paste(row, (MARGIN, top))
        top += row.height + PAD
    return page


def _seen(image: Pixels, recipe: Recipe) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    if recipe.resize != "crop":
        return slice(0, height), slice(0, width)
    side = max(1, round(min(height, width) * _CROP))
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def _class(run: Run, label: str) -> int:
    if label in run.classes:
        return run.classes.index(label)
    plain = {name.casefold(): name for name in run.classes}
    near = [plain[match] for match in difflib.get_close_matches(label.casefold(), plain, n=3, cutoff=0.5)]
    known = f"did you mean {' or '.join(near)}?" if near else f"it has {_listed(run.classes)}"
    raise UsageError(f"--label {label!r}: run {run.name} has no such class; {known}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} others" if len(names) > 5 else "")


def _small(image: Pixels) -> Pixels:
    import cv2

    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    within = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, within, interpolation=how), np.uint8)


def _row(entry: Heatmap) -> "Image":
    from PIL import Image, ImageDraw

    pictures = [Image.fromarray(pixels) for pixels in (entry.photo, entry.overlaid) if pixels is not None]
    tall, across = max(picture.height for picture in pictures), 2 * SIDE + GAP
    row = Image.new("RGB", (across, tall + round(LETTER * 1.7) + round(SMALL * 1.6)), PAGE)
    canvas, baseline = ImageDraw.Draw(row), tall + round(LETTER * 1.35)
    for picture, left in zip(pictures, (0, SIDE + GAP), strict=True):
        left += (SIDE - picture.width) // 2
        row.paste(picture, (left, 0))
        # a white photo has an edge, too
        canvas.rectangle((left, 0, left + picture.width - 1, picture.height - 1), outline=MOUNT)
    confidence = entry.explanation.confidence if entry.explanation else 0.0
    said = confidence_text(confidence) + (f", {NOTHING}" if entry.empty else "")
    taken = text.width(said, LETTER)
    label = text.shorten(entry.label, LETTER, across - taken - LETTER)
    text.write(canvas, 0, baseline, label, LETTER, INK)
    text.write(canvas, across - taken, baseline, said, LETTER, INK)
    name = text.shorten(entry.name, SMALL, across)
    text.write(canvas, 0, baseline + round(SMALL * 1.6), name, SMALL, QUIET)
    return row


def _header(title: str, rows: int) -> "Image":
    from PIL import Image, ImageDraw

    across = 2 * SIDE + GAP
    header = Image.new("RGB", (across + 2 * MARGIN, MARGIN * 2 + LARGE * 3 + LETTER * 4), PAGE)
    canvas, baseline = ImageDraw.Draw(header), float(MARGIN)
    for line in text.wrap(title, LARGE, (across, across)) if text.clean(title) else ():
        baseline += LARGE * 1.2
        text.write(canvas, MARGIN, baseline, line, LARGE, INK)
    baseline += LETTER * 1.7
    if rows:
        _write_key(header, canvas, baseline)
    else:
        text.write(canvas, MARGIN, baseline, "no photos to show", LETTER, QUIET)
    return header.crop((0, 0, header.width, round(baseline + LETTER * 1.2)))


def _write_key(header: "Image", canvas: "ImageDraw", baseline: float) -> None:
    """What the colours mean: those that lie on a photo of middle grey, from no heat to the most."""
    from PIL import Image

    end = text.write(canvas, MARGIN, baseline, "nothing", SMALL, QUIET) + GAP
    ramp = Explanation(np.linspace(0, 1, 120, dtype=np.float32)[None], 0, 0.0, np.zeros(0, np.float32))
    recipe = Recipe(120, "stretch", False, (0, 0, 0), (1, 1, 1))
    bar = Image.fromarray(overlay(np.full((SMALL, 120, 3), 170, np.uint8), ramp, recipe))
    header.paste(bar, (round(end), round(baseline - SMALL * 0.85)))
    text.write(canvas, end + bar.width + GAP, baseline, "most", SMALL, QUIET)
