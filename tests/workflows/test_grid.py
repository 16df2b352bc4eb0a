"""`tl grid`: which images are shown, and what the caption says about them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import tl
from support.runs import copy_run
from support.session import draw_shapes
from tl.errors import UsageError
from tl.evaluation.predictions import Predictions
from tl.prediction.predictor import Prediction, Predictor
from tl.progress import Progress
from tl.runs.photos import held_out
from tl.runs.run import load_run
from tl.views.pictures.grid import COLOURS, MOUNT
from tl.workflows.grid import Grid, display_image_grid, grid, save_run_grid


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


def test_only_and_sort_choose_the_images(predictor, mislabelled):
    wrong = grid(mislabelled, predictor=predictor, only="wrong")
    assert [item.prediction.name for item in wrong.shown] == [f"stripes/wrong-0{n}.png" for n in range(3)]
    assert (wrong.correct, wrong.labelled, wrong.total, wrong.summary) == (21, 24, 24, "21 of 24 correct")
    correct = grid(mislabelled, predictor=predictor, only="correct", sort="confidence", count=0)
    confidences = [entry.prediction.confidence for entry in correct.shown]
    assert len(confidences) == 21
    assert confidences == sorted(confidences, reverse=True)
    with pytest.raises(UsageError, match="--only left: choose all, correct, wrong"):
        grid(mislabelled, predictor=predictor, only="left")


def test_a_list_of_images_and_labels_is_drawn(predictor, shapes):
    pairs = [(shapes / "noise" / "00.png", "noise"), (shapes / "stripes" / "00.png", "noise")]
    assert grid(pairs, predictor=predictor).summary == "1 of 2 correct"


def colours(picture: Image.Image) -> list[str]:
    """The verdict of each tile of a picture, by the colour of its strip."""
    names = {colour: verdict for verdict, colour in COLOURS.items()}
    lines, tiles = np.asarray(picture)[:, 16:], (picture.width - 16) // 240
    strips = [row for row in lines[:, : 240 * tiles : 240] if all(tuple(pixel) in names for pixel in row)]
    return [names[tuple(pixel)] for pixel in strips[0]]


@pytest.mark.parametrize("labelled", [False, True])
def test_arrays_are_drawn(tiny_run, shapes, labelled):
    pixels = np.stack(
        [np.asarray(Image.open(shapes / name / "00.png").convert("RGB")) for name in ("noise", "stripes")]
    )
    labels, classifier = np.array(["noise", "stripes"]), tl.load(tiny_run)
    for data in (pixels, pixels / 255, list(pixels), [Image.fromarray(one) for one in pixels]):
        drawn = classifier.grid((np.stack(data), labels) if labelled else data)
        assert colours(drawn) == ["correct" if labelled else "unknown"] * 2


def test_one_image_is_drawn(tiny_run, shapes):
    path, classifier = shapes / "noise" / "00.png", tl.load(tiny_run)
    image = Image.open(path)
    for data in (path, path.read_bytes(), image, np.asarray(image)):
        assert colours(classifier.grid(data)) == ["unknown"]


def test_class_and_uncertain_choose_the_images(predictor, mislabelled, request, tmp_path):
    noise = grid(mislabelled, predictor=predictor, class_="noise", count=0)
    assert {(item.truth, item.prediction.label) for item in noise.shown} == {("noise", "noise"), ("stripes", "noise")}
    assert len(noise.shown) == 12
    doubtful = grid(mislabelled, predictor=predictor, sort="uncertain", count=5).shown
    everything = grid(mislabelled, predictor=predictor, count=0).shown
    assert [one.prediction.confidence for one in doubtful] == sorted(one.prediction.confidence for one in everything)[
        :5
    ]
    with pytest.raises(UsageError, match="--class 'stripe': run .* has no such class; did you mean stripes"):
        grid(mislabelled, predictor=predictor, class_="stripe")
    none = grid(mislabelled / "noise", predictor=predictor, class_="stripes", count=0)
    assert none.nothing == "no image is or is predicted as stripes"
    done = request.getfixturevalue("tl")(
        "grid", mislabelled, "--run", predictor.run.folder, "--class", "noise", cwd=tmp_path, expect=0
    )
    assert "grid.png: 12 of 24 images" in done.stdout


@pytest.mark.parametrize(("labels", "predictions", "names"), [
    (["a", "b", "b"], ["a", "b", "a"], None),
    ([0, 1, 1], np.array([0, 1, 0]), None),
    (np.array([[0], [1], [1]]), np.array([[0.2], [0.9], [0.4]], np.float32), ("a", "b")),
    (np.eye(2)[[0, 1, 1]], np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), ("a", "b")),
    (["a", "b", "b"], np.array([[3.0, -1.0], [-2, 5], [1, 0]]), ("a", "b")),
    (["a", "b", "b"], [Prediction("", label, 0.5, ()) for label in "aba"], None),
])  # fmt: skip
def test_display_image_grid_takes_the_labels_of_any_model(labels, predictions, names):
    images = np.random.default_rng(0).random((3, 32, 32, 3))
    picture = display_image_grid(images, labels, predictions, class_names=names)
    assert colours(picture) == ["correct", "correct", "wrong"]
    assert picture.width == 3 * 224 + 4 * 16
    assert colours(display_image_grid(images, labels, class_names=names)) == ["label"] * 3
    assert colours(display_image_grid(images, None, predictions, 3, class_names=names)) == ["unknown"] * 3


def test_display_image_grid_takes_paths_and_says_what_does_not_fit(shapes):
    assert tl.display_image_grid is display_image_grid
    paths = sorted((shapes / "noise").iterdir())
    assert display_image_grid(paths, ["noise"] * 12, columns=4).width == 4 * 224 + 5 * 16
    with pytest.raises(UsageError, match="12 images have 2 labels: give one for each image"):
        display_image_grid(paths, ["noise"] * 2)
    with pytest.raises(UsageError, match="labels go from 0 to 2, but class_names has 2 names"):
        display_image_grid(paths[:2], [0, 2], class_names=["a", "b"])
    with pytest.raises(UsageError, match="labels and predictions are names and numbers: give class_names"):
        display_image_grid(paths[:2], ["a", "b"], [0, 1])
    with pytest.raises(UsageError, match=r"predictions from 0.5 to 7.5 are no classes"):
        display_image_grid(paths[:2], [0, 1], [0.5, 7.5])


def test_sample_depends_on_the_seed(predictor, mislabelled):
    pictures = [grid(mislabelled, predictor=predictor, count=6, seed=seed) for seed in (0, 0, 1)]
    chosen = [[entry.prediction.name for entry in picture.shown] for picture in pictures]
    assert chosen[0] == chosen[1] != chosen[2]


def test_caption_counts_training_images(predictor, shapes, mislabelled, monkeypatch):
    whole = grid(shapes, predictor=predictor, count=0)
    assert (whole.trained, whole.unseen, whole.unseen_correct) == (20, 4, 4)
    assert whole.caption == "24 of 24 correct · 20 of the 24 are training images; 4 of the 4 others correct"
    named = {item.prediction.name: item.trained for item in whole.shown}
    assert sum(named.values()) == 20
    wrong = grid(mislabelled, predictor=predictor, only="wrong")  # three that it knows from elsewhere
    assert wrong.caption.startswith("21 of 24 correct · 20 of the 24 are training images; ")
    assert grid(predictor=predictor).caption == "4 of 4 correct · held out from training"
    drawn = []
    monkeypatch.setattr("tl.workflows.grid.draw_grid", lambda tiles, **options: drawn.append(options["summary"]))
    _ = grid(predictor=predictor, count=1, explain=True).image
    assert drawn == ["1 of 1 correct · held out from training · yellow: evidence for the label"]


@pytest.mark.parametrize(("predicted", "trained", "unseen", "correct", "note"), [
    (1, 1, 0, 0, "it is a training image"),
    (5, 5, 0, 0, "all of them are training images"),
    (5, 4, 1, 0, "4 of the 5 are training images; the other one is wrong"),
    (5, 3, 0, 0, "3 of the 5 are training images"),  # the others have no true label
    (5000, 2000, 3000, 1500, "2,000 of the 5,000 are training images; 1,500 of the 3,000 others correct"),
])  # fmt: skip
def test_caption_describes_how_many_were_trained_on(predicted, trained, unseen, correct, note):
    counts = dict.fromkeys(("total", "predicted", "labelled", "correct"), predicted)
    picture = Grid("", (), **counts, trained=trained, broken=0, unseen=unseen, unseen_correct=correct)
    assert picture.caption.endswith(f" correct · {note}")


def test_grid_of_a_run_says_that_its_images_were_held_out(tiny_run, monkeypatch):
    drawn = []
    monkeypatch.setattr("tl.workflows.grid.draw_grid", lambda tiles, **options: drawn.append(options["summary"]))
    monkeypatch.setattr("tl.workflows.grid.save_png", lambda *_: None)
    run = load_run(tiny_run)
    dataset = held_out(run, Progress()).dataset
    count = len(dataset.images)
    certain = np.eye(2, dtype=np.float32)[dataset.labels]
    none = np.zeros(count, bool)
    parts = ("validation",) * count
    predictions = Predictions(dataset, np.arange(count), parts, certain, none, {}, None, run.head, None, "")
    save_run_grid(run, predictions)
    assert drawn == ["4 of 4 correct · held out from training"]


def test_json_has_counts_and_every_image(tl, tiny_run, shapes, tmp_path):
    done = tl("grid", shapes, "--run", tiny_run, "--count", 0, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (tmp_path / told["picture"]).is_file()
    assert (told["right"], told["known"], told["trained"], told["fresh"], told["held_out"]) == (24, 24, 20, 4, None)
    assert sum(one["trained_on"] for one in told["shown"]) == 20
    assert {one["truth"] for one in told["shown"]} == {"noise", "stripes"}
    own = json.loads(tl("grid", "--run", tiny_run, "--json", cwd=tmp_path).stdout)
    assert (own["held_out"], own["trained"]) == ("validation", 0)
    assert own["caption"] == "4 of 4 correct · held out from training"


def test_empty_selection_is_logged_and_drawn(tl, tiny_run, shapes, tmp_path):
    done = tl("grid", shapes, "--run", tiny_run, "--only", "wrong", cwd=tmp_path, expect=0)
    assert "grid.png: no image is wrong" in done.stdout
    assert "24 of 24 correct" in done.stdout
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


def test_without_data_missing_images_are_an_error(tl, tiny_run, distracting):
    moved = copy_run(tiny_run, distracting / "moved", options__data="gone/")
    for command in ("grid", "evaluate"):
        done = tl(command, "--run", moved, cwd=distracting)
        assert (done.returncode, done.stdout) == (1, "")
        assert "the images of moved cannot be read: no such folder or table: 'gone/'; give DATA" in done.stderr


def test_without_data_the_title_names_the_part(predictor, distracting, monkeypatch):
    monkeypatch.chdir(distracting)
    picture = grid(predictor=predictor)
    assert picture.title.endswith(" on its validation images of shapes")
    assert (picture.held_out, picture.total, picture.trained) == ("validation", 4, 0)


def test_without_class_folders_there_is_no_truth(predictor, shapes):
    picture = grid(shapes / "noise", predictor=predictor)
    assert {item.truth for item in picture.shown} == {None}
    assert picture.summary == "no class folders, so there are no true labels"


def test_command_writes_a_picture(tl, mislabelled, tiny_run, tmp_path):
    bare = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "TERM", "TERM_PROGRAM", "KITTY_WINDOW_ID"), "")
    words = ("grid", mislabelled, "--run", tiny_run, "--only", "wrong", "--columns", 2, "--show")
    done = tl(*words, cwd=tmp_path, **bare, expect=0)
    assert "3 of 24 images" in done.stdout
    assert "grid.png" in done.stdout.splitlines()[-1]
    picture = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.sum() > 500
