"""Pictures and their features become pairs that show the same photo: byte-identical, or changed since.

Pictures laid out alike and features each propose pairs that may be; a pair counts when both the features and the
pictures, laid over each other, bear it out, less of each where perceptual hashes are near as well. Resized,
re-compressed, mirrored, slightly cropped and brightened copies are found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.image_stats import Looks
from tl.data.near_duplicates import Alike, alike, distinct, laid_over, likeness
from tl.doctor.hashes import BITS, hashes
from tl.doctor.neighbours import Floats, Pairs, pairs_above, products, projected, unit

# Chosen on copies planted into the dogs-vs-cats photos and into CIFAR-100 (bench/doctor.py), and by looking at pairs.
_NEAR_HASH = 6  # bits of 64
_NEAR_FEATURES = 0.7  # cosine of projected features about their mean
_SAME_LAYOUT = 0.75  # correlation at 8 × 8 pixels, which a slight crop leaves
_TOGETHER = 1.6  # of both: where one is at its lowest, the other is high
_MOST_PROPOSED = 20_000  # pairs that are laid over each other, the most similar first: 5 seconds
_ALIKE, _OVER = 0.7, 0.86  # cosine of features about their mean, and overlap, from which a pair shows one photo
_NEAR_ALIKE, _NEAR_OVER = 0.3, 0.78  # the same for pairs whose hashes are near as well
_AXES = 128
_AT_ONCE = 1024


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


def copies(looks: Looks, features: Floats, usable: NDArray[np.int64], found: Alike | None = None) -> list[Copy]:
    """The copies among the pictures at `usable`, whose features `[len(usable), features]` are in that order.

    Of byte-identical files each counts with the first of them alone, and that one with other photos. `found` are the
    pairs that are laid out alike, where they are known already.
    """
    first = {looks.fingerprints[index]: index for index in reversed(usable.tolist())}
    same = [
        Copy(first[looks.fingerprints[at]], at, 1.0) for at in usable.tolist() if first[looks.fingerprints[at]] != at
    ]
    if len(usable) < 2:
        return []
    place = np.full(len(looks.fingerprints), -1)
    place[usable] = np.arange(len(usable))
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    near = []
    laid_out = alike(looks) if found is None else found
    for pairs in (laid_out, _by_features(looks, features, usable, laid_out.pairs)):
        cosine = _cosines(features, mean, place[pairs.pairs])
        close = _near_hashes(looks, pairs.pairs)
        least = np.where(close & (cosine >= _NEAR_ALIKE), _NEAR_OVER, np.where(cosine >= _ALIKE, _OVER, 2.0))
        near += [
            Copy(one, other, min(over, 0.9999), turned)
            for (one, other, turned, over), asked in zip(pairs, least, strict=True)
            if over >= asked
        ]
    told = {(copy.first, copy.second): copy for copy in near}
    return sorted([*same, *told.values()], key=lambda copy: (-copy.likeness, copy.first, copy.second))


def _by_features(looks: Looks, features: Floats, usable: NDArray[np.int64], known: Pairs) -> Alike:
    """Pairs beyond those known with features alike that are laid out alike as well, if less so than is enough alone."""
    indices = distinct(looks)
    places = np.searchsorted(usable, indices)
    some = projected(features if len(places) == len(usable) else features[places], _AXES)
    proposed = pairs_above(some, _NEAR_FEATURES)
    pairs = indices[proposed]
    laid_out = likeness(looks, pairs)
    both = laid_out + products(some, some, proposed)
    fresh = ~np.isin(_codes(looks, pairs), _codes(looks, known))
    may_be = np.flatnonzero(fresh & (laid_out >= _SAME_LAYOUT) & (both >= _TOGETHER))
    kept = may_be[np.argsort(-both[may_be], kind="stable")[:_MOST_PROPOSED]]
    return laid_over(looks, pairs[np.sort(kept)])


def _codes(looks: Looks, pairs: Pairs) -> NDArray[np.int64]:
    """One number a pair."""
    codes: NDArray[np.int64] = pairs[:, 0] * len(looks.fingerprints) + pairs[:, 1]
    return codes


def _cosines(features: Floats, mean: Floats, pairs: Pairs) -> Floats:
    """The cosine of the features of each pair `[m]` about their mean."""
    made = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        left, right = (unit(features[side] - mean) for side in some.T)
        made[start : start + _AT_ONCE] = np.einsum("ij,ij->i", left, right)
    return made


def _near_hashes(looks: Looks, pairs: Pairs) -> NDArray[np.bool_]:
    """Whether the hashes of each pair `[m]` are near, or that of the one and of the other's mirror image."""
    used, places = np.unique(pairs, return_inverse=True)
    plain, mirrored = hashes(looks.grey[used])
    places = places.reshape(-1, 2)
    most = np.maximum(products(plain, plain, places), products(plain, mirrored, places))
    near: NDArray[np.bool_] = most >= BITS - 2 * _NEAR_HASH
    return near
