"""Find images that show the same photo: resized, re-compressed, mirrored, slightly cropped or brightened copies.

Images with the same layout of light and shade are candidates, and so are images with similar features. A pair counts
when the images overlap well: one is shrunk step by step and moved over the other, and the measure is the largest
correlation of what is left when the coarse light and shade are taken away. Brightness and contrast do not change it,
and two skies do not overlap by it. Where features are at hand they must be similar as well; less of both is enough
where perceptual hashes are close.

A split uses pixels alone (`find_originals`), so that it is the same for every backbone. Images that all look alike,
such as parts on a belt, would leave nothing to validate on: those count as different photos.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Labels
from tl.data.image_stats import BITS, ImageStats, perceptual_hashes
from tl.linalg import Floats, Pairs, pairs_above, products, projected, unit

_BLUR = 3.0  # pixels of 32: sigma of the blur that is taken away
_FLAT = 0.7  # standard deviation of what is left, below which an image has nothing to compare
_SCALES = (1.0, 0.9, 0.8)  # of the sides that a crop may have kept
_FINER = (-0.05, 0.0, 0.05)
_HOPELESS = 0.55  # correlation after the first scales: finer ones add 0.2 at most
_SURE = 0.98  # from which finer scales need not be tried

# Chosen on copies planted into the dogs-vs-cats photos and into CIFAR-100 (bench/doctor.py), and by looking at pairs.
_SAME_LAYOUT = 0.9  # correlation at 8 × 8 pixels
_SAME_LAYOUT_BY_FEATURES = 0.75  # for pairs that similar features propose; a slight crop leaves as much
_NEAR_HASH = 6  # bits of 64
_NEAR_FEATURES = 0.7  # cosine of projected features about their mean
_BOTH = 1.6  # of layout and features: where one is at its lowest, the other is high
_SIMILAR, _OVERLAP = 0.7, 0.86  # cosine of features about their mean, and overlap, from which a pair shows one photo
_SIMILAR_NEAR, _OVERLAP_NEAR = 0.3, 0.78  # the same for pairs whose hashes are close as well
# Of thirty copies planted into dogs-vs-cats pixels alone find 30, of thirty among 10,000 images of CIFAR-100 they find
# 28, and tie one image in a hundred there to another that it is not a copy of.
_OVERLAP_BY_PIXELS = 0.86
_CLOSE_HASH = 0.16  # what close hashes add to it: CIFAR-100's images at half their side overlap by 0.7 to 0.86
_DETAILED = 1.1  # of both: a photo at half its side, re-compressed and mirrored, has 1.12 or more
_FEW = 10  # images that may look alike however few their class has, as long as two photos are left

_MAX_PAIRS = 20_000  # compared in full, the most similar first: 5 to 10 seconds
_CHUNK = 2048
_OVERLAPS_AT_ONCE = 64
_AXES = 128


@dataclass(frozen=True)
class NearPairs:
    """Pairs `[m, 2]` of indices of different files, first < second; whether the second is `mirrored` `[m]`, and the
    `overlap` `[m]` of the two, from 0 to 1.
    """

    pairs: Pairs
    mirrored: NDArray[np.bool_]
    overlap: Floats

    def __iter__(self) -> Iterator[tuple[int, int, bool, float]]:
        for (first, second), mirrored, overlap in zip(self.pairs.tolist(), self.mirrored, self.overlap, strict=True):
            yield first, second, bool(mirrored), float(overlap)


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


@dataclass(frozen=True)
class Originals:
    """The content hash `[n]` of the photo that each image shows, its own for most; `alike` is how many images look so
    alike that they were taken for different photos nevertheless.
    """

    fingerprints: tuple[bytes, ...]
    alike: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user, a short sentence each."""
        return (f"{self.alike:,} images look alike: they are taken for different photos",) if self.alike else ()


def find_near_pairs(stats: ImageStats) -> NearPairs:
    """Find pairs with the same layout of light and shade; of byte-identical files the first stands for all."""
    indices = _distinct(stats)
    even, odd = layouts(stats.grey[indices])
    pairs = _most_similar(pairs_above(even, _SAME_LAYOUT, odd), stats.grey[indices], even, odd)
    return _compare(stats.grey, indices[pairs])


