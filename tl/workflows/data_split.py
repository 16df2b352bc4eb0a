"""Split a data set into training, validation and test, as a table or as folders: `tl data split`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import PARTS, Dataset
from tl.data.image_stats import ImageStats, measure_images
from tl.data.load import Data, load
from tl.data.near_duplicates import Copy, find_copies, group_copies
from tl.data.splits import GROUP_BY_HELP, check_groups, grouped, grouped_split
from tl.data.write import check_files, check_new, is_table, output_paths, path_in_class, write_files, write_table
from tl.errors import DataError
from tl.files import atomic_write
from tl.options import download_option, fraction_option, keywords, offline_option, option
from tl.progress import Progress
from tl.text import html_table, quoted
from tl.workflows.data_check import measure


@dataclass(frozen=True)
class SplitOptions:
    """The options of `tl data split`."""

    out: Path = option(help="New table (.csv), or new folder.", metavar="PATH")
    val: float = fraction_option(0.2, "Fraction for validation.")
    test: float = fraction_option(0.0, "Fraction for the test.")
    seed: int = option(0, "Seed of the split.")
    group_by: str | None = option(None, GROUP_BY_HELP, metavar="RULE")
    near_duplicates: bool = option(
        True, "Keep images that look the same on one side, or only identical files.", off="--exact-only"
    )
    link: bool = option(False, "Make hard links instead of copies, where the disk allows it.")
    backbone: str = option("resnet50", "Network whose features are compared.")
    weights: str = option("imagenet", "Its weights: a name or a file.", metavar="NAME|FILE")
    download: bool = download_option()
    offline: bool = offline_option()


@dataclass(frozen=True)
class SplitResult:
    """Where the split was written, how many images of each class are in each part, and what was left out and why.

    `copies` counts the images that are on the side of another one because they are its copies, `groups` the groups
    of `group_by`; `notes` say what was decided for the user.
    """

    out: Path
    counts: dict[str, dict[str, int]]
    copies: int
    groups: int
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return {**vars(self), "out": str(self.out), "notes": list(self.notes)}

    def _repr_html_(self) -> str:
        classes = next(iter(self.counts.values()))
        rows = [(name, *(self.counts[part][name] for part in self.counts)) for name in classes]
        return html_table(rows, ("class", *self.counts))


@keywords(SplitOptions)
def split(data: Data, *, options: SplitOptions, progress: Progress | None = None) -> SplitResult:
    """Write a stratified split to a new table or to folders train, validation and test.

    Identical files stay on one side, with `near_duplicates` photos that look the same as well, and so do the groups of
    `group_by`. A split that the data set already has is ignored, with a note. Raises UsageError for impossible
    fractions and places, DataError where no class is large enough, StorageError if the disk is full.
    """
    progress = progress or Progress()
    check_new(options.out, data)
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    if is_table(options.out):
        check_files(dataset)
    dataset = grouped(dataset, data, options.group_by)
    check_groups(dataset, options.group_by)
    same, stats = _copies(dataset, options, progress)
    usable = [at for at in range(len(dataset.names)) if at not in stats.errors and dataset.labels[at] >= 0]
    if not usable:
        raise DataError(f"none of the images of {dataset.name!r} can be read: see why with tl data check")
    units = group_copies(len(dataset.names), same, dataset.groups)
    present = sorted(set(dataset.labels[usable].tolist()))
    class_names = [dataset.class_names[label] for label in present]
    parts = grouped_split(
        labels=np.searchsorted(present, dataset.labels[usable]),
        groups=np.unique(units[usable], return_inverse=True)[1],
        fingerprints=[stats.fingerprints[at] for at in usable],
        class_names=class_names,
        fractions={"test": options.test, "validation": options.val},
        seed=options.seed,
    )
    _write(dataset, usable, parts, options=options, progress=progress)
    counts = {part: dict.fromkeys(dataset.class_names, 0) for part in PARTS if part in parts}
    for at, part in zip(usable, parts, strict=True):
        counts[part][dataset.class_names[dataset.labels[at]]] += 1
    return SplitResult(
        out=options.out,
        counts=counts,
        copies=len(same),
        groups=len(set(dataset.groups) - {""}),
        left_out={dataset.names[at]: reason for at, reason in stats.errors.items()}
        | {skipped.path: skipped.reason for skipped in dataset.skipped},
        notes=_notes(dataset, stats, class_names, counts),
    )


def _notes(
    dataset: Dataset, stats: ImageStats, class_names: list[str], counts: dict[str, dict[str, int]]
) -> tuple[str, ...]:
    """What was decided for the user, with `counts` of images by part and class; `class_names` have images."""
    notes = dataset.without(stats.errors).omissions
    notes += tuple(
        f"no {part} images for {quoted(small)}: too few photos or groups, which are trained on first"
        for part, of_class in counts.items()
        if (small := [name for name in class_names if not of_class[name]])
    )
    if {"validation", "test"} & set(dataset.parts):
        listed = ", ".join(f"{dataset.parts.count(part):,} {part}" for part in PARTS if part in dataset.parts)
        notes += (f"the data set's own split ({listed}) is ignored: all its images are split again",)
    return notes


def _copies(dataset: Dataset, options: SplitOptions, progress: Progress) -> tuple[list[Copy], ImageStats]:
    """The images that show the same photo, or with `--exact-only` the identical files; and the images' statistics."""
    if options.near_duplicates:
        measured = measure(
            dataset, options.backbone, weights=options.weights, offline=options.offline, progress=progress
        )
        return find_copies(measured.stats, measured.features, measured.usable), measured.stats
    stats = measure_images(dataset.images, progress=progress)
    first: dict[bytes, int] = {}
    usable = [index for index in range(len(dataset.names)) if index not in stats.errors]
    pairs = [(first.setdefault(stats.fingerprints[index], index), index) for index in usable]
    return [Copy(one, other, 1.0) for one, other in pairs if one != other], stats


def _write(dataset: Dataset, usable: list[int], parts: list[str], options: SplitOptions, progress: Progress) -> None:
    samples = dataset.samples()
    chosen = [replace(samples[at], part=part) for at, part in zip(usable, parts, strict=True)]
    with atomic_write(options.out, overwrite=False) as scratch:
        if is_table(options.out):
            write_table(scratch, options.out, chosen)
            return
        named = [
            replace(one, name="/".join(path_in_class(samples[at]))) for at, one in zip(usable, chosen, strict=True)
        ]
        link = options.link and dataset.root is not None
        write_files(scratch, [sample.image for sample in chosen], output_paths(named), link=link, progress=progress)
