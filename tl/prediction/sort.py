"""Predictions become folders: a copy of each photo, or a link to it, under its label."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tl.data.write import safe_name
from tl.errors import StorageError, UsageError
from tl.prediction.predictor import Prediction

LINKS = ("copy", "hard", "symbolic")
UNKNOWN = "unknown"
ERRORS = "errors.csv"

_BLOCK = 1 << 20
_SUFFIX = 20  # bytes: what is longer belongs to the name
_SCRATCH = ".sorting.part"


class Sorter:
    """A folder into which photos are sorted: `label/name`, `unknown/name`.

    Of photos with one name the later ones get the start of their sha256 behind it; a photo that is there already is not
    taken again. Labels that are no names for folders, or are called like another, get others.
    """

    def __init__(self, out: Path, classes: Sequence[str], how: str = "copy") -> None:
        self._out, self._how, self._real = out, how, Path(os.path.realpath(out))
        self._folders = folders(classes)
        self.sorted = 0
        with _storing(out):
            out.mkdir(parents=True, exist_ok=True)

    def put(self, prediction: Prediction, photo: Path) -> str:
        """Sort a photo; returns why it could not be, or nothing. Raises StorageError where nothing can be written."""
        source = _placed(photo)
        if self._real in source.parents:
            return f"lies in {str(self._out)!r}, into which photos are sorted"
        folder = self._out / (UNKNOWN if prediction.unknown else self._folders[prediction.label])
        with _storing(folder):
            folder.mkdir(exist_ok=True)
        place = folder / _plain(photo.name)
        longer = place.with_name(f"{place.stem}-{prediction.sha256[:16]}{place.suffix}")
        for target in (place, longer):
            if self._same(target, source, prediction.sha256):
                return ""
            if not os.path.lexists(target):
                problem = self._make(source, target, prediction.sha256)
                self.sorted += not problem
                return problem
        return f"{str(longer)!r} is there already, with something else in it"

    def _same(self, target: Path, source: Path, sha256: str) -> bool:
        if self._how == "symbolic":
            return target.is_symlink() and os.readlink(target) == str(source)
        with suppress(OSError):
            if self._how == "hard":
                return os.path.samefile(target, source)
            if not target.is_symlink() and target.is_file() and target.stat().st_size == source.stat().st_size:
                with target.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        return False

    def _make(self, source: Path, target: Path, sha256: str) -> str:
        if self._how == "copy":
            return self._copy(source, target, sha256)
        with _storing(target):
            if self._how == "symbolic":
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
        scratch = self._out / _SCRATCH  # of one name: what a kill leaves is written over by the next
        try:
            file = source.open("rb")
        except OSError as error:
            return f"cannot be read: {(error.strerror or '').lower()}"
        with file, _storing(target):
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "not a file"
            found = hashlib.sha256()
            try:
                with scratch.open("wb") as copy:
                    while block := file.read(_BLOCK):
                        found.update(block)
                        copy.write(block)
                if found.hexdigest() != sha256:
                    return "has changed since it was labelled"
                os.replace(scratch, target)
            finally:
                scratch.unlink(missing_ok=True)
        return ""


def folders(classes: Sequence[str]) -> dict[str, str]:
    """A name of a folder for each class, each unlike the others even where case is ignored, and unlike `unknown`."""
    taken = {UNKNOWN, ERRORS}
    made: dict[str, str] = {}
    # Those that can keep their names come first, so that none of them is driven out by a mended one.
    for label in sorted(classes, key=lambda label: (safe_name(label) != label, label)):
        name, number = safe_name(label), 2
        while name.casefold() in taken:
            name, number = f"{safe_name(label)}-{number}", number + 1
        taken.add(name.casefold())
        made[label] = name
    return made


def check_outside(out: Path, images: Sequence[str]) -> None:
    """Raises UsageError where `out` and a folder that is looked through lie in each other, or it is no folder."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"--by-class {str(out)!r} is no folder: give a new one")
    target = Path(os.path.realpath(out))
    for name in filter(os.path.isdir, images):
        given = Path(os.path.realpath(name))
        if given == target or given in target.parents:
            raise UsageError(
                f"--by-class {str(out)!r} lies inside of {name!r}, whose photos are sorted: give another place"
            )
        if target in given.parents:
            raise UsageError(
                f"{name!r} lies inside of --by-class {str(out)!r}, where photos are sorted to: give another"
            )


def _placed(photo: Path) -> Path:
    """A file by a name that holds from anywhere: that of its folder may lead through links, and back by `..`."""
    return Path(os.path.realpath(photo.parent)) / photo.name


def _plain(name: str) -> str:
    # The names of files are of this file system, and stay as they are, unless what is put behind them would not fit.
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > _SUFFIX:
        stem, suffix = name, ""
    while len(os.fsencode(stem + suffix)) > 230:
        stem = stem[:-1]
    return stem + suffix


@contextmanager
def _storing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{str(place)!r} cannot be written: {why}; free space, or give another place") from error
