"""Write a data set as class folders or as a table of path,label,split."""

import csv
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tl.data.dataset import Dataset, Sample, class_name, clean, part_of
from tl.data.decoding import HEAD, SUFFIXES, format_of
from tl.data.images import IMAGE_SUFFIXES, ImageLike, open_regular, read_encoded
from tl.data.listing import is_ignored
from tl.data.load import Data
from tl.errors import DataError, ImageError, UsageError
from tl.progress import Progress

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # by Linux, by macOS or by Windows
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_MAX_BYTES = 200  # of a name: file systems take 255, and what makes a name unique is to fit as well
_MAX_DEPTH = 8


def check_new(out: Path, data: Data) -> None:
    """Raise UsageError unless `out` is a new place outside of the folder `data`."""
    if not out.name:
        raise UsageError(f"--out {str(out)!r}: give the name of a new folder or file")
    if os.path.lexists(out):
        raise UsageError(f"--out {str(out)!r} is there already: give a new name, or remove it first")
    if not isinstance(data, (str, os.PathLike)):
        return
    source, target = Path(data).expanduser().resolve(), out.resolve()
    if source.is_dir() and source in target.parents:
        raise UsageError(f"--out {str(out)!r} lies inside of {str(data)!r}, which is not changed: give another place")


def is_table(out: Path) -> bool:
    """Whether a place to write to is a table rather than a folder."""
    return out.suffix.lower() == ".csv"


def check_files(dataset: Dataset) -> None:
    """Raise DataError unless the images are files of the user's own, which a table can name."""
    if dataset.root is None or not all(isinstance(image, Path) for image in dataset.images):
        raise DataError(
            f"the images of {dataset.name!r} are no files of their own, which a table could name: write folders, such"
            " as --out photos/"
        )


def write_files(
    folder: Path, images: Sequence[ImageLike], paths: Sequence[str], *, link: bool = False, progress: Progress
) -> None:
    """Copy images to their paths below a new folder, byte for byte; arrays become PNGs.

    With `link` they are hard links to the originals where the disk allows.
    """
    folder.mkdir()
    with progress.task("writing", len(images), "images") as task:
        for image, path in zip(images, paths, strict=True):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(image, Path):
                _copy(image, target, link)
            else:
                target.write_bytes(read_encoded(image))
            task.advance()


def _copy(source: Path, target: Path, link: bool) -> None:
    if link:
        with suppress(OSError):  # another disk, or one without hard links: a copy serves as well
            os.link(source.resolve(), target)
            return
    try:
        with open_regular(source):  # a pipe would be waited for; what is copied was a file when it was listed
            pass
    except ImageError as error:
        raise DataError(f"{str(source)!r}: {error}") from None
    shutil.copyfile(source, target)


def write_table(table: Path, out: Path, samples: Iterable[Sample]) -> None:
    """Write path,label,split to `table`, which will be called `out`; paths below its folder are relative to that.

    Raises DataError for names that a table cannot hold.
    """
    rows = [(relative_path(out, sample), sample.label or "", sample.part or "") for sample in samples]
    write_rows(table, [("path", "label", "split"), *rows])


def write_rows(table: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows as comma-separated UTF-8; file names in another encoding keep their bytes."""
    with table.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def relative_path(out: Path, sample: Sample) -> str:
    """The path of a sample's file as a table at `out` has it."""
    file, home = os.path.abspath(str(sample.image)), os.path.abspath(out.parent)
    path = Path(os.path.relpath(file, home) if file.startswith(os.path.join(home, "")) else file).as_posix()
    if path != path.strip() or path.encode("utf-8", "replace").decode() != path:
        raise DataError(f"a table cannot name {path!a}: rename that file, or write folders, such as --out photos/")
    return path


def output_paths(samples: Sequence[Sample], suffixes: Mapping[int, str] = MappingProxyType({})) -> list[str]:
    """A posix path part/class/…/file for each sample, all different even where case is ignored.

    Folders below the class stay. `suffixes` are the right endings, by the index of the sample, where a name has a
    wrong one. Every label and name gets a path, if need be under another name.
    """
    has_parts = any(sample.part for sample in samples)
    folders = class_folders(sample.label for sample in samples if sample.label is not None)
    taken: set[str] = set()
    paths = []
    for at, sample in enumerate(samples):
        head = [sample.part or "train"] if has_parts else []
        head += [folders[sample.label]] if sample.label is not None else []
        *below, file = path_in_class(sample)
        paths.append(_unique(taken, "/".join([*head, *below]), _with_suffix(file, sample, suffixes.get(at))))
    return paths


def path_in_class(sample: Sample) -> list[str]:
    """The parts of a sample's name below its part and its class, each a safe name."""
    parts = [part for part in PurePosixPath(sample.name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    if PurePosixPath(sample.name).is_absolute():
        parts = parts[-1:]  # what is above it is of one machine, and no part of the data set
    if len(parts) > 1 and sample.part and part_of(parts[0]):
        parts = parts[1:]
    if len(parts) > 1 and class_name(parts[0]) == sample.label:
        parts = parts[1:]
    return [safe_name(part) for part in parts[-_MAX_DEPTH:]] or ["photo"]


def safe_name(name: str) -> str:
    """A name that any file system takes, and that neither hides nor leads elsewhere."""
    safe = _FORBIDDEN.sub("_", clean(name)).rstrip(". ").lstrip()
    if not safe or is_ignored(safe) or _DEVICES.fullmatch(safe):
        safe = f"_{safe}"
    while len(safe.encode()) > _MAX_BYTES:
        stem, dot, suffix = safe.rpartition(".")
        safe = f"{stem[:-1]}.{suffix}" if dot and stem and len(suffix) < 8 else safe[:-1]
    return safe


def class_folders(
    labels: Iterable[str], *, taken: Iterable[str] = (), fold: Callable[[str], str] = str
) -> dict[str, str]:
    """A folder name for each class, different from all others and those `taken` after `fold`, such as `str.casefold`.

    A class whose name is safe keeps it, whatever the others are called.
    """
    used, folders = set(taken), dict[str, str]()
    for label in sorted(set(labels), key=lambda label: (safe_name(label) != label, label)):
        name, number = safe_name(label), 2
        while fold(name) in used:
            name, number = f"{safe_name(label)}-{number}", number + 1
        used.add(fold(name))
        folders[label] = name
    return folders


def _with_suffix(file: str, sample: Sample, suffix: str | None) -> str:
    if suffix:
        return str(PurePosixPath(file).with_suffix(suffix))
    if isinstance(sample.image, Path):
        if PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES:
            return file
        try:
            with sample.image.open("rb") as image:
                return file + SUFFIXES.get(format_of(image.read(HEAD)), (".jpg",))[0]
        except OSError:
            return f"{file}.jpg"
    return file if file.lower().endswith(".png") else f"{file}.png"


def _unique(taken: set[str], folder: str, file: str) -> str:
    path, number = PurePosixPath(folder, file), 2
    stem, suffix = path.stem, path.suffix
    while (folded := unicodedata.normalize("NFKC", str(path)).casefold()) in taken:
        path = path.with_name(f"{stem}-{number}{suffix}")
        number += 1
    taken.add(folded)
    return str(path)
