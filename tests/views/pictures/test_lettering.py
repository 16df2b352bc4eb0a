"""Fonts for matplotlib: every script is drawn, nothing of matplotlib is changed but the fonts that it knows."""

import subprocess
import sys

import numpy as np
import pytest

from support.session import ROOT
from tl.views.pictures.text import MATPLOTLIBS, legible, lettering

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
def test_letters_of_every_script_have_ink_of_their_own(line: str):
    # a letter that no font has would be a warning, which is an error here, and look like any other such letter
    families = lettering(line)
    ink = drawn(line, families)
    assert ink.sum() > 50
    other = line[:-1] + {"개": "새", "猫": "犬", "コ": "ト", "а": "я", "e": "i", "α": "ω"}[line[-1]]
    assert (drawn(other, families) != ink).any()


def test_without_them_korean_letters_are_missing():
    with pytest.warns(UserWarning, match="missing from font"):
        drawn("고양이", [MATPLOTLIBS])


def test_han_letters_take_the_form_of_the_language_around_them():
    assert lettering("고양이 直")[0].endswith("KR")
    assert lettering("ネコ 直")[0].endswith("JP")
    assert lettering("直")[0].endswith("SC")


def test_each_file_is_made_known_once():
    from matplotlib.font_manager import fontManager

    first = lettering(*SCRIPTS)
    known = len(fontManager.ttflist)
    assert lettering(*SCRIPTS) == first
    assert len(fontManager.ttflist) == known
    assert first[-1] == MATPLOTLIBS


def test_plain_letters_bring_the_spaces():
    assert lettering("🐈 cat")[0] == lettering()[0]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("고양이", "고양이"),  # composed of the loose letters that macOS gives
        ("a $x_1^{2}$ \\frac", "a $x_1^{2}$ \\frac"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("\ue000 odd \U00012000", "[U+E000] odd [U+12000]"),
        ("\u202egnp", "gnp"),
    ],
)
def test_lines_from_anywhere_become_lines_that_can_be_drawn(line: str, shown: str):
    assert legible(line) == shown
    assert drawn(legible(line), lettering(legible(line))).any()


def test_no_setting_and_no_window_of_matplotlib_is_touched():
    code = """
import sys
import tl.views.pictures.curves, tl.views.pictures.text
assert "matplotlib" not in sys.modules
import matplotlib
names = set(matplotlib.rcParams) - {"backend"}  # looking at that chooses it
before = {name: matplotlib.rcParams[name] for name in names}
families = tl.views.pictures.text.lettering("고양이")
assert len(families) == 2, families
assert "matplotlib.pyplot" not in sys.modules
assert {name: matplotlib.rcParams[name] for name in names} == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
