"""A line in any script -> its width, its shortened form, its ink on a picture."""

import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from tl.views.pictures import fonts
from tl.views.pictures.fonts import CHINESE, JAPANESE, JOINERS, KOREAN, Face, Fonts

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry
    from PIL.ImageDraw import ImageDraw


ELLIPSIS = "…"
LONGEST = 400  # characters of one line that are looked at; no picture shows more
MOST_MARKS = 4  # marks stacked on one letter: real scripts use three, a prank uses fifty
BREAKS = " _-/.,"
MIRRORS = str.maketrans("()[]{}<>«»", ")(][}{><»«")


@dataclass(frozen=True)
class Run:
    """A part of a line in one face and one direction."""

    text: str
    face: Face
    leftward: bool


def clean(text: str) -> str:
    """The line as it is drawn: composed, on one line, without control characters and piled-up marks."""
    composed = unicodedata.normalize("NFC", text[: 2 * LONGEST])  # macOS gives Korean file names as loose letters
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
    """What a reader calls letters: each with the marks and joiners that belong to it."""
    parts: list[str] = []
    for character in text:
        belongs = unicodedata.category(character) in ("Mn", "Me", "Mc") or character in JOINERS
        if parts and (belongs or parts[-1][-1] == "\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff"):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def runs(text: str, available: Fonts, shaping: bool = True) -> list[Run]:
    """The line's parts from left to right as they stand on the picture.

    Letters that no font has become their code points in brackets. Directions follow the strong letters of the
    Unicode bidirectional algorithm (UAX 9) without its explicit embeddings, which `clean` takes out.
    """
    pieces = _with_faces(text, available)
    directions = _directions([piece for piece, _ in pieces])
    marked = [(leftward, face, piece) for leftward, (piece, face) in zip(directions, pieces, strict=True)]
    line: list[list[Run]] = []
    for leftward, letters in groupby(marked, key=lambda item: item[0]):
        segment = [
            Run("".join(piece for _, _, piece in same), face, leftward)
            for face, same in groupby(letters, key=lambda item: item[1])
        ]
        line.append(segment[::-1] if leftward else segment)
    if _base_leftward([piece for piece, _ in pieces]):
        line.reverse()
    return [run if shaping and fonts.can_shape() else _unshaped(run) for segment in line for run in segment]


def _with_faces(text: str, available: Fonts) -> list[tuple[str, Face]]:
    east_asian = _east_asian(text)
    plain = available.face("x", east_asian)
    if plain is None:
        return []
    pieces: list[tuple[str, Face]] = []
    found = ((cluster, _drawable(cluster, available, east_asian)) for cluster in clusters(clean(text)))
    for known, stretch in groupby(found, key=lambda item: item[1] is not None):
        if not known:
            codes = " ".join(f"{ord(cluster[0]):04X}" for cluster, _ in stretch)
            pieces += [(letter, plain) for letter in f"[U+{codes}]"]
            continue
        pieces += [answer for _, answer in stretch if answer is not None]
    return pieces


def _drawable(cluster: str, available: Fonts, east_asian: int) -> tuple[str, Face] | None:
    if cluster == " ":  # as wide everywhere as between Latin words; a font of emoji has spaces three times that
        face = available.face("x", east_asian)
        return (cluster, face) if face else None
    # a letter whose marks no face has is still readable without them
    for letter in dict.fromkeys((cluster, cluster[0])):
        face = available.face(letter, east_asian)
        if face is not None:
            return letter, face
    return None


def _east_asian(text: str) -> int:
    # one code point stands for the Chinese, Japanese and Korean form of a Han letter; its neighbours tell which
    if any("\uac00" <= letter <= "\ud7a3" or "\u1100" <= letter <= "\u11ff" for letter in text):
        return KOREAN
    return JAPANESE if any("\u3040" <= letter <= "\u30ff" for letter in text) else CHINESE


def _strong(cluster: str) -> bool | None:
    kind = unicodedata.bidirectional(cluster[0])
    if kind in ("R", "AL"):
        return True
    return False if kind in ("L", "EN", "AN") else None


def _base_leftward(pieces: list[str]) -> bool:
    letters = (unicodedata.bidirectional(piece[0]) for piece in pieces)
    return next((kind != "L" for kind in letters if kind in ("L", "R", "AL")), False)


