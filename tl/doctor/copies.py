"""Pictures and their features become pairs that show the same photo: byte-identical, or changed since.

Perceptual hashes and features each propose pairs that may be; a pair counts when both the features and the pictures,
laid over each other, bear it out. Resized, re-compressed, mirrored, slightly cropped and brightened copies are found.
"""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.doctor.alignment import layouts, overlap, textured
from tl.doctor.hashes import BITS, hashes
from tl.doctor.looks import Looks
from tl.doctor.neighbours import Floats, Pairs, pairs_above, products, projected, unit

# Chosen on copies planted into the dogs-vs-cats photos and into CIFAR-100 (bench/doctor.py), and by looking at pairs.
_NEAR_HASH = 6  # bits of 64
_NEAR_FEATURES = 0.7  # cosine of projected features about their mean
_SAME_LAYOUT = 0.75  # correlation at 8 × 8 pixels, which a slight crop leaves
_TOGETHER = 1.6  # of both: where one is at its lowest, the other is high
_MOST_PROPOSED = 40_000  # pairs that are laid over each other, the most similar first: 20 seconds
_ALIKE, _OVER = 0.7, 0.86  # cosine of features about their mean, and overlap, from which a pair shows one photo
_NEAR_ALIKE, _NEAR_OVER = 0.3, 0.78  # the same for pairs whose hashes are near as well
_AXES = 128


@dataclass(frozen=True)
class Copy:
    """Two indices, first < second, that show one photo; `likeness` from 0 to 1, and 1 alone for the same bytes."""

    first: int
    second: int
    likeness: float
    mirrored: bool = False

    @property
    def identical(self) -> bool:
        """Whether not a byte differs."""
        return self.likeness == 1.0


def copies(looks: Looks, features: Floats, usable: NDArray[np.int64]) -> list[Copy]:
    """The copies among the pictures at `usable`, whose features `[len(usable), features]` are in that order.

    Of byte-identical files each counts with the first of them alone, and that one with other photos.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for at, index in enumerate(usable.tolist()):
        places[looks.fingerprints[index]].append(at)
    found = [Copy(int(usable[same[0]]), int(usable[at]), 1.0) for same in places.values() for at in same[1:]]
    first = np.array(sorted(same[0] for same in places.values()), np.int64)
    found += _near(looks.grey, usable[first], features if len(first) == len(features) else features[first])
    return sorted(found, key=lambda copy: (-copy.likeness, copy.first, copy.second))


def _near(grey: NDArray[np.uint8], indices: NDArray[np.int64], features: Floats) -> list[Copy]:
    if len(indices) < 2:
        return []
    pictures = grey[indices]
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    proposed, turned, near = _proposed(pictures, projected(features, _AXES))

    def weigh(at: int) -> Copy | None:
        first, second = proposed[at].tolist()
        about = unit(features[[first, second]] - mean)
        cosine = float(about[0] @ about[1])
        least = _least_overlap(cosine, bool(near[at]))
        other = np.ascontiguousarray(pictures[second][:, ::-1]) if turned[at] else pictures[second]
        over = 0.0 if least > 1 else overlap(textured(pictures[first]), textured(other))
        if over < least:
            return None
        return Copy(int(indices[first]), int(indices[second]), min(over, 0.9999), bool(turned[at]))

    with ThreadPoolExecutor(2, thread_name_prefix="overlap") as pool:
        return [copy for copy in pool.map(weigh, range(len(proposed)), chunksize=256) if copy is not None]


def _least_overlap(cosine: float, near: bool) -> float:
    """The overlap that is asked of a pair; beyond 1 where its features rule it out."""
    if near and cosine >= _NEAR_ALIKE:
        return _NEAR_OVER
    return _OVER if cosine >= _ALIKE else 2.0


def _proposed(pictures: NDArray[np.uint8], features: Floats) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.bool_]]:
    """Pairs to look at, whether the second one is to be mirrored, and whether their hashes are near."""
    plain, mirrored = hashes(pictures)
    by_hash = [pairs_above(plain, BITS - 2 * _NEAR_HASH), pairs_above(plain, BITS - 2 * _NEAR_HASH, mirrored)]
    by_features = pairs_above(features, _NEAR_FEATURES)
    straight, across = layouts(pictures)
    likeness = np.maximum(products(straight, straight, by_features), products(straight, across, by_features))
    both = likeness + products(features, features, by_features)
    may_be = (likeness >= _SAME_LAYOUT) & (both >= _TOGETHER)
    by_features = by_features[may_be]
    order = np.argsort(-both[may_be], kind="stable")
    together = np.concatenate([*by_hash, by_features[order]])
    _, first = np.unique(together @ np.array([len(pictures), 1]), return_index=True)
    kept = np.sort(first)[:_MOST_PROPOSED]
    pairs = together[kept]
    turned = products(straight, across, pairs) > products(straight, straight, pairs)
    return pairs, turned, kept < sum(map(len, by_hash))
