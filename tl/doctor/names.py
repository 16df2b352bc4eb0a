"""Names of classes and folders become what may be one thing under two names."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tl.data.dataset import Dataset
from tl.datasets.parts import part_of
from tl.doctor.findings import Finding

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
