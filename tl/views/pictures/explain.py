"""Draw the evidence for a label in an image: a heatmap over the image, and a sheet of images with their heatmaps.

The colours run from violet over red to yellow (matplotlib's "inferno") with rising lightness, so that they keep their
order in grey and for colour-blind people. The image shows through with muted colours, so that a red cat does not look
hot.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.gradcam import Explanation
from tl.networks.backbones import Recipe
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOUNT, QUIET, confidence_text, new_page, scale_to_square

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Pixels = NDArray[np.uint8]

NO_EVIDENCE = "no evidence for it"
UNKNOWN = "unknown"
_OPAQUE = 0.65  # opacity of the greatest heat
_SATURATION = 0.35  # left of the image's colours,
_BRIGHTNESS = 0.8  # and of its brightness,
_UNSEEN = 0.35  # less of it where the network does not see the image
_CROP = 7 / 8  # of the short side: what `tl.data.images.fit` keeps by its rule "crop"

# pixels
SIDE = 288  # the longer side of an image
LARGE, LETTER, SMALL = 24, 17, 13
MARGIN, GAP, PAD = 20, 8, 26
_ASPECT = 1.4  # about the width of a sheet by its height


@dataclass(frozen=True)
class Heatmap:
    """The evidence for `label` in an image: the reduced image, and the same with the heat over it; or the error.

    `unknown` means that the image is unlike the training images, so that no label can be right.
    """

    name: str
    label: str = ""
    explanation: Explanation | None = None
    image: Pixels | None = None
    overlaid: Pixels | None = None
    error: str = ""
    unknown: bool = False

    @property
    def empty(self) -> bool:
        """Whether the image has no evidence for the label."""
        return self.explanation is None or not self.explanation.heat.any()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; `heat` is a list of rows from the top, each from left to right."""
        if self.explanation is None:
            return {"path": self.name, "error": self.error}
        heat = [[round(float(value), 4) for value in row] for row in self.explanation.heat]
        confidence = round(self.explanation.confidence, 6)
        return {"path": self.name, "label": self.label, "confidence": confidence, "unknown": self.unknown, "heat": heat}


def overlay(image: Pixels, explanation: Explanation, recipe: Recipe) -> Pixels:
    """An image, RGB uint8 `[height, width, 3]` of any size, with the heat laid over the part that the network sees.

    The rest, a border where `recipe` crops, is darkened. The argument is not changed.
    """
    import cv2

    grey = cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    muted = image * np.float32(_SATURATION) + grey * np.float32(1 - _SATURATION)
    result: Pixels = (muted * np.float32(_UNSEEN)).astype(np.uint8)
    seen = _seen(image, recipe)
    base = muted[seen] * np.float32(_BRIGHTNESS)
    heat = cv2.resize(explanation.heat, base.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = (heat * np.float32(_OPAQUE))[:, :, None]
    result[seen] = np.round(base * (1 - opacity) + colours * opacity).astype(np.uint8)
    return result


def _seen(image: Pixels, recipe: Recipe) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    if recipe.resize != "crop":
        return slice(0, height), slice(0, width)
    side = max(1, round(min(height, width) * _CROP))
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def reduce(image: Pixels) -> Pixels:
    """The image with a longer side of `SIDE` pixels."""
    return np.asarray(scale_to_square(image, SIDE), np.uint8)


def draw_heatmaps(heatmaps: Iterable[Heatmap], title: str = "") -> "Image":
    """Draw each image beside its heatmap with label and confidence below, as a grid about as wide as high.

    Those with an error are left out.
    """
    pairs = [_pair(heatmap) for heatmap in heatmaps if heatmap.explanation is not None]
    tallest = max((pair.height for pair in pairs), default=0)
    columns = max(1, round(math.sqrt(_ASPECT * len(pairs) * tallest / (2 * SIDE + GAP))))
    rows = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    header = _header(title, len(pairs), columns)
    heights = [max(pair.height for pair in row) + PAD for row in rows]
    page, _ = new_page(header.width, header.height + sum(heights) + MARGIN, header=header)
    top = header.height
    for row, height in zip(rows, heights, strict=True):
        for at, pair in enumerate(row):
            page.paste(pair, (MARGIN + at * (pair.width + PAD), top))
        top += height
    return page


def _pair(heatmap: Heatmap) -> "Image":
    from PIL import Image

    images = [Image.fromarray(pixels) for pixels in (heatmap.image, heatmap.overlaid) if pixels is not None]
    tall, across = max(image.height for image in images), 2 * SIDE + GAP
    row, canvas = new_page(across, tall + round(LETTER * 1.7) + round(SMALL * 1.6))
    baseline = tall + round(LETTER * 1.35)
    for image, left in zip(images, (0, SIDE + GAP), strict=True):
        left += (SIDE - image.width) // 2
        row.paste(image, (left, 0))
        canvas.rectangle((left, 0, left + image.width - 1, image.height - 1), outline=MOUNT)  # for a white image
    confidence = heatmap.explanation.confidence if heatmap.explanation else 0.0
    notes = [NO_EVIDENCE] * heatmap.empty + [UNKNOWN] * heatmap.unknown
    caption = ", ".join([confidence_text(confidence), *notes])
    caption_width = text.width(caption, LETTER)
    label = text.shorten(heatmap.label, LETTER, across - caption_width - LETTER)
    text.write(canvas, 0, baseline, label, LETTER, INK)
    text.write(canvas, across - caption_width, baseline, caption, LETTER, INK)
    name = text.shorten(heatmap.name, SMALL, across)
    text.write(canvas, 0, baseline + round(SMALL * 1.6), name, SMALL, QUIET)
    return row


def _header(title: str, pairs: int, columns: int) -> "Image":
    across, step = columns * (2 * SIDE + GAP + PAD) - PAD, LARGE * 1.2
    header, canvas = new_page(across + 2 * MARGIN, MARGIN * 2 + LARGE * 3 + LETTER * 4)
    lines = text.wrap(title, LARGE, (across, across)) if text.clean(title) else ()
    below = text.write_lines(canvas, MARGIN, MARGIN + step, lines, size=LARGE, colour=INK, step=step)
    baseline = below - step + LETTER * 1.7
    if pairs:
        _write_legend(header, canvas, baseline)
    else:
        text.write(canvas, MARGIN, baseline, "no images to show", LETTER, QUIET)
    return header.crop((0, 0, header.width, round(baseline + LETTER * 1.2)))


def _write_legend(header: "Image", canvas: "ImageDraw", baseline: float) -> None:
    from PIL import Image

    end = text.write(canvas, MARGIN, baseline, "nothing", SMALL, QUIET) + GAP
    ramp = Explanation(np.linspace(0, 1, 120, dtype=np.float32)[None], 0, 0.0, np.zeros(0, np.float32))
    recipe = Recipe(120, "stretch", False, (0, 0, 0), (1, 1, 1))
    bar = Image.fromarray(overlay(np.full((SMALL, 120, 3), 170, np.uint8), ramp, recipe))
    header.paste(bar, (round(end), round(baseline - SMALL * 0.85)))
    text.write(canvas, end + bar.width + GAP, baseline, "most", SMALL, QUIET)
