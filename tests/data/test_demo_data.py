"""The drawn cats and dogs: reproducible, small, decodable, all different."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "data"
IMAGES = sorted(DATA.glob("*/*.jpg"))


def _draw(folder: Path, *more: str) -> dict[str, bytes]:
    command = [sys.executable, str(DATA / "draw.py"), "--out", str(folder), "--count", "3", *more]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("redrawn")
    _draw(folder)
    return folder


def test_same_seed_draws_the_same_bytes(redrawn: Path, tmp_path: Path) -> None:
    first = {str(path.relative_to(redrawn)): path.read_bytes() for path in sorted(redrawn.rglob("*.jpg"))}
    assert len(first) == 6
    assert _draw(tmp_path / "again") == first  # also: nothing but the pictures is left behind


def test_another_seed_draws_other_images(redrawn: Path, tmp_path: Path) -> None:
    others = _draw(tmp_path / "others", "--seed", "7")
    assert not {path.read_bytes() for path in redrawn.rglob("*.jpg")} & set(others.values())


def test_committed_images_are_what_the_script_draws(redrawn: Path) -> None:
    for path in redrawn.rglob("*.jpg"):
        with Image.open(path) as new, Image.open(DATA / path.relative_to(redrawn)) as old:
            difference = np.abs(np.asarray(new, dtype=int) - np.asarray(old, dtype=int))
        assert difference.mean() < 1.5  # another JPEG codec may round differently, no more


def test_demo_data_has_two_hundred_small_images() -> None:
    assert Counter(path.parent.name for path in IMAGES) == {"cat": 100, "dog": 100}
    assert sum(path.stat().st_size for path in IMAGES) < 2_000_000


def test_images_decode_and_are_not_blank() -> None:
    for path in IMAGES:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
            assert image.format == "JPEG"
        assert min(pixels.shape[:2]) >= 160
        assert max(pixels.shape[:2]) <= 320
        assert pixels.std() > 15, path


def test_images_differ() -> None:
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in IMAGES}) == len(IMAGES)
    assert len({hashlib.sha256(Image.open(path).tobytes()).digest() for path in IMAGES}) == len(IMAGES)


def test_mean_colour_does_not_separate_the_classes() -> None:
    means = np.array([np.asarray(Image.open(path).convert("RGB")).mean((0, 1)) for path in IMAGES])
    is_cat = np.array([path.parent.name == "cat" for path in IMAGES])
    # leave one out: the class whose mean colour is nearer; chance is 0.5
    right = 0
    for index in range(len(IMAGES)):
        others = np.arange(len(IMAGES)) != index
        cat, dog = means[others & is_cat].mean(0), means[others & ~is_cat].mean(0)
        nearer_cat = np.linalg.norm(means[index] - cat) < np.linalg.norm(means[index] - dog)
        right += nearer_cat == is_cat[index]
    assert right / len(IMAGES) < 0.65


def test_readme_says_that_the_images_are_drawings() -> None:
    words = (DATA / "README.md").read_text(encoding="utf-8")
    assert "drawings, not photos" in words
    assert "says nothing about photos" in words
    assert "tl finetune dogs-vs-cats --download" in words
