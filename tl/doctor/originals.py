"""Looks become what each photo counts as in a split: itself, or the photo that it shows once more.

Only pixels are asked, never a network: the split must be the same for every backbone. So a pair that two looks make
may be two photos, and then they merely stand on one side. Photos that all look alike, such as parts on a belt, would
leave nothing to check with: those count as different.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.image_stats import Looks
from tl.data.near_duplicates import Alike, alike, distinct
from tl.doctor.copies import Copy
from tl.doctor.duplicates import groups

Labels = NDArray[np.int64]

# Of thirty copies planted into dogs-vs-cats this finds 30, of thirty among 10,000 images of CIFAR-100 28, and ties one
# image in a hundred there to another that it is not a copy of.
_OVER = 0.86  # correlation of what is fine, laid over each other
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


def originals(looks: Looks, labels: Labels, found: Alike | None = None) -> Originals:
    """What photos with these looks and labels `[n]`, -1 for none, count as; `found` are their pairs, where known."""
    found = alike(looks) if found is None else found
    own = looks.fingerprints
    first = {own[index]: index for index in distinct(looks).tolist()}
    ties = [Copy(first[own[at]], at, 1.0) for at in range(len(own)) if first.get(own[at], at) != at]
    ties += [Copy(one, other, over) for one, other, _, over in found if over >= _OVER]
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
