"""Labels, copies and a split become what there is to learn from and to check with in each class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.image_stats import ImageStats, measure_images
from tl.data.load import load
from tl.doctor.findings import Finding
from tl.progress import Progress

Labels = NDArray[np.int64]

_FEW = 10  # photos to learn from, below which a class is hardly learnt
_CHECKED = 5  # photos to check with, below which its recall is known to within 45 points
_UNEVEN = 5.0  # times as many photos in the largest class as in the smallest
_COPIES = 0.1  # of a class that are copies of others in it


@dataclass(frozen=True)
class ClassCount:
    """How many photos a class has, how many of them differ, and how many each part of the split has."""

    name: str
    images: int
    different: int
    train: int
    validation: int
    test: int


def counts(dataset: Dataset, groups: Labels, parts: Sequence[str | None], usable: Labels) -> list[ClassCount]:
    """The counts of each class over the pictures at `usable`; `groups` has one number for all copies of a photo."""
    part = np.array([parts[index] or "" for index in usable])
    labels = dataset.labels[usable]
    made = []
    for label, name in enumerate(dataset.class_names):
        own = labels == label
        shares = [int(np.sum(own & (part == side))) for side in ("train", "validation", "test")]
        made.append(ClassCount(name, int(own.sum()), len(np.unique(groups[usable[own]])), *shares))
    return made


def balance(classes: Sequence[ClassCount]) -> list[Finding]:
    """Findings about classes with few photos, many copies, or little to check with."""
    found = []
    unsplit = not any(one.train + one.validation + one.test for one in classes)
    for one in classes:
        if unsplit:
            found += _without_split(one)
        elif one.train < _FEW:
            severity = "warning" if one.train else "error"
            said = f"class {one.name} has {_photos(one.train)} to learn from"
            found.append(_about("few photos", severity, said, f"add photos of {one.name}", 1 - one.train / _FEW))
        elif one.validation + one.test < _CHECKED:
            held = one.validation + one.test
            said = f"class {one.name} has {_photos(held)} to check with: how well it is known will not show"
            found.append(_about("few photos", "note", said, f"add photos of {one.name}", 1 - held / _CHECKED))
        if one.images - one.different > _COPIES * one.images:
            said = f"class {one.name} has {one.images} photos, but only {one.different} different ones"
            share = 1 - one.different / one.images
            found.append(_about("copies", "warning", said, f"add other photos of {one.name}", share))
    sizes = sorted((one.different, one.name) for one in classes if one.different)
    if sizes and sizes[-1][0] > _UNEVEN * sizes[0][0]:
        (least, small), (most, large) = sizes[0], sizes[-1]
        said = f"class {large} has {most} different photos, class {small} {least}: {most / least:.1f} times as many"
        mend = f"add photos of {small}, or read balanced accuracy and recall by class, not top-1"
        found.append(Finding("imbalance", "note", (), said, mend, min(1.0, most / least / 100)))
    return found


def _without_split(one: ClassCount) -> list[Finding]:
    """Where there is no split, a class can be at fault for what it has in all."""
    if one.different >= _FEW:
        return []
    said, mend = f"class {one.name} has {_photos(one.different)}", f"add photos of {one.name}"
    if one.different < 2:
        said = f"class {one.name} has {_photos(one.different)}; it takes one to learn from and one to check with"
    return [_about("few photos", "warning" if one.different > 1 else "error", said, mend, 1 - one.different / _FEW)]


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


def _about(kind: str, severity: str, said: str, mend: str, score: float) -> Finding:
    return Finding(kind, severity, (), said, mend, score)


_SHARES = (0, 5, 50, 95, 100)


@dataclass(frozen=True)
class Stats:
    """Figures of a data set; `percentiles` of what is named have the least, 5 %, the median, 95 % and the largest.

    `per_class` counts the images of each class that can be read, `parts` those of each part ("" without one),
    `formats` the files by format and colour mode; `broken` are those that cannot be read.
    """

    name: str
    images: int
    broken: int
    identical: int
    bytes: int
    per_class: dict[str, int]
    parts: dict[str, int]
    formats: dict[str, int]
    percentiles: dict[str, tuple[float, ...]]
    colour: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data": self.name,
            "images": self.images,
            "broken": self.broken,
            "identical": self.identical,
            "bytes": self.bytes,
            "classes": self.per_class,
            "parts": self.parts,
            "formats": self.formats,
            "percentiles": {name: list(values) for name, values in self.percentiles.items()},
            "mean_colour": list(self.colour),
        }


def stats(data: str | Path, *, download: bool = False, offline: bool = False, progress: Progress) -> Stats:
    """The figures of a data set, from its files alone. Raises DataError for one that cannot be loaded."""
    dataset = load(data, download=download, offline=offline, progress=progress)
    return count(dataset, measure_images(dataset.images, progress=progress))


def count(dataset: Dataset, looks: ImageStats) -> Stats:
    """The figures of a data set that has been looked at."""
    usable = [index for index in range(len(dataset.names)) if index not in looks.errors]
    headers = [header for header in looks.headers if header is not None]
    labels = Counter(int(dataset.labels[index]) for index in usable)
    formats = Counter(" ".join(filter(None, (header.format or "array", header.mode))) for header in headers)
    columns = {
        "width": [header.width for header in headers],
        "height": [header.height for header in headers],
        "bytes": [header.bytes for header in headers],
    }
    return Stats(
        name=dataset.name,
        images=len(usable),
        broken=len(looks.errors),
        identical=len(usable) - len({looks.fingerprints[index] for index in usable}),
        bytes=sum(header.bytes for header in headers),
        per_class={name: labels[label] for label, name in enumerate(dataset.class_names)},
        parts=dict(Counter(dataset.parts[index] or "" for index in usable)),
        formats=dict(formats.most_common()),
        percentiles={
            name: tuple(float(value) for value in np.percentile(values, _SHARES))
            for name, values in columns.items()
            if values
        },
        colour=tuple(float(value) for value in looks.colour[usable, :3].mean(axis=0)) if usable else (),
    )
