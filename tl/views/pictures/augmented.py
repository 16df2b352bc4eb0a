"""Draw images beside their augmented versions, as `tl finetune --show-augment` shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import decode, fit, read
from tl.engines import has_gpu
from tl.engines.tensorflow import tensorflow
from tl.errors import DataError, ImageError, UsageError
from tl.features.activations import MARGIN
from tl.learning.augment import Augment, augmenter, describe_augmentation
from tl.learning.rules import tuning_rule, unfreeze_rule
from tl.networks.backbones import Recipe
from tl.runs.finetune_options import FinetuneOptions
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOST_PIXELS, MOUNT, PAGE, QUIET, SMALLEST_TILE, Colour

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Pixels = NDArray[np.uint8]

# Of a mixed label, the image's own class and the other one; blue and orange differ for colour-blind people, too.
OWN: Colour = (24, 92, 168)
OTHER: Colour = (214, 122, 20)
_SAMPLES = 6
_STEPS = (0, 1, 2, 3, 4)
_MOST_TRIED = 100  # images per class, where some cannot be read
_LEAST = 0.005  # a smaller proportion would be shown as 0%


@dataclass(frozen=True)
class _Measures:
    """Sizes in pixels: the tile of an image, the letters, and the space around them."""

    tile: int

    @property
    def letter(self) -> int:
        return max(11, round(self.tile * 0.085))

    @property
    def small(self) -> int:
        return max(10, round(self.tile * 0.07))

    @property
    def line(self) -> int:
        return round(self.small * 1.45)

    @property
    def gap(self) -> int:
        return max(6, round(self.tile * 0.06))

    @property
    def bar(self) -> int:
        return max(4, round(self.tile * 0.035))

    def left(self, column: int) -> int:
        """The left edge of a column; a wider gap follows column 0, the original image."""
        return 2 * self.gap + column * (self.tile + self.gap) + (2 * self.gap if column else 0)


def draw_samples(dataset: Dataset, options: FinetuneOptions, recipe: Recipe) -> "Image":
    """Draw a few images of the data set, each beside what training with these options would make of it.

    Needs no network and no weights. Raises DataError if none of the chosen images can be read.
    """
    trainable = [at for at, part in enumerate(dataset.parts) if part in (None, "train")]
    count = len(trainable) if len(trainable) < len(dataset.parts) else round(len(trainable) * (1 - options.val))
    unfreeze, classes = options.unfreeze, len(dataset.class_names)
    if unfreeze == "auto":
        unfreeze = unfreeze_rule(count, classes, gpu=has_gpu())
    level = options.augment or tuning_rule(count, "last" if unfreeze == "none" else unfreeze).augment
    mixes = unfreeze == "all"  # images are mixed anew in every step, which stored activations cannot be
    images, labels = _choose_images(dataset, trainable, options.seed, recipe)
    tensorflow()
    summary = f"{level}: {describe_augmentation(level, mixes=mixes)}"
    if level == "strong" and not mixes:
        summary += "; with --unfreeze all also MixUp or CutMix"
    if unfreeze == "none" and level != "none":
        summary += "; the head alone (--unfreeze none) is fitted to images without augmentation"
    return draw(
        images,
        labels,
        augmenter(level, recipe.image_size, classes, seed=options.seed, mixes=mixes),
        dataset.class_names,
        steps=(0,) if level == "none" else _STEPS,
        image_size=recipe.image_size,
        title=f"Augmentation of {dataset.name}",
        summary=summary,
    )


def _choose_images(
    dataset: Dataset, trainable: Sequence[int], seed: int, recipe: Recipe
) -> tuple[list[Pixels], list[int]]:
    """Images as training decodes them, of each class in turn, and their labels."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(trainable)
    classes = random.permutation(np.unique(dataset.labels[shuffled]))[:_SAMPLES]
    errors: list[str] = []
    by_class = (_decode(dataset, shuffled[dataset.labels[shuffled] == label], recipe, errors) for label in classes)
    chosen = list(islice(filter(None, chain.from_iterable(zip_longest(*by_class))), _SAMPLES))
    if not chosen:
        raise DataError(
            f"none of the {len(errors)} images chosen from {dataset.name} can be read ({errors[0]}); check the files"
        )
    return [image for image, _ in chosen], [label for _, label in chosen]


def _decode(
    dataset: Dataset, indices: NDArray[np.int64], recipe: Recipe, errors: list[str]
) -> Iterator[tuple[Pixels, int]]:
    side = round(MARGIN * recipe.image_size)
    for at in indices[:_MOST_TRIED]:
        try:
            yield fit(decode(read(dataset.images[at]), side), side, recipe.resize), int(dataset.labels[at])
        except ImageError as error:
            errors.append(f"{dataset.names[at]}: {error}")


