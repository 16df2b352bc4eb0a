"""Samples become the places of their files in a new folder, which no name from a table or an archive can leave."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tl.data.dataset import Sample, clean
from tl.data.images import IMAGE_SUFFIXES
from tl.datasets.formats import HEAD, SUFFIXES, format_of
from tl.datasets.parts import part_of

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # by Linux, by macOS or by Windows
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_PASSED_OVER = ("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db")  # by the reader of folders
_MOST_BYTES = 200  # of a name: file systems take 255, and what makes a name unique is to fit as well
_DEEPEST = 8


def places(samples: Sequence[Sample], suffixes: Mapping[int, str] = MappingProxyType({})) -> list[str]:
    """Where each sample goes, as a posix path part/class/…/file, each unlike the others even where case is ignored.

    Folders below the class stay. `suffixes` are the right endings, by the index of the sample, where a name has a
    wrong one. Every label and name gets a place, if need be under another name.
    """
    parted = any(sample.part for sample in samples)
    folders = _folders(samples)
    taken: set[str] = set()
    made = []
    for at, sample in enumerate(samples):
        head = [sample.part or "train"] if parted else []
        head += [folders[sample.label]] if sample.label is not None else []
        *below, file = inside(sample)
        made.append(_unlike(taken, "/".join([*head, *below]), _ended(file, sample, suffixes.get(at))))
    return made


def inside(sample: Sample) -> list[str]:
    """The parts of a sample's name below its part and its class, each a safe name."""
    parts = [part for part in PurePosixPath(sample.name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    if PurePosixPath(sample.name).is_absolute():
        parts = parts[-1:]  # what is above it is of one machine, and no part of the data set
    if len(parts) > 1 and sample.part and part_of(parts[0]):
        parts = parts[1:]
    if len(parts) > 1 and parts[0] == sample.label:
        parts = parts[1:]
    return [safe(part) for part in parts[-_DEEPEST:]] or ["photo"]


def _folders(samples: Sequence[Sample]) -> dict[str, str]:
    """A folder for each class, each unlike the others, and named like the class where that can be."""
    labels = sorted({sample.label for sample in samples if sample.label is not None})
    made = {label: label for label in labels if safe(label) == label}
    for label in labels:
        name, number = safe(label), 2
        while label not in made and name in made.values():
            name, number = f"{safe(label)}-{number}", number + 1
        made.setdefault(label, name)
    return made


def safe(name: str) -> str:
    """A name that is one on any file system, and that neither hides nor leads elsewhere."""
    plain = _FORBIDDEN.sub("_", clean(name)).rstrip(". ").lstrip()
    if not plain or plain.startswith(".") or plain.casefold() in _PASSED_OVER or _DEVICES.fullmatch(plain):
        plain = f"_{plain}"
    while len(plain.encode()) > _MOST_BYTES:
        stem, dot, suffix = plain.rpartition(".")
        plain = f"{stem[:-1]}.{suffix}" if dot and stem and len(suffix) < 8 else plain[:-1]
    return plain


def _ended(file: str, sample: Sample, suffix: str | None) -> str:
    if suffix:
        return str(PurePosixPath(file).with_suffix(suffix))
    if isinstance(sample.picture, Path):
        known = PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES
        return file if known else file + _suffix(sample.picture)
    return file if file.lower().endswith(".png") else f"{file}.png"


def _suffix(picture: Path) -> str:
    try:
        with picture.open("rb") as file:
            return SUFFIXES.get(format_of(file.read(HEAD)), (".jpg",))[0]
    except OSError:
        return ".jpg"


def _unlike(taken: set[str], folder: str, file: str) -> str:
    path, number = PurePosixPath(folder, file), 2
    stem, suffix = path.stem, path.suffix
    while _folded(path) in taken:
        path = path.with_name(f"{stem}-{number}{suffix}")
        number += 1
    taken.add(_folded(path))
    return str(path)


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFKC", str(path)).casefold()
