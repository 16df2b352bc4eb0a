"""The picture of augmented photos: every row, every step, every share of a label."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from support.session import TINY
from tl.commands.finetune import command
from tl.data.images import decode, read
from tl.errors import BackboneError, DataError, StorageError, UsageError
from tl.learning.augment import augmenter
from tl.runs.options import Options
from tl.views.pictures import augmented
from tl.views.pictures.augmented import OTHER, OWN, draw, draw_samples
from tl.views.pictures.grid import MOUNT, PAGE

DATA = Path(__file__).resolve().parents[3] / "data"
NAMES = ("cat", "dog")
TILE = 100


def colours(count, side=20):
    """Photos of one colour each, red going up with the number."""
    photos = np.full((count, side, side, 3), 90, np.uint8)
    photos[..., 0] = 20 * np.arange(count)[:, None, None]
    return list(photos)


def unchanged(photos, labels, step):
    return photos, labels


def halves(photos, labels, step):
    """Three quarters of each photo, the next one in the last quarter."""
    other = np.roll(photos, 1, axis=0)
    mixed = np.where(np.arange(photos.shape[2])[:, None] < photos.shape[2] * 3 // 4, photos, other)
    return mixed.astype(np.float32), 0.75 * labels + 0.25 * np.roll(labels, 1, axis=0)


def count_of(picture, colour):
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


def test_each_row_shows_its_photo_and_every_step():
    def brighter(photos, labels, step):
        return np.asarray(photos, np.float32) + 10 * step, labels

    picture = draw(colours(4), [0, 1, 0, 1], brighter, NAMES, rows=3, steps=(1, 2), tile_size=TILE)
    for red in (0, 20, 40):
        for step in (0, 1, 2):
            colour = np.array([red, 90, 90]) + 10 * step
            assert TILE**2 <= count_of(picture, colour) <= TILE**2 + 20, colour
    assert count_of(picture, (60, 90, 90)) == 0  # in the batch, but not among the rows


def test_photos_are_given_as_one_batch_with_their_labels_and_steps():
    seen = []

    def record(photos, labels, step):
        seen.append((photos.shape, photos.dtype, labels.tolist(), step))
        return photos, labels

    draw(colours(3, side=50), [1, 0, 1], record, NAMES, rows=1, steps=(4, 9), tile_size=TILE, image_size=32)
    given = [[0, 1], [1, 0], [0, 1]]
    assert seen == [((3, 50, 50, 3), np.uint8, given, step) for step in (4, 9)]
    seen.clear()
    uneven = [colours(1, side=50)[0], colours(1, side=70)[0][:40]]
    draw(uneven, [0, 1], record, NAMES, steps=(0,), tile_size=TILE, image_size=32)
    assert seen[0][0] == (2, 32, 32, 3)


def test_the_photo_itself_is_shown_whole():
    wide = np.full((30, 90, 3), 10, np.uint8)
    picture = draw([wide], [0], unchanged, NAMES, tile_size=90, steps=(0,), image_size=32)
    page = np.asarray(picture)
    mount = (page == MOUNT).all(axis=-1)
    assert mount.sum() >= 2 * 30 * 90 * 0.95


def test_mixed_photos_say_the_shares_of_their_label(monkeypatch: pytest.MonkeyPatch):
    written = []
    monkeypatch.setattr(
        augmented, "_write_share", lambda *given: written.append((given[3], round(given[4], 2), given[5]))
    )
    picture = draw(colours(2), [0, 1], halves, NAMES, steps=(0,), tile_size=TILE)
    assert written == [("cat", 0.75, OWN), ("dog", 0.25, OTHER), ("dog", 0.75, OWN), ("cat", 0.25, OTHER)]
    own, other = count_of(picture, OWN), count_of(picture, OTHER)
    assert abs(own / (own + other) - 0.75) < 0.02


def test_two_of_one_class_leave_a_whole_label():
    picture = draw(colours(3), [0, 0, 1], halves, NAMES, rows=2, steps=(0,), tile_size=TILE)
    own, other = count_of(picture, OWN), count_of(picture, OTHER)
    assert own > 5 * other > 0  # row 1: three quarters and a quarter, row 2: whole


def test_photos_that_are_not_mixed_have_no_shares():
    picture = draw(colours(2), [0, 1], unchanged, NAMES, tile_size=TILE)
    assert count_of(picture, OWN) == count_of(picture, OTHER) == 0


def test_names_in_any_script_stay_in_their_columns():
    names = ("кошка домашняя короткошёрстная", "小狗" * 20, "قطة")
    picture = draw(
        colours(3), [0, 1, 2], halves, names, title="猫と犬", summary="x " * 400, steps=(0, 1), tile_size=TILE
    )
    page = np.asarray(picture)
    assert (page[:, -8:] == PAGE).all()
    gap = augmented._Measures(TILE)
    assert (page[-40:, gap.left(1) - 8 : gap.left(1)] == PAGE).all()


def test_real_augmentation_of_real_photos(tmp_path: Path):
    files = [DATA / "cat" / "cat-000.jpg", DATA / "dog" / "dog-000.jpg", DATA / "cat" / "cat-001.jpg"]
    photos = [decode(read(file)) for file in files]
    for level in ("light", "strong"):
        picture = draw(
            photos, [0, 1, 0], augmenter(level, 64, 2, seed=1), NAMES, steps=(0, 1), image_size=64, tile_size=TILE
        )
        picture.save(tmp_path / "augmented.png")
        with Image.open(tmp_path / "augmented.png") as saved:
            assert saved.size == picture.size
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 5000
        assert (count_of(picture, OWN) > 0) == (level == "strong")


def test_no_photos_make_a_picture_that_says_so():
    picture = draw([], [], unchanged, NAMES, title="nothing")
    assert picture.height < 150
    assert count_of(picture, PAGE) < picture.width * picture.height


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"steps": ()}, {"tile_size": 10}])
def test_a_picture_of_nothing_is_refused(wrong):
    with pytest.raises(UsageError, match="at least 1 row of 1 step"):
        draw(colours(2), [0, 1], unchanged, NAMES, **wrong)


def test_a_picture_too_large_to_look_at_is_refused():
    with pytest.raises(UsageError, match="million pixels"):
        draw(colours(2), [0, 1], unchanged, NAMES, tile_size=9000)


def samples(monkeypatch: pytest.MonkeyPatch, folder: Path, **options):
    """What `draw_samples` gives to `draw`, without drawing it: photos, labels, names, and the words above them."""
    seen = {}

    def record(photos, labels, augment, names, **rest):
        seen.update(photos=photos, labels=labels, names=names, augment=augment, **rest)

    monkeypatch.setattr(augmented, "draw", record)
    draw_samples(Options(str(folder), backbone=TINY, image_size=32, **options))
    return seen


def test_samples_are_photos_of_each_class_in_turn(monkeypatch: pytest.MonkeyPatch, shapes: Path):
    seen = samples(monkeypatch, shapes, seed=3)
    assert seen["names"] == ("noise", "stripes")
    assert sorted(seen["labels"]) == [0, 0, 0, 1, 1, 1]
    assert all(first != second for first, second in zip(seen["labels"], seen["labels"][1:], strict=False))
    for photo, label in zip(seen["photos"], seen["labels"], strict=True):
        assert photo.shape == (40, 40, 3)  # 1.25 times the network's input
        assert (photo.max() < 61) == (label == 0)
    again, other = samples(monkeypatch, shapes, seed=3), samples(monkeypatch, shapes, seed=4)
    assert np.array_equal(seen["photos"], again["photos"])
    assert not np.array_equal(seen["photos"], other["photos"])


def test_of_many_classes_each_is_shown_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for number in range(9):
        for name in ("a", "b"):
            (tmp_path / f"class {number}").mkdir(exist_ok=True)
            Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"class {number}" / f"{name}.png")
    labels = samples(monkeypatch, tmp_path)["labels"]
    assert len(labels) == len(set(labels)) == 6


@pytest.mark.parametrize(
    ("options", "said", "steps"),
    [
        ({}, "light: crops of half the photo or more, mirrored or not; the head alone (--unfreeze none) is", 5),
        ({"unfreeze": "last"}, "light: crops of half the photo or more, mirrored or not", 5),
        ({"unfreeze": "all", "augment": "strong"}, "strong: .*RandAugment, MixUp or CutMix", 5),
        (
            {"unfreeze": "last", "augment": "strong"},
            "strong: .*RandAugment; with --unfreeze all MixUp or CutMix, too",
            5,
        ),
        ({"augment": "none"}, "none: photos as they are", 1),
    ],
)
def test_samples_are_changed_as_the_run_would(
    monkeypatch: pytest.MonkeyPatch, shapes: Path, options: dict[str, str], said: str, steps: int
):
    seen = samples(monkeypatch, shapes, **options)
    assert re.match(said.replace("(", "[(]").replace(")", "[)]"), seen["summary"])
    assert len(seen["steps"]) == steps
    assert said.startswith("light: ") or seen["summary"].endswith(said.rpartition("*")[2])
    one_hot = np.eye(2, dtype=np.float32)[seen["labels"]]
    photos, labels = (np.asarray(values) for values in seen["augment"](np.stack(seen["photos"]), one_hot, 1))
    assert photos.shape == (6, 32, 32, 3)
    assert np.array_equal(labels, one_hot) == ("all" not in options.values())


def test_photos_that_cannot_be_read_are_passed(monkeypatch: pytest.MonkeyPatch, shapes: Path, tmp_path: Path):
    shutil.copytree(shapes, tmp_path / "some")
    for file in sorted((tmp_path / "some" / "noise").iterdir())[1:]:
        file.write_bytes(file.read_bytes()[:40])
    assert sorted(samples(monkeypatch, tmp_path / "some")["labels"]) == [0, 1, 1, 1, 1, 1]
    for file in (tmp_path / "some").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"none of the 24 images drawn from some can be read \(.*png: "):
        samples(monkeypatch, tmp_path / "some")


def test_only_training_photos_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for part, value in (("train", 10), ("test", 200)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (40, 40), (value, number, 0)).save(tmp_path / part / name / f"{number}.png")
    assert all(photo.max() == 10 for photo in samples(monkeypatch, tmp_path)["photos"])


def test_options_that_cannot_be_meant_are_refused(shapes: Path):
    with pytest.raises(UsageError, match="--augment silly"):
        draw_samples(Options(str(shapes), augment="silly"))
    with pytest.raises(BackboneError):
        draw_samples(Options(str(shapes), backbone="nothing"))


def test_the_command_draws_without_weights(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    done = CliRunner().invoke(command, [str(shapes), "--augment", "strong", "--show-augment", "--offline"])
    assert done.exit_code == 0, done.exception
    assert "runs/augmented-shapes.png: photos as training sees them" in done.stdout
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["runs/augmented-shapes.png"]
    with Image.open(tmp_path / "runs" / "augmented-shapes.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 500


@pytest.mark.parametrize(
    ("how", "printed"), [("--quiet", ""), ("--json", '{"picture": "runs/augmented-shapes.png"}\n')]
)
def test_the_command_says_what_was_asked_for(
    how: str, printed: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, [str(shapes), "--augment", "none", "--show-augment", how])
    assert (done.exit_code, done.output) == (0, printed)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["augmented-shapes.png"]


def test_the_command_leaves_nothing_half_written(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for given, error in ((["empty"], DataError), ([str(shapes), "--epochs", "0"], UsageError)):
        done = CliRunner().invoke(command, [*given, "--show-augment"])
        assert isinstance(done.exception, error)
    (tmp_path / "runs").write_text("a file")
    done = CliRunner().invoke(command, [str(shapes), "--augment", "none", "--show-augment"])
    assert isinstance(done.exception, StorageError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "runs"]
