"""The drawn cats and dogs: reproducible, small, decodable, all different."""

import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "data"
IMAGES = sorted(DATA.glob("*/*.jpg"))


def _draw(folder: Path, *more: str) -> dict[str, bytes]:
    command = [sys.executable, str(DATA / "draw.py"), "--out", str(folder), "--count", "3", *more]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_seed_decides_the_bytes_and_the_committed_images_are_those_of_the_script(tmp_path):
    drawn = _draw(tmp_path / "drawn")
    assert len(drawn) == 6
    assert _draw(tmp_path / "again") == drawn  # also: nothing but the pictures is left behind
    assert not set(_draw(tmp_path / "others", "--seed", "7").values()) & set(drawn.values())
    for name, content in drawn.items():
        with Image.open(BytesIO(content)) as new, Image.open(DATA / name) as old:
            difference = np.abs(np.asarray(new, dtype=int) - np.asarray(old, dtype=int))
        assert difference.mean() < 1.5  # another JPEG codec may round differently, no more


def test_demo_data_has_two_hundred_small_images_that_differ_in_more_than_colour():
    assert Counter(path.parent.name for path in IMAGES) == {"cat": 100, "dog": 100}
    assert sum(path.stat().st_size for path in IMAGES) < 2_000_000
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in IMAGES]
    assert len({each.tobytes() for each in pixels}) == len(IMAGES)
    assert all(each.std() > 15 for each in pixels)
    assert {side for each in pixels for side in each.shape[:2]} <= set(range(160, 321))
    means = np.array([each.mean((0, 1)) for each in pixels])
    is_cat = np.array([path.parent.name == "cat" for path in IMAGES])
    # mean colour does not separate them. Leave one out: the class whose mean colour is nearer; chance is 0.5
    right = 0
    for index in range(len(IMAGES)):
        others = np.arange(len(IMAGES)) != index
        cat, dog = means[others & is_cat].mean(0), means[others & ~is_cat].mean(0)
        nearer_cat = np.linalg.norm(means[index] - cat) < np.linalg.norm(means[index] - dog)
        right += nearer_cat == is_cat[index]
    assert right / len(IMAGES) < 0.65


def test_readme_says_that_the_images_are_drawings():
    words = (DATA / "README.md").read_text(encoding="utf-8")
    assert "drawings, not photos" in words
    assert "says nothing about photos" in words
    assert "tl finetune dogs-vs-cats --download" in words
