"""Paths, types and small images that tests share."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
TINY = "mobilenetv3small"  # the smallest network; with random weights it converts in seconds and runs in milliseconds

Packaged = Callable[[str, str], Path]
Tl = Callable[..., "subprocess.CompletedProcess[str]"]


def draw_shapes(folder: Path, count: int, *, seed: int) -> Path:
    """So many images of stripes and of noise, as class folders."""
    from PIL import Image

    draw = np.random.default_rng(seed)
    for at in range(count):
        stripes = np.zeros((40, 50, 3), np.uint8)
        stripes[np.random.default_rng(at + 100 * seed).random(40) < 0.45] = draw.integers(
            180, 256, 3
        )  # elsewhere in each image
        noise = draw.integers(0, 60, (40, 50, 3), np.uint8)
        for label, pixels in (("stripes", stripes), ("noise", noise)):
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / label / f"{at:02}.png")
    return folder
