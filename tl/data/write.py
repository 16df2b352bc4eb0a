"""Samples become a data set on the disk: class folders or a table, whole or not at all."""

import csv
import os
import pickle
import re
import shutil
import stat
import struct
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tl.data.dataset import Dataset, Sample, clean, part_of
from tl.data.decoding import HEAD, SUFFIXES, format_of
from tl.data.images import IMAGE_SUFFIXES, ImageLike, decode, encode_png, fit, read
from tl.data.load import Data, load
from tl.data.tfrecord import write_record
from tl.errors import DataError, ImageError, StorageError, UsageError
from tl.progress import Progress


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


@contextmanager
def fresh(out: Path) -> Iterator[Path]:
    """A scratch path beside `out` that gets its name once all is written, and disappears where that fails.

    Raises StorageError, and UsageError for an `out` that has come to be there meanwhile.
    """
    scratch = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove(scratch)
        yield scratch
        if os.path.lexists(out):
            raise UsageError(f"--out {str(out)!r} has come to be there meanwhile: give a new name")
        os.rename(scratch, out)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{str(out)!r} cannot be written: {why}; nothing of it was left behind") from error
    finally:
        _remove(scratch)


def write_files(
    folder: Path, pictures: Sequence[ImageLike], places: Sequence[str], *, link: bool = False, progress: Progress
) -> None:
    """Copy pictures to their places below a new folder, byte for byte; arrays become PNGs.

    With `link` they are hard links to the originals where the disk allows.
    """
    folder.mkdir()
    made: set[Path] = set()
    with progress.task("writing", len(pictures), "photos") as task:
        for picture, place in zip(pictures, places, strict=True):
            target = folder / place
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            if isinstance(picture, Path):
                _copy(picture, target, link)
            else:
                content = read(picture)
                target.write_bytes(content if isinstance(content, bytes) else encode_png(content))
            task.advance()


def check_files(dataset: Dataset) -> None:
    """Raise DataError unless the pictures are files of the user's own, which a table can name."""
    if dataset.root is None or not all(isinstance(picture, Path) for picture in dataset.images):
        raise DataError(
            f"the images of {dataset.name!r} are no files of their own, which a table could name: write folders, such"
            " as --out photos/"
        )


def write_table(table: Path, out: Path, samples: Iterable[Sample]) -> None:
    """Write path,label,split to `table`, which will be called `out`; paths stand from there where they are below it.

    Raises DataError for names that are not Unicode.
    """
    rows = [(path_from(out, sample), sample.label or "", sample.part or "") for sample in samples]
    if any(label != label.strip() for _, label, _ in rows):
        raise DataError("a table cannot name a class that begins or ends with a space: rename it, or write folders")
    write_rows(table, [("path", "label", "split"), *rows])


def write_rows(table: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows as comma-separated UTF-8; file names in another encoding keep their bytes."""
    with table.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def path_from(out: Path, sample: Sample) -> str:
    """The path of a sample's file as a table at `out` has it."""
    file, home = os.path.abspath(str(sample.image)), os.path.abspath(out.parent)
    path = Path(os.path.relpath(file, home) if file.startswith(os.path.join(home, "")) else file).as_posix()
    if path != path.strip() or path.encode("utf-8", "replace").decode() != path:
        raise DataError(f"a table cannot name {path!a}: rename that file, or write folders, such as --out photos/")
    return path


def _copy(source: Path, target: Path, link: bool) -> None:
    if link:
        with suppress(OSError):  # another disk, or one without hard links: a copy serves as well
            os.link(source.resolve(), target)
            return
    try:
        with source.open("rb") as file:  # a pipe would be waited for; what is copied was a file when it was listed
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(f"{str(source)!r} is no file any more: it has changed since it was looked at")
    except OSError as error:
        raise DataError(f"{str(source)!r} cannot be read: {(error.strerror or '').lower()}") from None
    shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


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
    folders = _naming_folders(samples)
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


def _naming_folders(samples: Sequence[Sample]) -> dict[str, str]:
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
    if isinstance(sample.image, Path):
        known = PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES
        return file if known else file + _suffix(sample.image)
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


_SIDE = 32


def write_cifar(
    folder: Path, samples: Sequence[Sample], class_names: Sequence[str], advance: Callable[[], None]
) -> dict[str, str]:
    """Write `train`, `test` and `meta` with images of 32 × 32 pixels; returns why each of the others was left out.

    What is for validation becomes the test where there is no other, and else stays among what is learnt from.
    """
    held = "test" if any(sample.part == "test" for sample in samples) else "validation"
    left_out = {sample.name: "without a label" for sample in samples if sample.label is None}
    labelled = [sample for sample in samples if sample.label is not None]
    for file, own in (
        ("train", [sample for sample in labelled if sample.part != held]),
        ("test", [sample for sample in labelled if sample.part == held]),
    ):
        _pickled(folder / file, _batch(file, own, class_names, left_out, advance))
    _pickled(folder / "meta", {"fine_label_names": list(class_names), "coarse_label_names": ["all"]})
    return left_out


def _batch(
    file: str,
    samples: Iterable[Sample],
    class_names: Sequence[str],
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> dict[str, Any]:
    rows, labels, names = [], [], []
    for sample in samples:
        advance()
        try:
            image = fit(decode(read(sample.image), _SIDE), _SIDE)
        except ImageError as error:
            left_out[sample.name] = str(error)
            continue
        rows.append(image.transpose(2, 0, 1).reshape(-1))
        labels.append(class_names.index(sample.label or ""))
        names.append(sample.name)
    return {
        "filenames": names,
        "batch_label": f"{file}ing batch 1 of 1",
        "fine_labels": labels,
        "coarse_labels": [0] * len(labels),
        "data": np.stack(rows) if rows else np.zeros((0, 3 * _SIDE**2), np.uint8),
    }


class _Python2(pickle._Pickler):
    """Writes text and bytes as the strings of Python 2, as the official files have them.

    Keras asks for them as bytes and torchvision as text; strings of Python 3 would be the one thing alone.
    """

    dispatch: ClassVar[dict[type, Callable[..., None]]] = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str) -> None:
        """Text, as such where it is not ASCII."""
        if text.isascii():
            self.save_string(text.encode())
        else:
            super().save_str(text)  # type: ignore[misc]

    def save_string(self, content: bytes) -> None:
        """A string of Python 2."""
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]
        self.memoize(content)  # type: ignore[attr-defined]

    dispatch[str] = save_text
    dispatch[bytes] = save_string


