"""Looks become the pairs of pictures that may show one photo, and how well one lies over the other."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.image_stats import Looks
from tl.doctor.alignment import layouts, overlaps, textured
from tl.doctor.neighbours import Floats, Pairs, pairs_above, products, unit
from tl.engines.blas import OneThread

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


def alike(looks: Looks) -> Alike:
    """The pairs whose light and shade are laid out alike; of byte-identical files the first stands for all."""
    indices = distinct(looks)
    even, odd = layouts(looks.grey[indices])
    pairs = pairs_above(even, _SAME_LAYOUT, odd)
    if len(pairs) > _MOST:
        alike_in_all = _likeness(even, odd, pairs) + _in_place(looks.grey[indices], odd, pairs)
        pairs = pairs[np.sort(np.argsort(-alike_in_all, kind="stable")[:_MOST])]
    return laid_over(looks, indices[pairs])


def likeness(looks: Looks, pairs: Pairs) -> Floats:
    """How alike the light and shade of each pair `[m]` are laid out, either way round."""
    used, places = np.unique(pairs, return_inverse=True)
    return _likeness(*layouts(looks.grey[used]), places.reshape(-1, 2))


def laid_over(looks: Looks, pairs: Pairs) -> Alike:
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


def distinct(looks: Looks) -> NDArray[np.int64]:
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
