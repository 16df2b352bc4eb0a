"""Load a folder with one folder a class, with or without folders for train, validation and test above them.

data/cat/1.jpg, data/dog/2.jpg                  class folders; deeper folders belong to their class
data/train/cat/1.jpg, data/val/dog/2.jpg        split folders, if every folder is one and train has class folders
data/1.jpg, data/2.jpg                          a flat folder: only where no labels are needed
"""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tl.data.dataset import Dataset, Sample, Skipped, assemble, class_name, clean, part_of, short_name
from tl.data.listing import HELPER, HIDDEN, OWN, LeftOut, OnSkip, list_folder, walk_images
from tl.errors import DataError
from tl.text import count, quoted

_HOW = "put the images into one folder a class, such as cat/ and dog/"


@dataclass
class _Scan:
    root: Path
    labelled: bool
    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    classes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # and their folders' names

    def name(self, path: Path) -> str:
        return clean(path.relative_to(self.root).as_posix())

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(self.name(path), reason))

    def pass_over(self, path: str, reason: str) -> None:
        if reason in (HIDDEN, HELPER, OWN):
            self.left_out(path, reason)
        else:
            self.skip(Path(path), reason)


def load_folder(folder: Path, *, labelled: bool) -> Dataset:
    """Load the images below `folder`, sorted by name.

    Without `labelled`, images need no class folders. Raises DataError when it is empty or not laid out as classes.
    """
    try:
        root, notes = _descend(folder)
        scan = _Scan(root, labelled, notes=notes)
        _scan_root(scan)
    except OSError as error:
        raise DataError(
            f"folder {str(error.filename or folder)!r} cannot be read: {(error.strerror or '').lower()}"
        ) from None
    if not scan.samples:
        raise DataError(_why_nothing(scan, folder))
    same = [f"folders {quoted(names)} are one class" for names in scan.classes.values() if len(names) > 1]
    scan.notes += same
    if scan.left_out.counts:
        scan.notes.append(f"left out: {scan.left_out}")
    scan.samples.sort(key=lambda sample: sample.name)
    scan.skipped.sort(key=lambda skipped: skipped.path)
    return assemble(
        scan.samples,
        source=f"folder {str(folder)!r}",
        name=short_name(os.path.basename(os.path.abspath(folder))),
        root=root,
        skipped=scan.skipped,
        notes=scan.notes,
        labelled=labelled,
    )


def _descend(folder: Path) -> tuple[Path, list[str]]:
    # One folder of one folder is still one class; it takes two, or a train folder, at the end of the chain.
    root = folder
    while True:
        folders, images = _list(root)
        if images or not folders:
            return folder, []
        if len(folders) > 1 or part_of(folders[0].name) == "train":
            break
        root = folders[0]
    if root == folder:
        return folder, []
    return root, [f"the data set is the folder {clean(root.relative_to(folder).as_posix())!r} inside {str(folder)!r}"]


def _scan_root(scan: _Scan) -> None:
    beside: list[str] = []

    def skip(path: str, reason: str) -> None:
        if reason in (HIDDEN, HELPER, OWN) or os.path.isdir(path):
            scan.pass_over(path, reason)
        else:
            beside.append(path)

    folders, images = _list(scan.root, skip)
    if _are_parts(scan, folders):
        _scan_parts(scan, folders)
    else:
        for folder in folders:
            _scan_class(scan, folder, part=None)
    if scan.labelled and images and not scan.samples:
        raise DataError(f"folder {str(scan.root)!r} holds {count(len(images), 'image')} but no class folders: {_HOW}")
    if scan.labelled:
        for image in images:
            scan.skip(image, "not in a class folder")
    else:
        scan.samples += [Sample(image, scan.name(image), None) for image in images]
    others = [Path(path) for path in beside] + (images if scan.labelled else [])
    if others and scan.samples:
        scan.notes.append(f"{count(len(others), 'file')} outside of the class folders left out: {_first(others)}")


