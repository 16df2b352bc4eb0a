"""Two small grey pictures become how well one lies over a part of the other: 1 where it is a copy of that part.

One is shrunk step by step and moved over the other; the measure is the largest correlation of what is left when the
coarse light and shade are taken away. Brightness and contrast do not change it, and two skies are not alike by it.
"""

import numpy as np
from numpy.typing import NDArray

from tl.doctor.neighbours import unit

Floats = NDArray[np.float32]

_COARSE = 3.0  # pixels of 32: the blur that is taken away
_BLAND = 0.7  # spread of what is left, below which there is nothing to lay over anything
_STEPS = (1.0, 0.9, 0.8)  # of the sides that a crop may have kept
_FINER = (-0.05, 0.0, 0.05)
_HOPELESS = 0.55  # after the first steps: a finer one adds 0.2 at most


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
    """A grey picture uint8 `[side, side]` less its own blur."""
    import cv2

    fine = grey.astype(np.float32)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), _COARSE), np.float32)


def overlap(first: Floats, second: Floats) -> float:
    """The best correlation of two textured pictures of which either may be cropped from the other; 0 for bland ones."""
    if min(first.std(), second.std()) < _BLAND:
        return 0.0
    best = _slid(first, second, 1.0, 1.0)
    found = (best, first, second, 1.0)
    for share in _STEPS[1:]:
        for whole, part in ((first, second), (second, first)):
            tried = _slid(whole, part, share, share)
            if tried > found[0]:
                found = (tried, whole, part, share)
    best, whole, part, share = found
    if best < _HOPELESS or (share == 1.0 and best > 0.98):
        return best
    near = [min(share + step, 1.0) for step in _FINER]
    finer = {(across, down) for across in near for down in near} - {(share, share)}
    best = max([best, *(_slid(whole, part, across, down) for across, down in sorted(finer))])
    if share == 1.0:
        best = max([best, *(_slid(part, whole, across, down) for across, down in sorted(finer))])
    return best


def _slid(whole: Floats, part: Floats, across: float, down: float) -> float:
    import cv2

    size = (round(part.shape[1] * across), round(part.shape[0] * down))
    small = part if size == part.shape[::-1] else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return float(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED).max())
