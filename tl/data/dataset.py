"""The data set: images, their classes and their parts, as every other part of `tl` uses them."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike
from tl.errors import DataError
from tl.text import count, in_order, quoted

PARTS = ("train", "validation", "test")

Labels = NDArray[np.int64]

# What folders and table entries may be called for each part.
ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why in a few words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """One image of a source, with its label and its part where it has them."""

    image: ImageLike
    name: str
    label: str | None
    part: str | None = None


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images with their classes.

    `name` is short and safe for a file name. `class_names` are sorted, those with numbers by their values. One entry an
    image have `images`, `names` (posix paths relative to `root` where possible, "train/00012" for CIFAR), `labels`
    (index into `class_names`, -1 without one) and `parts` (one of `PARTS` where the source has a split, or None).
    `skipped` are the files left out, `notes` what was decided for the user, a short sentence each. Images of one name
    in `groups` stay on one side of a split; "" is none, and without groups it is empty.
    """

    name: str
    root: Path | None
    class_names: tuple[str, ...]
    images: tuple[ImageLike, ...]
    names: tuple[str, ...]
    labels: Labels
    parts: tuple[str | None, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {count(len(self.images), 'image')}, {count(len(self.class_names), 'class')}>"

    @property
    def omissions(self) -> tuple[str, ...]:
        """The notes on what is left out or not used."""
        return tuple(note for note in self.notes if "left out" in note or "not used" in note)

    def samples(self) -> list[Sample]:
        """The samples that the data set was assembled from."""
        labels = [self.class_names[label] if label >= 0 else None for label in self.labels.tolist()]
        return [Sample(*row) for row in zip(self.images, self.names, labels, self.parts, strict=True)]

    def subset(self, indices: Sequence[int] | Labels) -> "Dataset":
        """The data set with the images at these indices alone; its classes stay."""
        return dataclasses.replace(
            self,
            images=tuple(self.images[index] for index in indices),
            names=tuple(self.names[index] for index in indices),
            labels=self.labels[indices],
            parts=tuple(self.parts[index] for index in indices),
            groups=tuple(self.groups[index] for index in indices) if self.groups else (),
        )

    def without(self, dropped: Mapping[int, str]) -> "Dataset":
        """The data set without the images at these indices, each of them now `skipped` with its reason.

        Classes that lose their last image disappear, with a note.
        """
        kept = self.subset([index for index in range(len(self.names)) if index not in dropped])
        present = sorted({int(label) for label in kept.labels} - {-1})
        before = {int(label) for label in self.labels} - {-1}
        lost = [self.class_names[label] for label in sorted(before - set(present))]
        renumbered = np.full(len(self.class_names) + 1, -1, dtype=np.int64)  # the last entry is for label -1
        renumbered[present] = np.arange(len(present))
        return dataclasses.replace(
            kept,
            class_names=tuple(self.class_names[label] for label in present),
            labels=renumbered[kept.labels],
            skipped=self.skipped + tuple(Skipped(self.names[index], dropped[index]) for index in sorted(dropped)),
            notes=self.notes + tuple(f"class {name!r} is left out: none of its images can be used" for name in lost),
        )

    def renamed(self, names: Mapping[str, str]) -> "Dataset":
        """The data set with other names for some of its classes; two may get the same."""
        samples = [dataclasses.replace(one, label=names.get(one.label or "", one.label)) for one in self.samples()]
        renamed = assemble(samples, source=self.name, name=self.name, root=self.root, labelled=False)
        return dataclasses.replace(renamed, skipped=self.skipped, notes=self.notes, groups=self.groups)

    def joined(self, other: "Dataset") -> "Dataset":
        """The data set with the images of another one; classes are those of both, by name.

        A name that is taken gets the name of the other data set before it.
        """
        taken, samples = set(self.names), self.samples()
        for sample in other.samples():
            name = sample.name
            while name in taken:
                name = f"{other.name}/{name}"
            samples.append(dataclasses.replace(sample, name=name))
        groups = self.groups or ("",) * len(self.names), other.groups or ("",) * len(other.names)
        joined = assemble(
            samples,
            source=self.name,
            name=self.name,
            root=None,
            skipped=self.skipped + other.skipped,
            notes=self.notes + other.notes,
            labelled=False,
        )
        return dataclasses.replace(joined, groups=groups[0] + groups[1] if self.groups or other.groups else ())


def assemble(
    samples: Sequence[Sample],
    *,
    source: str,
    name: str,
    root: Path | None,
    skipped: Iterable[Skipped] = (),
    notes: Iterable[str] = (),
    labelled: bool = True,
) -> Dataset:
    """Assemble a data set from samples, in their order.

    Raises DataError for no samples at all and, when `labelled`, for fewer than two classes or a class that is held out
    but has no training images; `source` is how the messages name the data.
    """
    notes = tuple(notes)
    if not samples:
        raise DataError(f"no images in {source}")
    if labelled:
        _check_classes(samples, source, "; ".join(note for note in notes if "left out" in note))
    class_names = in_order({sample.label for sample in samples if sample.label is not None})
    number = {label: index for index, label in enumerate(class_names)}
    labels = [-1 if sample.label is None else number[sample.label] for sample in samples]
    return Dataset(
        name=name,
        root=root,
        class_names=tuple(class_names),
        images=tuple(sample.image for sample in samples),
        names=tuple(sample.name for sample in samples),
        labels=np.array(labels, dtype=np.int64),
        parts=tuple(sample.part for sample in samples),
        skipped=tuple(skipped),
        notes=notes,
    )


def _check_classes(samples: Sequence[Sample], source: str, left_out: str) -> None:
    classes = {sample.label for sample in samples if sample.label is not None}
    if len(classes) < 2:
        present = f"one class only, {quoted(classes)}" if classes else "no classes"
        why = f" ({left_out})" if left_out else ""
        raise DataError(f"{source} has {present}{why}: at least two are needed, such as data/cat/… and data/dog/…")
    # Images without a part are for training where others have one.
    training = {sample.label for sample in samples if sample.part in (None, "train") and sample.label is not None}
    for part in ("validation", "test"):
        own = {sample.label for sample in samples if sample.part == part and sample.label is not None}
        if own - training:
            raise DataError(
                f"{source}: {part} has classes that train has not: {quoted(own - training)}; train has"
                f" {quoted(training)}: name them alike, or add training images"
            )


def part_of(name: str) -> str | None:
    """ "train", "validation" or "test" for a folder or table entry called `name` in any case; None for other names."""
    return ALIASES.get(name.strip().casefold())


def clean(text: str) -> str:
    """Text from a file system or table in the one Unicode form (NFC) that can be compared and written as UTF-8."""
    return unicodedata.normalize("NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def class_name(text: str) -> str:
    """The class of a folder or a table's entry: `clean`, without the white space around it that nobody sees."""
    return clean(text).strip() or clean(text)


def short_name(text: str) -> str:
    """A name that any file system takes: "my photos (2)" becomes "my-photos-2"."""
    return re.sub(r"[^\w.]+", "-", clean(text)).strip("-._")[:40] or "data"
