"""What files say of themselves, and why some cannot be read, becomes findings."""

from pathlib import Path, PurePosixPath

import numpy as np

from tl.datasets.dataset import Dataset
from tl.datasets.formats import HEAD, SUFFIXES, format_of
from tl.datasets.images import IMAGE_SUFFIXES
from tl.doctor.findings import Finding
from tl.doctor.looks import Header, Looks
from tl.doctor.mending import Mending

_REASONS = (
    ("empty", "empty file"),
    ("truncated", "truncated"),
    ("colour mode", "pixels are not supported"),
    ("enormous", "too large"),
    ("enormous", "larger than"),
    ("not an image", "not an image"),
    ("unreadable", "cannot be read"),
)
_LARGE = 50_000_000  # pixels: they only cost time, as networks look at a fraction of a megapixel
_SMALL = 24  # pixels of a side, in a data set of larger ones
_ASPECT = 4.0  # a square that networks look at leaves a quarter of the short side
_MOST_SKIPPED = 10_000


def files(dataset: Dataset, looks: Looks) -> list[Finding]:
    """Findings about files: those that cannot be read, and those that can but are not what one thinks."""
    mending = Mending(dataset)
    found = [
        Finding(_kind(reason), "error", (dataset.names[index],), reason, mending.remove(index), 1.0)
        for index, reason in looks.errors.items()
    ]
    found += _skipped(dataset, mending)
    headers = {index: header for index, header in enumerate(looks.headers) if header is not None}
    sides = [min(header.width, header.height) for header in headers.values()]
    usual = float(np.median(sides)) if sides else 0.0
    for index, header in headers.items():
        found += _odd(dataset, mending, index, header, usual)
    return found


def _kind(reason: str) -> str:
    return next((kind for kind, words in _REASONS if words in reason), "corrupt")


def _odd(dataset: Dataset, mending: Mending, index: int, header: Header, usual: float) -> list[Finding]:
    name, size = dataset.names[index], f"{header.width} × {header.height} pixels"
    long, short = max(header.width, header.height), min(header.width, header.height)
    found = []

    def add(kind: str, severity: str, said: str, mend: str, score: float) -> None:
        found.append(Finding(kind, severity, (name,), said, mend, score, (index,)))

    suffixes = SUFFIXES.get(header.format)
    if suffixes and isinstance(dataset.pictures[index], Path) and PurePosixPath(name).suffix.lower() not in suffixes:
        add("wrong extension", "note", f"is a {header.format}", mending.rename(index, suffixes[0]), 0.4)
    if header.width * header.height > _LARGE:
        add("enormous", "note", size, "", 0.3)
    if short < _SMALL and short < usual / 2:
        add("tiny", "warning", f"{size}; the others have {usual:.0f} on their short side", mending.remove(index), 0.5)
    if long > _ASPECT * short:
        add("extreme shape", "note", size, mending.remove(index), min(1.0, long / short / 40))
    if header.orientation not in (0, 1):
        said = f"turned by EXIF orientation {header.orientation}: shown upright here, lying down by some other programs"
        add("rotated", "note", said, "", 0.1)
    if header.mode in ("CMYK", "YCCK"):
        add("colour mode", "note", f"{header.mode}: made for printing, its colours may shift", "", 0.2)
    return found


def _skipped(dataset: Dataset, mending: Mending) -> list[Finding]:
    """Files that were left out before they were read; an image under a foreign name is worth a warning."""
    found = []
    for skipped in dataset.skipped[:_MOST_SKIPPED]:
        image = skipped.reason.startswith("not an image file") and _starts_like_an_image(dataset, skipped.path)
        if image:
            known = ", ".join(sorted(IMAGE_SUFFIXES)[:3])
            said = f"holds an image, but is left out for its name: image files end in {known}, …"
            found.append(Finding("wrong extension", "warning", (skipped.path,), said, "", 0.8))
        else:
            mend = mending.remove_file(skipped.path)
            found.append(Finding("left out", "note", (skipped.path,), skipped.reason, mend, 0.1))
    return found


def _starts_like_an_image(dataset: Dataset, name: str) -> bool:
    if dataset.root is None:
        return False
    try:
        with open(dataset.root / name, "rb") as file:
            return bool(format_of(file.read(HEAD)))
    except (OSError, ValueError):
        return False
