"""Draw images beside their augmented versions, as `tl finetune --show-augment` shows them."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import read, read_resized
from tl.engines import has_gpu
from tl.engines.tensorflow import tensorflow
from tl.errors import DataError, ImageError
from tl.features.activations import MARGIN
from tl.learning.augment import Augment, augmenter, describe_augmentation
from tl.learning.hyperparameters import HELD_OUT_TO_TUNE, tuning_rule, unfreeze_rule
from tl.networks.backbones import Recipe
from tl.runs.finetune_options import FinetuneOptions
from tl.views.pictures import text
from tl.views.pictures.grid import INK, QUIET, new_page, scale_to_square
from tl.views.pictures.text import Colour

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

# pixels
TILE = 176  # of an image
_LARGE, _LETTER, _SMALL = 22, 15, 12  # letters
_LINE, _GAP, _BAR = 17, 11, 6


def draw_samples(dataset: Dataset, options: FinetuneOptions, recipe: Recipe) -> "Image":
    """Draw a few images of the data set, each beside what training with these options would make of it.

    Needs no network and no weights. Raises DataError if none of the chosen images can be read.
    """
    trainable = [at for at, part in enumerate(dataset.parts) if part in (None, "train")]
    count = (
        len(trainable)
        if len(trainable) < len(dataset.parts)
        else round(len(trainable) * (1 - (options.val or HELD_OUT_TO_TUNE)))
    )
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
        title=f"Augmentation of {dataset.name}",
        summary=summary,
    )


def _choose_images(
    dataset: Dataset, trainable: Sequence[int], seed: int, recipe: Recipe
) -> tuple[list[Pixels], list[int]]:
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
            yield read_resized(read(dataset.images[at]), side, recipe.resize), int(dataset.labels[at])
        except ImageError as error:
            errors.append(f"{dataset.names[at]}: {error}")


def draw(
    images: Sequence[Pixels],
    labels: Sequence[int],
    augment: Augment,
    class_names: Sequence[str],
    *,
    steps: Sequence[int] = _STEPS,
    title: str,
    summary: str,
) -> "Image":
    """Draw images, each above the name of its class and beside what `augment` makes of it at `steps`.

    All images, RGB uint8 `[side, side, 3]` of one side, are one batch, so that they can be mixed: below a mixed image
    are the proportions of its label.
    """
    one_hot = np.eye(len(class_names), dtype=np.float32)[np.asarray(labels, np.intp)]
    views = [augment(np.stack(images), one_hot, step) for step in steps]
    pixels = [np.clip(np.rint(np.asarray(changed)), 0, 255).astype(np.uint8) for changed, _ in views]
    mixed_labels = [np.asarray(mixed) for _, mixed in views]
    is_mixed = any(not np.array_equal(mixed, one_hot) for mixed in mixed_labels)
    header = _header(title, summary, len(steps))
    height = TILE + _GAP + (_BAR + 2 * _LINE + _GAP // 2 if is_mixed else round(_LETTER * 1.6))
    page, canvas = new_page(header.width, header.height + len(images) * height + _GAP, header=header)
    for row, label in enumerate(labels):
        top = header.height + row * height
        page.paste(scale_to_square(images[row], TILE), (_left(0), top))
        name, baseline = text.shorten(class_names[label], _LETTER, TILE), top + TILE + round(_LETTER * 1.25)
        text.write(canvas, _left(0), baseline, name, size=_LETTER, colour=INK)
        for column, changed in enumerate(pixels):
            left = _left(column + 1)
            page.paste(scale_to_square(changed[row], TILE), (left, top))
            if is_mixed:
                _draw_mixture(canvas, left, top + TILE, _mixture(mixed_labels[column][row], label, class_names))
    return page


def _left(column: int) -> int:
    return 2 * _GAP + column * (TILE + _GAP) + (2 * _GAP if column else 0)


def _mixture(label: NDArray[np.float32], own: int, class_names: Sequence[str]) -> list[tuple[str, float, Colour]]:
    # Two images are mixed, never more; two of one class leave a label that is whole.
    order = [own, *(at for at in np.argsort(-label, kind="stable") if at != own)][:2]
    return [(class_names[at], float(label[at]), OWN if at == own else OTHER) for at in order if label[at] >= _LEAST]


def _draw_mixture(canvas: "ImageDraw", left: int, top: int, mixture: Sequence[tuple[str, float, Colour]]) -> None:
    start, baseline, spot = float(left), top + _BAR + round(_LINE * 0.95), round(_SMALL * 0.6)
    for name, proportion, colour in mixture:
        end = start + proportion * TILE
        canvas.rectangle((round(start), top, max(round(start), round(end) - 1), top + _BAR - 1), fill=colour)
        canvas.rectangle((left, baseline - spot, left + spot - 1, baseline - 1), fill=colour)
        percent = f"{round(proportion * 100)}%"
        short = text.shorten(name, _SMALL, TILE - 3 * spot - text.width(percent, _SMALL))
        x = text.write(canvas, left + 2 * spot, baseline, short, size=_SMALL, colour=INK)
        text.write(canvas, x + spot, baseline, percent, size=_SMALL, colour=QUIET)
        start, baseline = end, baseline + _LINE


def _header(title: str, summary: str, steps: int) -> "Image":
    margin, large, small = 2 * _GAP, _LARGE * 1.25, _LETTER * 1.6
    width = _left(steps) + TILE + margin
    rooms = (float(width - 2 * margin),) * 2
    header, canvas = new_page(width, _LARGE * 4 + _LETTER * 8)
    lines = text.wrap(title, _LARGE, rooms)
    below = text.write_lines(canvas, margin, _GAP + large, lines, size=_LARGE, colour=INK, step=large) - large + small
    lines = text.wrap(summary, _LETTER, rooms)
    below = text.write_lines(canvas, margin, below, lines, size=_LETTER, colour=QUIET, step=small)
    baseline = below + _LETTER * 0.5
    for column, heading in enumerate(("image", "as training sees it")):
        text.write(canvas, _left(column), baseline, heading, size=_LETTER, colour=INK)
    return header.crop((0, 0, width, round(baseline + _LETTER * 0.7)))
