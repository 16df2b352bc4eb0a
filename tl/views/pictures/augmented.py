"""Photos and an augmentation -> one picture: each photo, and beside it what training makes of it, step by step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data.images import decode, fit, read
from tl.data.load import Dataset, load
from tl.engines import has_gpu
from tl.engines.tensorflow import tensorflow
from tl.errors import DataError, ImageError, UsageError
from tl.features.activations import MARGIN
from tl.learning.augment import Augment, Augmentation, augmenter
from tl.learning.rules import tuning_rule, unfreeze_rule
from tl.networks.backbones import Recipe, backbone
from tl.progress import Progress
from tl.runs.options import Options
from tl.views.pictures import text
from tl.views.pictures.grid import INK, MOST_PIXELS, MOUNT, PAGE, QUIET, SMALLEST_TILE, Colour
from tl.workflows.finetune_log import tell_data

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# of a mixed label, the photo's own class and the one mixed in; blue and orange differ for colour-blind people, too
OWN: Colour = (24, 92, 168)
OTHER: Colour = (214, 122, 20)
SAMPLES = 6
MOST_TRIED = 100  # photos of a class, where some cannot be read
LEAST = 0.005  # a smaller share would be written as 0 %


@dataclass(frozen=True)
class _View:
    """What one step makes of the photos: RGB uint8 [rows, size, size, 3], and of their labels [rows, classes]."""

    photos: NDArray[np.uint8]
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class _Measures:
    """Pixels: the square of a photo, the letters, and the space around them."""

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
    def margin(self) -> int:
        return 2 * self.gap

    @property
    def bar(self) -> int:
        return max(4, round(self.tile * 0.035))

    def left(self, column: int) -> int:
        """Where a column starts; column 0, the photo itself, stands a little apart."""
        return self.margin + column * (self.tile + self.gap) + (2 * self.gap if column else 0)


def draw(
    photos: Sequence[NDArray[np.uint8]],
    labels: Sequence[int],
    augment: Augment,
    class_names: Sequence[str],
    *,
    rows: int = 6,
    steps: Sequence[int] = (0, 1, 2, 3, 4),
    image_size: int = 224,
    title: str = "",
    summary: str = "",
    tile_size: int = 176,
) -> "Image":
    """Draw the first `rows` photos, each beside what `augment` makes of it at `steps`, over the name of its class.

    All photos (RGB uint8 [height, width, 3]) are one batch, so that they can be mixed: under a mixed photo stand the
    shares of its label. Photos of different shapes are made squares of `image_size` pixels first. No photos make a
    small picture that says so. Raises UsageError for a picture without rows, or too small or large to look at.
    """
    from PIL import Image

    size, rows = _Measures(tile_size), min(rows, len(photos))
    _check(rows if photos else 1, steps, size)
    given = np.eye(len(class_names), dtype=np.float32)[np.asarray(labels, np.intp)]
    views = [_view(photos, given, augment, step, rows, image_size) for step in steps] if rows else []
    mixed = any(not np.array_equal(view.labels, given[:rows]) for view in views)
    header = _header(title, summary, rows, len(steps), size)
    below = size.bar + 2 * size.line + size.gap // 2 if mixed else round(size.letter * 1.6)
    high = size.tile + below + size.gap
    page = Image.new("RGB", (header.width, header.height + rows * high + size.gap), PAGE)
    page.paste(header, (0, 0))
    for row, label in enumerate(labels[:rows]):
        top = header.height + row * high
        _draw_photo(page, top, photos[row], class_names[label], size)
        for column, view in enumerate(views, start=1):
            _draw_view(page, size.left(column), top, view.photos[row], size)
            if mixed:
                shares = _shares(view.labels[row], label, class_names)
                _draw_shares(page, size.left(column), top + size.tile, shares, size)
    return page


def draw_samples(options: Options, progress: Progress | None = None) -> "Image":
    """Draw a few photos of the data set, each beside what training with these options would make of it.

    No network is built and no weights are needed. Raises UsageError for options that cannot be meant, DataError where
    none of the photos drawn can be read.
    """
    options.check()
    progress = progress or Progress()
    recipe = backbone(options.backbone).recipe
    recipe = replace(recipe, image_size=options.image_size or recipe.image_size)
    dataset = load(options.data, download=options.download, offline=options.offline, progress=progress)
    tell_data(dataset, progress)
    level, unfreeze = _level(options, dataset)
    # photos can be mixed only where they reach the network anew in every step: where all of it is trained
    plan = Augmentation(level, recipe.image_size, len(dataset.class_names), mixes=unfreeze == "all")
    photos, labels = _drawn(dataset, options.seed, recipe)
    tensorflow()
    return draw(
        photos,
        labels,
        augmenter(level, plan.image_size, plan.classes, seed=options.seed, mixes=plan.mixes),
        dataset.class_names,
        steps=(0,) if level == "none" else (0, 1, 2, 3, 4),
        image_size=plan.image_size,
        title=f"Augmentation of {dataset.name}",
        summary=_told(plan, unfreeze),
    )


def _told(plan: Augmentation, unfreeze: str) -> str:
    told = f"{plan.level}: {plan}"
    if plan.level == "strong" and not plan.mixes:
        told += "; with --unfreeze all MixUp or CutMix, too"
    if unfreeze == "none" and plan.level != "none":
        told += "; the head alone (--unfreeze none) is fitted to photos as they are"
    return told


def _level(options: Options, dataset: Dataset) -> tuple[str, str]:
    """How far the run would change photos, and how much of the backbone it would train."""
    photos = _learnt(dataset)
    count = len(photos) if len(photos) < len(dataset.parts) else round(len(photos) * (1 - options.val))
    unfreeze = options.unfreeze
    if unfreeze == "auto":
        unfreeze = unfreeze_rule(count, len(dataset.class_names), gpu=has_gpu())
    rule = tuning_rule(count, "last" if unfreeze == "none" else unfreeze)
    return options.augment or rule.augment, unfreeze


def _learnt(dataset: Dataset) -> list[int]:
    return [at for at, part in enumerate(dataset.parts) if part in (None, "train")]


def _drawn(dataset: Dataset, seed: int, recipe: Recipe) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """Photos as training decodes them, the classes taking turns, and their labels."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(_learnt(dataset))
    classes = random.permutation(np.unique(dataset.labels[shuffled]))[:SAMPLES]
    unread: list[str] = []
    turns = zip_longest(
        *(_readable(dataset, shuffled[dataset.labels[shuffled] == label], recipe, unread) for label in classes)
    )
    found = list(islice(filter(None, chain.from_iterable(turns)), SAMPLES))
    if not found:
        raise DataError(
            f"none of the {len(unread)} images drawn from {dataset.name} can be read ({unread[0]}); check the files"
        )
    return [photo for photo, _ in found], [label for _, label in found]


