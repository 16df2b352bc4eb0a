"""Recognise the images that a run was trained on: the same files, and resized, re-compressed or mirrored copies.

A run keeps a grey copy of each of them, 32 pixels a side: enough to find copies where the images are gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tl.cache import FeatureCache
from tl.data.image_stats import SIDE, ImageStats, measure_images
from tl.data.images import ImageLike
from tl.data.near_duplicates import find_known
from tl.progress import Progress
from tl.runs.folder import TRAINING_IMAGES, damaged_run
from tl.runs.run import Run, check_run, read_table


def write_training_images(folder: Path, stats: ImageStats, train: Sequence[int], usual: float) -> None:
    """Write the sha256 and the grey copies of the images at these indices into a run folder, the same file once.

    `usual` is how alike different ones are, as a rule (`usual_likeness`).
    """
    distinct = list({stats.fingerprints[at]: at for at in train}.values())
    hashes = np.frombuffer(b"".join(stats.fingerprints[at] for at in distinct), np.uint8).reshape(-1, 32)
    np.savez(folder / TRAINING_IMAGES, sha256=hashes, grey=stats.grey[distinct], usual_likeness=np.float64(usual))


def trained_on(run: Run) -> frozenset[str]:
    """The sha256 of every image that the run was trained on. Raises RunError for a damaged run."""
    rows = read_table(run, "split.csv", ("split", "sha256"))
    return frozenset(sha256 for part, sha256 in rows if part == "train")


def find_originals(
    run: Run, images: Sequence[ImageLike], sha256: Sequence[str], *, cache: FeatureCache | None, progress: Progress
) -> list[str]:
    """The sha256 of the training image that each image shows; its own where it shows none, and for images of the run.

    `sha256` are those of the images. Older runs know their training images by sha256 alone. Raises RunError for
    a damaged run.
    """
    own = {each for (each,) in read_table(run, "split.csv", ("sha256",))}
    known, new = _read(run, len(own)), [at for at, each in enumerate(sha256) if each not in own]
    shown = list(sha256)
    if known is None or not new:
        return shown
    fingerprints = [bytes.fromhex(sha256[at]) for at in new]
    stats = measure_images([images[at] for at in new], fingerprints=fingerprints, cache=cache, progress=progress)
    for at, original in zip(new, find_known(stats.grey, known.grey, known.usual).tolist(), strict=True):
        if original >= 0:
            shown[at] = known.sha256[original].tobytes().hex()
    return shown


@dataclass(frozen=True)
class _TrainingImages:
    """The sha256 uint8 `[n, 32]` and grey copies `[n, 32, 32]` of training images; how alike they are, as a rule."""

    sha256: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    usual: float


def _read(run: Run, most: int) -> _TrainingImages | None:
    """What a run keeps of at most so many training images; None for older runs."""
    if TRAINING_IMAGES not in run.manifest["files"]:
        return None
    path = run.folder / TRAINING_IMAGES
    check_run(run, (TRAINING_IMAGES,))
    try:
        with ZipFile(path) as archive:  # its declared size, before anything is unpacked
            if sum(member.file_size for member in archive.infolist()) > most * (SIDE * SIDE + 32) + 8192:
                raise ValueError("it is larger than the images of the run require")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            hashes, grey, usual = arrays["sha256"], arrays["grey"], float(arrays["usual_likeness"])
        shapes, kinds = (hashes.shape, grey.shape[1:]), {hashes.dtype, grey.dtype}
        if shapes != ((len(grey), 32), (SIDE, SIDE)) or kinds != {np.dtype(np.uint8)} or not usual > 0:
            raise ValueError("its arrays do not fit together")
    except (KeyError, TypeError, ValueError, OSError, EOFError, MemoryError, BadZipFile) as error:
        raise damaged_run(run.folder, f"{TRAINING_IMAGES}: {error}"[:200]) from error
    return _TrainingImages(hashes, grey, usual)