def find_known(grey: NDArray[np.uint8], known: NDArray[np.uint8], usual: float) -> Labels:
    """Find which of `known` grey images `[n, side, side]` each of others `[m, side, side]` shows: indices `[m]`, or -1.

    `usual` is the `usual_likeness` of the known ones.
    """
    both = np.concatenate([grey, known])
    even, odd = layouts(both)
    near = _compare(both, _most_similar(pairs_above(even, _SAME_LAYOUT, odd, head=len(grey)), both, even, odd))
    shown, best = np.full(len(grey), -1), np.full(len(grey), usual)
    for (first, second), likeness in zip(near.pairs.tolist(), _likeness(both, near).tolist(), strict=True):
        if likeness > best[first]:
            shown[first], best[first] = second - len(grey), likeness
    return shown


def usual_likeness(stats: ImageStats, near: NearPairs, originals: Originals) -> float:
    """The likeness that hardly any of these images has to another: with more, a new image shows a photo of theirs.

    Few photos of the world are much alike, but digits and parts on a belt are. `near` are the near pairs. Where many
    images are `originals` and their copies, a new one must be as much alike as a copy is with all its detail.
    """
    likeness, own = _likeness(stats.grey, near), originals.fingerprints
    different = np.array([own[first] != own[second] for first, second in near.pairs.tolist()], np.bool_)
    few = max(_FEW, len(own) // 100)

    def exceeded(some: NDArray[np.bool_]) -> float:
        best = np.zeros(len(own), np.float32)
        np.maximum.at(best, near.pairs[some].ravel(), np.repeat(likeness[some], 2))
        return float(np.sort(best)[::-1][few]) if len(own) > few else 0.0

    usual = min(exceeded(np.ones(len(different), np.bool_)), _DETAILED)
    return max(_OVERLAP_BY_PIXELS, usual, exceeded(different))


def _likeness(grey: NDArray[np.uint8], near: NearPairs) -> Floats:
    """The overlap of pairs `[m]`, higher where hashes are close: a copy of half the side lacks the fine detail."""
    likeness: Floats = near.overlap + np.where(_near_hashes(grey, near.pairs), np.float32(_CLOSE_HASH), np.float32(0))
    return likeness


def find_copies(stats: ImageStats, features: Floats, usable: Labels, near: NearPairs | None = None) -> list[Copy]:
    """Find copies among the images at `usable`, whose features `[len(usable), features]` are in that order.

    Of byte-identical files each counts with the first of them alone, and that one with other photos. `near` are the
    near pairs, where they are known already.
    """
    own = stats.fingerprints
    first = {own[index]: index for index in reversed(usable.tolist())}
    same = [Copy(first[own[at]], at, 1.0) for at in usable.tolist() if first[own[at]] != at]
    if len(usable) < 2:
        return []
    row = np.full(len(stats.fingerprints), -1)
    row[usable] = np.arange(len(usable))
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    near = find_near_pairs(stats) if near is None else near
    copies: dict[tuple[int, int], Copy] = {}
    for candidates in (near, _pairs_by_features(stats, features, usable, near.pairs)):
        cosine = cosines(features, mean, row[candidates.pairs])
        close = _near_hashes(stats.grey, candidates.pairs)
        least = np.where(close & (cosine >= _SIMILAR_NEAR), _OVERLAP_NEAR, np.where(cosine >= _SIMILAR, _OVERLAP, 2.0))
        for (one, other, mirrored, overlap), bound in zip(candidates, least, strict=True):
            if overlap >= bound:
                copies[one, other] = Copy(one, other, min(overlap, 0.9999), mirrored)
    return sorted([*same, *copies.values()], key=lambda copy: (-copy.likeness, copy.first, copy.second))


def group_copies(count: int, copies: Sequence[Copy], groups: Sequence[str] = ()) -> Labels:
    """Give each of `count` images a number `[count]`, the same for those that show one photo.

    Images of one name in `groups` ("" is none) have the same number, too, and so do their copies.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    links = [(first.setdefault(group, at), at) for at, group in enumerate(groups) if group]
    ends = np.array([*((copy.first, copy.second) for copy in copies), *links], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def find_originals(stats: ImageStats, labels: Labels, near: NearPairs | None = None) -> Originals:
    """Find which photo each image with a label `[n]` (-1 for none) shows; `near` are the near pairs, where known."""
    near = find_near_pairs(stats) if near is None else near
    own = stats.fingerprints
    first = {own[index]: index for index in _distinct(stats).tolist()}
    copies = [Copy(first[own[at]], at, 1.0) for at in range(len(own)) if first.get(own[at], at) != at]
    copies += [Copy(one, other, overlap) for one, other, _, overlap in near if overlap >= _OVERLAP_BY_PIXELS]
    group = group_copies(len(own), copies)
    shown, alike = list(own), 0
    for members in groups_of_several(group):
        files = {own[index] for index in members}
        if len(files) == 1:
            continue
        if _leaves_too_little(members, group, labels):
            alike += len(members)
            continue
        for index in members:
            shown[index] = min(files)
    return Originals(tuple(shown), alike)


def groups_of_several(group: Labels) -> list[list[int]]:
    """The indices that share each number, ascending, of those that several share; by number."""
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    return [members.tolist() for members in np.split(order, bounds) if len(members) > 1]


def _leaves_too_little(members: list[int], group: Labels, labels: Labels) -> bool:
    """Whether keeping these images on one side would leave a class of theirs nothing to split, or little."""
    for label in set(labels[members].tolist()) - {-1}:
        of_class = labels == label
        held = int(of_class[members].sum())
        if len(np.unique(group[of_class])) < 2 or held > max(_FEW, int(of_class.sum()) // 2):
            return True
    return False


def layouts(grey: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Grey images uint8 `[n, side, side]` at 8 × 8 pixels about their mean, as two rows of 32 numbers.

    The product of the first rows is what the images have in common either way round, that of the second what changes
    its sign when one of them is mirrored; their sum is the correlation of two images, their difference that of one with
    the other's mirror image.
    """
    count, step = len(grey), grey.shape[1] // 8
    small = grey.reshape(count, 8, step, 8, step).mean(axis=(2, 4), dtype=np.float32)
    small -= small.mean(axis=(1, 2), keepdims=True)
    small = unit(small.reshape(count, 64)).reshape(count, 8, 8)
    left, right = small[:, :, :4], small[:, :, :3:-1]
    even, odd = ((left + sign * right).reshape(count, 32) / np.float32(2**0.5) for sign in (1, -1))
    return even, odd


def remove_blur(grey: NDArray[np.uint8]) -> Floats:
    """Grey images uint8 `[n, side, side]` less their own blur."""
    import cv2

    side = grey.shape[1]
    kernel = cv2.getGaussianKernel(8 * round(_BLUR) + 1, _BLUR)
    blur = cv2.sepFilter2D(np.eye(side, dtype=np.float32), -1, np.ones(1), kernel)
    fine = grey.astype(np.float32)
    fine -= blur @ fine @ blur.T
    return fine


def overlap(first: Floats, second: Floats) -> float:
    """The best correlation of images `[side, side]` without blur, one perhaps a crop of the other; 0 if flat."""
    if min(first.std(), second.std()) < _FLAT:
        return 0.0
    both = [(first, second), (second, first)]
    best, scale, orders = _correlation(first, second, 1.0, 1.0), 1.0, both
    for smaller in _SCALES[1:]:
        for order in both:
            correlation = _correlation(*order, smaller, smaller)
            if correlation > best:
                best, scale, orders = correlation, smaller, [order]
    if best < _HOPELESS or (scale == 1 and best > _SURE):
        return best
    scales = {min(scale + finer, 1.0) for finer in _FINER}
    finer = [(across, down) for across in scales for down in scales]
    return max(best, *(_correlation(*order, across, down) for order in orders for across, down in finer))


def _correlation(whole: Floats, part: Floats, across: float, down: float) -> float:
    """The largest correlation of `part`, shrunk to these fractions of its sides, moved over `whole`."""
    import cv2

    side = len(part)
    size = round(side * across), round(side * down)
    small = part if size == (side, side) else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return float(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED).max())


