"""What files say of themselves, and why some cannot be read, becomes findings."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tl.data.dataset import Dataset, Skipped, part_of
from tl.data.decoding import HEAD, SUFFIXES, format_of, unread
from tl.data.image_stats import Header, ImageStats
from tl.data.images import IMAGE_SUFFIXES
from tl.doctor.findings import Finding
from tl.doctor.suggest import Mending

_NOT_READ = "are not read"  # what the decoder says of an image of a format that it does not know
_REASONS = (
    ("unread format", _NOT_READ),
    ("empty", "empty file"),
    ("truncated", "truncated"),
    ("colour mode", "pixels are not supported"),
    ("enormous", "too large"),
    ("enormous", "larger than"),
    ("not an image", "not an image"),
    ("unreadable", "cannot be read"),
)
# A file may be sound though it cannot be read: none of these is offered for deleting.
_MENDS = {
    "unread format": "save it as JPEG",
    "colour mode": "save it as JPEG",
    "enormous": "make it smaller",
    "unreadable": "see to it that it is there and may be read",
}
_LARGE = 50_000_000  # pixels: they only cost time, as networks look at a fraction of a megapixel
_SMALL = 24  # pixels of a side, in a data set of larger ones
_ASPECT = 4.0  # a square that networks look at leaves a quarter of the short side
_MOST_SKIPPED = 10_000


def files(dataset: Dataset, looks: ImageStats) -> list[Finding]:
    """Findings about files: those that cannot be read, and those that can but are not what one thinks."""
    mending = Mending(dataset)
    found = [_unread(dataset, mending, index, reason) for index, reason in looks.errors.items()]
    found += [_left_out(dataset, skipped) for skipped in dataset.skipped[:_MOST_SKIPPED]]
    headers = {index: header for index, header in enumerate(looks.headers) if header is not None}
    sides = [min(header.width, header.height) for header in headers.values()]
    usual = float(np.median(sides)) if sides else 0.0
    for index, header in headers.items():
        found += _odd(dataset, mending, index, header, usual)
    return found


def _unread(dataset: Dataset, mending: Mending, index: int, reason: str) -> Finding:
    kind = _kind(reason)
    mend = _MENDS.get(kind) or mending.remove(index)
    return Finding(kind, "error", (dataset.names[index],), _evidence(kind, reason), mend, 1.0)


def _evidence(kind: str, reason: str) -> str:
    # Behind the colon the decoder says what to do, which is said below the evidence here.
    return reason.partition(": ")[0] if kind == "unread format" else reason


def _kind(reason: str) -> str:
    return next((kind for kind, words in _REASONS if words in reason), "corrupt")


def _odd(dataset: Dataset, mending: Mending, index: int, header: Header, usual: float) -> list[Finding]:
    name, size = dataset.names[index], f"{header.width} × {header.height} pixels"
    long, short = max(header.width, header.height), min(header.width, header.height)
    found = []

    def add(kind: str, severity: str, said: str, mend: str, score: float) -> None:
        found.append(Finding(kind, severity, (name,), said, mend, score, (index,)))

    suffixes = SUFFIXES.get(header.format)
    if suffixes and isinstance(dataset.images[index], Path) and PurePosixPath(name).suffix.lower() not in suffixes:
        add("wrong extension", "note", f"is a {header.format}", mending.rename(index, suffixes[0]), 0.4)
    if header.width * header.height > _LARGE:
        add("enormous", "note", size, "", 0.3)
    if short < _SMALL and short < usual / 2:
        add("tiny", "warning", f"{size}; the others have {usual:.0f} on their short side", mending.remove(index), 0.5)
    if long > _ASPECT * short:
        add("extreme shape", "note", size, "crop it to what it shows", min(1.0, long / short / 40))
    if header.orientation not in (0, 1):
        said = f"turned by EXIF orientation {header.orientation}: shown upright here, lying down by some other programs"
        add("rotated", "note", said, "", 0.1)
    if header.mode in ("CMYK", "YCCK"):
        add("colour mode", "note", f"{header.mode}: made for printing, its colours may shift", "", 0.2)
    return found


def _left_out(dataset: Dataset, skipped: Skipped) -> Finding:
    """A file that was left out before it was read does no harm; an image among them is worth a warning."""
    names, reason = (skipped.path,), skipped.reason
    if reason == "not in a class folder":
        return Finding("left out", "note", names, reason, "put it into the folder of its class", 0.1)
    head = _head(dataset, skipped.path) if reason.startswith("not an image file") else b""
    if kind := unread(head):
        return Finding("unread format", "warning", names, f"{kind} images {_NOT_READ}", _MENDS["unread format"], 0.8)
    if format_of(head):
        known = ", ".join(sorted(IMAGE_SUFFIXES)[:3])
        said = f"holds an image, but is left out for its name: image files end in {known}, …"
        return Finding("wrong extension", "warning", names, said, "", 0.8)
    return Finding("left out", "note", names, reason, "", 0.1)


def _head(dataset: Dataset, name: str) -> bytes:
    if dataset.root is None:
        return b""
    try:
        with open(dataset.root / name, "rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""


_SEPARATORS = re.compile(r"[\W_]+")
_PLURALS = (("s", ""), ("es", ""), ("ies", "y"))


def names(dataset: Dataset) -> list[Finding]:
    """Findings about classes that differ by case, plural or punctuation, nested folders, and parts under two names."""
    return [*_alike(dataset), *_nested(dataset), *_parts(dataset), *_noted(dataset)]


def same_class(class_names: Sequence[str]) -> list[list[int]]:
    """The classes, by their places, that may be one under two or more names."""
    same: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(class_names):
        same[_word(name, class_names)].append(label)
    return [labels for labels in same.values() if len(labels) > 1]


def _alike(dataset: Dataset) -> list[Finding]:
    found = []
    for labels in same_class(dataset.class_names):
        images = [int((dataset.labels == label).sum()) for label in labels]
        most = dataset.class_names[labels[images.index(max(images))]]
        told = ", ".join(f"{dataset.class_names[at]} ({count})" for at, count in zip(labels, images, strict=True))
        mend = f"if they are one class, move the photos of all to {most}"
        found.append(Finding("class names", "warning", (), f"classes that may be one: {told}", mend, 0.9))
    return found


def _folded(name: str) -> str:
    """A name without case, accents and punctuation."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return _SEPARATORS.sub("", "".join(letter for letter in letters if not unicodedata.combining(letter)))


