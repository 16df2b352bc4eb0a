"""Tests of the picture of augmented images."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from support.data_sets import write
from support.session import TINY
from tl.commands.finetune import command
from tl.errors import DataError, StorageError
from tl.runs.finetune_options import FinetuneOptions
from tl.views.pictures import augmented
from tl.views.pictures.augmented import OTHER, OWN, TILE, draw
from tl.views.pictures.grid import PAGE
from tl.workflows.finetune import draw_augmented


def colours(count, side=20):
    """Images of one colour each, red going up with the number."""
    images = np.full((count, side, side, 3), 90, np.uint8)
    images[..., 0] = 20 * np.arange(count)[:, None, None]
    return list(images)


def halves(images, labels, step):
    """Three quarters of each photo, the next one in the last quarter."""
    other = np.roll(images, 1, axis=0)
    mixed = np.where(np.arange(images.shape[2])[:, None] < images.shape[2] * 3 // 4, images, other)
    return mixed.astype(np.float32), 0.75 * labels + 0.25 * np.roll(labels, 1, axis=0)


def count_of(picture, colour):
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


def picture_of(images, labels, augment, names=("cat", "dog"), **options):
    return draw(images, labels, augment, names, **{"title": "", "summary": ""} | options)


def test_draw_shows_each_image_and_every_step():
    def brighter(images, labels, step):
        return np.asarray(images, np.float32) + 10 * step, labels

    picture = picture_of(colours(3), [0, 1, 0], brighter, steps=(1, 2))
    for red in (0, 20, 40):
        for step in (0, 1, 2):
            colour = np.array([red, 90, 90]) + 10 * step
            assert TILE**2 <= count_of(picture, colour) <= TILE**2 + 20, colour


def test_draw_augments_all_images_as_one_batch():
    seen = []

    def record(images, labels, step):
        seen.append((images.shape, images.dtype, labels.tolist(), step))
        return images, labels

    picture_of(colours(3, side=50), [1, 0, 1], record, steps=(4, 9))
    assert seen == [((3, 50, 50, 3), np.uint8, [[0, 1], [1, 0], [0, 1]], step) for step in (4, 9)]


def test_draw_shows_the_proportions_of_mixed_labels():
    picture = picture_of(colours(2), [0, 1], halves, steps=(0,))
    own, other = count_of(picture, OWN), count_of(picture, OTHER)
    assert abs(own / (own + other) - 0.75) < 0.04  # two dots of one size beside the bars
    picture = picture_of(colours(3), [0, 0, 1], halves, steps=(0,))
    own, other = count_of(picture, OWN), count_of(picture, OTHER)
    assert 5 * other > own > 2 * other > 0  # row 1 is whole, the others are three quarters and a quarter
    picture = picture_of(colours(2), [0, 1], lambda images, labels, step: (images, labels))
    assert count_of(picture, OWN) == count_of(picture, OTHER) == 0


def test_names_in_any_script_stay_in_their_columns():
    names = ("кошка домашняя короткошёрстная", "小狗" * 20, "قطة")
    picture = picture_of(colours(3), [0, 1, 2], halves, names, title="猫と犬", summary="x " * 400, steps=(0, 1))
    page = np.asarray(picture)
    assert (page[:, -8:] == PAGE).all()
    second = augmented._left(1)
    assert (page[-40:, second - 8 : second] == PAGE).all()


def samples(monkeypatch: pytest.MonkeyPatch, folder: Path, **options):
    """The arguments that `draw_samples` passes to `draw`."""
    seen = {}

    def record(images, labels, augment, names, **rest):
        seen.update(images=images, labels=labels, names=names, augment=augment, **rest)

    monkeypatch.setattr(augmented, "draw", record)
    draw_augmented(folder, FinetuneOptions(backbone=TINY, image_size=32, **options))
    return seen


def test_samples_take_the_classes_in_turn(monkeypatch, shapes):
    seen = samples(monkeypatch, shapes, seed=3)
    assert seen["names"] == ("noise", "stripes")
    assert sorted(seen["labels"]) == [0, 0, 0, 1, 1, 1]
    assert all(first != second for first, second in zip(seen["labels"], seen["labels"][1:], strict=False))
    for photo, label in zip(seen["images"], seen["labels"], strict=True):
        assert photo.shape == (40, 40, 3)  # 1.25 times the network's input
        assert (photo.max() < 61) == (label == 0)
    again, other = samples(monkeypatch, shapes, seed=3), samples(monkeypatch, shapes, seed=4)
    assert np.array_equal(seen["images"], again["images"])
    assert not np.array_equal(seen["images"], other["images"])


def test_samples_of_many_classes_are_one_of_each(monkeypatch, tmp_path):
    files = {f"class {at}/{name}.png": Image.new("RGB", (40, 40), (at, 0, 0)) for at in range(9) for name in "ab"}
    labels = samples(monkeypatch, write(tmp_path, files))["labels"]
    assert len(labels) == len(set(labels)) == 6


@pytest.mark.parametrize(("options", "summary", "steps"), [
    ({}, r"light: crops of half .*, flipped or not; the head alone \(--unfreeze none\) is", 5),
    ({"unfreeze": "last"}, "light: crops of half the image or more, flipped or not$", 5),
    ({"unfreeze": "all", "augment": "strong"}, "strong: .*RandAugment, MixUp or CutMix$", 5),
    ({"unfreeze": "last", "augment": "strong"}, "strong: .*RandAugment; with --unfreeze all also MixUp or CutMix$", 5),
    ({"augment": "none"}, "none: images unchanged$", 1),
])  # fmt: skip
def test_samples_are_augmented_as_the_run_would(monkeypatch, shapes, options, summary, steps):
    seen = samples(monkeypatch, shapes, **options)
    assert re.match(summary, seen["summary"])
    assert len(seen["steps"]) == steps
    one_hot = np.eye(2, dtype=np.float32)[seen["labels"]]
    images, labels = (np.asarray(values) for values in seen["augment"](np.stack(seen["images"]), one_hot, 1))
    assert images.shape == (6, 32, 32, 3)
    assert np.array_equal(labels, one_hot) == ("all" not in options.values())


def test_samples_skip_unreadable_images(monkeypatch, shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "some")
    for file in sorted((tmp_path / "some" / "noise").iterdir())[1:]:
        file.write_bytes(file.read_bytes()[:40])
    assert sorted(samples(monkeypatch, tmp_path / "some")["labels"]) == [0, 1, 1, 1, 1, 1]
    for file in (tmp_path / "some").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"none of the 24 images chosen from some can be read \(.*png: "):
        samples(monkeypatch, tmp_path / "some")


def test_samples_are_training_images(monkeypatch, tmp_path):
    for part, value in (("train", 10), ("test", 200)):
        pictures = [Image.new("RGB", (40, 40), (value, at, 0)) for at in range(4)]
        write(tmp_path, {f"{part}/{name}/{at}.png": one for name in "ab" for at, one in enumerate(pictures)})
    assert all(photo.max() == 10 for photo in samples(monkeypatch, tmp_path)["images"])


def show_augment(*words):
    return CliRunner().invoke(command, [*map(str, words), "--show-augment"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is the present one, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_show_augment_needs_no_weights(shapes, here):
    done = show_augment(shapes, "--augment", "strong", "--offline")
    assert done.exit_code == 0, done.exception
    assert "runs/augmented-shapes.png: images as training sees them" in done.stdout
    assert [str(path.relative_to(here)) for path in here.rglob("*.*")] == ["runs/augmented-shapes.png"]
    with Image.open(here / "runs" / "augmented-shapes.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 500


@pytest.mark.parametrize(
    ("option", "output"), [("--quiet", ""), ("--json", '{"picture": "runs/augmented-shapes.png"}\n')]
)
def test_show_augment_with_json_and_quiet(option, output, shapes, here):
    done = show_augment(shapes, "--augment", "none", option)
    assert (done.exit_code, done.output) == (0, output)
    assert [path.name for path in (here / "runs").iterdir()] == ["augmented-shapes.png"]


def test_show_augment_leaves_nothing_half_written(shapes, here):
    (here / "empty").mkdir()
    assert isinstance(show_augment("empty").exception, DataError)
    assert show_augment(shapes, "--epochs", "0").exit_code == 2
    (here / "runs").write_text("a file")
    assert isinstance(show_augment(shapes, "--augment", "none").exception, StorageError)
    assert sorted(path.name for path in here.iterdir()) == ["empty", "runs"]
