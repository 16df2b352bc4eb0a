"""Find photos that are unlike all others, and photos that show next to nothing: blank, dark, bright or blurred."""

from collections.abc import Iterator

import numpy as np

from tl.data.dataset import Dataset, Labels
from tl.data.image_stats import ImageStats
from tl.doctor.findings import Finding, FixCommands
from tl.linalg import Floats, projected
from tl.text import percent

_BLANK = 4  # standard deviation of grey levels
_DARK, _BRIGHT = 40, 225  # grey level that 95% of the pixels stay below, or above
_BLURRED = 0.006  # photos blurred by 4 pixels in 460 are all below; of the sharp ones of dogs-vs-cats, none
_MIN_SIDE = 100  # pixels of the short side: in smaller images, blur cannot be told from small size
_REFERENCES = 2048
_DIMENSIONS = 256
_NEIGHBORS = 5
_BLOCK = 2048
_SAME = 2e-3  # a closer neighbor is the photo itself or its copy
# Interquartile ranges beyond the upper quartile: five images of CIFAR-100 among the dogs-vs-cats photos are at 0.9 to
# 1.6, the photos themselves all below.
_MAX_IQRS = 1.2
_MAX_FRACTION = 0.01  # of the photos: what is more frequent belongs to the data
_MIN_PHOTOS = 30  # with fewer, nothing is typical


def outlier_findings(
    dataset: Dataset, stats: ImageStats, features: Floats, usable: Labels, *, seed: int = 0
) -> list[Finding]:
    """Findings about single photos; `features` `[len(usable), size]` are those of the images at `usable`."""
    fixes = FixCommands(dataset)
    findings = []
    for index in usable.tolist():
        for kind, evidence, score in _poor_exposure(stats, index):
            findings.append(fixes.finding(kind, "warning", evidence, index, fix=fixes.inspect(index), score=score))
    for row, score, ratio in distant(features, seed=seed):
        index = int(usable[row])
        evidence = f"{ratio:.1f} times as far from its nearest neighbors as is typical"
        findings.append(fixes.finding("outlier", "note", evidence, index, fix=fixes.inspect(index), score=score))
    return findings


def _poor_exposure(stats: ImageStats, index: int) -> Iterator[tuple[str, str, float]]:
    """The first of these that applies: its kind, evidence and score."""
    low, high = stats.light[index].tolist()
    header = stats.headers[index]
    is_large = header is not None and min(header.width, header.height) >= _MIN_SIDE
    if stats.contrast[index] < _BLANK:
        yield "blank", f"almost a single colour: grey levels vary by {stats.contrast[index]:.1f} of 255", 0.9
    elif high < _DARK and "transparency" not in dict(stats.remarks[index]):  # that was put over black
        yield "too dark", f"95% of the pixels are darker than grey level {high:.0f} of 255", 0.6
    elif low > _BRIGHT:
        yield "too bright", f"95% of the pixels are brighter than grey level {low:.0f} of 255", 0.6
    elif is_large and stats.sharpness[index] < _BLURRED:
        yield "blurred", f"sharpness is {percent(stats.sharpness[index] / _BLURRED, 0)} of the minimum", 0.5


def distant(features: Floats, *, seed: int = 0) -> list[tuple[int, float, float]]:
    """Photos much farther from their nearest neighbors than is typical: row, score from 0 to 1, times the median.

    The distance is the mean over the nearest five of at most 2,048 reference photos, between features projected to
    fewer dimensions and scaled to length 1 (Angiulli and Pizzuti 2002); the limit is of Tukey's kind.
    """
    if len(features) < _MIN_PHOTOS:
        return []
    order = np.random.default_rng(seed).permutation(len(features))
    rows = projected(features, _DIMENSIONS, about_mean=False, seed=seed)
    references = rows[np.sort(order[:_REFERENCES])]
    means = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        distances = np.sqrt(np.maximum(2 - 2 * (rows[start : start + _BLOCK] @ references.T), 0))
        distances[distances < _SAME] = 2
        means[start : start + _BLOCK] = np.partition(distances, _NEIGHBORS, axis=1)[:, :_NEIGHBORS].mean(axis=1)
    low, median, high = np.percentile(means, (25, 50, 75))
    limit = high + _MAX_IQRS * (high - low)
    beyond = np.flatnonzero(means > limit)
    farthest = beyond[np.argsort(-means[beyond], kind="stable")][: max(1, round(_MAX_FRACTION * len(features)))]
    return [(int(row), float(min(1.0, (means[row] - limit) / limit)), float(means[row] / median)) for row in farthest]
