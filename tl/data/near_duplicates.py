"""ImageStats become the pairs of pictures that may show one photo, and how well one lies over the other.

Pictures laid out alike and features each propose pairs that may be; a pair counts when both the features and the
pictures, laid over each other, bear it out, less of each where perceptual hashes are near as well. Resized,
re-compressed, mirrored, slightly cropped and brightened copies are found.

Only pixels are asked, never a network: the split must be the same for every backbone. So a pair that two looks make
may be two photos, and then they merely stand on one side. Photos that all look alike, such as parts on a belt, would
leave nothing to check with: those count as different.

One is shrunk step by step and moved over the other; the measure is the largest correlation of what is left when the
coarse light and shade are taken away. Brightness and contrast do not change it, and two skies are not alike by it.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.blas import OneThread
from tl.data.image_stats import BITS, ImageStats, hashes
from tl.neighbors import Floats, Pairs, pairs_above, products, projected, unit

Complexes = NDArray[np.complex64]

_COARSE = 3.0  # pixels of 32: the blur that is taken away
_BLAND = 0.7  # spread of what is left, below which there is nothing to lay over anything
_STEPS = (1.0, 0.9, 0.8)  # of the sides that a crop may have kept
_FINER = (-0.05, 0.0, 0.05)
_HOPELESS = 0.55  # after the first steps: a finer one adds 0.2 at most
_COPY = 0.98  # from which a finer step need not be tried
_FLAT = 1e-3  # of a sum of squares: a window in which there is nothing


def layouts(grey: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Grey pictures uint8 `[n, side, side]` at 8 × 8 pixels about their mean, as two rows of 32 numbers.

    The product of the first rows is what the pictures have in common either way round, that of the second what turns
    its sign when one of them is mirrored; their sum is the correlation of two pictures, their difference that of one
    with the other's mirror image.
    """
    count, step = len(grey), grey.shape[1] // 8
    small = grey.reshape(count, 8, step, 8, step).mean(axis=(2, 4), dtype=np.float32)
    small -= small.mean(axis=(1, 2), keepdims=True)
    small = unit(small.reshape(count, 64)).reshape(count, 8, 8)
    left, right = small[:, :, :4], small[:, :, :3:-1]
    even, odd = ((left + sign * right).reshape(count, 32) / np.float32(2**0.5) for sign in (1, -1))
    return even, odd


def textured(grey: NDArray[np.uint8]) -> Floats:
    """Grey pictures uint8 `[n, side, side]` less their own blur."""
    import cv2

    side = grey.shape[1]
    kernel = cv2.getGaussianKernel(8 * round(_COARSE) + 1, _COARSE)
    blur = cv2.sepFilter2D(np.eye(side, dtype=np.float32), -1, np.ones(1), kernel)
    fine = grey.astype(np.float32)
    fine -= blur @ fine @ blur.T
    return fine


def overlaps(first: Floats, second: Floats) -> Floats:
    """The best correlation `[m]` of pairs of textured pictures `[m, side, side]`, of which either may be cropped from
    the other; 0 for bland ones.
    """
    best = np.zeros(len(first), np.float32)
    told = np.flatnonzero(np.minimum(first.std(axis=(1, 2)), second.std(axis=(1, 2))) >= _BLAND)
    if len(told):
        best[told] = _best(_Pictures(first[told]), _Pictures(second[told]))
    return best


def _best(first: "_Pictures", second: "_Pictures") -> Floats:
    found = first.laid_under(second, 1.0, 1.0)
    share, swapped = np.ones(len(found)), np.zeros(len(found), np.bool_)
    for smaller in _STEPS[1:]:
        for turn, (whole, part) in enumerate(((first, second), (second, first))):
            tried = whole.laid_under(part, smaller, smaller)
            better = tried > found
            found[better], share[better], swapped[better] = tried[better], smaller, bool(turn)
    hopeful = (found >= _HOPELESS) & ((share < 1) | (found <= _COPY))
    for step in _STEPS:
        near = [min(step + finer, 1.0) for finer in _FINER]
        for turn, (whole, part) in enumerate(((first, second), (second, first))):
            some = np.flatnonzero(hopeful & (share == step) & ((swapped == bool(turn)) | (step == 1)))
            beneath, above = whole.at(some), part.at(some)
            for across, down in {(across, down) for across in near for down in near} - {(step, step)}:
                found[some] = np.maximum(found[some], beneath.laid_under(above, across, down))
    return found


