"""The whole check: on made photos with a tiny network, on real ones with planted faults, and from the command line."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from support.data_sets import dataset, photo, seen, write
from support.session import ROOT, TINY, Tl
from tl.doctor.findings import Diagnosis
from tl.networks.weights import Weights
from tl.workflows.data_check import check, examine

OPTIONS = ("--backbone", TINY, "--weights", "none")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 with a split, a leak, a photo of two labels, a broken file, and a class in two spellings."""
    files: dict[str, Image.Image | bytes] = {}
    for place in range(20):
        part = "val" if place % 4 == 3 else "train"
        for offset, label in ((0, "cat"), (100, "dog")):
            files[f"{part}/{label}/{place:02}.png"] = photo(offset + place)
    files |= {"val/dog/leak.png": ImageOps.mirror(photo(102)), "train/dog/twice.png": photo(5)}
    files |= {"train/cat/broken.jpg": b"\xff\xd8\xff", "train/Cats/1.png": photo(50), "train/Cats/2.png": photo(51)}
    return write(tmp_path_factory.mktemp("data") / "고양이 photos", files)


@pytest.fixture(scope="module")
def diagnosis(faulty: Path) -> Diagnosis:
    return check(faulty, backbone=TINY, weights="none")


def test_every_fault_is_found(diagnosis: Diagnosis):
    found = {(one.kind, one.severity, one.files) for one in diagnosis.findings}
    assert ("leak", "error", ("train/dog/02.png", "val/dog/leak.png")) in found
    assert ("two labels", "error", ("train/cat/05.png", "train/dog/twice.png")) in found
    assert any(one.files == ("train/cat/broken.jpg",) and one.severity == "error" for one in diagnosis.findings)
    assert "Cats (2), cat (" in " ".join(one.evidence for one in diagnosis.kinds["class names"])
    assert any("class Cats has 2 photos to learn from" in one.evidence for one in diagnosis.findings)


def test_a_second_check_finds_the_same_from_kept_features(faulty: Path, diagnosis: Diagnosis):
    again = check(faulty, backbone=TINY, weights="none")
    assert again.findings == diagnosis.findings


def test_the_split_by_default_is_the_one_that_training_makes():
    images = {f"{label}/{at:02}.png": photo(100 * (label == "b") + at) for label in "ab" for at in range(20)}
    found, notes = examine(dataset(images), seen(dataset(images)))
    assert [note.split(":")[0] for note in notes] == ["labels"]
    assert {one.kind for one in found} <= {"few photos", "outlier"}
    single = dataset({"a/1.png": photo(1), "b/1.png": photo(2)})
    _, notes = examine(single, seen(single))
    assert notes[1] == "labels: they take two classes of 5 different photos or more"
    assert notes[0].startswith("the split by default cannot be made: class 'a' has 1 image")


def test_a_class_of_one_photo_is_alone_at_fault():
    images = {
        f"{label}/{at:02}.png": photo(100 * (label == "dog") + at) for label in ("cat", "dog") for at in range(20)
    }
    alone = dataset(images | {"wolf/1.png": photo(300)})
    found, notes = examine(alone, seen(alone))
    assert notes[0].startswith("the split by default cannot be made: class 'wolf' has 1 image")
    assert [one.evidence.split(";")[0] for one in found if one.severity == "error"] == ["class wolf has 1 photo"]
    assert [one.kind for one in found].count("few photos") == 1


def test_nothing_but_broken_files():
    images = dataset({"a/1.png": photo(1), "b/1.png": photo(2)})
    looked = seen(images)
    looked.looks.errors.update({0: "empty file", 1: "empty file"})
    found, notes = examine(images, type(looked)(looked.looks, looked.features[:0], looked.usable[:0], 0))
    assert [one.kind for one in found] == ["empty", "empty"]
    assert notes[-1] == "none of the images can be read"


def test_the_command_lists_fails_and_draws(tl: Tl, faulty: Path, diagnosis: Diagnosis, tmp_path: Path):
    done = tl("data", "check", faulty, *OPTIONS, "--out", "found/page.html", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80 or "고양이" in done.stdout
    assert "error: Photos on both sides of the split (1)" in done.stdout
    assert (tmp_path / "found" / "page.html").stat().st_size > 10_000
    told = json.loads(tl("data", "check", faulty, *OPTIONS, "--json", "--fail-on", "never", cwd=tmp_path).stdout)
    assert told["findings"] == [one.as_dict() for one in diagnosis.findings]
    (page,) = (tmp_path / "runs").iterdir()  # where none was named
    assert page.name == "check-고양이-photos.html"
    assert page.read_text().count("<img") == (tmp_path / "found" / "page.html").read_text().count("<img") > 0


def test_what_fails_the_command_can_be_chosen(tl: Tl, shapes: Path, tmp_path: Path):
    codes = {
        severity: tl(
            "data", "check", shapes, *OPTIONS, "--quiet", "--fail-on", severity, "--no-page", cwd=tmp_path
        ).returncode
        for severity in ("error", "never")
    }
    assert list(tmp_path.iterdir()) == []
    assert codes == {"error": 0, "never": 0}
    # Stripes and noise differ by nothing so much as by their brightness.
    told = tl("data", "check", shapes, *OPTIONS, "--fail-on", "warning", cwd=tmp_path)
    assert told.returncode == 1
    assert "the mean colour alone tells the classes" in " ".join(told.stdout.split())


def test_stats(tl: Tl, faulty: Path, tmp_path: Path):
    told = json.loads(tl("data", "stats", faulty, "--json", cwd=tmp_path).stdout)
    assert (told["images"], told["broken"], told["identical"]) == (44, 1, 1)
    assert told["classes"] == {"Cats": 2, "cat": 20, "dog": 22}
    assert told["parts"] == {"train": 33, "validation": 11}
    shown = tl("data", "stats", faulty, cwd=tmp_path)
    assert shown.returncode == 0
    assert "44 images in 3 classes" in shown.stdout


def test_a_group_that_is_torn(faulty: Path):
    found = check(faulty, backbone=TINY, weights="none", group_by=r"/(\d)\d\.png")
    assert {one.evidence for one in found.kinds["torn group"]} == {
        f"group {group} has photos in train and in validation" for group in (0, 1)
    }


@pytest.mark.weights
@pytest.mark.photos
@pytest.mark.slow
def test_planted_faults_in_real_photos_are_found(photos: Path, imagenet: Weights, tmp_path: Path):
    sys.path.insert(0, str(ROOT / "bench"))
    from planted import plant

    some = sorted(photos.rglob("*.jpg"))[1::6]
    made = plant(some, tmp_path / "photos", seed=1, flips=0.05, copies=10, corrupt=5)
    found = check(made.folder).findings
    broken = {one.files[0] for one in found if one.severity == "error" and len(one.files) == 1}
    assert broken == made.corrupt
    leaks = {frozenset(one.files) for one in found if one.kind == "leak"}
    assert len(leaks & set(made.copies)) >= 9
    assert leaks <= set(made.copies)
    labels = [one.files[0] for one in found if one.kind.endswith("label")]
    assert len(made.flipped & set(labels)) >= 3
    assert sum(name in made.flipped for name in labels[:4]) >= 2
