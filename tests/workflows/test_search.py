"""Search: the most similar photos by their features, as numbers, as a picture, and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl as library
from support.data_sets import photo, write
from support.session import TINY, Tl
from tl.errors import DataError, UsageError
from tl.neighbors import most_similar
from tl.views.pictures.search import draw, likeness
from tl.workflows.search import Found, Match, Search

OPTIONS = ("--backbone", TINY, "--weights", "none")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, one beside them under a Korean name, and a broken one."""
    files: dict[str, Image.Image | bytes] = {f"cat/{at}.png": photo(at) for at in range(6)}
    files |= {f"개/사진 {at}.png": photo(100 + at) for at in range(6)} | {"cat/broken.jpg": b"x"}
    return write(tmp_path_factory.mktemp("search") / "animals", files)


def test_the_most_similar_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tl.neighbors._NEIGHBORS_BLOCK", 7)
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 5), np.float32) * draw.uniform(0.1, 9, (40, 1)).astype(np.float32)
    queries = draw.standard_normal((3, 5), np.float32)
    places, similar = most_similar(queries, rows, 6)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None]
    cosines = queries @ rows.T / lengths
    np.testing.assert_array_equal(places, np.argsort(-cosines, axis=1)[:, :6])
    np.testing.assert_allclose(similar, -np.sort(-cosines, axis=1)[:, :6], atol=1e-6)


def test_fewer_rows_equal_rows_and_rows_of_zeros():
    same = np.ones((3, 4), np.float32)
    assert most_similar(same[:1], same, 9)[0].tolist() == [[0, 1, 2]]
    assert most_similar(same[:1], 0 * same, 2)[1].tolist() == [[0, 0]]
    assert most_similar(same, same[:0], 2)[0].shape == (3, 0)


def test_a_photo_finds_itself_and_its_copies(animals: Path):
    larger = np.asarray(photo(103).resize((160, 120)))
    found = library.search([animals / "cat/3.png", larger], animals, backbone=TINY, weights="none", count=3)
    assert (found.searched, found.broken, found.network) == (12, 1, TINY)
    first, second = found.answers
    assert (first.matches[0].name, first.matches[0].label, first.matches[0].same) == ("cat/3.png", "cat", True)
    assert first.matches[0].similarity == pytest.approx(1, abs=1e-5)
    assert (second.query, second.matches[0].name, second.matches[0].same) == ("1", "개/사진 3.png", False)
    assert [len(answer.matches) for answer in found.answers] == [3, 3]


def test_photos_need_no_labels(animals: Path, tmp_path: Path):
    flat = write(tmp_path / "flat", {f"{at}.png": photo(at) for at in range(3)})
    found = library.search(animals / "cat/1.png", flat, backbone=TINY, weights="none")
    assert next((match.name, match.label) for match in found.answers[0].matches) == ("1.png", None)


def test_the_network_of_a_run(animals: Path, tiny_run: Path):
    found = library.search(animals / "cat/1.png", animals, run=tiny_run, count=1)
    assert found.answers[0].matches[0].name == "cat/1.png"
    assert found.network == f"{TINY} of run {tiny_run.name}"
    with pytest.raises(UsageError, match="not both"):
        library.search(animals / "cat/1.png", animals, run=tiny_run, backbone=TINY)


def test_what_cannot_be_searched(animals: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"broken\.jpg' cannot be searched for: not an image"):
        library.search(animals / "cat/broken.jpg", animals, backbone=TINY, weights="none")
    broken = write(tmp_path / "d", {"a/1.jpg": b"x"})
    with pytest.raises(DataError, match="none of the images"):
        library.search(animals / "cat/1.png", broken, backbone=TINY, weights="none")
    with pytest.raises(UsageError, match="at least one"):
        library.search([], animals, backbone=TINY, weights="none")


def answer(count: int, similarity: float = 0.5) -> Found:
    pixels = np.full((40, 20, 3), 90, np.uint8)
    return Found(
        "query.jpg", pixels, tuple(Match(f"{at}.jpg", "cat", similarity, False, pixels) for at in range(count))
    )


def test_the_picture_holds_every_photo():
    tile = (90, 90, 90)
    for queries, count in ((1, 1), (1, 6), (2, 7)):
        page = np.asarray(draw(Search((answer(count),) * queries, 9, 0, "resnet50")))
        columns = (page == tile).all(axis=2)
        assert columns.sum() == queries * (count + 1) * 176 * 88 - _hidden(queries)
    assert page.shape[1] < 1500
    bars = np.asarray(draw(Search((answer(1, 0.25),), 9, 0, "resnet50")))
    below = bars[108 + 176 + 3, 224 : 224 + 176]
    assert int((below == (0, 92, 158)).all(axis=1).sum()) == 45


def _hidden(queries: int) -> int:
    """The frame around a query covers three rows of its photo, above and below."""
    return queries * 88 * 4


def test_likeness_is_1_for_the_same_bytes_alone():
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert likeness(Match("a", None, 0.99999, False, pixels)) == "0.999"
    assert likeness(Match("a", None, 0.99999, True, pixels)) == "1.000"


def test_a_photo_that_is_gone_is_drawn_as_such(tmp_path: Path):
    gone = Match("gone.jpg", None, 0.5, False, tmp_path / "gone.jpg")
    draw(Search((Found("q", tmp_path / "q.jpg", (gone,)),), 1, 0, "x"))
    with pytest.raises(UsageError, match="million that can be looked at"):
        draw(Search((answer(200),) * 60, 200, 0, "x"))


def test_the_command(tl: Tl, animals: Path, tmp_path: Path):
    done = tl(
        "search", animals / "cat/2.png", "--in", animals, *OPTIONS, "--count", 3, "--out", "f/x.png", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["1.000", "cat", "cat/2.png", "the", "same", "bytes"]
    assert lines[3] == "picture     f/x.png"
    assert "1 photo could not be read" in done.stderr
    with Image.open(tmp_path / "f" / "x.png") as picture:
        assert picture.size == (14 + 34 + 176 + 3 * 190, 366)
    both = tl("search", animals / "cat", "--in", animals, *OPTIONS, "--json", cwd=tmp_path)
    assert both.returncode == 1  # one of the files in that folder is broken
    assert both.stderr.count("\n") == 1
    told = json.loads(tl("search", animals / "개", "--in", animals, *OPTIONS, "--json", cwd=tmp_path).stdout)
    assert [len(one["found"]) for one in told["answers"]] == [12] * 6
    assert {one["found"][0]["label"] for one in told["answers"]} == {"개"}
    shown = tl("search", animals / "cat/2.png", "--in", animals, *OPTIONS, "--show", cwd=tmp_path)
    assert "found.png" in shown.stdout
    assert (tmp_path / "found.png").is_file()
