"""Lines in any script: faces, order, width, shortening, and no exception whatever the letters are."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tl.views.pictures import fonts, text
from tl.views.pictures.fonts import JAPANESE, KOREAN, MISSING, Face, Fonts

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


def _tofu(face: Face, size: int = 32) -> np.ndarray:
    page = Image.new("L", (1200, 160), 255)
    ImageDraw.Draw(page).text((100, 90), MISSING, font=fonts.load(face, size), fill=0, anchor="ls")
    return np.asarray(page) < 200


@pytest.mark.parametrize("letter", ["A", "é", "я", "Ω", "한", "글", "日", "猫", "の", "ト"])
def test_a_bare_machine_draws_latin_greek_cyrillic_and_east_asian_letters(letter: str) -> None:
    face = BARE.face(letter)
    assert face is not None
    drawn = fonts.load(face, 32).getmask(letter).getbbox()
    missing = fonts.load(face, 32).getmask(MISSING)
    assert drawn is not None
    assert bytes(fonts.load(face, 32).getmask(letter)) != bytes(missing)


@pytest.mark.skipif(find_spec("manimgx_fonts") is None, reason="the package of fonts for more scripts is not installed")
@pytest.mark.parametrize("letter", ["ق", "ש", "ม", "हि", "ა", "ά", "🐶", "ລ"])
def test_a_bare_machine_draws_more_scripts_with_the_second_package(letter: str) -> None:
    face = BARE.face(letter)
    assert face is not None
    assert all(fonts.has(face, character) for character in letter)


def test_korean_is_drawn_with_glyphs_and_not_with_boxes() -> None:
    face = BARE.face("한", KOREAN)
    assert face is not None
    letters = [_ink(letter) for letter in "한국고양이"]
    assert all(letter.any() for letter in letters)
    assert all((letter != _tofu(face)).any() for letter in letters)
    for one in range(len(letters)):  # boxes would all look the same
        assert all((letters[one] != other).any() for other in letters[one + 1 :])


def test_the_package_alone_holds_the_bare_machines_font() -> None:
    face = BARE.face("한", KOREAN)
    assert face is not None
    assert (Path(face.path).name, face.index) == ("NotoSansCJK-Regular.ttc", KOREAN)


def test_han_letters_take_the_form_of_the_language_around_them() -> None:
    def indices(line: str) -> set[int]:
        return {run.face.index for run in text.runs(line, BARE)}

    assert indices("骨の") == {JAPANESE}
    assert indices("骨이") == {KOREAN}
    assert (_ink("骨の")[:, :132] != _ink("骨国")[:, :132]).any()


def test_decomposed_korean_as_macos_names_files_is_drawn_composed() -> None:
    assert text.clean("\u1112\u1161\u11ab") == "한"
    assert (_ink("\u1112\u1161\u11ab\u1100\u1173\u11af") == _ink("한글")).all()


def test_a_letter_that_no_font_has_becomes_its_code_point() -> None:
    drawn = "".join(run.text for run in text.runs("a\ue123\ue124b", BARE))
    assert drawn == "a[U+E123 E124]b"
    assert "".join(run.text for run in text.runs("\ud800", BARE)) == "[U+D800]"


@pytest.mark.skipif(Fonts(bundled=False).face("A") is None, reason="this machine has no font of its own")
def test_without_fontconfig_the_font_folders_are_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    face = Fonts(bundled=False).face("A")
    assert face is not None
    assert fonts.has(face, "A")
    assert not fonts.has(face, MISSING)


def test_without_any_font_nothing_is_drawn_and_nothing_raised() -> None:
    assert text.runs("cat", Fonts(system=False, bundled=False)) == []


@pytest.mark.parametrize("line", LABELS)
@pytest.mark.parametrize("shaping", [True, False])
def test_no_label_raises_and_each_letter_has_a_face(line: str, shaping: bool) -> None:
    for run in text.runs(line, fonts.standard(), shaping):
        assert Path(run.face.path).is_file()
        assert fonts.load(run.face, 16, shaping).getlength(run.text) >= 0


@pytest.mark.parametrize("line", LABELS)
@pytest.mark.parametrize("room", [20.0, 70.0, 180.0])
def test_what_was_shortened_or_wrapped_fits(line: str, room: float) -> None:
    assert text.width(text.shorten(line, 16, room), 16) <= room
    for part, place in zip(text.wrap(line, 16, (room, room * 2)), (room, room * 2), strict=False):
        assert text.width(part, 16) <= place or len(text.clusters(part)) == 1


def test_shortening_leaves_out_the_middle_and_keeps_what_fits() -> None:
    assert text.shorten("cat", 16, 200) == "cat"
    short = text.shorten("Staffordshire bull terrier", 16, 120)
    head, tail = short.split("…")
    assert "Staffordshire bull terrier".startswith(head)
    assert "Staffordshire bull terrier".endswith(tail)
    assert text.width(short, 16) > 100


def test_wrapping_breaks_between_words_and_loses_nothing_that_fits() -> None:
    lines = text.wrap("golden retriever", 16, (90.0, 90.0))
    assert lines == ("golden", "retriever")
    assert text.wrap("cat", 16, (90.0, 90.0)) == ("cat",)
    assert text.wrap("aquarium_fish", 16, (90.0, 90.0)) == ("aquarium_", "fish")


def test_a_line_ends_where_its_width_says() -> None:
    ink = np.flatnonzero(_ink("고양이 cat").any(0))
    assert ink.min() >= 98
    assert ink.max() <= 100 + text.width("고양이 cat", 32) + 2


def _order(line: str) -> str:
    return "".join(run.text for run in text.runs(line, fonts.standard(), shaping=False))


@pytest.mark.skipif(fonts.standard().face("ק") is None, reason="no font on this machine has Hebrew letters")
def test_right_to_left_letters_stand_in_reading_order() -> None:
    assert _order("אבג") == "גבא"
    assert _order("אב cat גד") == "דג cat בא"
    assert _order("cat אב dog") == "cat בא dog"
    assert _order("אב 12") == "12 בא"
    assert _order("אב (גד)") == "(דג) בא"


@pytest.mark.skipif(fonts.standard().face("ק") is None, reason="no font on this machine has Hebrew letters")
@pytest.mark.skipif(not fonts.can_shape(), reason="this Pillow has no libraqm")
def test_shaped_and_unshaped_hebrew_look_the_same() -> None:
    face = fonts.standard().face("ק")
    assert face is not None
    shaped, plain = Image.new("L", (300, 60)), Image.new("L", (300, 60))
    run = text.runs("חתול", fonts.standard())[0]
    ImageDraw.Draw(shaped).text((9, 40), run.text, 255, fonts.load(face, 24), anchor="ls", direction="rtl")
    ImageDraw.Draw(plain).text((9, 40), _order("חתול"), 255, fonts.load(face, 24, shaping=False), anchor="ls")
    assert np.abs(np.asarray(shaped, int) - np.asarray(plain, int)).mean() < 2


def test_piled_up_marks_are_cut() -> None:
    assert len(text.clean("x" + "\u0332" * 200)) == 1 + text.MOST_MARKS


def test_control_and_override_characters_are_not_drawn() -> None:
    assert text.clean("a\x1b[31m\u202eb\u2066\nc") == "a [31mb c"


def test_the_modules_load_neither_pillow_nor_fonts() -> None:
    names = "tl.views.pictures.grid, tl.views.pictures.text, tl.views.pictures.show"
    code = f"import sys, {names}; print('PIL' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
