"""Heat over photos: where it lies, how it is coloured, and the sheet it is shown on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl as library
from tl.data.images import fit
from tl.errors import ImageError
from tl.evaluation.gradcam import Explanation
from tl.learning.unknown import Unknown
from tl.networks.backbones import Recipe
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run
from tl.workflows.explain import SIDE, Heatmap, heatmaps, overlay, sheet
from tl.workflows.grid import pick

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
    """Where the yellow lies, as shares of height and width."""
    rows, columns = np.nonzero(yellow(image) > 0.6 * yellow(image).max())
    return (rows.mean() + 0.5) / image.shape[0], (columns.mean() + 0.5) / image.shape[1]


@pytest.mark.parametrize("shape", [(70, 140), (210, 35), (7, 7), (224, 224)])
def test_heat_lies_over_the_stretched_photo(shape: tuple[int, int]) -> None:
    image = grey(*shape)
    made = overlay(image, heat((1, 5)), STRETCH)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert (image == 150).all()
    assert middle_of(made) == pytest.approx((1.5 / 7, 5.5 / 7), abs=0.03)


@pytest.mark.parametrize("shape", [(160, 320), (300, 81), (64, 64)])
def test_heat_lies_over_the_centre_where_the_recipe_crops(shape: tuple[int, int]) -> None:
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
def test_more_heat_is_further_along_the_colours(level: int) -> None:
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


def test_no_heat_leaves_no_colour() -> None:
    made = overlay(grey(30, 40), heat(), STRETCH)
    assert (made == made[0, 0, 0]).all()


def test_a_sheet_shows_photo_and_heat_side_by_side() -> None:
    wide, tall = grey(SIDE // 2, SIDE), grey(SIDE, SIDE // 3)
    maps = [
        Heatmap(name, label, heat((3, 3)), image, overlay(image, heat((3, 3)), STRETCH))
        for name, label, image in (("a/wide.jpg", "개" * 60, wide), ("b" * 300, "<b>&amp;", tall))
    ]
    page = np.asarray(sheet([*maps, Heatmap("c.jpg", error="damaged")], "r: what speaks for the label"))
    assert page.shape[1] == 2 * SIDE + 8 + 40
    halves = page[:, : page.shape[1] // 2], page[:, page.shape[1] // 2 :]
    assert (yellow(halves[0][120:]) < 40).all()
    assert (yellow(halves[1][120:]) > 40).sum() > 500
    assert sheet([]).height < 120  # says that there is nothing


def test_a_heatmap_as_json() -> None:
    entry = Heatmap("a.jpg", "cat", heat((0, 1), side=2))
    assert entry.as_dict() == {
        "path": "a.jpg",
        "label": "cat",
        "confidence": 0.9,
        "unknown": False,
        "heat": [[0, 1], [0, 0]],
    }
    assert not entry.empty
    assert Heatmap("a.jpg", "cat", heat()).empty
    assert Heatmap("a.jpg", error="damaged").as_dict() == {"path": "a.jpg", "error": "damaged"}


def test_the_api(tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    classifier = library.load(tiny_run)
    page = classifier.explain([shapes / "noise" / "00.png", grey(50, 40)], label="stripes")
    assert isinstance(page, Image.Image)
    assert page.height > 2 * 230
    (tmp_path / "broken.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match="broken.jpg: not an image"):
        classifier.explain(tmp_path / "broken.jpg")


def test_label_and_confidence_are_those_of_a_prediction(tiny_run: Path, shapes: Path, monkeypatch) -> None:
    """Also where its precision turns the label around: the heat is of the class that was said."""
    predictor = Predictor(load_run(tiny_run))
    monkeypatch.setattr(
        predictor, "judge", lambda vectors: (np.array([[0.4, 0.6]] * len(vectors)), np.zeros(len(vectors), bool))
    )
    items = [(name, shapes / "noise" / name) for name in ("00.png", "01.png")]
    for label, expected in ((None, ("stripes", 0.6)), ("noise", ("noise", 0.4))):
        for entry in heatmaps(predictor, items, label):
            assert entry.explanation is not None
            assert (entry.label, entry.explanation.confidence) == expected
            assert predictor.run.classes[entry.explanation.label] == expected[0]


def test_a_grid_with_heat(tiny_run: Path, shapes: Path, tl, tmp_path: Path) -> None:
    predictor = Predictor(load_run(tiny_run))
    plain, explained = (pick(predictor, shapes, count=4, explain=explain) for explain in (False, True))
    assert [item.explanation for item in plain.shown] == [None] * 4
    for item in explained.shown:
        assert item.explanation is not None
        assert predictor.run.classes[item.explanation.label] == item.prediction.label
        assert item.explanation.confidence == pytest.approx(item.prediction.confidence, abs=0.05)
    pictures = [np.asarray(gallery.draw(columns=2)) for gallery in (plain, explained)]
    assert np.abs(pictures[0][-500:].astype(int) - pictures[1][-500:]).mean() > 5  # what is below the title
    done = tl("grid", shapes, "--run", tiny_run, "--explain", "--count", 4, "--columns", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = np.asarray(Image.open(tmp_path / "grid.png"))
    assert np.array_equal(written[-500:], pictures[1][-500:])


def test_a_photo_unlike_all_training_photos_is_said_to_be_so(tiny_run: Path, shapes: Path) -> None:
    run = load_run(tiny_run)
    photo = ("one", shapes / "noise" / "00.png")
    for threshold, strange in ((-1.0, True), (2.0, False)):
        references = np.eye(1, run.backbone.features, dtype=np.float32)
        marked = replace(run, unknown=Unknown(references, threshold, 0.01))
        [entry] = heatmaps(Predictor(marked), [photo])
        assert entry.unknown is strange
    [entry] = heatmaps(Predictor(replace(run, unknown=None)), [photo])
    assert entry.unknown is False
