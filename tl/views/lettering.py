"""Lines in any script -> the fonts that draw them in matplotlib, and the form in which it can draw them."""

from contextlib import suppress
from typing import TYPE_CHECKING

from tl.views.pictures import fonts, text
from tl.views.pictures.fonts import Face

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

MATPLOTLIBS = "DejaVu Sans"  # the font that comes with it


def lettering(*lines: str) -> list[str]:
    """Font families for matplotlib (`fontfamily=`) that draw the letters of these lines, in any script.

    The files of `tl.views.pictures.fonts` are made known to matplotlib, each once; no setting of it is changed.
    """
    # plain letters first: they bring the spaces, which a font of emoji has three times as wide
    faces = dict.fromkeys(run.face for line in lines or ("",) for run in text.runs(f"x {line}", fonts.standard()))
    return [*(_family(face) for face in faces), MATPLOTLIBS]


def legible(line: str) -> str:
    """The line as matplotlib is to draw it, with `lettering` and `parse_math=False`: letters no font has, as codes."""
    return "".join(_drawable(letter) for letter in text.clusters(text.clean(line)))


def _drawable(letter: str) -> str:
    if letter == " ":
        return letter
    return "".join(run.text for run in text.runs(letter, fonts.standard()))


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