def _word(name: str, among: Iterable[str]) -> str:
    """A folded name, or the one among others that it is the plural of."""
    own, others = _folded(name), set(map(_folded, among))
    singular = [own[: -len(ending)] + instead for ending, instead in _PLURALS if own.endswith(ending)]
    return next((word for word in singular if word in others and len(word) > 2), own)


def _nested(dataset: Dataset) -> list[Finding]:
    if dataset.root is None:
        return []
    inside: Counter[tuple[str, str]] = Counter()
    for name, label, part in zip(dataset.names, dataset.labels, dataset.parts, strict=True):
        folders = PurePosixPath(name).parts[:-1]
        own = folders[1:] if part and folders and part_of(folders[0]) else folders
        if label >= 0 and len(own) > 1 and own[0] == dataset.class_names[label]:
            inside[own[0], "/".join(own[1:])] += 1
    found = []
    for (label, folder), count in sorted(inside.items()):
        others = [name for name in dataset.class_names if name != label]
        other = next((name for name in others if _word(folder, others) == _folded(name)), None)
        said = f"{count} {'photo' if count == 1 else 'photos'} of {label} in the folder {label}/{folder}"
        if other is not None:
            said += f", though {other} is a class of its own"
        mend = f"move the folder {label}/{folder} to where its photos belong"
        found.append(Finding("nested folder", "warning" if other else "note", (), said, mend, 0.8 if other else 0.2))
    return found


def _parts(dataset: Dataset) -> list[Finding]:
    if dataset.root is None or not any(dataset.parts):
        return []
    same: dict[str, set[str]] = defaultdict(set)
    for folder in _folders(dataset):
        part = part_of(folder)
        if part:
            same[part].add(folder)
    return [
        Finding(
            "split folders",
            "warning",
            (),
            f"{' and '.join(sorted(map(repr, folders)))} are both there, and both taken as {part}",
            "move the photos of one to the other, or to test/",
            0.7,
        )
        for part, folders in sorted(same.items())
        if len(folders) > 1
    ]


def _folders(dataset: Dataset) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(dataset.root) if entry.is_dir())
    except OSError:
        return sorted({PurePosixPath(name).parts[0] for name in dataset.names})


def _noted(dataset: Dataset) -> list[Finding]:
    """What was decided while the data set was read, where it may not be what was meant."""
    telling = ("is left out", "left out:", "beside the split folders")
    notes = [note for note in dataset.notes if any(words in note for words in telling)]
    return [Finding("layout", "note", (), note, "", 0.3) for note in notes]