def _compare(grey: NDArray[np.uint8], pairs: Pairs) -> NearPairs:
    """The overlap of each pair of grey images, with the second one mirrored where that is more similar."""
    used, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    _, odd = layouts(grey[used])
    mirrored = products(odd, odd, places) < 0
    fine = remove_blur(grey[used])

    def overlaps(start: int) -> list[float]:
        chunk = slice(start, start + _OVERLAPS_AT_ONCE)
        return [
            overlap(fine[first], np.ascontiguousarray(fine[second][:, ::-1]) if flip else fine[second])
            for (first, second), flip in zip(places[chunk].tolist(), mirrored[chunk], strict=True)
        ]

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        chunks = pool.map(overlaps, range(0, len(pairs), _OVERLAPS_AT_ONCE))
        return NearPairs(pairs, mirrored, np.array([value for chunk in chunks for value in chunk], np.float32))


def _distinct(stats: ImageStats) -> NDArray[np.int64]:
    """The first index of each content that can be decoded, ascending."""
    first: dict[bytes, int] = {}
    for index, fingerprint in enumerate(stats.fingerprints):
        if index not in stats.errors:
            first.setdefault(fingerprint, index)
    return np.array(sorted(first.values()), np.int64)


def _layout_correlation(even: Floats, odd: Floats, pairs: Pairs) -> Floats:
    """The correlation of the layouts of each pair `[m]`, either way round."""
    correlation: Floats = products(even, even, pairs) + np.abs(products(odd, odd, pairs))
    return correlation


