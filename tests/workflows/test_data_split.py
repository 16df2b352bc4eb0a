"""Splits as tables and folders: each class in its share, copies and groups on one side, the same each time."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from support.data_sets import photo, write
from support.session import TINY, Tl
from tl.data.dataset import Dataset
from tl.data.load import load
from tl.data.splits import apart, split
from tl.errors import DataError, UsageError
from tl.workflows.data_split import part


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """20 cats and 10 dogs, each photo with a larger copy."""
    files = {f"cat/{at:02}.png": photo(at) for at in range(10)}
    files |= {f"cat/{at:02}m.png": photo(at).resize((150, 120)) for at in range(10)}
    files |= {f"dog/{at:02}.png": photo(100 + at) for at in range(5)}
    files |= {f"dog/{at:02}m.png": photo(100 + at).resize((150, 120)) for at in range(5)}
    return write(tmp_path / "animals", files)


def sides(found: Dataset) -> dict[str, str | None]:
    """The part of each photo by its name below its class, without what a part's folder puts before it."""
    return {"/".join(name.split("/")[-2:]): part for name, part in zip(found.names, found.parts, strict=True)}


def test_resized_copies_stay_on_one_side(animals: Path, tmp_path: Path):
    made = part(animals, tmp_path / "s.csv", val=0.2, test=0.2, backbone=TINY, weights="none")
    assert made.counts == {
        "train": {"cat": 12, "dog": 6},
        "validation": {"cat": 4, "dog": 2},
        "test": {"cat": 4, "dog": 2},
    }
    assert made.copies == 15
    where = sides(load(tmp_path / "s.csv"))
    assert all(where[name] == where[name.replace(".png", "m.png")] for name in where if "m" not in name)


def test_folders_and_table_hold_the_same_split(animals: Path, tmp_path: Path):
    part(animals, tmp_path / "s.csv", near=False, seed=3)
    part(animals, tmp_path / "folders", near=False, seed=3)
    assert sides(load(tmp_path / "folders")) == sides(load(tmp_path / "s.csv"))
    part(animals, tmp_path / "other.csv", near=False, seed=4)
    assert sides(load(tmp_path / "other.csv")) != sides(load(tmp_path / "s.csv"))
    copy = next((tmp_path / "folders").rglob("00.png"))
    assert copy.read_bytes() in {(animals / label / "00.png").read_bytes() for label in ("cat", "dog")}


def test_without_copies_and_groups_it_is_the_split_of_training(animals: Path, tmp_path: Path):
    from tl.data.image_stats import measure_images

    part(animals, tmp_path / "s.csv", near=False, seed=7)
    dataset = load(animals)
    trained = split(dataset, measure_images(dataset.images).fingerprints, seed=7)
    held = {dataset.names[at] for at in trained.validation}
    assert {name for name, side in sides(load(tmp_path / "s.csv")).items() if side == "validation"} == held


def test_exact_only_keeps_identical_files_together(animals: Path, tmp_path: Path):
    for at in range(10):
        (animals / "cat" / f"{at:02}m.png").write_bytes((animals / "cat" / f"{at:02}.png").read_bytes())
    made = part(animals, tmp_path / "s.csv", near=False, val=0.25)  # 5 of 20: a pair would be torn
    assert made.copies == 10
    where = sides(load(tmp_path / "s.csv"))
    assert all(where[f"cat/{at:02}.png"] == where[f"cat/{at:02}m.png"] for at in range(10))


def test_groups_stay_together_though_they_hold_several_classes(tmp_path: Path):
    files = {f"{label}/p{at % 10}_{at}.png": photo(100 * (label == "b") + at) for label in "ab" for at in range(30)}
    folder = write(tmp_path / "d", files)
    made = part(folder, tmp_path / "s.csv", near=False, group_by=r"(p\d)_", val=0.3)
    assert made.groups == 10
    groups = {}
    for name, side in sides(load(tmp_path / "s.csv")).items():
        groups.setdefault(name.split("/")[1].split("_")[0], set()).add(side)
    assert all(len(found) == 1 for found in groups.values())
    assert made.counts["validation"] == {"a": 9, "b": 9}