def _readable(
    dataset: Dataset, places: NDArray[np.int64], recipe: Recipe, unread: list[str]
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    side = round(MARGIN * recipe.image_size)
    for at in places[:MOST_TRIED]:
        try:
            yield fit(decode(read(dataset.images[at]), side), side, recipe.resize), int(dataset.labels[at])
        except ImageError as error:
            unread.append(f"{dataset.names[at]}: {error}")


def _check(rows: int, steps: Sequence[int], size: _Measures) -> None:
    if rows < 1 or not steps or size.tile < SMALLEST_TILE:
        raise UsageError(
            f"{rows} rows of {len(steps)} steps in photos of {size.tile} px cannot be drawn: "
            f"at least 1 row of 1 step in photos of {SMALLEST_TILE} px"
        )
    if rows * (size.tile * 1.5) * size.left(len(steps) + 1) > MOST_PIXELS:
        raise UsageError(
            f"{rows} rows of {len(steps)} steps in photos of {size.tile} px make a picture of more than the "
            f"{MOST_PIXELS // 1_000_000} million pixels that can be looked at: show fewer, or smaller ones"
        )


def _view(
    photos: Sequence[NDArray[np.uint8]],
    given: NDArray[np.float32],
    augment: Augment,
    step: int,
    rows: int,
    image_size: int,
) -> _View:
    alike = len({photo.shape for photo in photos}) == 1
    batch = np.stack(photos if alike else [fit(photo, image_size) for photo in photos])
    changed, labels = (np.asarray(values)[:rows] for values in augment(batch, given, step))
    return _View(np.clip(np.rint(changed), 0, 255).astype(np.uint8), labels)


def _shares(label: NDArray[np.float32], own: int, class_names: Sequence[str]) -> list[tuple[str, float, Colour]]:
    # two photos are mixed, no more; of one class they leave a label that is whole
    order = [own, *(at for at in np.argsort(-label, kind="stable") if at != own)][:2]
    return [(class_names[at], float(label[at]), OWN if at == own else OTHER) for at in order if label[at] >= LEAST]


def _draw_photo(page: "Image", top: int, photo: NDArray[np.uint8], name: str, size: _Measures) -> None:
    from PIL import Image, ImageDraw, ImageOps

    whole = Image.fromarray(np.ascontiguousarray(photo))
    square = ImageOps.pad(whole, (size.tile, size.tile), Image.Resampling.LANCZOS, color=MOUNT)
    page.paste(square, (size.left(0), top))
    said = text.shorten(name, size.letter, float(size.tile))
    text.write(ImageDraw.Draw(page), size.left(0), top + size.tile + round(size.letter * 1.25), said, size.letter, INK)


def _draw_view(page: "Image", left: int, top: int, pixels: NDArray[np.uint8], size: _Measures) -> None:
    from PIL import Image

    photo = Image.fromarray(pixels).resize((size.tile, size.tile), Image.Resampling.LANCZOS)
    page.paste(photo, (left, top))


def _draw_shares(page: "Image", left: int, top: int, shares: list[tuple[str, float, Colour]], size: _Measures) -> None:
    from PIL import ImageDraw

    canvas = ImageDraw.Draw(page)
    start, baseline = float(left), top + size.bar + round(size.line * 0.95)
    for name, share, colour in shares:
        end = start + share * size.tile
        canvas.rectangle((round(start), top, max(round(start), round(end) - 1), top + size.bar - 1), fill=colour)
        _write_share(canvas, left, baseline, name, share, colour, size)
        start, baseline = end, baseline + size.line


def _write_share(
    canvas: "ImageDraw", left: int, baseline: int, name: str, share: float, colour: Colour, size: _Measures
) -> None:
    spot = round(size.small * 0.6)
    canvas.rectangle((left, baseline - spot, left + spot - 1, baseline - 1), fill=colour)
    start, percent = left + 2 * spot, f"{round(share * 100)} %"
    room = size.tile - 2 * spot - text.width(percent, size.small) - spot
    end = text.write(canvas, start, baseline, text.shorten(name, size.small, room), size.small, INK)
    text.write(canvas, end + spot, baseline, percent, size.small, QUIET)


def _header(title: str, summary: str, rows: int, steps: int, size: _Measures) -> "Image":
    from PIL import Image, ImageDraw

    width, large = size.left(steps) + size.tile + size.margin, round(size.letter * 1.5)
    room, baseline = float(width - 2 * size.margin), float(size.gap)
    header = Image.new("RGB", (width, large * 4 + size.letter * 8), PAGE)
    canvas = ImageDraw.Draw(header)
    for line in text.wrap(title, large, (room, room)) if text.clean(title) else ():
        baseline += large * 1.25
        text.write(canvas, size.margin, baseline, line, large, INK)
    said = summary if rows else "no photos to show"
    for line in text.wrap(said, size.letter, (room, room)) if text.clean(said) else ():
        baseline += size.letter * 1.6
        text.write(canvas, size.margin, baseline, line, size.letter, QUIET)
    if rows:
        baseline += size.letter * 2.1
        for column, heading in ((0, "photo"), (1, "as training sees it")):
            text.write(canvas, size.left(column), baseline, heading, size.letter, INK)
    return header.crop((0, 0, width, round(baseline + size.letter * 0.7)))
