"""`tl grid`: which photos are shown, and what is said about them."""

import shutil

import numpy as np
import pytest
from conftest import draw_shapes
from made_runs import make
from PIL import Image

from tl.errors import UsageError
from tl.runs.bundle import load
from tl.runs.prediction import Predictor
from tl.views.gallery import pick


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return Predictor(load(tiny_run))


@pytest.fixture(scope="module")
def mislabelled(shapes, tmp_path_factory):
    """The small images, three of them under the wrong name."""
    folder = shutil.copytree(shapes, tmp_path_factory.mktemp("mislabelled") / "data")
    for name in ("00.png", "01.png", "02.png"):
        (folder / "noise" / name).rename(folder / "stripes" / f"wrong-{name}")
    return folder


def test_only_wrong_and_only_right(predictor, mislabelled):
    wrong = pick(predictor, mislabelled, only="wrong")
    assert [item.prediction.name for item in wrong.shown] == [f"stripes/wrong-0{n}.png" for n in range(3)]
    assert (wrong.right, wrong.known, wrong.photos, wrong.summary) == (21, 24, 24, "21 of 24 right")
    assert len(pick(predictor, mislabelled, only="right", count=0).shown) == 21


def test_sorted_by_confidence_the_surest_first(predictor, mislabelled):
    shares = [item.prediction.confidence for item in pick(predictor, mislabelled, sort="confidence", count=7).shown]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 7


def test_a_sample_follows_its_seed(predictor, mislabelled):
    chosen = [[i.prediction.name for i in pick(predictor, mislabelled, count=6, seed=s).shown] for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_photos_of_training_are_counted(predictor, shapes):
    assert pick(predictor, shapes, count=0).trained == 20


@pytest.fixture
def distracting(tmp_path):
    """A folder to work in that has other photos of the same classes in `data/`."""
    draw_shapes(tmp_path / "data", 5, seed=9)
    return tmp_path


def test_without_data_the_photos_that_were_held_out_are_drawn(tl, tiny_run, distracting):
    done = tl("grid", "--run", tiny_run, cwd=distracting)
    assert done.returncode == 0, done.stderr
    assert f"the 4 validation photos of {tiny_run.name}" in " ".join(done.stdout.split())
    assert "4 of 4 photos" in done.stdout


def test_without_data_photos_that_are_gone_are_asked_for(tl, tiny_run, distracting):
    moved = make(tiny_run, distracting / "moved", options__data="gone/")
    for command in ("grid", "evaluate"):
        done = tl(command, "--run", moved, cwd=distracting)
        assert (done.returncode, done.stdout) == (1, "")
        assert "the photos of moved are not here: no such folder or table: 'gone/'; give DATA" in done.stderr


def test_without_data_the_title_says_what_they_are(predictor, distracting, monkeypatch):
    monkeypatch.chdir(distracting)
    gallery = pick(predictor)
    assert gallery.title.endswith(" on its validation photos of shapes")
    assert (gallery.held_out, gallery.photos, gallery.trained) == ("validation", 4, 0)


def test_no_truth(predictor, shapes):
    gallery = pick(predictor, shapes / "noise")
    assert {item.truth for item in gallery.shown} == {None}
    assert gallery.summary == "no class folders, so no truth to compare with"


def test_an_unknown_choice(predictor, shapes):
    with pytest.raises(UsageError, match="--only 'left': choose all, right, wrong"):
        pick(predictor, shapes, only="left")


def test_the_command_writes_a_picture(tl, mislabelled, tiny_run, tmp_path):
    done = tl("grid", mislabelled, "--run", tiny_run, "--only", "wrong", "--columns", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 24 photos" in done.stdout
    picture = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.sum() > 500


def test_show_names_the_file_where_nothing_can_be_shown(tl, shapes, tiny_run, tmp_path):
    bare = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "TERM": "dumb", "TERM_PROGRAM": "", "KITTY_WINDOW_ID": ""}
    done = tl("grid", shapes, "--run", tiny_run, "--show", cwd=tmp_path, **bare)
    assert "grid.png" in done.stdout.splitlines()[-1]