def _most_similar(pairs: Pairs, grey: NDArray[np.uint8], even: Floats, odd: Floats) -> Pairs:
    """The pairs of images with these layouts that are compared in full."""
    if len(pairs) <= _MAX_PAIRS:
        return pairs
    similarity = _layout_correlation(even, odd, pairs) + _unmoved_correlation(grey, odd, pairs)
    return pairs[np.sort(np.argsort(-similarity, kind="stable")[:_MAX_PAIRS])]


def _unmoved_correlation(grey: NDArray[np.uint8], odd: Floats, pairs: Pairs) -> Floats:
    """The correlation of each pair `[m]` without blur, the one right upon the other."""
    side = grey.shape[1]
    fine = np.empty((len(grey), side * side), np.float16)  # 100 MB for 50,000
    for start in range(0, len(grey), _CHUNK):
        chunk = remove_blur(grey[start : start + _CHUNK])
        chunk -= chunk.mean(axis=(1, 2), keepdims=True)
        fine[start : start + _CHUNK] = unit(chunk.reshape(len(chunk), -1))
    flip = products(odd, odd, pairs) < 0
    flipped = np.arange(side * side).reshape(side, side)[:, ::-1].ravel()
    correlation = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _CHUNK):
        first, second = pairs[start : start + _CHUNK].T
        left, right = fine[first].astype(np.float32), fine[second].astype(np.float32)
        back = flip[start : start + _CHUNK]
        right[back] = right[back][:, flipped]
        correlation[start : start + _CHUNK] = np.einsum("ij,ij->i", left, right)
    return correlation


def _pairs_by_features(stats: ImageStats, features: Floats, usable: NDArray[np.int64], known: Pairs) -> NearPairs:
    """Pairs beyond `known` whose features are similar, and their layouts too, if less so than is enough alone."""
    indices = _distinct(stats)
    rows = np.searchsorted(usable, indices)
    axes = projected(features if len(rows) == len(usable) else features[rows], _AXES)
    proposed = pairs_above(axes, _NEAR_FEATURES)
    pairs = indices[proposed]
    used, places = np.unique(pairs, return_inverse=True)
    layout = _layout_correlation(*layouts(stats.grey[used]), places.reshape(-1, 2))
    both = layout + products(axes, axes, proposed)
    code = len(stats.fingerprints)
    unknown = ~np.isin(pairs[:, 0] * code + pairs[:, 1], known[:, 0] * code + known[:, 1])
    candidates = np.flatnonzero(unknown & (layout >= _SAME_LAYOUT_BY_FEATURES) & (both >= _BOTH))
    kept = candidates[np.argsort(-both[candidates], kind="stable")[:_MAX_PAIRS]]
    return _compare(stats.grey, pairs[np.sort(kept)])


def cosines(features: Floats, mean: Floats, pairs: Pairs) -> Floats:
    """The cosine of the features of each pair `[m]` about their mean."""
    cosines = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _CHUNK):
        left, right = (unit(features[side] - mean) for side in pairs[start : start + _CHUNK].T)
        cosines[start : start + _CHUNK] = np.einsum("ij,ij->i", left, right)
    return cosines


def _near_hashes(grey: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.bool_]:
    """Whether the perceptual hashes of each pair `[m]` are close, mirrored or not."""
    used, places = np.unique(pairs, return_inverse=True)
    plain, mirrored = perceptual_hashes(grey[used])
    places = places.reshape(-1, 2)
    product = np.maximum(products(plain, plain, places), products(plain, mirrored, places))
    near: NDArray[np.bool_] = product >= BITS - 2 * _NEAR_HASH
    return near
