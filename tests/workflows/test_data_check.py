"""The whole check: of generated photos with a tiny network, of real photos with planted faults, and as a command."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from support.data_sets import dataset, measured, photo, write_faulty
from support.session import ROOT, TINY
from tl.commands.data import command
from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.doctor.findings import Diagnosis
from tl.workflows.data_check import check, examine, quick_check

TINY_NETWORK = {"backbone": TINY, "weights": "none"}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faulty(tmp_path_factory.mktemp("data") / "고양이 photos")


@pytest.fixture(scope="module")
def diagnosis(faulty: Path) -> Diagnosis:
    return check(faulty, page=False, **TINY_NETWORK)


def run(*arguments: object):
    arguments = (*map(str, arguments), "--backbone", TINY, "--weights", "none")
    return CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)


def test_check_finds_every_planted_fault(diagnosis):
    found = {(each.kind, each.severity, each.files) for each in diagnosis.findings}
    assert ("leak", "error", ("train/dog/02.png", "val/dog/leak.png")) in found
    assert ("two labels", "error", ("train/cat/05.png", "train/dog/twice.png")) in found
    assert any(each.files == ("train/cat/broken.jpg",) and each.severity == "error" for each in diagnosis.findings)
    assert "Cats (2), cat (" in " ".join(each.evidence for each in diagnosis.kinds["class names"])
    assert any("class Cats has 2 training images" in each.evidence for each in diagnosis.findings)


def test_check_finds_groups_on_both_sides(faulty):
    result = check(faulty, page=False, group_by=r"/(\d)\d\.png", **TINY_NETWORK)
    assert {each.evidence for each in result.kinds["group leak"]} == {
        f"group {group} has images in train and in validation" for group in (0, 1)
    }


ANIMALS = {f"{label}/{at:02}.png": photo(100 * (label == "dog") + at) for label in ("cat", "dog") for at in range(20)}


def test_examine_without_a_split():
    findings, notes = examine(dataset(ANIMALS), measured(dataset(ANIMALS)))
    assert [note.split(":")[0] for note in notes] == ["labels"]
    assert {each.kind for each in findings} <= {"few photos", "outlier"}


@pytest.mark.parametrize("others", [{}, ANIMALS])
def test_examine_with_a_class_of_one_photo(others):
    small = dataset(others | {"cow/1.png": photo(300), "zebra/1.png": photo(301)})
    findings, notes = examine(small, measured(small))
    few = [(each.severity, each.evidence.split(";")[0]) for each in findings if each.kind == "few photos"]
    if others:
        assert few[:2] == [
            ("warning", "class cow has 1 training image"),
            ("warning", "class zebra has 1 training image"),
        ]
    else:
        assert few == [("error", "class cow has 1 image"), ("error", "class zebra has 1 image")]
        assert notes[0].startswith("there is no default split: no class has two images or groups")
        assert notes[1] == "labels: at least two classes need 5 distinct images or more"


def test_examine_with_only_broken_files():
    images = dataset({"a/1.png": photo(1), "b/1.png": photo(2)})
    values = measured(images)
    values.stats.errors.update({0: "empty file", 1: "empty file"})
    broken = dataclasses.replace(values, features=values.features[:0], usable=values.usable[:0])
    findings, notes = examine(images, broken)
    assert [each.kind for each in findings] == ["empty", "empty"]
    assert notes[-1] == "none of the images can be read"


def test_check_command(faulty, diagnosis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    done = run("check", faulty)
    assert done.return_value == 1
    assert "error: Images on both sides of the split (1)" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["page", "runs/check-고양이-photos.html"]
    page = Path("runs/check-고양이-photos.html").read_text()
    assert page.count("<img") > 0
    assert "<h2>Command</h2>" in page
    values = json.loads(run("check", faulty, "--json", "--no-page", "--fail-on", "never").stdout)
    assert values["findings"] == [each.as_dict() for each in diagnosis.findings]


def test_check_command_exit_code(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for severity in ("error", "never"):
        assert run("check", shapes, "--quiet", "--fail-on", severity, "--no-page").return_value == 0
    assert list(tmp_path.iterdir()) == []
    done = run("check", shapes, "--fail-on", "warning")
    assert done.return_value == 1
    # Stripes and noise differ most in brightness.
    assert "the mean colour alone predicts the class" in " ".join(done.stdout.split())


def random_features(*labels: str) -> tuple[Dataset, np.ndarray, Split]:
    """60 images with random features and a split."""
    names = [f"{label}/{at:02}.png" for label in labels for at in range(60 // len(labels))]
    images = dataset(dict.fromkeys(names, photo(0, 8, 8)))
    features = np.abs(np.random.default_rng(0).standard_normal((60, 200))).astype(np.float32)
    held_out = np.arange(60) % 3 == 0
    return images, features, Split(np.flatnonzero(~held_out), np.flatnonzero(held_out), np.zeros(0, np.int64), (), 0)


def test_quick_check_counts_the_problems():
    images, features, made = random_features("Cat", "cat", "dog")
    features[3], features[6] = features[1], features[7]  # across the split
    features[25] = features[5] * 1.01  # in training, under two labels
    assert quick_check(images, features, made, "한국 사진/") == (
        "2 photos possibly on both sides of the split, 1 photo possibly under two labels,"
        " 1 class possibly under two names: run `tl data check '한국 사진/'`"
    )
    features[:50] = features[0]  # fifty images of one photo are 1,225 pairs
    alike = "1 photo possibly on both sides of the split, 1 photo possibly under two labels"
    assert quick_check(images, features, made, "photos/").startswith(alike)
    assert quick_check(*random_features("cat", "dog"), "photos/") == ""
    few = random_features("ant", "bee", "cat", "dog", "eel")
    assert quick_check(*few, "photos/") == "5 classes with few images: run `tl data check photos/`"


@pytest.mark.weights
@pytest.mark.photos
@pytest.mark.slow
def test_check_finds_faults_planted_in_real_photos(photos, imagenet, tmp_path):
    sys.path.insert(0, str(ROOT / "bench"))
    from planted import plant

    some = sorted(photos.rglob("*.jpg"))[1::6]
    planted = plant(some, tmp_path / "photos", seed=1, flips=0.05, copies=10, corrupt=5)
    findings = check(planted.folder, page=False).findings
    broken = {each.files[0] for each in findings if each.severity == "error" and len(each.files) == 1}
    assert broken == planted.corrupt
    leaks = {frozenset(each.files) for each in findings if each.kind == "leak"}
    assert len(leaks & set(planted.copies)) >= 9
    assert leaks <= set(planted.copies)
    labels = [each.files[0] for each in findings if each.kind.endswith("label")]
    assert len(planted.flipped & set(labels)) >= 3
    assert sum(name in planted.flipped for name in labels[:4]) >= 2
