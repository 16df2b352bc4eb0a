"""Small grey pictures become perceptual hashes, of each as it is and as its mirror image.

The hash is pHash as the package imagehash defines it (the lowest 8 × 8 coefficients of a cosine transform at 32 × 32,
each above or below their median), for all pictures at once: one at a time takes longer than all the rest of a check.
"""

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.float32]

BITS = 64
_LOW, _ROWS = 8, 2048


def hashes(grey: NDArray[np.uint8]) -> tuple[Bits, Bits]:
    """Hashes `[n, 64]` of grey pictures uint8 `[n, 32, 32]` and of their mirror images, as -1 and 1.

    The product of two of them is 64 less twice the number of bits in which they differ.
    """
    from scipy.fft import dctn

    plain = np.empty((len(grey), BITS), np.float32)
    mirrored = np.empty((len(grey), BITS), np.float32)
    for start in range(0, len(grey), _ROWS):
        low = dctn(grey[start : start + _ROWS].astype(np.float64), axes=(1, 2))[:, :_LOW, :_LOW]
        plain[start : start + _ROWS] = _signs(low)
        low[:, :, 1::2] *= -1  # mirroring turns the waves that are odd across, and no other
        mirrored[start : start + _ROWS] = _signs(low)
    return plain, mirrored


def _signs(low: NDArray[np.float64]) -> Bits:
    flat = low.reshape(len(low), BITS)
    return np.where(flat > np.median(flat, axis=1, keepdims=True), np.float32(1), np.float32(-1))
