"""Features and looks become the photos that are unlike all others, or show next to nothing."""

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.image_stats import ImageStats
from tl.doctor.findings import Finding
from tl.doctor.suggest import Mending
from tl.neighbors import projected

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_BLANK = 4  # standard deviation of grey levels
_DARK, _BRIGHT = 40, 225  # grey level that all but a twentieth stay below, or above
_BLURRED = 0.006  # of photos blurred by 4 pixels in 460 all are below; of the sharp ones of dogs-vs-cats none
_LEAST_SIDE = 100  # pixels of the short side from which blur can be told from smallness
_REFERENCES = 2048
_AXES = 256
_NEIGHBOURS = 5
_ROWS = 2048
_SAME = 2e-3  # a closer one is the photo itself, or its copy
# Times the interquartile range beyond the upper quartile: five images of CIFAR-100 among the dogs-vs-cats photos are
# at 0.9 to 1.6, of the photos themselves none.
_FAR = 1.2
_MOST = 0.01  # of the photos: what is more frequent than that belongs to the data
_LEAST = 30  # photos, below which nothing is usual


def outliers(dataset: Dataset, looks: ImageStats, features: Floats, usable: Labels, *, seed: int = 0) -> list[Finding]:
    """Findings about single photos at `usable`, whose features are in that order."""
    mending = Mending(dataset)
    found = []
    for index in usable.tolist():
        spoilt = _spoilt(looks, index)
        if spoilt:
            kind, said, score = spoilt
            names = (dataset.names[index],)
            found.append(Finding(kind, "warning", names, said, mending.remove(index), score, (index,)))
    for place, score, said in far(features, seed=seed):
        index = int(usable[place])
        names = (dataset.names[index],)
        found.append(Finding("outlier", "note", names, said, mending.look(index), score, (index,)))
    return found


def _spoilt(looks: ImageStats, index: int) -> tuple[str, str, float] | None:
    low, high = looks.light[index].tolist()
    header = looks.headers[index]
    if looks.contrast[index] < _BLANK:
        return "blank", f"next to one colour: grey differs by {looks.contrast[index]:.1f} of 255", 0.9
    if high < _DARK:
        return "too dark", f"nineteen parts of twenty are darker than grey {high:.0f} of 255", 0.6
    if low > _BRIGHT:
        return "too bright", f"nineteen parts of twenty are brighter than grey {low:.0f} of 255", 0.6
    large = header is not None and min(header.width, header.height) >= _LEAST_SIDE
    if large and looks.sharpness[index] < _BLURRED:
        return (
            "blurred",
            f"next to no fine detail: {100 * looks.sharpness[index] / _BLURRED:.0f} % of what the least sharp need",
            0.5,
        )
    return None


def far(features: Floats, *, seed: int = 0) -> list[tuple[int, float, str]]:
    """Places, scores and words for photos much farther from their nearest neighbours than is usual.

    Neighbours are looked for among 2,048 photos at most; the distance is the mean one to the nearest five, between
    features of length 1 in fewer dimensions. Source: Angiulli and Pizzuti 2002; the line is of Tukey's kind.
    """
    if len(features) < _LEAST:
        return []
    order = np.random.default_rng(seed).permutation(len(features))
    rows = projected(features, _AXES, about_mean=False, seed=seed)
    references = rows[np.sort(order[:_REFERENCES])]
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS):
        products = rows[start : start + _ROWS] @ references.T
        distances = np.sqrt(np.maximum(2 - 2 * products, 0))
        distances[distances < _SAME] = 2
        scores[start : start + _ROWS] = np.partition(distances, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS].mean(axis=1)
    low, middle, high = np.percentile(scores, (25, 50, 75))
    line = high + _FAR * (high - low)
    places = np.flatnonzero(scores > line)
    places = places[np.argsort(-scores[places], kind="stable")][: max(1, round(_MOST * len(features)))]
    return [
        (
            int(at),
            float(min(1.0, (scores[at] - line) / line)),
            f"{scores[at] / middle:.1f} times as far from its nearest as is usual",
        )
        for at in places
    ]
