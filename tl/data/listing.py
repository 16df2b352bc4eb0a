"""List the images in folders, by one rule for training, prediction, watching and archives.

A file is an image by its ending or, with any other ending or none, by its first bytes. Neither what is hidden is data,
nor what operating systems, network drives and photo managers put beside photos, nor what `tl` itself writes. Links are
followed to files, and to folders that lie outside: not to those that hold, or lie in, the folder that is listed.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tl.data.dataset import clean
from tl.data.decoding import HEAD, format_of, unsupported_format
from tl.data.images import IMAGE_SUFFIXES
from tl.text import count, listed

OnSkip = Callable[[str, str], object]
"""Receives the path of what is passed over, and why."""

HIDDEN = "hidden"
HELPER = "put there by the system"
OWN = "written by tl"
BACK = "a link back into the data set"
NO_FILE = ("no such file", "not a file")  # what is called like an image
_NAMED = (HIDDEN, HELPER, OWN, BACK)  # reasons that are said with names, the others with endings

# Names in lower case: Windows, macOS, Synology, QNAP, Netatalk, Linux, photo managers, clouds.
_HELPERS = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "$recycle.bin", "recycler"),
        *("system volume information", "msocache", "config.msi", "__macosx", "icon\r", "@eadir", "@tmp"),
        *(
            "@sharebin",
            "@database",
            "#recycle",
            "#snapshot",
            "@recycle",
            "@__thumb",
            "@transcode",
            "@recently-snapshot",
        ),
        *(
            "network trash folder",
            "temporary items",
            "thevolumesettingsfolder",
            "lost+found",
            "_gsdata_",
            "__pycache__",
        ),
    }
)
_HELPER_PATTERN = re.compile(r"found\.\d{3}|.*\.(lrdata|photoslibrary|aplibrary)", re.IGNORECASE)

_RAW = re.compile(r"\.(3fr|arw|cr[23w]|dcr|dng|erf|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|raw|rw2|sr2|srf|srw|x3f)")
_INCOMPLETE = frozenset((".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp"))
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the second header, by version of the format

PNG_MARK = ("Software", "tl")
"""The text that marks a PNG file that `tl` wrote: its first chunk after the header."""
_PNG_TEXT = slice(37, 52)  # where that chunk is
_OWN_FILES = (("manifest.json", "head.npz"), ("comparison.json", "comparison.csv"), ("service.sqlite3",))


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set: hidden, or put there by the system."""
    return name.startswith(".") or name.casefold() in _HELPERS or _HELPER_PATTERN.fullmatch(name) is not None


def is_own_folder(has: Callable[[str], bool]) -> bool:
    """Whether `tl` wrote the folder that `has` these files: a run, a comparison, the service's state."""
    return any(all(map(has, names)) for names in _OWN_FILES)


