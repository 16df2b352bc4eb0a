"""Looks become what each photo counts as in a split: itself, or the photo that it shows once more.

Only pixels are asked, never a network: the split must be the same for every backbone. So a pair that two looks make
may be two photos, and then they merely stand on one side. Photos that all look alike, such as parts on a belt, would
leave nothing to check with: those count as different.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.doctor.alignment import layouts, overlap, textured
from tl.doctor.copies import Copy
from tl.doctor.duplicates import groups
from tl.doctor.looks import Looks
from tl.doctor.neighbours import Pairs, pairs_above, products

Labels = NDArray[np.int64]

# Of thirty copies planted into dogs-vs-cats these find 30, of thirty among 10,000 images of CIFAR-100 28, and tie one
# image in a hundred there to another that it is not a copy of (bench/doctor.py).
_SAME_LAYOUT = 0.9  # correlation at 8 × 8 pixels
_OVER = 0.86  # correlation of what is fine, laid over each other
_MOST_PROPOSED = 10_000  # pairs that are laid over each other, the most similar first: 5 seconds
_FEW = 10  # photos that may look alike however few their class has, as long as two sides are left


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


def originals(looks: Looks, labels: Labels) -> Originals:
    """What photos with these looks and labels `[n]`, -1 for none, count as."""
    own = looks.fingerprints
    first: dict[bytes, int] = {}
    for index, fingerprint in enumerate(own):
        if index not in looks.errors:
            first.setdefault(fingerprint, index)
    distinct = np.array(sorted(first.values()), np.int64)
    same = [Copy(first[own[at]], at, 1.0) for at in range(len(own)) if first.get(own[at], at) != at]
    number = groups(len(own), [*same, *_near(looks.grey, distinct)])
    counts_as, alike = list(own), 0
    for members in _together(number):
        files = {own[index] for index in members}
        if len(files) == 1:
            continue
        if _too_many(members, number, labels):
            alike += len(members)
            continue
        for index in members:
            counts_as[index] = min(files)
    return Originals(tuple(counts_as), alike)


def _near(grey: NDArray[np.uint8], indices: NDArray[np.int64]) -> list[Copy]:
    if len(indices) < 2:
        return []
    pictures = grey[indices]
    straight, across = layouts(pictures)
    pairs, turned = _proposed(straight, across)

    def over(at: int) -> float:
        first, second = pairs[at].tolist()
        other = np.ascontiguousarray(pictures[second][:, ::-1]) if turned[at] else pictures[second]
        return overlap(textured(pictures[first]), textured(other))

    with ThreadPoolExecutor(2, thread_name_prefix="overlap") as pool:
        found = np.fromiter(pool.map(over, range(len(pairs)), chunksize=64), np.float64, len(pairs))
    return [Copy(int(one), int(other), 0.0) for one, other in indices[pairs[found >= _OVER]]]


def _proposed(straight: NDArray[np.float32], across: NDArray[np.float32]) -> tuple[Pairs, NDArray[np.bool_]]:
    """Pairs `[m, 2]` that are laid out alike, and whether the second is to be mirrored `[m]`."""
    both = np.concatenate([pairs_above(straight, _SAME_LAYOUT), pairs_above(straight, _SAME_LAYOUT, across)])
    both = np.unique(both, axis=0)
    as_is, mirrored = products(straight, straight, both), products(straight, across, both)
    kept = np.sort(np.argsort(-np.maximum(as_is, mirrored), kind="stable")[:_MOST_PROPOSED])
    return both[kept], mirrored[kept] > as_is[kept]


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