def _pickled(path: Path, values: dict[str, Any]) -> None:
    with path.open("wb") as file:
        _Python2(file, protocol=2).dump(values)


_SHARD = 128 << 20  # bytes of images in a file: enough to read in one go, few enough to spread over machines


@dataclass(frozen=True)
class Converted:
    """What was written where: images by part ("" without one), classes, and why each of the others was left out."""

    out: Path
    parts: dict[str, int]
    classes: int
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"out": str(self.out)}


def convert(
    data: str | Path,
    to: str,
    out: str | Path,
    *,
    link: bool = False,
    download: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write a data set as "folders", "csv", "tfrecord" or "cifar100" to the new place `out`.

    Files stay as they are, byte for byte, but for "cifar100", whose images have 32 × 32 pixels; arrays become PNGs.
    Raises UsageError for another form or a place that is taken, DataError for a data set that cannot be written so,
    StorageError where nothing can be written.
    """
    if to not in WRITERS:
        raise UsageError(f"no such form: {to!r}; there are {', '.join(WRITERS)}")
    progress, out = progress or Progress(), Path(out)
    check_new(out, data)
    dataset = load(data, download=download, offline=offline, progress=progress)
    samples = samples_of(dataset)
    with fresh(out) as scratch:
        left_out = WRITERS[to](_Job(dataset, samples, scratch, out, link and dataset.root is not None, progress))
    kept = [sample for sample in samples if sample.name not in left_out]
    counted = {part: sum((s.part or "") == part for s in kept) for part in ("", "train", "validation", "test")}
    return Converted(
        out, {part: count for part, count in counted.items() if count}, len({s.label for s in kept} - {None}), left_out
    )


def samples_of(dataset: Dataset) -> list[Sample]:
    """The samples that a data set was made of."""
    labels = [dataset.class_names[label] if label >= 0 else None for label in dataset.labels.tolist()]
    return [Sample(*row) for row in zip(dataset.images, dataset.names, labels, dataset.parts, strict=True)]


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    samples: list[Sample]
    scratch: Path
    out: Path
    link: bool
    progress: Progress


def _folders(job: _Job) -> dict[str, str]:
    write_files(job.scratch, job.dataset.images, places(job.samples), link=job.link, progress=job.progress)
    return {}


def _csv(job: _Job) -> dict[str, str]:
    check_files(job.dataset)
    if job.out.suffix.lower() != ".csv":
        raise UsageError(f"--out {str(job.out)!r}: the name of a table ends in .csv")
    write_table(job.scratch, job.out, job.samples)
    return {}


def _tfrecord(job: _Job) -> dict[str, str]:
    job.scratch.mkdir()
    names = job.dataset.class_names
    lines = [" ".join(name.splitlines()) + "\n" for name in names]
    (job.scratch / "labels.txt").write_text("".join(lines), encoding="utf-8")
    left_out: dict[str, str] = {}
    first = "train" if any(job.dataset.parts) else "data"
    with job.progress.task("writing", len(job.samples), "photos") as task:
        for part in (first, "validation", "test"):
            own = [sample for sample in job.samples if (sample.part or first) == part]
            shards = list(_shards(own, names, job.scratch / part, left_out, task.advance))
            for number, shard in enumerate(shards):
                shard.rename(job.scratch / f"{part}-{number:05d}-of-{len(shards):05d}.tfrecord")
    return left_out


def _shards(
    samples: Sequence[Sample],
    names: Sequence[str],
    start: Path,
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> Iterator[Path]:
    """Files of records, each full but the last."""
    waiting = iter(samples)
    number, sample = 0, next(waiting, None)
    while sample is not None:
        shard = start.with_name(f"{start.name}.{number}")
        with shard.open("wb") as file:
            while sample is not None and file.tell() < _SHARD:
                try:
                    write_record(file, _example(sample, names))
                except ImageError as error:
                    left_out[sample.name] = str(error)
                advance()
                sample = next(waiting, None)
        number += 1
        yield shard


def _example(sample: Sample, names: Sequence[str]) -> dict[str, bytes | int]:
    content = read(sample.image)
    encoded = content if isinstance(content, bytes) else encode_png(content)
    label = sample.label or ""
    return {
        "image/class/label": names.index(label) if label else -1,
        "image/class/text": label.encode(),
        "image/encoded": encoded,
        "image/filename": sample.name.encode(),
        "image/format": format_of(encoded).lower().encode(),
    }


def _cifar(job: _Job) -> dict[str, str]:
    job.scratch.mkdir()
    with job.progress.task("writing", len(job.samples), "photos") as task:
        return write_cifar(job.scratch, job.samples, job.dataset.class_names, task.advance)


WRITERS: dict[str, Callable[[_Job], dict[str, str]]] = {
    "folders": _folders,
    "csv": _csv,
    "tfrecord": _tfrecord,
    "cifar100": _cifar,
}
"""What a data set can be written as."""