def why_no_image(name: str, head: bytes) -> str:
    """Why a file of this name and with these first `HEAD` bytes is no image; "" if it is one.

    A file with the ending of an image is one: that it cannot be read is found when it is.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return OWN if head[_PNG_TEXT] == b"tEXt" + "\0".join(PNG_MARK).encode() else ""
    if _RAW.fullmatch(suffix):
        return f"raw images are not supported ({suffix})"
    if suffix in _INCOMPLETE:
        return f"an incomplete file ({suffix})"
    if kind := unsupported_format(head):
        return f"{kind} images are not supported"
    kind = format_of(head)
    if not kind or (kind == "BMP" and int.from_bytes(head[14:18], "little") not in _BMP_HEADERS):
        return f"not an image file ({suffix or 'no suffix'})"
    return ""


def why_file_left_out(path: str) -> str:
    """Why a file is no image of a data set; "" if it is one. Its content is read where its ending does not tell."""
    name = os.path.basename(path)
    if is_ignored(name):
        return HIDDEN
    suffix = os.path.splitext(name)[1].lower()
    no_file = NO_FILE if suffix in IMAGE_SUFFIXES else (f"not an image file ({suffix or 'no suffix'})",) * 2
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return no_file[1]
        if suffix in IMAGE_SUFFIXES and suffix != ".png":
            return ""
        with open(path, "rb") as file:
            return why_no_image(name, file.read(HEAD))
    except (FileNotFoundError, ValueError):
        return no_file[0]
    except OSError as error:  # of an image, reading it says so
        return "" if suffix in IMAGE_SUFFIXES else f"cannot be read: {(error.strerror or '').lower()}"


def list_folder(folder: str, homes: Collection[str], skip: OnSkip) -> tuple[list[str], list[str]]:
    """The folders and the images directly in a folder, sorted by name; all else is reported to `skip`.

    `homes` are the real paths that links must not lead back to. Raises OSError.
    """
    folders, images = list[str](), list[str]()
    with os.scandir(folder) as entries:
        found = sorted((entry.path, _is_folder(entry)) for entry in entries)
    for path, is_folder in found:
        reason = why_folder_left_out(path, homes) if is_folder else why_file_left_out(path)
        if not reason:
            (folders if is_folder else images).append(path)
        elif reason != HIDDEN or (is_folder and _is_worth_telling(path)):
            skip(path, reason)
    return folders, images


def walk_images(
    folder: str, on_error: Callable[[OSError], object] | None = None, skip: OnSkip = lambda *_: None, home: str = ""
) -> Iterator[str]:
    """List the images below a folder, sorted, those of a folder before those of its folders; see `walk`."""
    for _, images in walk(folder, on_error, skip, home):
        yield from images


def walk(
    folder: str, on_error: Callable[[OSError], object] | None = None, skip: OnSkip = lambda *_: None, home: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """List a folder and those below it, sorted, each with its images.

    `on_error` receives the error of a folder that cannot be listed, `skip` what is passed over and why. `home` is the
    data set that the folder is part of, if it is.
    """
    waiting = [(folder, frozenset(map(os.path.realpath, (home or folder, folder))))]
    while waiting:
        here, homes = waiting.pop()
        try:
            folders, images = list_folder(here, homes, skip)
        except OSError as error:
            if on_error is not None:
                on_error(error)
            continue
        yield here, images
        waiting += [
            (each, homes | {os.path.realpath(each)} if os.path.islink(each) else homes) for each in reversed(folders)
        ]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def why_folder_left_out(path: str, homes: Collection[str] = ()) -> str:
    """Why a folder is no part of a data set; "" if it is. `homes` are the real paths a link must not lead back to."""
    name = os.path.basename(path)
    if is_ignored(name):
        return HIDDEN if name.startswith(".") else HELPER
    if os.path.islink(path) and any(_overlap(os.path.realpath(path), home) for home in homes):
        return BACK
    return OWN if is_written_by_tl(path) else ""


def is_written_by_tl(folder: str) -> bool:
    """Whether a folder is of `tl`, or holds its runs and no photos beside them as a class of that name would."""

    def has(name: str) -> bool:
        return os.path.lexists(os.path.join(folder, name))

    if is_own_folder(has):
        return True
    if not has("latest/manifest.json"):
        return False
    with suppress(OSError), os.scandir(folder) as entries:
        return not any(not entry.is_dir() and not why_file_left_out(entry.path) for entry in entries)
    return False


def _overlap(one: str, other: str) -> bool:
    """Whether one of two real paths is, or lies in, the other."""
    one, other = os.path.join(one, ""), os.path.join(other, "")
    return one.startswith(other) or other.startswith(one)


def _is_worth_telling(folder: str) -> bool:
    """Whether a hidden folder holds what would be an image elsewhere."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    return any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".") for name in names)


@dataclass
class LeftOut:
    """What was passed over while folders were listed: how many by reason, and some names or endings of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self, path: str, reason: str) -> None:
        """Count one file or folder."""
        kind, _, ending = reason.rstrip(")").partition(" (")
        self.counts[kind] += 1
        self.examples.setdefault(kind, set()).add(ending if kind not in _NAMED else repr(clean(os.path.basename(path))))

    def __str__(self) -> str:
        """One line, such as `'@eaDir' (put there by the system), 3 files (not an image file: .json, .txt)`; or ""."""
        parts = []
        for kind, number in self.counts.items():
            examples = listed(sorted(self.examples[kind] - {""}), 5)
            files = f"{count(number, 'file')} ({kind}{f': {examples}' if examples else ''})"
            parts.append(f"{examples} ({kind})" if kind in _NAMED else files)
        return ", ".join(parts)
