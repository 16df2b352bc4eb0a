"""Two small grey pictures become how well one lies over a part of the other: 1 where it is a copy of that part.

One is shrunk step by step and moved over the other; the measure is the largest correlation of what is left when the
coarse light and shade are taken away. Brightness and contrast do not change it, and two skies are not alike by it.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.doctor.neighbours import unit

Floats = NDArray[np.float32]
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
