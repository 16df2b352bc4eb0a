"""A run becomes photo files to measure it with: some that it was validated on, or drawn ones where those are gone."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl.data.images import Picture, read
from tl.errors import DataError, ImageError, RunError
from tl.progress import Reporter
from tl.runs.photos import Photos
from tl.runs.run import Run

MOST = 64
DRAWN = (375, 500)  # height and width in pixels, as of common photos


@dataclass(frozen=True)
class Sample:
    """Files of photos, and what they are in words."""

    files: tuple[Path, ...]
    about: str


@contextmanager
def sample(run: Run, data: str | None, report: Reporter) -> Iterator[Sample]:
    """Up to `MOST` photos as files, there until the block ends; `data` says where the run's photos are now."""
    with tempfile.TemporaryDirectory(prefix="tl-bench-") as scratch:
        try:
            album = Photos(run, data, report).held_out(MOST)
            files = tuple(_files([photo.picture for photo in album.photos], Path(scratch)))
            about = f"{len(files)} {album.part} photos"
        except (DataError, RunError, ImageError) as error:
            if data is not None:
                raise
            report.warn(f"{str(error).partition('; ')[0]}: measured with drawn photos, which decode faster or slower")
            files = tuple(_drawn(Path(scratch)))
            about = f"{len(files)} drawn JPEGs of {DRAWN[1]} × {DRAWN[0]} pixels"
        yield Sample(files, about)


def _files(pictures: Sequence[Picture], folder: Path) -> Iterator[Path]:
    from PIL import Image

    for at, picture in enumerate(pictures):
        if isinstance(picture, Path):
            yield picture
            continue
        content = read(picture)
        path = folder / f"{at:03}.png"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
        yield path


def _drawn(folder: Path) -> Iterator[Path]:
    """Soft shapes with some grain: they compress about as photos do."""
    from PIL import Image

    draw = np.random.default_rng(0)
    height, width = DRAWN
    for at in range(MOST):
        coarse = Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height), 3)
        grain = np.asarray(coarse, np.int16) + draw.integers(-12, 13, (height, width, 1), np.int16)
        path = folder / f"{at:03}.jpg"
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(path, quality=90)
        yield path
