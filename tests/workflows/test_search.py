"""`tl search`: the most similar images by their features, from Python and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl as library
from support.data_sets import photo, write
from support.session import TINY, Tl
from tl.errors import DataError, UsageError

OPTIONS = ("--backbone", TINY, "--weights", "none")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, one beside them under a Korean name, and a broken one."""
    files: dict[str, Image.Image | bytes] = {f"cat/{at}.png": photo(at) for at in range(6)}
    files |= {f"개/사진 {at}.png": photo(100 + at) for at in range(6)} | {"cat/broken.jpg": b"x"}
    return write(tmp_path_factory.mktemp("search") / "animals", files)


def test_search_finds_the_image_itself_and_its_copies_with_labels_or_without(animals: Path, tmp_path: Path):
    larger = np.asarray(photo(103).resize((160, 120)))
    found = library.search([animals / "cat/3.png", larger], animals, backbone=TINY, weights="none", count=3)
    assert (found.searched, found.broken, found.network) == (12, 1, TINY)
    first, second = found.answers
    assert (first.matches[0].name, first.matches[0].label, first.matches[0].same) == ("cat/3.png", "cat", True)
    assert first.matches[0].similarity == pytest.approx(1, abs=1e-5)
    assert (second.query, second.matches[0].name, second.matches[0].same) == ("1", "개/사진 3.png", False)
    assert [len(answer.matches) for answer in found.answers] == [3, 3]
    flat = write(tmp_path / "flat", {f"{at}.png": photo(at) for at in range(3)})
    found = library.search(animals / "cat/1.png", flat, backbone=TINY, weights="none")
    assert next((match.name, match.label) for match in found.answers[0].matches) == ("1.png", None)


def test_search_uses_the_network_of_a_run(animals: Path, tiny_run: Path):
    found = library.search(animals / "cat/1.png", animals, run=tiny_run, count=1)
    assert found.answers[0].matches[0].name == "cat/1.png"
    assert found.network == f"{TINY} of run {tiny_run.name}"
    with pytest.raises(UsageError, match="not both"):
        library.search(animals / "cat/1.png", animals, run=tiny_run, backbone=TINY)


def test_search_names_what_cannot_be_searched(animals: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"broken\.jpg' cannot be searched for: not an image"):
        library.search(animals / "cat/broken.jpg", animals, backbone=TINY, weights="none")
    broken = write(tmp_path / "d", {"a/1.jpg": b"x"})
    with pytest.raises(DataError, match="none of the images"):
        library.search(animals / "cat/1.png", broken, backbone=TINY, weights="none")
    with pytest.raises(UsageError, match="no image to search for"):
        library.search([], animals, backbone=TINY, weights="none")


def test_command_prints_and_draws_matches(tl: Tl, animals: Path, tmp_path: Path):
    words = ("search", animals / "cat/2.png", "--in", animals, *OPTIONS, "--count", 3, "--out", "f/x.png")
    done = tl(*words, cwd=tmp_path, expect=0)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["1.000", "cat", "cat/2.png", "identical", "bytes"]
    assert lines[3] == "picture     f/x.png"
    assert "1 image could not be read" in done.stderr
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
