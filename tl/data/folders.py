"""Load a folder with one folder a class, with or without folders for train, validation and test above them.

data/cat/1.jpg, data/dog/2.jpg                  class folders; deeper folders belong to their class
data/train/cat/1.jpg, data/val/dog/2.jpg        split folders, if every folder is one and train has class folders
data/1.jpg, data/2.jpg                          a flat folder: only where no labels are needed
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tl.data.dataset import Dataset, Sample, Skipped, assemble, clean, part_of, short_name
from tl.data.images import IMAGE_SUFFIXES
from tl.errors import DataError
from tl.text import count, quoted

_IGNORED = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"})
_HOW = "put the images into one folder a class, such as cat/ and dog/"


@dataclass
class _Scan:
    root: Path
    labelled: bool
    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return clean(path.relative_to(self.root).as_posix())

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(self.name(path), reason))


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
    scan.samples.sort(key=lambda sample: sample.name)
    scan.skipped.sort(key=lambda skipped: skipped.path)
    return assemble(
        scan.samples,
        source=f"folder {str(folder)!r}",
        name=short_name(folder.resolve().name),
        root=root,
        skipped=scan.skipped,
        notes=scan.notes,
        labelled=labelled,
    )


def _descend(folder: Path) -> tuple[Path, list[str]]:
    # One folder of one folder is still one class; it takes two, or a train folder, at the end of the chain.
    root = folder
    while True:
        folders, files = _list(root)
        if any(map(_is_image, files)) or not folders:
            return folder, []
        if len(folders) > 1 or part_of(folders[0].name) == "train":
            break
        root = folders[0]
    if root == folder:
        return folder, []
    return root, [f"the data set is the folder {clean(root.relative_to(folder).as_posix())!r} inside {str(folder)!r}"]


def _scan_root(scan: _Scan) -> None:
    folders, files = _list(scan.root)
    if _are_parts(scan, folders):
        _scan_parts(scan, folders)
    else:
        for folder in folders:
            _scan_class(scan, folder, part=None)
    images = [file for file in files if _is_image(file)]
    if scan.labelled and images and not scan.samples:
        raise DataError(f"folder {str(scan.root)!r} holds {len(images)} images but no class folders: {_HOW}")
    if scan.labelled:
        for image in images:
            scan.skip(image, "not in a class folder")
    else:
        scan.samples += [Sample(image, scan.name(image), None) for image in images]
    beside = [file for file in files if not _is_image(file) or scan.labelled]
    if beside and scan.samples:
        scan.notes.append(f"{count(len(beside), 'file')} outside of the class folders left out: {_first(beside)}")


def _are_parts(scan: _Scan, folders: list[Path]) -> bool:
    parts = [part_of(folder.name) for folder in folders]
    if "train" not in parts:
        return False
    if None in parts:
        others = [folder for folder, part in zip(folders, parts, strict=True) if part is None and _holds_images(folder)]
        if others and len(set(parts) - {None}) > 1:
            raise DataError(
                f"folder {str(scan.root)!r} has split folders and beside them {_first(others)}: "
                "move what is not part of the split elsewhere, or rename the folders if all are classes"
            )
        if others or len(set(parts) - {None}) == 1:
            return False
    train = [folder for folder, part in zip(folders, parts, strict=True) if part == "train"]
    if any(_list(folder)[0] for folder in train):
        return True
    if scan.labelled and len(set(parts)) > 1:
        raise DataError(f"folder {str(scan.root)!r} has split folders, but {train[0].name!r} no class folders: {_HOW}")
    return False


def _holds_images(folder: Path) -> bool:
    return any(_is_image(Path(where, name)) for where, _, files in os.walk(folder) for name in files)


def _scan_parts(scan: _Scan, folders: list[Path]) -> None:
    used = []
    for folder in folders:
        part = part_of(folder.name)
        if part is None:
            scan.notes.append(f"folder {folder.name!r} beside the split folders left out: it holds no images")
            continue
        classes, files = _list(folder)
        flat = [file for file in files if _is_image(file)]
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
    target, home = folder.resolve(), scan.root.resolve()
    if folder.is_symlink() and (target == home or home in target.parents or target in home.parents):
        return scan.skip(folder, "a link back into the data set")
    label, before = clean(folder.name), len(scan.samples)
    for file in _walk(scan, folder):
        suffix = file.suffix.lower()
        if not file.is_file():
            scan.skip(file, "no such file" if file.is_symlink() else "not a file")
        elif suffix in IMAGE_SUFFIXES:
            scan.samples.append(Sample(file, scan.name(file), label, part))
        else:
            scan.skip(file, f"not an image file ({suffix or 'no suffix'})")
    if len(scan.samples) == before:
        scan.notes.append(f"folder {scan.name(folder)!r} is left out: it holds no images")


def _walk(scan: _Scan, top: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        scan.skip(Path(error.filename), f"folder cannot be read: {(error.strerror or '').lower()}")

    for where, folders, files in os.walk(top, onerror=unreadable):
        here = Path(where)
        folders[:] = [name for name in folders if not is_ignored(name)]
        for name in folders:
            if (here / name).is_symlink():
                scan.skip(here / name, "a link to a folder is not followed")
        yield from (here / name for name in files if not is_ignored(name))


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    entries = sorted((e for e in folder.iterdir() if not is_ignored(e.name)), key=lambda e: clean(e.name))
    return [e for e in entries if e.is_dir()], [e for e in entries if not e.is_dir()]


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set: hidden, or left by the operating system."""
    return name.startswith(".") or name.casefold() in _IGNORED


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()


def _why_nothing(scan: _Scan, folder: Path) -> str:
    folders, files = _list(scan.root)
    if not folders and not files:
        return f"folder {str(folder)!r} is empty: {_HOW}"
    reasons = Counter(skipped.reason for skipped in scan.skipped).most_common(3)
    present = "; ".join(f"{number} × {reason}" for reason, number in reasons) or f"{len(files)} other files"
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
        if label < 0 or first != dataset.class_names[label]:
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