def _directions(pieces: list[str]) -> list[bool]:
    base = _base_leftward(pieces)
    strong = [_strong(piece) for piece in pieces]
    before, after = list(strong), list(strong)
    for i in range(1, len(strong)):
        before[i] = before[i - 1] if strong[i] is None else strong[i]
        after[-1 - i] = after[-i] if strong[-1 - i] is None else strong[-1 - i]
    return [left if left is not None and left == right else base for left, right in zip(before, after, strict=True)]


def _unshaped(run: Run) -> Run:
    letters = "".join(letter for letter in run.text if letter not in JOINERS)
    if run.leftward:
        letters = "".join(reversed(clusters(letters))).translate(MIRRORS)
    return Run(letters, run.face, False)


@lru_cache(maxsize=8192)
def _laid_out(text: str) -> tuple[Run, ...]:
    return tuple(runs(text, fonts.standard()))


def _direction(run: Run) -> str | None:
    if not fonts.can_shape():
        return None
    return "rtl" if run.leftward else "ltr"


@lru_cache(maxsize=65536)
def width(text: str, size: int) -> float:
    """Pixels that a line takes from left to right at a letter size of `size` pixels."""
    return sum(fonts.load(run.face, size).getlength(run.text, direction=_direction(run)) for run in _laid_out(text))


def write(canvas: "ImageDraw", x: float, baseline: float, text: str, size: int, colour: tuple[int, int, int]) -> float:
    """Draw a line from `x` rightwards, standing on `baseline`; returns where it ends."""
    for run in _laid_out(text):
        font, direction = fonts.load(run.face, size), _direction(run)
        canvas.text((x, baseline), run.text, fill=colour, font=font, anchor="ls", direction=direction)
        x += font.getlength(run.text, direction=direction)
    return x


@lru_cache(maxsize=8192)
def shorten(text: str, size: int, room: float) -> str:
    """The line itself if it fits into `room` pixels, else with its middle left out."""
    text = clean(text)
    if width(text, size) <= room:
        return text
    letters = clusters(text)
    fits, too_many = 0, len(letters)
    while too_many - fits > 1:
        kept = (fits + too_many) // 2
        if width(_without_middle(letters, kept), size) <= room:
            fits = kept
        else:
            too_many = kept
    shortened = _without_middle(letters, fits)
    return shortened if width(shortened, size) <= room else ""


def _without_middle(letters: list[str], kept: int) -> str:
    head, tail = letters[: (kept + 1) // 2], letters[len(letters) - kept // 2 :]
    return "".join(head).rstrip() + ELLIPSIS + "".join(tail).lstrip()


@lru_cache(maxsize=8192)
def wrap(text: str, size: int, rooms: tuple[float, ...]) -> tuple[str, ...]:
    """The line on as many lines as there are `rooms` (pixels, from the first line on); the last one is shortened."""
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
    natural = [
        i for i in range(1, count + 1) if letters[i - 1][0] in BREAKS or letters[min(i, len(letters) - 1)] == " "
    ]
    # a break after a word is worth a shorter line, but not one less than a third full
    if natural and natural[-1] * 3 >= count:
        count = natural[-1]
    return len("".join(letters[:count]))


MATPLOTLIBS = "DejaVu Sans"  # the font that comes with it


def lettering(*lines: str) -> list[str]:
    """Font families for matplotlib (`fontfamily=`) that draw the letters of these lines, in any script.

    The files of `tl.views.pictures.fonts` are made known to matplotlib, each once; no setting of it is changed.
    """
    # plain letters first: they bring the spaces, which a font of emoji has three times as wide
    faces = dict.fromkeys(run.face for line in lines or ("",) for run in runs(f"x {line}", fonts.standard()))
    return [*(_family(face) for face in faces), MATPLOTLIBS]


def legible(line: str) -> str:
    """The line as matplotlib is to draw it, with `lettering` and `parse_math=False`: letters no font has, as codes."""
    return "".join(_lettering_drawable(letter) for letter in clusters(clean(line)))


def _lettering_drawable(letter: str) -> str:
    if letter == " ":
        return letter
    return "".join(run.text for run in runs(letter, fonts.standard()))


def _family(face: Face) -> str:
    from matplotlib.font_manager import fontManager

    def known() -> list["FontEntry"]:
        return [entry for entry in fontManager.ttflist if entry.fname == face.path]

    if not known():
        with suppress(RuntimeError):  # a font of the machine that only Pillow can draw
            fontManager.addfont(face.path)
    # before matplotlib 3.11 only the first face of a collection is known; it has the same letters
    same = [entry for entry in known() if getattr(entry, "index", 0) == face.index] or known()
    return str(same[0].name) if same else MATPLOTLIBS
