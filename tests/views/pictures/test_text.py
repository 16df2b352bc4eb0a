"""Lines in any script: faces, order, width, shortening, and no exception whatever the letters are."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from support.session import ROOT
from tl.views.pictures import text
from tl.views.pictures.text import Fonts, legible, lettering

BARE = Fonts(system=False)  # a machine without any font of its own

LABELS = [
    "cat",
    "경복궁 근정전과 한국의 아름다운 전통 건축물",
    "قطة سوداء 2",
    "חתול בית (קטן)",
    "แมวไทยวิเชียรมาศ",
    "हिन्दी बिल्ली",
    "日本の猫と犬",
    "👩‍🚀 🐶 puppy 🏳️‍🌈",
    "n02123045_tabby-cat/long.name" * 9,
    "W" * 300,
    "e" + "\u0301" * 200,
    "line\nbreak\ttab\x00nul\x1b[31m",
    "\u202eright to left override",
    "\ud800 lone surrogate",
    "\u0378 unassigned \U0010ffff",
    "\u200d\u200d",
    "\u0301",
    "",
    " ",
    "ﷺ﷽",
]


def _ink(line: str, size: int = 32) -> np.ndarray:
    page = Image.new("RGB", (1200, 160), "white")
    text.write(ImageDraw.Draw(page), 100, 90, line, size, (0, 0, 0))
    return np.asarray(page.convert("L")) < 200


@pytest.mark.parametrize("letter", ["A", "é", "я", "Ω", "한", "글", "日", "猫", "の", "ト"])
def test_package_fonts_draw_latin_greek_cyrillic_and_east_asian_letters(letter):
    font = text.load_font(BARE.face(letter), 32)
    assert bytes(font.getmask(letter)) != bytes(font.getmask(text.MISSING))


@pytest.mark.skipif(find_spec("manimgx_fonts") is None, reason="the package of fonts for more scripts is not installed")
@pytest.mark.parametrize("letter", ["ق", "ש", "ม", "हि", "ა", "ά", "🐶", "ລ"])
def test_second_package_draws_more_scripts(letter):
    assert all(text.has_glyph(BARE.face(letter), character) for character in letter)


def test_korean_is_drawn_with_glyphs_of_the_package():
    face = BARE.face("한", text.KOREAN)
    assert (Path(face.path).name, face.index) == ("NotoSansCJK-Regular.ttc", text.KOREAN)
    letters = [_ink(letter) for letter in "한국고양이"]
    assert all(letter.any() for letter in letters)
    assert all((one != other).any() for one, other in combinations(letters, 2))  # boxes would all look the same


def test_han_letters_follow_the_language_around_them():
    def indices(line: str) -> set[int]:
        return {run.face.index for run in text.runs(line, BARE)}

    assert indices("骨の") == {text.JAPANESE}
    assert indices("骨이") == {text.KOREAN}
    assert (_ink("骨の")[:, :132] != _ink("骨国")[:, :132]).any()


def test_letter_without_font_becomes_its_code_point():
    for line, drawn in (("a\ue123\ue124b", "a[U+E123 E124]b"), ("\ud800", "[U+D800]")):
        assert "".join(run.text for run in text.runs(line, BARE)) == drawn
    assert text.runs("cat", Fonts(system=False, bundled=False)) == []


@pytest.mark.skipif(Fonts(bundled=False).face("A") is None, reason="this machine has no font of its own")
def test_font_folders_are_searched_without_fontconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    face = Fonts(bundled=False).face("A")
    assert text.has_glyph(face, "A")
    assert not text.has_glyph(face, text.MISSING)


@pytest.mark.parametrize("line", LABELS)
@pytest.mark.parametrize("shaping", [True, False])
def test_every_label_has_faces_for_its_letters(line, shaping):
    for run in text.runs(line, text.standard_fonts(), shaping):
        assert Path(run.face.path).is_file()
        assert text.load_font(run.face, 16, shaping).getlength(run.text) >= 0


@pytest.mark.parametrize("line", LABELS)
@pytest.mark.parametrize("room", [20.0, 70.0, 180.0])
def test_shortened_and_wrapped_lines_fit(line, room):
    assert text.width(text.shorten(line, 16, room), 16) <= room
    for part, place in zip(text.wrap(line, 16, (room, room * 2)), (room, room * 2), strict=False):
        assert text.width(part, 16) <= place or len(text.clusters(part)) == 1


def test_shorten_removes_only_the_middle():
    assert text.shorten("cat", 16, 200) == "cat"
    short = text.shorten("Staffordshire bull terrier", 16, 120)
    head, tail = short.split("…")
    assert "Staffordshire bull terrier".startswith(head)
    assert "Staffordshire bull terrier".endswith(tail)
    assert text.width(short, 16) > 100


@pytest.mark.parametrize(
    ("line", "lines"),
    [("golden retriever", ("golden", "retriever")), ("cat", ("cat",)), ("aquarium_fish", ("aquarium_", "fish"))],
)
def test_wrap_breaks_between_words(line, lines):
    assert text.wrap(line, 16, (90.0, 90.0)) == lines


def test_write_ends_at_the_width_of_the_line():
    ink = np.flatnonzero(_ink("고양이 cat").any(0))
    assert ink.min() >= 98
    assert ink.max() <= 100 + text.width("고양이 cat", 32) + 2


def _order(line: str) -> str:
    return "".join(run.text for run in text.runs(line, text.standard_fonts(), shaping=False))


needs_hebrew = pytest.mark.skipif(text.standard_fonts().face("ק") is None, reason="no font here has Hebrew letters")


@needs_hebrew
@pytest.mark.parametrize(("line", "shown"), [
    ("אבג", "גבא"),
    ("אב cat גד", "דג cat בא"),
    ("cat אב dog", "cat בא dog"),
    ("אב 12", "12 בא"),
    ("אב (גד)", "(דג) בא"),
])  # fmt: skip
def test_right_to_left_text_is_in_reading_order(line, shown):
    assert _order(line) == shown


@needs_hebrew
@pytest.mark.skipif(not text.can_shape(), reason="this Pillow has no libraqm")
def test_shaped_and_unshaped_hebrew_look_the_same():
    face = text.standard_fonts().face("ק")
    shaped, plain = Image.new("L", (300, 60)), Image.new("L", (300, 60))
    run = text.runs("חתול", text.standard_fonts())[0]
    ImageDraw.Draw(shaped).text((9, 40), run.text, 255, text.load_font(face, 24), anchor="ls", direction="rtl")
    ImageDraw.Draw(plain).text((9, 40), _order("חתול"), 255, text.load_font(face, 24, shaping=False), anchor="ls")
    assert np.abs(np.asarray(shaped, int) - np.asarray(plain, int)).mean() < 2


def test_clean_composes_korean_and_removes_control_characters_and_excessive_marks():
    assert text.clean("\u1112\u1161\u11ab") == "한"
    assert (_ink("\u1112\u1161\u11ab\u1100\u1173\u11af") == _ink("한글")).all()
    assert len(text.clean("x" + "\u0332" * 200)) == 1 + text.MOST_MARKS
    assert text.clean("a\x1b[31m\u202eb\u2066\nc") == "a [31mb c"


SCRIPTS = ("고양이와 개", "猫", "ネコ", "кошка", "Übergröße", "γάτα")


def drawn(line, families):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 0.5), dpi=80)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.02, 0.3, line, fontfamily=families, parse_math=False, fontsize=16)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] < 128


@pytest.mark.parametrize("line", SCRIPTS)
def test_lettering_draws_every_script_in_matplotlib(line):
    # a missing letter would be a warning, which is an error here
    families = lettering(line)
    ink = drawn(line, families)
    assert ink.sum() > 50
    other = line[:-1] + {"개": "새", "猫": "犬", "コ": "ト", "а": "я", "e": "i", "α": "ω"}[line[-1]]
    assert (drawn(other, families) != ink).any()


def test_matplotlib_alone_lacks_korean():
    with pytest.warns(UserWarning, match="missing from font"):
        drawn("고양이", [text.MATPLOTLIB_FONT])


@pytest.mark.parametrize(("line", "language"), [("고양이 直", "KR"), ("ネコ 直", "JP"), ("直", "SC")])
def test_lettering_follows_the_language_of_han_letters(line, language):
    assert lettering(line)[0].endswith(language)
    assert lettering("🐈 cat")[0] == lettering()[0]  # spaces are those of the Latin font


def test_lettering_registers_each_font_file_once():
    from matplotlib.font_manager import fontManager

    first = lettering(*SCRIPTS)
    known = len(fontManager.ttflist)
    assert lettering(*SCRIPTS) == first
    assert len(fontManager.ttflist) == known
    assert first[-1] == text.MATPLOTLIB_FONT


@pytest.mark.parametrize(("line", "shown"), [
    ("고양이", "고양이"),  # decomposed, as macOS gives it
    ("a $x_1^{2}$ \\frac", "a $x_1^{2}$ \\frac"),
    ("two\nlines\x1b[31m", "two lines [31m"),
    ("\ue000 odd \U00012000", "[U+E000] odd [U+12000]"),
    ("\u202egnp", "gnp"),
])  # fmt: skip
def test_legible_lines_can_be_drawn(line, shown):
    assert legible(line) == shown
    assert drawn(legible(line), lettering(legible(line))).any()


def test_pictures_import_nothing_heavy_and_change_no_setting_of_matplotlib():
    code = """
import sys
import tl.views.pictures.charts, tl.views.pictures.grid, tl.views.pictures.show, tl.views.pictures.text
assert not {"matplotlib", "PIL"} & set(sys.modules)
import matplotlib
names = set(matplotlib.rcParams) - {"backend"}  # reading it chooses a backend
before = {name: matplotlib.rcParams[name] for name in names}
families = tl.views.pictures.text.lettering("고양이")
assert len(families) == 2, families
assert "matplotlib.pyplot" not in sys.modules
assert {name: matplotlib.rcParams[name] for name in names} == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
