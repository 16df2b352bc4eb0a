"""Sort predicted image files into folders, one a label: as copies, hard links or symbolic links."""

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tl.data.write import class_folders
from tl.errors import StorageError, UsageError
from tl.files import write_errors
from tl.prediction.predictor import Prediction

LINKS = ("copy", "hard", "symbolic")
UNKNOWN = "unknown"
REVIEW = "review"
ERRORS = "errors.csv"

_LONGEST_NAME = 230  # bytes, so that part of a sha256 can be appended
_LONGEST_SUFFIX = 20  # bytes; what is longer is part of the name
_HINT = "free some space, or give another --by-class"
_SCRATCH = ".sorting.part"


class Sorter:
    """A folder into which image files are sorted as `label/name`, `review/name` and `unknown/name`.

    A file whose name is taken by another one gets the start of its sha256 appended; a file that is there already is not
    sorted again. Labels that cannot be folder names, are taken, or differ only in case, get other names.
    """

    def __init__(self, out: Path, classes: Sequence[str], link: str = "copy") -> None:
        self._out, self._link, self._real = out, link, Path(os.path.realpath(out))
        self._folders = class_folders(classes, taken=(UNKNOWN, REVIEW, ERRORS), fold=str.casefold)
        self.sorted = 0
        with write_errors(out, _HINT):
            out.mkdir(parents=True, exist_ok=True)

    def put(self, prediction: Prediction, file: Path) -> str:
        """Sort a file. Returns "", or why it could not be sorted. Raises StorageError where nothing can be written."""
        source = Path(os.path.realpath(file.parent)) / file.name  # a link to it must work from anywhere
        if self._real in source.parents:
            return f"is inside {str(self._out)!r}, where the sorted files go"
        sent_back = UNKNOWN if prediction.unknown else REVIEW if prediction.review else ""
        folder = self._out / (sent_back or self._folders[prediction.label])
        with write_errors(folder, _HINT):
            folder.mkdir(exist_ok=True)
        target = folder / _limit_name(file.name)
        longer = target.with_name(f"{target.stem}-{prediction.sha256[:16]}{target.suffix}")
        for place in (target, longer):
            if self._is_same(place, source, prediction.sha256):
                return ""
            if not os.path.lexists(place):
                problem = self._create(source, place, prediction.sha256)
                self.sorted += not problem
                return problem
        return f"{str(longer)!r} exists already, with other content"

    def _is_same(self, target: Path, source: Path, sha256: str) -> bool:
        if self._link == "symbolic":
            return target.is_symlink() and os.readlink(target) == str(source)
        with suppress(OSError):
            if self._link == "hard":
                return os.path.samefile(target, source)
            if not target.is_symlink() and target.is_file() and target.stat().st_size == source.stat().st_size:
                with target.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        return False

    def _create(self, source: Path, target: Path, sha256: str) -> str:
        if self._link == "copy":
            return self._copy(source, target, sha256)
        with write_errors(target, _HINT):
            if self._link == "symbolic":
                target.symlink_to(source)
                return ""
            try:
                os.link(source.resolve(), target)
            except FileNotFoundError:
                return "cannot be read: no such file"
            except OSError as error:
                raise StorageError(
                    f"{str(target)!r} cannot be a hard link ({(error.strerror or '').lower()}): leave out --link, or"
                    " give --link symbolic"
                ) from error
        return ""

    def _copy(self, source: Path, target: Path, sha256: str) -> str:
        scratch = self._out / _SCRATCH  # always the same name: what a kill leaves is overwritten by the next copy
        try:
            file = source.open("rb")
        except OSError as error:
            return f"cannot be read: {(error.strerror or '').lower()}"
        with file, write_errors(target, _HINT):
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "not a file"
            digest = hashlib.sha256()
            try:
                with scratch.open("wb") as copy:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        copy.write(block)
                if digest.hexdigest() != sha256:
                    return "has changed since it was predicted"
                os.replace(scratch, target)
            finally:
                scratch.unlink(missing_ok=True)
        return ""


def check_outside(out: Path, images: Sequence[str]) -> None:
    """Raises UsageError where `out` is not a folder, or it and a folder of images are inside one another."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"--by-class {str(out)!r} is not a folder: give a new one")
    target = Path(os.path.realpath(out))
    for name in filter(os.path.isdir, images):
        folder = Path(os.path.realpath(name))
        if folder == target or folder in target.parents:
            raise UsageError(f"--by-class {str(out)!r} is inside {name!r}, whose files are sorted: give another folder")
        if target in folder.parents:
            raise UsageError(f"{name!r} is inside --by-class {str(out)!r}, where the sorted files go: give another")


def _limit_name(name: str) -> str:
    """A file name, shortened only where there is no room for part of a sha256."""
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        stem, suffix = name, ""
    while len(os.fsencode(stem + suffix)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + suffix
