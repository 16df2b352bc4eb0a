"""Photos that belong together become the sides of a split, none of them on two, each class in its share."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import quoted
from tl.errors import DataError, UsageError

Labels = NDArray[np.int64]

SIDES = ("train", "validation", "test")


def apart(
    labels: Labels,
    units: Labels,
    fingerprints: Sequence[bytes],
    names: Sequence[str],
    shares: dict[str, float],
    seed: int,
) -> list[str]:
    """The side of each photo: "test" and "validation" in their `shares`, the rest "train".

    `labels` `[n]` in `range(len(names))`; photos of one number in `units` `[n]` stay on one side. Who goes where
    follows from the fingerprints and the seed alone. A unit goes to a side where that brings the side's classes nearer
    to their shares; without copies and groups that is the split that training makes. Raises UsageError for shares that
    leave nothing to learn from, DataError for a class that cannot be on each side.
    """
    if not all(0 <= share < 1 for share in shares.values()) or not 0 < sum(shares.values()) < 1:
        told = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise UsageError(f"shares must be from 0 up, and below 1 together, such as --val 0.2 --test 0.1; got {told}")
    wanted = {side: share for side, share in shares.items() if share > 0}
    counts = _counts(labels, units, len(names))
    _check(counts, names, len(wanted) + 1)
    order = _order(units, fingerprints, seed)
    side_of = np.full(len(counts), -1)
    for number, share in enumerate(wanted.values()):
        after = len(wanted) - number  # sides that still want a photo of each class
        most = counts[side_of < 0].sum(axis=0) - after
        target = np.minimum(np.maximum(np.round(share * counts.sum(axis=0)), 1), most)
        _fill(number, target, counts, order, side_of)
    _check_learnable(counts, side_of, names)
    sides = [*wanted, "train"]  # -1 is the last
    return [sides[side_of[unit]] for unit in units]


def _counts(labels: Labels, units: Labels, classes: int) -> Labels:
    """How many photos `[units, classes]` of each class a unit holds."""
    counts = np.zeros((int(units.max()) + 1, classes), np.int64)
    np.add.at(counts, (units, labels), 1)
    return counts


def _order(units: Labels, fingerprints: Sequence[bytes], seed: int) -> list[int]:
    """The units as the seed shuffles them: by what a photo of theirs is, and not by any order of files."""
    least: dict[int, bytes] = {}
    for unit, fingerprint in zip(units.tolist(), fingerprints, strict=True):
        least[unit] = min(fingerprint, least.get(unit, fingerprint))
    return sorted(least, key=lambda unit: hashlib.sha256(f"{seed}:".encode() + least[unit]).digest())


def _fill(number: int, target: NDArray[np.float64], counts: Labels, order: list[int], side_of: Labels) -> None:
    held = np.zeros_like(target)
    for unit in order:
        missing, own = target - held, counts[unit]
        # The squared distance to the shares falls: |m - c|² < |m|².
        if side_of[unit] < 0 and own @ own < 2 * (missing @ own):
            side_of[unit] = number
            held += own
    for label in np.flatnonzero(held == 0):  # a class whose only units are large is still to be checked with
        free = [unit for unit in order if side_of[unit] < 0 and counts[unit, label]]
        if len(free) > 1:
            best = min(free, key=lambda unit: int(counts[unit].sum()))
            side_of[best] = number
            held += counts[best]


def _check(counts: Labels, names: Sequence[str], sides: int) -> None:
    few = [name for name, held in zip(names, (counts > 0).sum(axis=0), strict=True) if held < sides]
    if few:
        raise DataError(
            f"classes with fewer than {sides} photos or groups that differ, one for each side: {quoted(few)}; add"
            " photos, or ask for fewer sides"
        )


def _check_learnable(counts: Labels, side_of: Labels, names: Sequence[str]) -> None:
    for side in (-1, *range(int(side_of.max()) + 1)):
        held = counts[side_of == side].sum(axis=0)
        without = [name for name, count in zip(names, held, strict=True) if not count]
        if without:
            told = "to learn from" if side < 0 else "to check with"
            raise DataError(
                f"groups leave nothing {told} of {quoted(without)}: take smaller groups, another share or --seed"
            )