def draw(
    images: Sequence[Pixels],
    labels: Sequence[int],
    augment: Augment,
    class_names: Sequence[str],
    *,
    rows: int = _SAMPLES,
    steps: Sequence[int] = _STEPS,
    image_size: int = 224,
    title: str = "",
    summary: str = "",
    tile_size: int = 176,
) -> "Image":
    """Draw the first `rows` images, each above the name of its class and beside what `augment` makes of it at `steps`.

    All images (RGB uint8 [height, width, 3]) are one batch, so that they can be mixed: below a mixed image are the
    proportions of its label. Images of different shapes are first fitted to squares of `image_size` pixels. Without
    images the picture says so. Raises UsageError for a picture without rows, or too small or too large to look at.
    """
    from PIL import Image

    size, rows = _Measures(tile_size), min(rows, len(images))
    _check_size(rows if images else 1, steps, size)
    one_hot = np.eye(len(class_names), dtype=np.float32)[np.asarray(labels, np.intp)]
    same_shape = len({image.shape for image in images}) <= 1
    squares = images if same_shape else [fit(image, image_size) for image in images]
    views = [augment(np.stack(squares), one_hot, step) for step in steps] if rows else []
    pixels = [np.clip(np.rint(np.asarray(changed)), 0, 255).astype(np.uint8) for changed, _ in views]
    mixed_labels = [np.asarray(mixed) for _, mixed in views]
    is_mixed = any(not np.array_equal(mixed[:rows], one_hot[:rows]) for mixed in mixed_labels)
    header = _header(title, summary if rows else "no images to show", size.left(len(steps)), size, columns=bool(rows))
    below = size.bar + 2 * size.line + size.gap // 2 if is_mixed else round(size.letter * 1.6)
    height = size.tile + below + size.gap
    page = Image.new("RGB", (header.width, header.height + rows * height + size.gap), PAGE)
    page.paste(header, (0, 0))
    for row, label in enumerate(labels[:rows]):
        top = header.height + row * height
        _draw_original(page, top, images[row], class_names[label], size=size)
        for column in range(len(views)):
            left = size.left(column + 1)
            page.paste(
                Image.fromarray(pixels[column][row]).resize((size.tile,) * 2, Image.Resampling.LANCZOS), (left, top)
            )
            if is_mixed:
                mixture = _mixture(mixed_labels[column][row], label, class_names)
                _draw_mixture(page, (left, top + size.tile), mixture, size)
    return page


def _check_size(rows: int, steps: Sequence[int], size: _Measures) -> None:
    what = f"{rows} rows of {len(steps)} steps in tiles of {size.tile} px"
    if rows < 1 or not steps or size.tile < SMALLEST_TILE:
        raise UsageError(f"{what} cannot be drawn: at least 1 row of 1 step in tiles of {SMALLEST_TILE} px")
    if rows * (size.tile * 1.5) * size.left(len(steps) + 1) > MOST_PIXELS:
        most = MOST_PIXELS // 1_000_000
        raise UsageError(f"{what} make a picture of more than {most} million pixels: show fewer, or smaller ones")


def _mixture(label: NDArray[np.float32], own: int, class_names: Sequence[str]) -> list[tuple[str, float, Colour]]:
    # Two images are mixed, never more; two of one class leave a label that is whole.
    order = [own, *(at for at in np.argsort(-label, kind="stable") if at != own)][:2]
    return [(class_names[at], float(label[at]), OWN if at == own else OTHER) for at in order if label[at] >= _LEAST]


def _draw_original(page: "Image", top: int, image: Pixels, name: str, *, size: _Measures) -> None:
    from PIL import Image, ImageDraw, ImageOps

    whole = Image.fromarray(np.ascontiguousarray(image))
    square = ImageOps.pad(whole, (size.tile, size.tile), Image.Resampling.LANCZOS, color=MOUNT)
    page.paste(square, (size.left(0), top))
    short = text.shorten(name, size.letter, float(size.tile))
    text.write(ImageDraw.Draw(page), size.left(0), top + size.tile + round(size.letter * 1.25), short, size.letter, INK)


def _draw_mixture(
    page: "Image", corner: tuple[int, int], mixture: list[tuple[str, float, Colour]], size: _Measures
) -> None:
    """A bar with the proportions of a mixed label, and a line for each class."""
    from PIL import ImageDraw

    canvas, (left, top) = ImageDraw.Draw(page), corner
    start, baseline = float(left), top + size.bar + round(size.line * 0.95)
    for name, proportion, colour in mixture:
        end = start + proportion * size.tile
        canvas.rectangle((round(start), top, max(round(start), round(end) - 1), top + size.bar - 1), fill=colour)
        _write_proportion(canvas, (left, baseline), f"{round(proportion * 100)}%", (name, colour), size=size)
        start, baseline = end, baseline + size.line


def _write_proportion(
    canvas: "ImageDraw", corner: tuple[int, int], percent: str, label: tuple[str, Colour], *, size: _Measures
) -> None:
    (left, baseline), (name, colour), spot = corner, label, round(size.small * 0.6)
    canvas.rectangle((left, baseline - spot, left + spot - 1, baseline - 1), fill=colour)
    room = size.tile - 2 * spot - text.width(percent, size.small) - spot
    end = text.write(canvas, left + 2 * spot, baseline, text.shorten(name, size.small, room), size.small, INK)
    text.write(canvas, end + spot, baseline, percent, size.small, QUIET)


def _header(title: str, summary: str, last: int, size: _Measures, *, columns: bool) -> "Image":
    from PIL import Image, ImageDraw

    margin = 2 * size.gap
    width, large = last + size.tile + margin, round(size.letter * 1.5)
    room, baseline = float(width - 2 * margin), float(size.gap)
    header = Image.new("RGB", (width, large * 4 + size.letter * 8), PAGE)
    canvas = ImageDraw.Draw(header)
    for line in text.wrap(title, large, (room, room)) if text.clean(title) else ():
        baseline += large * 1.25
        text.write(canvas, margin, baseline, line, large, INK)
    for line in text.wrap(summary, size.letter, (room, room)) if text.clean(summary) else ():
        baseline += size.letter * 1.6
        text.write(canvas, margin, baseline, line, size.letter, QUIET)
    if columns:
        baseline += size.letter * 2.1
        for column, heading in ((0, "image"), (1, "as training sees it")):
            text.write(canvas, size.left(column), baseline, heading, size.letter, INK)
    return header.crop((0, 0, width, round(baseline + size.letter * 0.7)))
