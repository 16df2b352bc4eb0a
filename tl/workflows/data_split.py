"""A data set becomes a table or folders of its training, validation and test photos, copies and groups on one side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.data.near_duplicates import Copy, copies, groups
from tl.data.splits import SIDES, apart, groups_by
from tl.data.write import check_files, check_new, fresh, inside, places, samples_of, write_files, write_table
from tl.doctor.read import read_all
from tl.engines import open_named
from tl.errors import DataError
from tl.progress import Progress


@dataclass(frozen=True)
class Parted:
    """Where the split was written, how many photos of each class are in each part, and what was left out and why.

    `copies` are photos kept beside another one like them, `groups` those that were named.
    """

    out: Path
    counts: dict[str, dict[str, int]]
    copies: int
    groups: int
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "out": str(self.out)}


def part(
    data: str | Path,
    out: str | Path,
    *,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
    near: bool = True,
    anew: bool = False,
    link: bool = False,
    backbone: str = "resnet50",
    weights: str = "imagenet",
    download: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Parted:
    """Write a stratified split to a new table (`out` ends in .csv) or to folders train, validation and test.

    Byte-identical photos stay on one side, with `near` also those that show the same photo, and those of one group of
    `group_by` (see `tl.data.splits`). Raises DataError for a data set with a split of its own, unless `anew` sets
    that aside, UsageError for shares and places that cannot be, StorageError on a full disk.
    """
    progress, out = progress or Progress(), Path(out)
    check_new(out, data)
    dataset = load(data, download=download, offline=offline, progress=progress)
    table = out.suffix.lower() == ".csv"
    _check(dataset, data, table, anew)
    named = groups_by(dataset, str(data), group_by) if group_by else [""] * len(dataset.names)
    same, fingerprints, errors = _same(dataset, near, backbone, weights, offline, progress)
    usable = [at for at in range(len(dataset.names)) if at not in errors and dataset.labels[at] >= 0]
    if not usable:
        raise DataError(f"none of the images of {dataset.name!r} can be read: look with tl data check")
    units = _units(len(dataset.names), same, named)[usable]
    numbers = np.unique(units, return_inverse=True)[1]
    seen = sorted(set(dataset.labels[usable].tolist()))
    labels = np.searchsorted(seen, dataset.labels[usable])
    sides = apart(
        labels,
        numbers,
        [fingerprints[at] for at in usable],
        [dataset.class_names[label] for label in seen],
        {"test": test, "validation": val},
        seed,
    )
    _write(dataset, usable, sides, out, table, link, progress)
    left_out = {dataset.names[at]: why for at, why in errors.items()}
    left_out |= {skipped.path: skipped.reason for skipped in dataset.skipped}
    return Parted(out, _counts(dataset, usable, sides), len(same), len(set(named) - {""}), left_out)


def _check(dataset: Dataset, data: str | Path, table: bool, anew: bool) -> None:
    if table:
        check_files(dataset)
    if {"validation", "test"} & set(dataset.parts) and not anew:
        raise DataError(f"{str(data)!r} has a split of its own: add --anew to set it aside and make another")


def _same(
    dataset: Dataset, near: bool, backbone: str, weights: str, offline: bool, progress: Progress
) -> tuple[list[Copy], Sequence[bytes], dict[int, str]]:
    """What shows one photo, what each file is, and why some cannot be read."""
    if near:
        engine, network = open_named(backbone, weights=weights, offline=offline, progress=progress)
        seen = read_all(dataset.images, engine, network.recipe, network.features, progress)
        return copies(seen.looks, seen.features, seen.usable), seen.looks.fingerprints, seen.looks.errors
    looks = measure_images(dataset.images, progress=progress)
    first: dict[bytes, int] = {}
    usable = [index for index in range(len(dataset.names)) if index not in looks.errors]
    found = [(first.setdefault(looks.fingerprints[index], index), index) for index in usable]
    return [Copy(one, other, 1.0) for one, other in found if one != other], looks.fingerprints, looks.errors


def _units(count: int, same: Sequence[Copy], named: Sequence[str]) -> NDArray[np.int64]:
    """A number for each photo, the same for those that copies or groups tie together, over any number of others."""
    first: dict[str, int] = {}
    ties = [Copy(first.setdefault(group, at), at, 0.0) for at, group in enumerate(named) if group]
    return groups(count, [*same, *ties])


def _write(
    dataset: Dataset, usable: list[int], sides: list[str], out: Path, table: bool, link: bool, progress: Progress
) -> None:
    given = samples_of(dataset)
    chosen = [replace(given[at], part=side) for at, side in zip(usable, sides, strict=True)]
    with fresh(out) as scratch:
        if table:
            write_table(scratch, out, chosen)
            return
        named = [replace(sample, name="/".join(inside(given[at]))) for at, sample in zip(usable, chosen, strict=True)]
        linked = link and dataset.root is not None
        write_files(scratch, [sample.image for sample in chosen], places(named), link=linked, progress=progress)


def _counts(dataset: Dataset, usable: list[int], sides: list[str]) -> dict[str, dict[str, int]]:
    counts = {side: dict.fromkeys(dataset.class_names, 0) for side in SIDES if side in sides}
    for at, side in zip(usable, sides, strict=True):
        counts[side][dataset.class_names[dataset.labels[at]]] += 1
    return counts
