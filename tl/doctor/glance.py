"""Features and a split that training has anyway become a line about the worst of what a whole check would find.

No file is read again, and nothing is imported that takes time.
"""

import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.doctor import balance
from tl.doctor.files import names
from tl.doctor.findings import Finding
from tl.neighbors import pairs_above, projected, unit

Floats = NDArray[np.float32]
Parts = list[str | None]

_MOST = 10_000  # photos whose pairs are looked at: within a second
_NEAR = 0.93  # of projected features, below what is asked of the whole ones
_COPY = 0.95  # cosine about the mean: of the pairs of dogs-vs-cats beyond it each is one photo
_AXES = 128


def glance(dataset: Dataset, features: Floats, split: Split, data: str | Path) -> str:
    """What is worth a check in a data set without broken images, in a line; "" where nothing is.

    `features` `[n, features]` are in the order of the data set.
    """
    parts: Parts = [None] * len(dataset.names)
    for name in ("train", "validation", "test"):
        for index in getattr(split, name).tolist():
            parts[index] = name
    every = np.arange(len(dataset.names))
    classes = [*names(dataset), *balance.balance(balance.counts(dataset, every, parts, every))]
    leaks, labels = _copies(dataset, features, parts)
    counted = (
        (leaks, "photo seems to be on both sides of the split", "photos seem to be on both sides of the split"),
        (labels, "photo seems to be under two labels", "photos seem to be under two labels"),
        (_count(classes, "class names"), "class may have two names", "classes may have two names"),
        (_count(classes, "few photos"), "class has few photos", "classes have few photos"),
    )
    said = [f"{count:,} {one if count == 1 else many}" for count, one, many in counted if count]
    return f"{', '.join(said)}: look with `tl data check {shlex.quote(str(data))}`" if said else ""


def _count(found: list[Finding], kind: str) -> int:
    return sum(one.kind == kind and one.severity != "note" for one in found)


def _copies(dataset: Dataset, features: Floats, parts: Parts) -> tuple[int, int]:
    """How many pairs with all but the same features stand in two parts, and how many under two labels."""
    if not 2 <= len(features) <= _MOST:
        return 0, 0
    pairs = pairs_above(projected(features, _AXES), _NEAR)
    mean = features.mean(axis=0)
    left, right = unit(features[pairs[:, 0]] - mean), unit(features[pairs[:, 1]] - mean)
    copies = pairs[np.sum(left * right, axis=1) >= _COPY].tolist()
    leaks = sum(parts[first] != parts[second] and None not in (parts[first], parts[second]) for first, second in copies)
    labels = sum(dataset.labels[first] != dataset.labels[second] for first, second in copies)
    return leaks, int(labels)
