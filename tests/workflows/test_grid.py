"""`tl grid`: which photos are shown, and what is said about them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from support.runs import make
from support.session import draw_shapes
from tl.data.load import load as load_data
from tl.errors import UsageError
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run
from tl.views.pictures.grid import MOUNT
from tl.workflows.grid import Gallery, draw_run, pick


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return Predictor(load_run(tiny_run))


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


def test_photos_of_training_are_counted_and_the_caption_says_so(predictor, shapes, mislabelled):
    whole = pick(predictor, shapes, count=0)
    assert (whole.trained, whole.fresh, whole.fresh_right) == (20, 4, 4)
    assert whole.caption == "24 of 24 right · 20 of the 24 were trained on; 4 of the 4 others right"
    named = {item.prediction.name: item.trained for item in whole.shown}
    assert sum(named.values()) == 20
    wrong = pick(predictor, mislabelled, only="wrong")  # three that it knows from elsewhere
    assert wrong.caption.startswith("21 of 24 right · 20 of the 24 were trained on; ")
    assert pick(predictor).caption == "4 of 4 right · held out from training"


@pytest.mark.parametrize(
    ("predicted", "trained", "fresh", "right", "said"),
    [
        (1, 1, 0, 0, "it was trained on this photo"),
        (5, 5, 0, 0, "it was trained on all of them"),
        (5, 4, 1, 0, "4 of the 5 were trained on; the other one is wrong"),
        (5, 3, 0, 0, "3 of the 5 were trained on"),  # the others have no truth
        (5000, 2000, 3000, 1500, "2,000 of the 5,000 were trained on; 1,500 of the 3,000 others right"),
    ],
)
def test_how_much_was_trained_on_in_words(predicted, trained, fresh, right, said):
    gallery = Gallery("", (), predicted, predicted, predicted, predicted, trained, 0, fresh=fresh, fresh_right=right)
    assert gallery.caption.endswith(f" right · {said}")


def test_the_picture_carries_the_caption(predictor, shapes, monkeypatch):
    drawn = []
    monkeypatch.setattr("tl.workflows.grid.draw", lambda tiles, **told: drawn.append(told["summary"]))
    pick(predictor, shapes, count=0).draw()
    pick(predictor, count=1, explain=True).draw()
    assert drawn == [
        "24 of 24 right · 20 of the 24 were trained on; 4 of the 4 others right",
        "1 of 1 right · held out from training · yellow: speaks for the label",
    ]


def test_the_grid_of_a_run_says_that_its_photos_were_held_out(tiny_run, shapes, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Gallery, "draw", lambda self: drawn.append(self.caption))
    monkeypatch.setattr("tl.workflows.grid.save_png", lambda *_: None)
    draw_run(load_run(tiny_run), load_data(shapes))
    assert drawn == ["4 of 4 right · held out from training"]


def test_json(tl, tiny_run, shapes, tmp_path):
    done = tl("grid", shapes, "--run", tiny_run, "--count", 0, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (tmp_path / told["picture"]).is_file()
    assert (told["right"], told["known"], told["trained"], told["fresh"], told["held_out"]) == (24, 24, 20, 4, None)
    assert sum(one["trained_on"] for one in told["shown"]) == 20
    assert {one["truth"] for one in told["shown"]} == {"noise", "stripes"}
    own = json.loads(tl("grid", "--run", tiny_run, "--json", cwd=tmp_path).stdout)
    assert (own["held_out"], own["trained"], own["caption"]) == (
        "validation",
        0,
        "4 of 4 right · held out from training",
    )


def test_none_wrong_is_said_and_drawn(tl, tiny_run, shapes, tmp_path):
    done = tl("grid", shapes, "--run", tiny_run, "--only", "wrong", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "grid.png: no photo is wrong" in done.stdout
    assert "24 of 24 right" in done.stdout
    picture = Image.open(tmp_path / "grid.png")
    assert picture.width > 600
    field = np.asarray(picture.convert("RGB"))[-60:-20, 40:-40]
    assert (field == MOUNT).all(2).mean() > 0.8
    assert (field != MOUNT).any()


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