def _are_parts(scan: _Scan, folders: list[Path]) -> bool:
    parts = [part_of(folder.name) for folder in folders]
    if "train" not in parts:
        return False
    train = [folder for folder, part in zip(folders, parts, strict=True) if part == "train"]
    others = [folder for folder, part in zip(folders, parts, strict=True) if part is None and _holds_images(folder)]
    has_more = len(set(parts) - {None}) > 1
    if others and (has_more or any(map(_holds_classes, train))):
        raise DataError(
            f"folder {str(scan.root)!r} has split folders and beside them {_first(others)}: "
            "move what is not part of the split elsewhere, or rename the folders if all are classes"
        )
    if not others and any(_list(folder)[0] for folder in train):
        return True
    if scan.labelled and has_more:
        raise DataError(f"folder {str(scan.root)!r} has split folders, but {train[0].name!r} no class folders: {_HOW}")
    return False


def _holds_classes(folder: Path) -> bool:
    folders, images = _list(folder)
    return not images and sum(map(_holds_images, folders)) > 1


def _holds_images(folder: Path) -> bool:
    return next(walk_images(str(folder)), None) is not None


def _scan_parts(scan: _Scan, folders: list[Path]) -> None:
    used = []
    for folder in folders:
        part = part_of(folder.name)
        if part is None:
            scan.notes.append(f"folder {folder.name!r} beside the split folders left out: it holds no images")
            continue
        classes, flat = _list(folder, scan.pass_over)
        for class_folder in classes:
            _scan_class(scan, class_folder, part)
        if scan.labelled:
            for file in flat:
                scan.skip(file, "not in a class folder")
        else:
            scan.samples += [Sample(file, scan.name(file), None, part) for file in flat]
        if classes or (flat and not scan.labelled):
            used.append(folder.name if folder.name == part else f"{folder.name} (as {part})")
        elif flat:
            scan.notes.append(f"{folder.name!r} is left out: it has no class folders")
    scan.notes.append(f"split folders: {', '.join(used)}")


def _scan_class(scan: _Scan, folder: Path, part: str | None) -> None:
    def unreadable(error: OSError) -> None:
        scan.skip(Path(error.filename), f"folder cannot be read: {(error.strerror or '').lower()}")

    label, before, skipped = class_name(folder.name), len(scan.samples), len(scan.skipped)
    scan.classes[label].add(clean(folder.name))
    for name in walk_images(str(folder), unreadable, scan.pass_over, home=str(scan.root)):
        file = Path(name)
        scan.samples.append(Sample(file, scan.name(file), label, part))
    if len(scan.samples) == before:
        files = f" among its {count(len(scan.skipped) - skipped, 'file')}" if len(scan.skipped) > skipped else ""
        scan.notes.append(f"folder {scan.name(folder)!r} is left out: it holds no images{files}")


def _list(folder: Path, skip: OnSkip = lambda *_: None) -> tuple[list[Path], list[Path]]:
    """The folders and the images in a folder, sorted."""
    folders, images = list_folder(str(folder), (os.path.realpath(folder),), skip)
    return list(map(Path, folders)), list(map(Path, images))


def _why_nothing(scan: _Scan, folder: Path) -> str:
    if not any(scan.root.iterdir()):
        return f"folder {str(folder)!r} is empty: {_HOW}"
    reasons = Counter(skipped.reason for skipped in scan.skipped).most_common(3)
    present = "; ".join(f"{number} × {reason}" for reason, number in reasons) or str(scan.left_out) or "other files"
    return f"no images in folder {str(folder)!r} ({present}): {_HOW}"


def _first(files: list[Path]) -> str:
    return quoted((clean(file.name) for file in files), most=3)


def nesting_warning(dataset: Dataset) -> str:
    """A sentence that a data set looks like several ones, and which of them to give; else nothing.

    Deeper folders belong to their class; but where at least two classes hold at least two folders each and no images of
    their own, each may be a data set.
    """
    if dataset.root is None or any(dataset.parts):
        return ""
    inner: dict[str, set[str]] = defaultdict(set)
    images: dict[str, int] = defaultdict(int)
    for name, label in zip(dataset.names, dataset.labels, strict=True):
        first, *deeper = name.split("/")
        if label < 0 or class_name(first) != dataset.class_names[label]:
            continue
        images[first] += 1
        inner[first].add(deeper[0] if len(deeper) > 1 else "")  # "" stands for images of its own
    nested = [label for label, folders in inner.items() if "" not in folders and len(folders) >= 2]
    if len(nested) < 2:
        return ""
    largest = max(nested, key=lambda label: images[label])
    return (
        f"this looks like several data sets: {quoted(nested)} hold folders of images and no images of their own; "
        f"if so, give one, such as {str(dataset.root / largest)!r}"
    )
