"""Count images: per class and part of the split, and as the statistics that `tl data stats` prints."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tl.data.dataset import PARTS, Dataset, Labels
from tl.data.image_stats import ImageStats
from tl.doctor.findings import Finding
from tl.text import count, html_table

_MIN_CLASS = 2  # images: one to train on and one to judge by
_MIN_TRAINING = 10  # images: with fewer, a class is hardly learned
_MIN_HELD_OUT = 5  # images: with fewer, the 95% interval of the recall is wider than 45 points
_MAX_RATIO = 5.0  # of the largest class to the smallest
_MAX_COPIES = 0.1  # fraction of a class that are copies
_PERCENTILES = (0, 5, 50, 95, 100)


@dataclass(frozen=True)
class ClassCount:
    """How many images a class has, how many of them are distinct, and how many are in each part of the split."""

    name: str
    images: int
    distinct: int
    train: int
    validation: int
    test: int


def class_counts(dataset: Dataset, groups: Labels, parts: Sequence[str | None], usable: Labels) -> list[ClassCount]:
    """The counts of each class over the images at `usable`; copies of one photo share a number in `groups`."""
    part = np.array([parts[index] or "" for index in usable])
    labels = dataset.labels[usable]
    counts = []
    for label, name in enumerate(dataset.class_names):
        own = labels == label
        per_part = {side: int(np.sum(own & (part == side))) for side in PARTS}
        counts.append(ClassCount(name, int(own.sum()), len(np.unique(groups[usable[own]])), **per_part))
    return counts


def balance_findings(classes: Sequence[ClassCount]) -> list[Finding]:
    """Findings about classes with few images or many copies, and about uneven classes."""
    findings = []
    has_split = any(each.train + each.validation + each.test for each in classes)
    for each in classes:
        findings += _few_images(each, has_split)
        if each.images - each.distinct > _MAX_COPIES * each.images:
            evidence = f"class {each.name} has {count(each.images, 'image')}, but only {each.distinct:,} distinct ones"
            score = 1 - each.distinct / each.images
            findings.append(Finding("copies", "warning", evidence, fix=f"add other images of {each.name}", score=score))
    return findings + _imbalance(classes)


def _few_images(each: ClassCount, has_split: bool) -> list[Finding]:
    held_out = each.validation + each.test
    severity, fix = "warning", f"add images of {each.name}"
    if each.distinct < _MIN_CLASS:
        fix += f", or leave out such classes with tl data fix --drop-small {_MIN_CLASS}"
    if not has_split:
        images, minimum = each.distinct, _MIN_TRAINING
        evidence = f"class {each.name} has {count(each.distinct, 'image')}"
        if images < _MIN_CLASS:
            severity = "error"
            evidence += "; at least 2 are needed, one for training and one for validation"
    elif each.train < _MIN_TRAINING:
        images, minimum, severity = each.train, _MIN_TRAINING, "warning" if each.train else "error"
        evidence = f"class {each.name} has {count(each.train, 'training image')}"
    else:
        images, minimum, severity = held_out, _MIN_HELD_OUT, "note"
        evidence = f"class {each.name} has {count(held_out, 'held-out image')}, too few to measure its accuracy"
    if images >= minimum:
        return []
    return [Finding("few photos", severity, evidence, fix=fix, score=1 - images / minimum)]


def _imbalance(classes: Sequence[ClassCount]) -> list[Finding]:
    sizes = sorted((each.distinct, each.name) for each in classes if each.distinct)
    if not sizes or sizes[-1][0] <= _MAX_RATIO * sizes[0][0]:
        return []
    (least, smallest), (most, largest) = sizes[0], sizes[-1]
    evidence = (
        f"class {largest} has {most:,} distinct images, class {smallest} has {least:,}:"
        f" {most / least:.1f} times as many"
    )
    fix = f"add images of {smallest}, or go by balanced accuracy and recall per class, not accuracy"
    return [Finding("imbalance", "note", evidence, fix=fix, score=min(1.0, most / least / 100))]


@dataclass(frozen=True)
class DatasetStats:
    """Statistics of the data set `data`.

    `classes` counts the readable images of each class, `parts` those of each part of the split ("" for none),
    `formats` the files of each format and colour mode; `broken` files cannot be read. `percentiles` of width, height
    and bytes are the minimum, 5%, median, 95% and maximum; `mean_colour` is red, green and blue from 0 to 255.
    """

    data: str
    images: int
    broken: int
    identical: int
    bytes: int
    classes: dict[str, int]
    parts: dict[str, int]
    formats: dict[str, int]
    percentiles: dict[str, list[float]]
    mean_colour: list[float]

    def as_dict(self) -> dict[str, Any]:
        """The statistics for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        return html_table([*self.classes.items(), ("total", self.images)], ("class", "images"))


def dataset_stats(dataset: Dataset, stats: ImageStats) -> DatasetStats:
    """The statistics of a data set from those of its images."""
    usable = [index for index in range(len(dataset.names)) if index not in stats.errors]
    headers = [header for header in stats.headers if header is not None]
    labels = Counter(int(dataset.labels[index]) for index in usable)
    formats = Counter(" ".join(filter(None, (header.format or "array", header.mode))) for header in headers)
    columns = {name: [getattr(header, name) for header in headers] for name in ("width", "height", "bytes")}
    return DatasetStats(
        data=dataset.name,
        images=len(usable),
        broken=len(stats.errors),
        identical=len(usable) - len({stats.fingerprints[index] for index in usable}),
        bytes=sum(columns["bytes"]),
        classes={name: labels[label] for label, name in enumerate(dataset.class_names)},
        parts=dict(Counter(dataset.parts[index] or "" for index in usable)),
        formats=dict(formats.most_common()),
        percentiles={name: np.percentile(values, _PERCENTILES).tolist() for name, values in columns.items() if values},
        mean_colour=stats.colour[usable, :3].mean(axis=0, dtype=np.float64).tolist() if usable else [],
    )
