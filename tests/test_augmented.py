"""The picture of augmented photos: every row, every step, every share of a label."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl.datasets.images import decode, read
from tl.errors import UsageError
from tl.learning.augment import augmenter
from tl.views import augmented
from tl.views.augmented import OTHER, OWN, draw
from tl.views.grid import MOUNT, PAGE

DATA = Path(__file__).resolve().parents[1] / "data"
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
