"""Write text in any script on pictures: find fonts, measure, shorten, wrap and draw lines.

Fonts that are installed as Python packages come first, so that pictures look the same everywhere: Noto Sans CJK (the
package `noto_cjk_sans_otc`) has Latin, Greek, Cyrillic, Chinese, Japanese and Korean. For other scripts the fonts of
the machine are used. A character that no font has is written as its code point.
"""

import shutil
import subprocess
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

# packages that contain only fonts; the second is optional
BUNDLED = ("noto_cjk_sans_otc", "manimgx_fonts")
JAPANESE, KOREAN, CHINESE = 0, 1, 2  # faces of NotoSansCJK-Regular.ttc
JOINERS = "\u200c\u200d"  # zero-width joiners and non-joiners
MISSING = "\U0010ffff"  # a code point that no font has: drawn as the face's own sign for a missing glyph
PREFERRED = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf", "segoeui.ttf")
# faces that claim every character but draw only the sign of its block
PRETENDERS = ("lastresort", "notdef", "blank", "unifont")
MOST_QUERIES = 200  # a hostile list of class names must not start a process for every Unicode character
MOST_FILES = 2000


@dataclass(frozen=True)
class Face:
    """One face of a font file."""

    path: str
    index: int = 0


def load_font(face: Face, size: int, shaping: bool = True) -> "FreeTypeFont":
    """The face at `size` pixels; with `shaping`, letters join and stack as their script requires, where Pillow can.

    Raises OSError for a face that cannot be drawn at that size, such as one with coloured bitmaps.
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
def has_glyph(face: Face, character: str) -> bool:
    """Whether the face has its own glyph for the character."""
    try:
        shown = _ink(face, character)
        return any(shown) and shown != _ink(face, MISSING)
    except OSError:
        return False


@lru_cache(maxsize=4096)
def _ink(face: Face, character: str) -> bytes:
    from PIL import Image, ImageDraw

    page = Image.new("L", (48, 40))
    ImageDraw.Draw(page).text((16, 28), character, fill=255, font=load_font(face, 16, shaping=False), anchor="ls")
    return page.tobytes()


class Fonts:
    """Finds faces for letters, in the fonts of packages (`bundled`) and of the machine (`system`)."""

    def __init__(self, system: bool = True, bundled: bool = True) -> None:
        files = [path for package in BUNDLED for path in _package_fonts(package)] if bundled else []
        self._cjk = [path for path in files if "CJK" in path.name]
        self._known = [Face(str(path)) for path in files if path not in self._cjk]
        self._system = system
        self._faces: dict[tuple[str, int], Face | None] = {}
        self._queries = 0
        self._files: list[Path] | None = None

    def face(self, letter: str, east_asian: int = CHINESE) -> Face | None:
        """The face that draws a letter with all its marks, None where there is none.

        `east_asian` chooses the form of Han letters: JAPANESE, KOREAN or CHINESE.
        """
        key = letter, east_asian
        if key not in self._faces:
            self._faces[key] = self._find(letter, east_asian)
        return self._faces[key]

    def _find(self, letter: str, east_asian: int) -> Face | None:
        if unicodedata.category(letter[0]) in ("Cs", "Cn", "Cc"):
            return None
        for face in [*(Face(str(path), east_asian) for path in self._cjk), *self._known]:
            if _has_all(face, letter):
                return face
        if not self._system or self._queries >= MOST_QUERIES:
            return None
        self._queries += 1
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
def standard_fonts() -> Fonts:
    """The fonts of packages and of this machine."""
    return Fonts()


def _package_fonts(package: str) -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [path for folder in folders for path in Path(folder).iterdir() if path.suffix in (".ttc", ".ttf", ".otf")]
    return sorted(files, key=lambda path: _rank(path.name))


def _has_all(face: Face, letter: str) -> bool:
    return all(has_glyph(face, character) for character in letter if character not in JOINERS)


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
    from matplotlib.font_manager import findSystemFonts

    files = map(Path, findSystemFonts())
    usable = [path for path in files if not any(word in path.name.lower() for word in PRETENDERS)]
    return sorted(usable, key=lambda path: (_rank(path.name), str(path)))[:MOST_FILES]


def _rank(name: str) -> int:
    if name in PREFERRED:
        return PREFERRED.index(name)
    decorated = any(word in name for word in ("Bold", "Italic", "Oblique", "Light", "Thin", "Black", "Condensed"))
    return 10 + 4 * decorated + 2 * ("Mono" in name) + ("Serif" in name or "Sans" not in name)


LONGEST = 400  # characters of a line that are processed; no picture shows more
MOST_MARKS = 4  # marks stacked on one letter; real scripts use at most three
BREAKS = " _-/.,"
_LEFTWARD = {"R": True, "AL": True, "L": False, "EN": False, "AN": False}  # by bidirectional class
MIRRORS = str.maketrans("()[]{}<>«»", ")(][}{><»«")


@dataclass(frozen=True)
class TextRun:
    """A stretch of a line in one face and one direction."""

    text: str
    face: Face
    leftward: bool


def clean(text: str) -> str:
    """The text as it is drawn: composed, on one line, without control characters and excessive marks."""
    composed = unicodedata.normalize("NFC", text[: 2 * LONGEST])  # macOS decomposes Korean file names
    kept: list[str] = []
    marks = 0
    for character in composed[:LONGEST]:
        kind = unicodedata.category(character)
        if kind in ("Zs", "Zl", "Zp", "Cc"):
            character = " "
        elif (kind == "Cf" and character not in JOINERS) or "\ufe00" <= character <= "\ufe0f":
            continue
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= MOST_MARKS:
            kept.append(character)
    return " ".join("".join(kept).split())


def clusters(text: str) -> list[str]:
    """The letters of a text, each with its marks and joiners."""
    parts: list[str] = []
    for character in text:
        belongs = unicodedata.category(character) in ("Mn", "Me", "Mc") or character in JOINERS
        if parts and (belongs or parts[-1][-1] == "\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff"):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def runs(text: str, available: Fonts, shaping: bool = True) -> list[TextRun]:
    """The runs of a line in visual order, from left to right.

    Letters that no font has become their code points in brackets. Directions follow the strong letters of the Unicode
    bidirectional algorithm (UAX 9) without explicit embeddings, which `clean` removes.
    """
    pieces = _with_faces(text, available)
    directions = _directions([piece for piece, _ in pieces])
    marked = [(leftward, face, piece) for leftward, (piece, face) in zip(directions, pieces, strict=True)]
    line: list[list[TextRun]] = []
    for leftward, letters in groupby(marked, key=lambda item: item[0]):
        segment = [
            TextRun("".join(piece for _, _, piece in same), face, leftward)
            for face, same in groupby(letters, key=lambda item: item[1])
        ]
        line.append(segment[::-1] if leftward else segment)
    if _base_leftward([piece for piece, _ in pieces]):
        line.reverse()
    return [run if shaping and can_shape() else _unshaped(run) for segment in line for run in segment]


def _with_faces(text: str, available: Fonts) -> list[tuple[str, Face]]:
    east_asian = _east_asian(text)
    plain = available.face("x", east_asian)
    if plain is None:
        return []
    pieces: list[tuple[str, Face]] = []
    letters = ((cluster, _drawable(cluster, available, east_asian)) for cluster in clusters(clean(text)))
    for has_face, stretch in groupby(letters, key=lambda item: item[1] is not None):
        if not has_face:
            codes = " ".join(f"{ord(cluster[0]):04X}" for cluster, _ in stretch)
            pieces += [(letter, plain) for letter in f"[U+{codes}]"]
            continue
        pieces += [drawable for _, drawable in stretch if drawable is not None]
    return pieces


def _drawable(cluster: str, available: Fonts, east_asian: int) -> tuple[str, Face] | None:
    if cluster == " ":  # always as wide as between Latin words: an emoji font has spaces three times as wide
        face = available.face("x", east_asian)
        return (cluster, face) if face else None
    # a letter whose marks no face has is still readable without them
    for letter in dict.fromkeys((cluster, cluster[0])):
        face = available.face(letter, east_asian)
        if face is not None:
            return letter, face
    return None


def _east_asian(text: str) -> int:
    # A Han letter has one code point for its Chinese, Japanese and Korean forms; its neighbours decide.
    if any("\uac00" <= letter <= "\ud7a3" or "\u1100" <= letter <= "\u11ff" for letter in text):
        return KOREAN
    return JAPANESE if any("\u3040" <= letter <= "\u30ff" for letter in text) else CHINESE


def _base_leftward(pieces: list[str]) -> bool:
    letters = (unicodedata.bidirectional(piece[0]) for piece in pieces)
    return next((kind != "L" for kind in letters if kind in ("L", "R", "AL")), False)


def _directions(pieces: list[str]) -> list[bool]:
    base = _base_leftward(pieces)
    strong = [_LEFTWARD.get(unicodedata.bidirectional(piece[0])) for piece in pieces]
    before, after = list(strong), list(strong)
    for i in range(1, len(strong)):
        before[i] = before[i - 1] if strong[i] is None else strong[i]
        after[-1 - i] = after[-i] if strong[-1 - i] is None else strong[-1 - i]
    return [left if left is not None and left == right else base for left, right in zip(before, after, strict=True)]


def _unshaped(run: TextRun) -> TextRun:
    letters = "".join(letter for letter in run.text if letter not in JOINERS)
    if run.leftward:
        letters = "".join(reversed(clusters(letters))).translate(MIRRORS)
    return TextRun(letters, run.face, False)


@lru_cache(maxsize=8192)
def _laid_out(text: str) -> tuple[TextRun, ...]:
    return tuple(runs(text, standard_fonts()))


def _direction(run: TextRun) -> str | None:
    if not can_shape():
        return None
    return "rtl" if run.leftward else "ltr"


@lru_cache(maxsize=65536)
def width(text: str, size: int) -> float:
    """The width in pixels of a line at a letter size of `size` pixels."""
    return sum(load_font(run.face, size).getlength(run.text, direction=_direction(run)) for run in _laid_out(text))


def write(canvas: "ImageDraw", x: float, baseline: float, text: str, size: int, colour: Colour) -> float:
    """Draw a line on `baseline` from `x` to the right. Returns the x where it ends."""
    for run in _laid_out(text):
        font, direction = load_font(run.face, size), _direction(run)
        canvas.text((x, baseline), run.text, fill=colour, font=font, anchor="ls", direction=direction)
        x += font.getlength(run.text, direction=direction)
    return x


def write_lines(
    canvas: "ImageDraw", x: float, baseline: float, lines: Iterable[str], *, size: int, colour: Colour, step: float
) -> float:
    """Draw lines `step` pixels apart, the first on `baseline`. Returns the baseline below the last."""
    for line in lines:
        write(canvas, x, baseline, line, size, colour)
        baseline += step
    return baseline


@lru_cache(maxsize=8192)
def shorten(text: str, size: int, room: float) -> str:
    """The line if it fits into `room` pixels, else without its middle."""
    text = clean(text)
    if width(text, size) <= room:
        return text
    letters = clusters(text)
    kept = range(1, len(letters))
    fit = bisect_right(kept, room, key=lambda count: width(_without_middle(letters, count), size))
    shortened = _without_middle(letters, fit)
    return shortened if width(shortened, size) <= room else ""


def _without_middle(letters: list[str], kept: int) -> str:
    head, tail = letters[: (kept + 1) // 2], letters[len(letters) - kept // 2 :]
    return "".join(head).rstrip() + "…" + "".join(tail).lstrip()


@lru_cache(maxsize=8192)
def wrap(text: str, size: int, rooms: tuple[float, ...]) -> tuple[str, ...]:
    """The text on as many lines as there are `rooms` (widths in pixels); the last line is shortened."""
    rest = clean(text)
    lines: list[str] = []
    for room in rooms[:-1]:
        if width(rest, size) <= room:
            break
        cut = _break(rest, size, room)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return (*lines, shorten(rest, size, rooms[len(lines)]))


def _break(text: str, size: int, room: float) -> int:
    letters = clusters(text)
    count = 1
    while count < len(letters) and width("".join(letters[: count + 1]), size) <= room:
        count += 1
    breaks = (
        at for at in range(count, 0, -1) if letters[at - 1][0] in BREAKS or letters[min(at, len(letters) - 1)] == " "
    )
    natural = next(breaks, count)
    # Break after a word, unless that leaves the line less than a third full.
    return len("".join(letters[: natural if natural * 3 >= count else count]))


MATPLOTLIB_FONT = "DejaVu Sans"


def lettering(*lines: str) -> list[str]:
    """Font families for matplotlib (`fontfamily=`) that draw these lines, in any script.

    The font files are registered with matplotlib, each once; its settings are not changed.
    """
    # Latin letters first: their font provides the spaces, which are three times as wide in an emoji font.
    faces = dict.fromkeys(run.face for line in lines or ("",) for run in runs(f"x {line}", standard_fonts()))
    return [*(_family(face) for face in faces), MATPLOTLIB_FONT]


def legible(line: str) -> str:
    """The line for matplotlib, with `lettering` and `parse_math=False`; letters that no font has as code points."""
    parts = []
    for letter in clusters(clean(line)):
        parts += [letter] if letter == " " else [run.text for run in runs(letter, standard_fonts())]
    return "".join(parts)


def _family(face: Face) -> str:
    from matplotlib.font_manager import fontManager

    if not any(entry.fname == face.path for entry in fontManager.ttflist):
        with suppress(RuntimeError):  # a font that only Pillow can draw
            fontManager.addfont(face.path)
    entries = [entry for entry in fontManager.ttflist if entry.fname == face.path]
    # Before matplotlib 3.11 only the first face of a collection is registered; it has the same letters.
    same = [entry for entry in entries if getattr(entry, "index", 0) == face.index] or entries
    return str(same[0].name) if same else MATPLOTLIB_FONT
