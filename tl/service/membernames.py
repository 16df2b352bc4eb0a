"""The name of an archive's member becomes the parts of a relative path, or refuses the archive."""

import re
import unicodedata

from tl.data.dataset import clean
from tl.errors import DataError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 1000  # characters


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a member's name, in one Unicode form; backslashes separate as well, as some of Windows write them.

    Raises DataError for a name that leads out of the folder, is absolute, too long, or cannot be a name.
    """
    shown = name[:80].encode("utf-8", "backslashreplace").decode()
    if len(name) > _LONGEST or _CONTROL.search(name):
        raise DataError(f"the archive holds a name that cannot be one, {shown!r}: nothing of it was taken")
    path = name.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in (part.strip() for part in parts):
        raise DataError(f"the archive holds {shown!r}, which leads out of its folder: nothing of it was taken")
    return tuple(clean(part) for part in parts if part not in ("", "."))


def folded(parts: tuple[str, ...]) -> str:
    """What two names have in common that are one on a disk that ignores case or Unicode form."""
    return unicodedata.normalize("NFKC", "/".join(parts)).casefold()


def decoded(names: list[bytes]) -> str:
    """The encoding of names that do not say it: UTF-8, CP949 as Korean Windows has it, or CP437 as zip has."""
    for encoding in ("utf-8", "cp949"):
        try:
            for name in names:
                name.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "cp437"
