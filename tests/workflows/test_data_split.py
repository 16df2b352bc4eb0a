"""Splits written as tables and folders: stratified, with copies and groups on one side, the same every time."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.data_sets import photo, write
from support.html import plain_cells
from support.session import TINY
from tl.commands.data import command
from tl.data.dataset import Dataset
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.data.splits import split as training_split
from tl.errors import DataError, UsageError
from tl.workflows.data_split import split


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """20 cats and 10 dogs, each photo with a larger copy."""
    numbers = {"cat": range(10), "dog": range(100, 105)}
    files = {f"{label}/{at:02}.png": photo(number) for label, own in numbers.items() for at, number in enumerate(own)}
    copies = {name.replace(".", "m."): image.resize((150, 120)) for name, image in files.items()}
    return write(tmp_path / "animals", files | copies)


def parts(dataset: Dataset) -> dict[str, str | None]:
    """The part of each photo by class and file name."""
    return {"/".join(name.split("/")[-2:]): part for name, part in zip(dataset.names, dataset.parts, strict=True)}


def test_split_keeps_resized_copies_together(animals, tmp_path):
    result = split(animals, out=tmp_path / "s.csv", val=0.2, test=0.2, backbone=TINY, weights="none")
    few = {"cat": 4, "dog": 2}
    assert result.counts == {"train": {"cat": 12, "dog": 6}, "validation": few, "test": few}
    assert result.copies == 15
    assert "<td>dog</td><td>6</td><td>2</td><td>2</td>" in plain_cells(result._repr_html_())
    part = parts(load(tmp_path / "s.csv"))
    assert all(part[name] == part[name.replace(".png", "m.png")] for name in part if "m" not in name)


def test_split_keeps_identical_files_together_and_leaves_out_broken_ones(animals, tmp_path):
    for at in range(10):
        (animals / "cat" / f"{at:02}m.png").write_bytes((animals / "cat" / f"{at:02}.png").read_bytes())
    (animals / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = split(animals, out=tmp_path / "s.csv", near_duplicates=False, val=0.25)  # 5 of 20: half a pair too many
    assert (result.copies, result.left_out) == (10, {"cat/broken.jpg": "damaged JPEG"})
    part = parts(load(tmp_path / "s.csv"))
    assert len(part) == 30
    assert all(part[f"cat/{at:02}.png"] == part[f"cat/{at:02}m.png"] for at in range(10))


def test_split_keeps_groups_of_several_classes_together(tmp_path):
    files = {f"{label}/p{at % 10}_{at}.png": photo(100 * (label == "b") + at) for label in "ab" for at in range(30)}
    folder = write(tmp_path / "d", files)
    result = split(folder, out=tmp_path / "s.csv", near_duplicates=False, group_by=r"(p\d)_", val=0.3)
    assert result.groups == 10
    groups: dict[str, set[str | None]] = {}
    for name, part in parts(load(tmp_path / "s.csv")).items():
        groups.setdefault(name.split("/")[1].split("_")[0], set()).add(part)
    assert all(len(own) == 1 for own in groups.values())
    assert result.counts["validation"] == {"a": 9, "b": 9}


def test_split_writes_the_same_to_folders_and_tables_and_takes_lists(animals, tmp_path):
    for out, seed in (("s.csv", 3), ("folders", 3), ("other.csv", 4)):
        split(animals, out=tmp_path / out, near_duplicates=False, seed=seed)
    assert parts(load(tmp_path / "folders")) == parts(load(tmp_path / "s.csv"))
    assert parts(load(tmp_path / "other.csv")) != parts(load(tmp_path / "s.csv"))
    copy = next((tmp_path / "folders").rglob("00.png"))
    assert copy.read_bytes() in {(animals / label / "00.png").read_bytes() for label in ("cat", "dog")}
    rows = [(path, path.parent.name) for path in sorted(animals.rglob("*.png"))]
    result = split(rows, out=tmp_path / "list.csv", near_duplicates=False)
    assert result.counts == {"train": {"cat": 16, "dog": 8}, "validation": {"cat": 4, "dog": 2}}


def test_split_without_copies_and_groups_is_that_of_training(animals, tmp_path):
    split(animals, out=tmp_path / "s.csv", near_duplicates=False, seed=7)
    dataset = load(animals)
    trained = training_split(dataset, measure_images(dataset.images).fingerprints, seed=7)
    held_out = {dataset.names[at] for at in trained.validation}
    assert {name for name, part in parts(load(tmp_path / "s.csv")).items() if part == "validation"} == held_out


def test_split_says_what_is_left_out_and_which_class_is_gone(tmp_path):
    files = {f"{label}/{at}.png": photo(at + 10 * (label == "a")) for label in "ab" for at in range(5)}
    files |= {"@eaDir/1.png": photo(1), "owl/1.png": b"broken"}
    result = split(write(tmp_path / "d", files), out=tmp_path / "s", near_duplicates=False)
    assert result.notes == (
        "left out: '@eaDir' (put there by the system)",
        "class 'owl' is left out: none of its images can be used",
    )


def test_split_ignores_an_existing_split_with_a_note(tmp_path):
    files = {
        f"{part}/{label}/{at}.png": photo(at + 10 * (label == "a") + 20 * (part == "val"))
        for part in ("train", "val")
        for label in "ab"
        for at in range(5)
    }
    result = split(write(tmp_path / "d", files), out=tmp_path / "s", near_duplicates=False, val=0.4)
    assert result.counts["validation"] == {"a": 4, "b": 4}
    (note,) = result.notes
    assert note.startswith("the data set's own split (10 train, 10 validation) is ignored")


@pytest.mark.parametrize(("val", "test"), [(0, 0), (0.5, 0.5), (-0.1, 0.5), (1.0, 0), (float("nan"), 0)])
def test_split_refuses_impossible_fractions(animals, tmp_path, val, test):
    with pytest.raises(UsageError, match="below 1|from 0 to 1"):
        split(animals, out=tmp_path / "s.csv", near_duplicates=False, val=val, test=test)
    assert not (tmp_path / "s.csv").exists()


def test_split_refuses_classes_with_too_few_photos(tmp_path):
    folder = write(tmp_path / "d", {"a/1.png": photo(1), "a/2.png": photo(2), "b/1.png": photo(3), "b/2.png": photo(4)})
    split(folder, out=tmp_path / "s.csv", near_duplicates=False, val=0.9)
    assert Counter(load(tmp_path / "s.csv").parts) == {"train": 2, "validation": 2}
    with pytest.raises(DataError, match="no class has 3 distinct images or groups"):
        split(folder, out=tmp_path / "t.csv", near_duplicates=False, test=0.3)


def test_split_trains_on_classes_with_few_photos_and_says_so(tmp_path):
    sizes = {"a": 3, "b": 4, "c": 2, "d": 1}
    files = {f"{label}/{at}.png": photo(5 * at + ord(label)) for label, size in sizes.items() for at in range(size)}
    result = split(write(tmp_path / "d", files), out=tmp_path / "s.csv", near_duplicates=False, test=0.3)
    assert result.counts == {
        "train": {"a": 1, "b": 2, "c": 1, "d": 1},
        "validation": {"a": 1, "b": 1, "c": 1, "d": 0},
        "test": {"a": 1, "b": 1, "c": 0, "d": 0},
    }
    assert result.notes == (
        "no validation images for 'd': too few photos or groups, which are trained on first",
        "no test images for 'c', 'd': too few photos or groups, which are trained on first",
    )


def test_split_command(animals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = ("--backbone", TINY, "--weights", "none", "--test", "0.2")
    done = CliRunner().invoke(command, ["split", str(animals), "--out", "s.csv", *network])
    assert done.stdout.splitlines() == [
        "train       18 images, 6 to 12 per class",
        "validation  6 images, 2 to 4 per class",
        "test        6 images, 2 to 4 per class",
        "copies      15, each on the side of the photo that it shows",
        "split       s.csv",
    ]
    done = CliRunner().invoke(command, ["split", "s.csv", "--out", "t", "--exact-only", "--link", "--json"])
    values = json.loads(done.stdout)
    assert values["counts"]["validation"] == {"cat": 4, "dog": 2}
    assert len(values["notes"]) == 1
    assert next((tmp_path / "t").rglob("*.png")).stat().st_nlink == 2
