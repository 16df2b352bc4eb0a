"""A data set becomes its figures: how many photos of which classes, parts, formats and sizes."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import Dataset
from tl.data.image_stats import Looks
from tl.data.load import load
from tl.doctor.looking import look
from tl.progress import Reporter

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


def stats(data: str | Path, *, download: bool = False, offline: bool = False, report: Reporter) -> Stats:
    """The figures of a data set, from its files alone. Raises DataError for one that cannot be loaded."""
    dataset = load(data, download=download, offline=offline, report=report)
    return count(dataset, look(dataset.pictures, report=report))


def count(dataset: Dataset, looks: Looks) -> Stats:
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