class _Pictures:
    """Textured pictures `[m, side, side]` and their spectra, half of which tell all."""

    def __init__(self, pictures: Floats, spectra: Complexes | None = None) -> None:
        self._pictures, self._side = pictures, pictures.shape[1]
        self._spectra = self._transformed(self._side, self._side) if spectra is None else spectra

    def at(self, some: NDArray[np.int64]) -> "_Pictures":
        """Those at these places."""
        return _Pictures(self._pictures[some], self._spectra[some])

    def laid_under(self, others: "_Pictures", across: float, down: float) -> Floats:
        """The largest correlation `[m]` of each other one, shrunk to these shares of its sides, moved over these.

        That of `cv2.matchTemplate` with `TM_CCOEFF_NORMED` for one pair, but of all at once.
        """
        height, width = round(self._side * down), round(self._side * across)
        means, lengths = others._moments(height, width)
        sums, spreads = self._windows(height, width)
        both = self._spectra * others._transformed(height, width).conj()
        rows, columns = _inverse(self._side, height), _inverse(self._side, width)[:, : self._side // 2 + 1]
        products = (rows @ both @ (columns * _halves(self._side)).T).real
        correlations: Floats = (products - means * sums) / (lengths * spreads)
        best: Floats = correlations.max(axis=(1, 2))
        return best

    def _transformed(self, height: int, width: int) -> Complexes:
        """The spectra of these, shrunk to a size `[m, side, side / 2 + 1]`."""
        return _spectrum(self._side, height) @ (self._pictures @ _spectrum(self._side, width)[: self._side // 2 + 1].T)

    def _moments(self, height: int, width: int) -> tuple[Floats, Floats]:
        """The mean of each, shrunk to a size, and how far from it the pixels are, as a length `[m, 1, 1]`."""
        small = _averaging(self._side, height) @ self._pictures @ _averaging(self._side, width).T
        means = small.mean(axis=(1, 2), keepdims=True)
        small -= means
        return means, np.sqrt(np.maximum(np.einsum("ijk,ijk->i", small, small), _FLAT))[:, None, None]

    def _windows(self, height: int, width: int) -> tuple[Any, Any]:
        """The sum of the pixels of each window of a size, and how far from their mean they are, as a length."""
        down, across = _sliding(self._side, height), _sliding(self._side, width)
        sums = down @ self._pictures @ across.T
        squares = down @ self._pictures**2 @ across.T
        spreads = np.sqrt(np.maximum(squares - sums**2 / np.float32(height * width), _FLAT))
        return sums, spreads


@functools.cache
def _averaging(side: int, size: int) -> Floats:
    """What averages `side` pixels into `size`, as `cv2.resize` with `INTER_AREA` does `[size, side]`."""
    import cv2

    return np.asarray(cv2.resize(np.eye(side, dtype=np.float32), (side, size), interpolation=cv2.INTER_AREA))


@functools.cache
def _spectrum(side: int, size: int) -> Complexes:
    """What averages `side` pixels into `size`, fills up with zeros, and gives the spectrum `[side, side]`."""
    return np.fft.fft(_averaging(side, size), side, axis=0).astype(np.complex64)


@functools.cache
def _inverse(side: int, size: int) -> Complexes:
    """What gives, of a spectrum, the pixels at which a window of `size` can begin `[side - size + 1, side]`."""
    return np.fft.ifft(np.eye(side), axis=0)[: side - size + 1].astype(np.complex64)


@functools.cache
def _halves(side: int) -> Floats:
    """How often each column of half a spectrum stands in the whole `[side / 2 + 1]`."""
    return np.array([1, *[2] * (side // 2 - 1), 1], np.float32)


@functools.cache
def _sliding(side: int, size: int) -> Floats:
    """What adds up each window of `size` of `side` pixels `[side - size + 1, side]`."""
    starts = np.arange(side - size + 1)[:, None]
    return ((np.arange(side) >= starts) & (np.arange(side) < starts + size)).astype(np.float32)


# Chosen on copies planted into the dogs-vs-cats photos and into CIFAR-100 (bench/doctor.py), and by looking at pairs.
_SAME_LAYOUT = 0.9  # correlation at 8 × 8 pixels
_AT_ONCE = 2048
_LAID_AT_ONCE = 64  # pairs: what is computed of them stays in the processor
_MOST = 20_000  # pairs that are laid over each other, the most similar first: 5 seconds


@dataclass(frozen=True)
class Alike:
    """Pairs `[m, 2]` of indices, first < second, of different files; whether the second is to be mirrored `[m]`, and
    how well the two lie over each other `[m]`, from 0 to 1.
    """

    pairs: Pairs
    turned: NDArray[np.bool_]
    over: Floats

    def __iter__(self) -> Iterator[tuple[int, int, bool, float]]:
        for (first, second), turned, over in zip(self.pairs.tolist(), self.turned, self.over, strict=True):
            yield first, second, bool(turned), float(over)


def alike(looks: ImageStats) -> Alike:
    """The pairs whose light and shade are laid out alike; of byte-identical files the first stands for all."""
    indices = distinct(looks)
    even, odd = layouts(looks.grey[indices])
    pairs = pairs_above(even, _SAME_LAYOUT, odd)
    if len(pairs) > _MOST:
        alike_in_all = _likeness(even, odd, pairs) + _in_place(looks.grey[indices], odd, pairs)
        pairs = pairs[np.sort(np.argsort(-alike_in_all, kind="stable")[:_MOST])]
    return laid_over(looks, indices[pairs])


def likeness(looks: ImageStats, pairs: Pairs) -> Floats:
    """How alike the light and shade of each pair `[m]` are laid out, either way round."""
    used, places = np.unique(pairs, return_inverse=True)
    return _likeness(*layouts(looks.grey[used]), places.reshape(-1, 2))


def laid_over(looks: ImageStats, pairs: Pairs) -> Alike:
    """How well the second picture of each pair lies over the first, or its mirror image where that is more alike."""
    used, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    _, odd = layouts(looks.grey[used])
    turned = products(odd, odd, places) < 0
    fine = textured(looks.grey[used])

    def over(start: int) -> Floats:
        first, second = places[start : start + _LAID_AT_ONCE].T
        others, back = fine[second], turned[start : start + _LAID_AT_ONCE]
        others[back] = others[back][:, :, ::-1]
        return overlaps(fine[first], others)

    # A thread for each processor outside of the linear algebra: its matrices are tiny here.
    with OneThread(now=True), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(pool.map(over, range(0, len(pairs), _LAID_AT_ONCE)))
    return Alike(pairs, turned, np.concatenate([np.zeros(0, np.float32), *found]))


def distinct(looks: ImageStats) -> NDArray[np.int64]:
    """The first index of each content that can be decoded, ascending."""
    first: dict[bytes, int] = {}
    for index, fingerprint in enumerate(looks.fingerprints):
        if index not in looks.errors:
            first.setdefault(fingerprint, index)
    return np.array(sorted(first.values()), np.int64)


def _in_place(grey: NDArray[np.uint8], odd: Floats, pairs: Pairs) -> Floats:
    """The correlation of what is fine in each pair of pictures `[m]`, the one right upon the other."""
    fine = np.empty((len(grey), grey[0].size), np.float16)  # 100 MB for 50,000
    for start in range(0, len(grey), _AT_ONCE):
        some = textured(grey[start : start + _AT_ONCE])
        some -= some.mean(axis=(1, 2), keepdims=True)
        fine[start : start + _AT_ONCE] = unit(some.reshape(len(some), -1))
    turned = products(odd, odd, pairs) < 0
    mirrored = np.arange(grey[0].size).reshape(grey.shape[1:])[:, ::-1].ravel()
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _AT_ONCE):
        first, second = pairs[start : start + _AT_ONCE].T
        left, right = (fine[side].astype(np.float32) for side in (first, second))
        back = turned[start : start + _AT_ONCE]
        right[back] = right[back][:, mirrored]
        found[start : start + _AT_ONCE] = np.einsum("ij,ij->i", left, right)
    return found


def _likeness(even: Floats, odd: Floats, pairs: Pairs) -> Floats:
    found: Floats = products(even, even, pairs) + np.abs(products(odd, odd, pairs))
    return found


# Chosen on copies planted into the dogs-vs-cats photos and into CIFAR-100 (bench/doctor.py), and by looking at pairs.
_NEAR_HASH = 6  # bits of 64
_NEAR_FEATURES = 0.7  # cosine of projected features about their mean
_COPIES_SAME_LAYOUT = 0.75  # correlation at 8 × 8 pixels, which a slight crop leaves
_TOGETHER = 1.6  # of both: where one is at its lowest, the other is high
_MOST_PROPOSED = 20_000  # pairs that are laid over each other, the most similar first: 5 seconds
_ALIKE, _OVER = 0.7, 0.86  # cosine of features about their mean, and overlap, from which a pair shows one photo
_NEAR_ALIKE, _NEAR_OVER = 0.3, 0.78  # the same for pairs whose hashes are near as well
_AXES = 128
_COPIES_AT_ONCE = 1024


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


def copies(looks: ImageStats, features: Floats, usable: NDArray[np.int64], found: Alike | None = None) -> list[Copy]:
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


def _by_features(looks: ImageStats, features: Floats, usable: NDArray[np.int64], known: Pairs) -> Alike:
    """Pairs beyond those known with features alike that are laid out alike as well, if less so than is enough alone."""
    indices = distinct(looks)
    places = np.searchsorted(usable, indices)
    some = projected(features if len(places) == len(usable) else features[places], _AXES)
    proposed = pairs_above(some, _NEAR_FEATURES)
    pairs = indices[proposed]
    laid_out = likeness(looks, pairs)
    both = laid_out + products(some, some, proposed)
    fresh = ~np.isin(_codes(looks, pairs), _codes(looks, known))
    may_be = np.flatnonzero(fresh & (laid_out >= _COPIES_SAME_LAYOUT) & (both >= _TOGETHER))
    kept = may_be[np.argsort(-both[may_be], kind="stable")[:_MOST_PROPOSED]]
    return laid_over(looks, pairs[np.sort(kept)])


def _codes(looks: ImageStats, pairs: Pairs) -> NDArray[np.int64]:
    """One number a pair."""
    codes: NDArray[np.int64] = pairs[:, 0] * len(looks.fingerprints) + pairs[:, 1]
    return codes


def _cosines(features: Floats, mean: Floats, pairs: Pairs) -> Floats:
    """The cosine of the features of each pair `[m]` about their mean."""
    made = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _COPIES_AT_ONCE):
        some = pairs[start : start + _COPIES_AT_ONCE]
        left, right = (unit(features[side] - mean) for side in some.T)
        made[start : start + _COPIES_AT_ONCE] = np.einsum("ij,ij->i", left, right)
    return made


def _near_hashes(looks: ImageStats, pairs: Pairs) -> NDArray[np.bool_]:
    """Whether the hashes of each pair `[m]` are near, or that of the one and of the other's mirror image."""
    used, places = np.unique(pairs, return_inverse=True)
    plain, mirrored = hashes(looks.grey[used])
    places = places.reshape(-1, 2)
    most = np.maximum(products(plain, plain, places), products(plain, mirrored, places))
    near: NDArray[np.bool_] = most >= BITS - 2 * _NEAR_HASH
    return near


Labels = NDArray[np.int64]

# Of thirty copies planted into dogs-vs-cats this finds 30, of thirty among 10,000 images of CIFAR-100 28, and ties one
# image in a hundred there to another that it is not a copy of.
_ORIGINALS_OVER = 0.86  # correlation of what is fine, laid over each other
_FEW = 10  # photos that may look alike however few their class has, as long as two sides are left


def groups(count: int, found: Sequence[Copy]) -> Labels:
    """A number for each of `count` pictures, the same for those that show one photo."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array([(copy.first, copy.second) for copy in found], np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


@dataclass(frozen=True)
class Originals:
    """The content hash `[n]` of the photo that each one shows, its own for most; and how many look so alike that they
    were taken for different photos nevertheless.
    """

    fingerprints: tuple[bytes, ...]
    alike: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said, a short sentence each."""
        return (f"{self.alike:,} images look all alike: they are taken for different photos",) if self.alike else ()


def originals(looks: ImageStats, labels: Labels, found: Alike | None = None) -> Originals:
    """What photos with these looks and labels `[n]`, -1 for none, count as; `found` are their pairs, where known."""
    found = alike(looks) if found is None else found
    own = looks.fingerprints
    first = {own[index]: index for index in distinct(looks).tolist()}
    ties = [Copy(first[own[at]], at, 1.0) for at in range(len(own)) if first.get(own[at], at) != at]
    ties += [Copy(one, other, over) for one, other, _, over in found if over >= _ORIGINALS_OVER]
    number = groups(len(own), ties)
    counts_as, taken_apart = list(own), 0
    for members in _together(number):
        files = {own[index] for index in members}
        if len(files) == 1:
            continue
        if _too_many(members, number, labels):
            taken_apart += len(members)
            continue
        for index in members:
            counts_as[index] = min(files)
    return Originals(tuple(counts_as), taken_apart)


def _together(number: Labels) -> list[list[int]]:
    """The indices of each group of more than one."""
    order = np.argsort(number, kind="stable")
    bounds = np.flatnonzero(np.diff(number[order])) + 1
    return [members.tolist() for members in np.split(order, bounds) if len(members) > 1]


def _too_many(members: list[int], number: Labels, labels: Labels) -> bool:
    """Whether keeping these together would leave a class of theirs nothing to divide, or little."""
    for label in set(labels[members].tolist()) - {-1}:
        of_class = labels == label
        held = int(of_class[members].sum())
        if len(np.unique(number[of_class])) < 2 or held > max(_FEW, int(of_class.sum()) // 2):
            return True
    return False
