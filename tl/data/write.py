"""Samples become a data set on the disk: class folders or a table, whole or not at all."""

import csv
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from tl.data.dataset import Dataset, Sample
from tl.data.images import Picture, read
from tl.errors import DataError, StorageError, UsageError
from tl.progress import Reporter


def check_new(out: Path, data: str | Path) -> None:
    """Raise UsageError unless `out` is a new place outside of the folder `data`."""
    if not out.name:
        raise UsageError(f"--out {str(out)!r}: give the name of a new folder or file")
    if os.path.lexists(out):
        raise UsageError(f"--out {str(out)!r} is there already: give a new name, or remove it first")
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
    folder: Path, pictures: Sequence[Picture], places: Sequence[str], *, link: bool = False, report: Reporter
) -> None:
    """Copy pictures to their places below a new folder, byte for byte; arrays become PNGs.

    With `link` they are hard links to the originals where the disk allows.
    """
    folder.mkdir()
    made: set[Path] = set()
    with report.task("writing", len(pictures), "photos") as task:
        for picture, place in zip(pictures, places, strict=True):
            target = folder / place
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            if isinstance(picture, Path):
                _copy(picture, target, link)
            else:
                content = read(picture)
                target.write_bytes(content if isinstance(content, bytes) else as_png(content))
            task.advance()


def check_files(dataset: Dataset) -> None:
    """Raise DataError unless the pictures are files of the user's own, which a table can name."""
    if dataset.root is None or not all(isinstance(picture, Path) for picture in dataset.pictures):
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
    file, home = os.path.abspath(str(sample.picture)), os.path.abspath(out.parent)
    path = Path(os.path.relpath(file, home) if file.startswith(os.path.join(home, "")) else file).as_posix()
    if path != path.strip() or path.encode("utf-8", "replace").decode() != path:
        raise DataError(f"a table cannot name {path!a}: rename that file, or write folders, such as --out photos/")
    return path


def as_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """An RGB array as the bytes of a PNG."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=3)
    return file.getvalue()


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