def test_broken_files_are_left_out_and_said(animals: Path, tmp_path: Path):
    (animals / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    made = part(animals, tmp_path / "s.csv", near=False)
    assert made.left_out == {"cat/broken.jpg": "damaged JPEG"}
    assert "cat/broken.jpg" not in sides(load(tmp_path / "s.csv"))


def test_a_split_of_its_own_is_not_lost_unasked(tmp_path: Path):
    files = {
        f"{side}/{label}/{at}.png": photo(at + 10 * (label == "a"))
        for side in ("train", "val")
        for label in "ab"
        for at in range(5)
    }
    folder = write(tmp_path / "d", files)
    with pytest.raises(DataError, match="--anew"):
        part(folder, tmp_path / "s", near=False)
    part(folder, tmp_path / "s", near=False, anew=True)
    assert len(load(tmp_path / "s").names) == 20


@pytest.mark.parametrize(("val", "test"), [(0, 0), (0.5, 0.5), (-0.1, 0.5), (1.0, 0), (float("nan"), 0)])
def test_shares_that_cannot_be(animals: Path, tmp_path: Path, val: float, test: float):
    with pytest.raises(UsageError, match="below 1 together"):
        part(animals, tmp_path / "s.csv", near=False, val=val, test=test)
    assert not (tmp_path / "s.csv").exists()


def test_a_class_too_small_for_the_sides(tmp_path: Path):
    folder = write(tmp_path / "d", {"a/1.png": photo(1), "a/2.png": photo(2), "b/1.png": photo(3), "b/2.png": photo(4)})
    part(folder, tmp_path / "s.csv", near=False, val=0.9)
    assert Counter(load(tmp_path / "s.csv").parts) == {"train": 2, "validation": 2}
    with pytest.raises(DataError, match="fewer than 3 photos or groups"):
        part(folder, tmp_path / "t.csv", near=False, test=0.3)


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_units_are_never_torn_and_every_class_is_on_each_side(draw: some.DataObject):
    classes = draw.draw(some.integers(2, 4))
    single = draw.draw(some.integers(3, 12))
    labels = np.array([at % classes for at in range(classes * single)])
    units = np.arange(len(labels))
    tied = draw.draw(some.lists(some.integers(0, len(labels) - 1), max_size=len(labels) // 3))
    for at in tied:
        units[at] = units[tied[0]]
    units = np.unique(units, return_inverse=True)[1]
    prints = [bytes([at]) for at in range(len(labels))]
    shares = {"test": draw.draw(some.sampled_from([0, 0.1, 0.3])), "validation": 0.25}
    try:
        found = apart(labels, units, prints, [str(at) for at in range(classes)], shares, 1)
    except DataError:
        return
    for unit in set(units.tolist()):
        assert len({found[at] for at in np.flatnonzero(units == unit)}) == 1
    for label in range(classes):
        assert {found[at] for at in np.flatnonzero(labels == label)} == {"train", "validation"} | (
            {"test"} if shares["test"] else set()
        )


def test_a_group_goes_where_it_brings_the_share_nearer():
    labels, prints = np.zeros(20, np.int64), [bytes([at]) for at in range(20)]
    for size in (3, 5):  # of 20 a tenth: a group of 3 is nearer to 2 than none, one of 5 is not
        units = np.concatenate([np.full(size, 0), np.arange(1, 21 - size)])
        held = [apart(labels, units, prints, ["a"], {"validation": 0.1}, seed)[0] for seed in range(100)]
        assert ("validation" in held) == (size == 3)


def test_the_order_of_files_changes_nothing():
    draw = np.random.default_rng(0)
    labels, units = np.arange(40) % 2, np.arange(40) // 2 * 2 + np.arange(40) % 2
    units = np.unique(units, return_inverse=True)[1]
    prints = [draw.bytes(8) for _ in range(40)]
    first = apart(labels, units, prints, ["a", "b"], {"validation": 0.2}, 0)
    order = draw.permutation(40)
    second = apart(labels[order], units[order], [prints[at] for at in order], ["a", "b"], {"validation": 0.2}, 0)
    assert [first[at] for at in order] == second


def test_the_command(tl: Tl, animals: Path, tmp_path: Path):
    options = ("--backbone", TINY, "--weights", "none", "--test", "0.2")
    done = tl("data", "split", animals, "--out", "s.csv", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "train       18 photos, 6 to 12 a class",
        "validation  6 photos, 2 to 4 a class",
        "test        6 photos, 2 to 4 a class",
        "copies      15 kept on the side of the photo that they show",
        "split       s.csv",
    ]
    done = tl("data", "split", animals, "--out", "s", "--exact-only", "--group-by", "0", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "one for each side" in done.stderr
    done = tl("data", "split", "s.csv", "--out", "t", "--exact-only", "--anew", "--link", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["counts"]["validation"] == {"cat": 4, "dog": 2}
    some_file = next((tmp_path / "t").rglob("*.png"))
    assert some_file.stat().st_nlink == 2
