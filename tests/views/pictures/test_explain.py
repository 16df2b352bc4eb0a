"""Heatmaps over images: where the heat is, its colours, and the sheet."""

from dataclasses import replace

import numpy as np
import pytest

from tl.data.images import fit
from tl.evaluation.gradcam import Explanation
from tl.networks.backbones import Recipe
from tl.views.pictures.explain import SIDE, Heatmap, draw_heatmaps, overlay

STRETCH = Recipe(56, "stretch", False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CROP = Recipe(56, "crop", False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def heat(*hot: tuple[int, int], side: int = 7) -> Explanation:
    values = np.zeros((side, side), np.float32)
    for place in hot:
        values[place] = 1
    return Explanation(values, 0, 0.9, np.zeros(4, np.float32))


def grey(height: int, width: int, level: int = 150) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def yellow(image: np.ndarray) -> np.ndarray:
    """How much more red and green than blue there is: `[height, width]`."""
    return image[..., :2].min(2).astype(int) - image[..., 2]


def middle_of(image: np.ndarray) -> tuple[float, float]:
    """The centre of the yellow area, in fractions of height and width."""
    rows, columns = np.nonzero(yellow(image) > 0.6 * yellow(image).max())
    return (rows.mean() + 0.5) / image.shape[0], (columns.mean() + 0.5) / image.shape[1]


@pytest.mark.parametrize("shape", [(70, 140), (210, 35), (7, 7), (224, 224)])
def test_overlay_puts_heat_over_a_stretched_image(shape):
    image = grey(*shape)
    made = overlay(image, heat((1, 5)), STRETCH)
    assert (made.shape, made.dtype) == (image.shape, np.uint8)
    assert (image == 150).all()
    assert middle_of(made) == pytest.approx((1.5 / 7, 5.5 / 7), abs=0.03)
    without_heat = overlay(image, heat(), STRETCH)
    assert (without_heat == without_heat[0, 0, 0]).all()


@pytest.mark.parametrize("shape", [(160, 320), (300, 81), (64, 64)])
def test_overlay_puts_heat_over_the_cropped_centre(shape):
    made = overlay(grey(*shape), heat((0, 6)), CROP)
    # the same spot, marked in the photo itself, is what the network sees in its upper right cell
    marked = np.zeros((*shape, 3), np.uint8)
    rows, columns = (round(share * side) for share, side in zip(middle_of(made), shape, strict=True))
    marked[rows - 1 : rows + 2, columns - 1 : columns + 2] = 255
    seen = fit(marked, 56, "crop")[..., 0]
    assert np.unravel_index(seen.argmax(), seen.shape) == pytest.approx((4, 52), abs=4)
    side = round(min(shape) * 7 / 8)
    outside = np.ones(shape, bool)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    outside[top : top + side, left : left + side] = False
    assert (made[outside] < 60).all()
    assert (made[~outside].max(1) > 80).all()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_overlay_colours_rise_with_heat(level):
    ramp = Explanation(np.linspace(0, 1, 8, dtype=np.float32)[None], 0, 0.5, np.zeros(4, np.float32))
    line = overlay(grey(20, 320, level), ramp, STRETCH)[10]
    yellows = yellow(line[None])[0]
    assert yellows[0] == 0
    assert yellows[-1] > 40
    assert level or (np.diff(line @ [0.2126, 0.7152, 0.0722]) > -1).all()  # each lighter than the one before it
    assert (np.abs(np.diff(line.astype(int), axis=0)) < 12).all()  # no edges where there are none
    # the photo shows through at the hottest place: black and white stay far apart
    dark, light = (overlay(grey(8, 8, tone), heat(*np.ndindex(7, 7)), STRETCH) for tone in (0, 255))
    assert (light.astype(int) - dark > 60).all()


def test_sheet_shows_image_and_heatmap_side_by_side():
    wide, tall = grey(SIDE // 2, SIDE), grey(SIDE, SIDE // 3)
    maps = [
        Heatmap(name, label, heat((3, 3)), image, overlay(image, heat((3, 3)), STRETCH))
        for name, label, image in (("a/wide.jpg", "개" * 60, wide), ("b" * 300, "<b>&amp;", tall))
    ]
    page = np.asarray(draw_heatmaps([*maps, Heatmap("c.jpg", error="damaged")], "r: evidence for the label"))
    assert page.shape[1] == 2 * SIDE + 8 + 40
    halves = page[:, : page.shape[1] // 2], page[:, page.shape[1] // 2 :]
    assert (yellow(halves[0][120:]) < 40).all()
    assert (yellow(halves[1][120:]) > 40).sum() > 500
    assert draw_heatmaps([]).height < 120  # says that there is nothing


def test_sheet_of_many_is_a_grid_and_says_what_is_unknown():
    image = grey(SIDE * 3 // 4, SIDE)
    maps = [Heatmap(f"{at}.jpg", "cat", heat((3, 3)), image, image) for at in range(12)]
    sheet = draw_heatmaps(maps)
    assert 1 < sheet.width / sheet.height < 2
    assert sheet.width == 3 * (2 * SIDE + 8) + 2 * 26 + 40
    unknown = draw_heatmaps([replace(maps[0], unknown=True)])
    assert unknown.size == draw_heatmaps(maps[:1]).size
    changed = np.argwhere((np.asarray(unknown) != np.asarray(draw_heatmaps(maps[:1]))).any(axis=-1))
    assert len(changed)
    assert changed[:, 0].min() > unknown.height - 26 - 20 - 60  # in the caption alone


def test_heatmap_as_json():
    entry = Heatmap("a.jpg", "cat", heat((0, 1), side=2))
    scores = {"label": "cat", "confidence": 0.9, "unknown": False}
    assert entry.as_dict() == {"path": "a.jpg", **scores, "heat": [[0, 1], [0, 0]]}
    assert Heatmap("a.jpg", error="damaged").as_dict() == {"path": "a.jpg", "error": "damaged"}
    assert not entry.empty
    assert Heatmap("a.jpg", "cat", heat()).empty
