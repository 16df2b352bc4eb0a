"""A letter -> a font face that has it: a bundled one, so that pictures look alike everywhere, else the machine's.

Noto Sans CJK (the package `noto_cjk_sans_otc`) draws Latin, Greek, Cyrillic, Chinese, Japanese and Korean on a machine
without any font. For other scripts the fonts of the machine are asked; a character that none of them has gets no face.
"""

import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# packages that carry fonts and nothing else; the second is used when it is installed
BUNDLED = ("noto_cjk_sans_otc", "manimgx_fonts")
JAPANESE, KOREAN, CHINESE = 0, 1, 2  # faces of NotoSansCJK-Regular.ttc
JOINERS = "\u200c\u200d"  # they bind letters or keep them apart, and have no ink
MISSING = "\U0010ffff"  # a code point that no font can have: shows the face's own sign for "missing"
PREFERRED = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf", "segoeui.ttf")
# faces that claim every character and show its block's sign instead of it
PRETENDERS = ("lastresort", "notdef", "blank", "unifont")
MOST_QUESTIONS = 200  # a hostile list of class names must not start a process for every character there is
MOST_FILES = 2000


@dataclass(frozen=True)
class Face:
    """One face of a font file."""

    path: str
    index: int = 0


def load(face: Face, size: int, shaping: bool = True) -> "FreeTypeFont":
    """The face at `size` pixels; with `shaping` its letters join and stack as their script asks, where Pillow can.

    Raises OSError for a face that cannot be drawn at that size, such as one of coloured bitmaps.
    """
    from PIL import ImageFont

    engine = ImageFont.Layout.RAQM if shaping and can_shape() else ImageFont.Layout.BASIC
    return _load(face, size, engine)


@cache
def can_shape() -> bool:
    """Whether Pillow was built with libraqm, which joins and orders the letters of complex scripts."""
    from PIL import features

    return bool(features.check("raqm"))


@lru_cache(maxsize=256)
def _load(face: Face, size: int, engine: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(face.path, size, index=face.index, layout_engine=ImageFont.Layout(engine))


@lru_cache(maxsize=65536)
def has(face: Face, character: str) -> bool:
    """Whether the face has a glyph of its own for the character."""
    try:
        shown = _ink(face, character)
        return any(shown) and shown != _ink(face, MISSING)
    except OSError:
        return False


@lru_cache(maxsize=4096)
def _ink(face: Face, character: str) -> bytes:
    from PIL import Image, ImageDraw

    page = Image.new("L", (48, 40))
    ImageDraw.Draw(page).text((16, 28), character, fill=255, font=load(face, 16, shaping=False), anchor="ls")
    return page.tobytes()


class Fonts:
    """Finds faces for letters; `system` False leaves the machine's own fonts out, `bundled` False the packages'."""

    def __init__(self, system: bool = True, bundled: bool = True) -> None:
        files = [path for package in BUNDLED for path in _package_fonts(package)] if bundled else []
        self._cjk = [path for path in files if "CJK" in path.name]
        self._known = [Face(str(path)) for path in files if path not in self._cjk]
        self._system = system
        self._answers: dict[tuple[str, int], Face | None] = {}
        self._questions = 0
        self._files: list[Path] | None = None

    def face(self, letter: str, east_asian: int = CHINESE) -> Face | None:
        """The face that draws a letter with all its marks, None where there is none.

        `east_asian` says whose form of Han letters to draw: JAPANESE, KOREAN or CHINESE.
        """
        key = letter, east_asian
        if key not in self._answers:
            self._answers[key] = self._find(letter, east_asian)
        return self._answers[key]

    def _find(self, letter: str, east_asian: int) -> Face | None:
        if unicodedata.category(letter[0]) in ("Cs", "Cn", "Cc"):
            return None
        for face in [*(Face(str(path), east_asian) for path in self._cjk), *self._known]:
            if _has_all(face, letter):
                return face
        if not self._system or self._questions >= MOST_QUESTIONS:
            return None
        self._questions += 1
        for face in self._machine_faces(letter):
            if _has_all(face, letter):
                self._known.append(face)
                return face
        return None

    def _machine_faces(self, letter: str) -> Iterator[Face]:
        if shutil.which("fc-list"):
            yield from _fontconfig_faces(letter)
            return
        if self._files is None:
            self._files = _folder_fonts()
        yield from (Face(str(path)) for path in self._files)


@cache
def standard() -> Fonts:
    """The fonts of this machine, looked for once."""
    return Fonts()


def _package_fonts(package: str) -> list[Path]:
    from importlib.util import find_spec

    found = find_spec(package)
    folders = list(found.submodule_search_locations or []) if found else []
    files = [path for folder in folders for path in Path(folder).iterdir() if path.suffix in (".ttc", ".ttf", ".otf")]
    return sorted(files, key=lambda path: _rank(path.name))


def _has_all(face: Face, letter: str) -> bool:
    return all(has(face, character) for character in letter if character not in JOINERS)


def _fontconfig_faces(letter: str) -> list[Face]:
    points = " ".join(f"{ord(character):x}" for character in letter if character not in JOINERS)
    query = ["fc-list", "--format", "%{file}\t%{index}\n", f":charset={points}"]
    try:
        answer = subprocess.run(query, capture_output=True, timeout=10, check=False).stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("\t") for line in answer.splitlines() if line.count("\t") == 1]
    # a variable font's named instances are numbered in the upper half of the index
    faces = {Face(file, int(index) & 0xFFFF) for file, index in rows if index.isdigit()}
    usable = [face for face in faces if not any(word in face.path.lower() for word in PRETENDERS)]
    return sorted(usable, key=lambda face: (_rank(Path(face.path).name), face.path, face.index))


def _folder_fonts() -> list[Path]:
    home = Path.home()
    folders = (
        *(Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"),
        *(Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"),
        *(Path("C:/Windows/Fonts"), home / "AppData/Local/Microsoft/Windows/Fonts"),
    )
    files = [
        p for folder in folders if folder.is_dir() for p in folder.rglob("*") if p.suffix.lower()[:3] in (".tt", ".ot")
    ]
    usable = [path for path in files if not any(word in path.name.lower() for word in PRETENDERS)]
    return sorted(usable, key=lambda path: (_rank(path.name), str(path)))[:MOST_FILES]


def _rank(name: str) -> int:
    if name in PREFERRED:
        return PREFERRED.index(name)
    decorated = any(word in name for word in ("Bold", "Italic", "Oblique", "Light", "Thin", "Black", "Condensed"))
    return 10 + 4 * decorated + 2 * ("Mono" in name) + ("Serif" in name or "Sans" not in name)
