"""What each format is made of: a function `write` that takes a `Writing`, and `opened`, which gives an `Answering`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.progress import Reporter
from tl.runs.run import Run

Pixels = NDArray[np.uint8]
"""Photos, RGB `[n, height, width, 3]`, or one of them `[height, width, 3]`."""

Probabilities = NDArray[np.float32]

Answering = Callable[[Pixels], Probabilities]
"""From photos of one size, `[n, height, width, 3]`, to calibrated probabilities `[n, classes]`."""


@dataclass(frozen=True)
class Writing:
    """A run that is to be written at `path`, with what it is `about` as metadata.

    It is quantized where there are photos for `calibration`, resized.
    """

    run: Run
    path: Path
    about: dict[str, Any]
    calibration: tuple[Pixels, ...]
    report: Reporter
