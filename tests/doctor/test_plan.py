"""A clean copy: what is left out, merged and renamed; the list by which it can all be told; the original untouched."""

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from support.data_sets import dataset, photo, seen, write
from support.session import ROOT, TINY, Tl
from tl.data.dataset import Dataset
from tl.data.load import load
from tl.data.near_duplicates import Copy
from tl.doctor.labels import Suspect
from tl.doctor.plan import KINDS, Plan, Step, plan
from tl.errors import DataError, UsageError
from tl.workflows.data_fix import fix, undo_of

OPTIONS = ("--backbone", TINY, "--weights", "none")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 with a split and one fault of each kind."""
    files: dict[str, Image.Image | bytes] = {}
    for place in range(12):
        part = "val" if place % 4 == 3 else "train"
        for offset, label in ((0, "cat"), (100, "dog")):
            files[f"{part}/{label}/{place:02}.png"] = photo(offset + place)
    files |= {"val/dog/leak.png": ImageOps.mirror(photo(102)), "train/dog/twice.png": photo(5)}
    files |= {"train/cat/broken.jpg": b"\xff\xd8\xff", "train/cat/empty.jpg": b"", "train/cat/notes.txt": b"x"}
    files |= {"train/Cats/1.png": photo(50), "train/Cats/2.png": photo(51)}
    files |= {"train/dog/deep/large.png": photo(104).resize((240, 180))}
    folder = write(tmp_path_factory.mktemp("data") / "고양이 photos", files)
    (folder / "train/cat/00.png").rename(folder / "train/cat/00.jpg")
    return folder


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(undo: Path) -> dict[str, dict[str, str]]:
    with undo.open(encoding="utf-8", newline="") as file:
        return {row["from"]: row for row in csv.DictReader(file)}


def test_a_clean_copy(faulty: Path, tmp_path: Path):
    before = state(faulty)
    made = fix(faulty, tmp_path / "clean", backbone=TINY, weights="none")
    assert state(faulty) == before
    told = rows(tmp_path / "clean" / "undo.csv")
    assert set(told) == {str(faulty / name) for name in before}
    done = {name: (told[str(faulty / name)]["done"], told[str(faulty / name)]["path"]) for name in before}
    changed = {name: what for name, what in done.items() if what[0] != "kept"}
    assert changed == {
        "train/cat/00.jpg": ("renamed", "train/cat/00.png"),
        "train/Cats/1.png": ("relabelled", "train/cat/1.png"),
        "train/Cats/2.png": ("relabelled", "train/cat/2.png"),
        "train/cat/broken.jpg": ("left out", ""),
        "train/cat/empty.jpg": ("left out", ""),
        "train/cat/notes.txt": ("left out", ""),
        "train/cat/05.png": ("left out", ""),
        "train/dog/twice.png": ("left out", ""),
        "train/dog/02.png": ("left out", ""),
        "train/dog/04.png": ("left out", ""),
    }
    for name, (_, path) in done.items():
        assert not path or (tmp_path / "clean" / path).read_bytes() == (faulty / name).read_bytes()
    clean = load(tmp_path / "clean")
    assert clean.class_names == ("cat", "dog")
    assert len(clean.names) == len(made.plan.kept)
    assert "of which none is sure" in told[str(faulty / "train/dog/twice.png")]["why"]
    assert told[str(faulty / "train/Cats/1.png")]["label"] == "Cats"
    again = fix(tmp_path / "clean", None, backbone=TINY, weights="none")
    assert [step.done for step in again.plan.steps] == ["kept"] * len(clean.names)


def test_a_table_of_what_is_clean(faulty: Path, tmp_path: Path):
    fix(faulty, tmp_path / "clean.csv", backbone=TINY, weights="none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.csv", "clean.undo.csv"]
    clean = load(tmp_path / "clean.csv")
    assert clean.class_names == ("cat", "dog")
    assert faulty / "train/cat/00.jpg" in clean.images
    assert "validation" in clean.parts
    told = rows(tmp_path / "clean.undo.csv")
    assert told[str(faulty / "train/cat/00.jpg")]["done"] == "kept"
    assert len([row for row in told.values() if row["path"]]) == len(clean.names)


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("unreadable", {"train/cat/broken.jpg", "train/cat/empty.jpg"}),
        ("duplicates", {"train/dog/04.png"}),
        ("leaks", {"train/dog/02.png"}),
        ("two-labels", {"train/cat/05.png", "train/dog/twice.png"}),
        ("extensions", set()),
        ("class-names", set()),
    ],
)
def test_only_one_kind(faulty: Path, kind: str, gone: set[str]):
    made = fix(faulty, None, only=[kind], backbone=TINY, weights="none")
    changed = {step.sample.name: step for step in made.plan.steps if step.done != "kept"}
    assert {name for name, step in changed.items() if not step.kept} == gone
    assert {step.kind for step in changed.values()} == {kind}


def test_links_share_the_original(faulty: Path, tmp_path: Path):
    fix(faulty, tmp_path / "clean", link=True, backbone=TINY, weights="none")
    assert (tmp_path / "clean/train/dog/01.png").samefile(faulty / "train/dog/01.png")


def made_plan(images: Dataset, monkeypatch: pytest.MonkeyPatch, doubted: dict[str, str], **options: bool) -> Plan:
    """The plan where the audit of labels is sure that the named photos are of another class."""
    sure = {images.names.index(name): images.class_names.index(label) for name, label in doubted.items()}

    def audit(features: object, labels: np.ndarray, *rest: object, **more: object) -> list[Suspect]:
        return [Suspect(at, int(labels[at]), label, 0.02, 0.97, True) for at, label in sure.items()]

    monkeypatch.setattr("tl.doctor.plan.suspects", audit)
    return plan(images, seen(images), **options)


@pytest.fixture
def conflict() -> Dataset:
    images = {f"{label}/{at}.png": photo(100 * (label == "dog") + at) for label in ("cat", "dog") for at in range(4)}
    return dataset(images | {"dog/same.png": photo(2)})


def steps(made: Plan) -> dict[str, Step]:
    return {step.sample.name: step for step in made.steps if step.done != "kept"}


def test_a_sure_audit_decides_between_two_labels(conflict: Dataset, monkeypatch: pytest.MonkeyPatch):
    found = steps(made_plan(conflict, monkeypatch, {"dog/same.png": "cat"}))
    assert set(found) == {"dog/same.png"}
    assert "surely wrong" in found["dog/same.png"].why


@pytest.mark.parametrize("doubted", [{}, {"dog/same.png": "cat", "cat/2.png": "dog"}])
def test_an_unsure_audit_leaves_both_out(conflict: Dataset, monkeypatch: pytest.MonkeyPatch, doubted: dict[str, str]):
    assert set(steps(made_plan(conflict, monkeypatch, doubted))) == {"dog/same.png", "cat/2.png"}


def test_an_audit_that_is_sure_of_a_third_class_decides_nothing(monkeypatch: pytest.MonkeyPatch):
    images = {f"{label}/{at}.png": photo(100 * "abc".index(label) + at) for label in "abc" for at in range(3)}
    found = steps(made_plan(dataset(images | {"b/same.png": photo(2)}), monkeypatch, {"b/same.png": "c"}))
    assert set(found) == {"a/2.png", "b/same.png"}


def test_labels_are_changed_only_where_asked_for(conflict: Dataset, monkeypatch: pytest.MonkeyPatch):
    doubted = {"cat/1.png": "dog"}
    assert "cat/1.png" not in steps(made_plan(conflict, monkeypatch, doubted))
    step = steps(made_plan(conflict, monkeypatch, doubted, relabel=True))["cat/1.png"]
    assert (step.done, step.label, step.why) == ("relabelled", "dog", "looks like dog (97 %)")


def test_too_little_left_is_refused(monkeypatch: pytest.MonkeyPatch):
    images = dataset({"a/1.png": photo(1), "b/1.png": photo(1)})
    with pytest.raises(DataError, match="leaves 0 of 2 classes"):
        plan(images, seen(images))
    with pytest.raises(UsageError, match="nothing that is mended"):
        plan(images, seen(images), only=["everything"])


def test_of_copies_the_largest_stays(monkeypatch: pytest.MonkeyPatch):
    images = dataset({"a/1.png": photo(1), "a/2.png": photo(2, 300, 200), "a/3.png": photo(3), "b/1.png": photo(9)})
    same = [Copy(0, 1, 0.9), Copy(1, 2, 0.9)]
    monkeypatch.setattr("tl.doctor.plan.copies", lambda *given: same)
    assert set(steps(plan(images, seen(images)))) == {"a/1.png", "a/3.png"}


def test_the_command(tl: Tl, faulty: Path, tmp_path: Path):
    dry = tl("data", "fix", faulty, *OPTIONS, "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "would keep 25 of 31 images" in " ".join(dry.stdout.split())
    assert max(map(len, dry.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    done = tl("data", "fix", faulty, *OPTIONS, "--out", "c", "--only", "unreadable", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["kept"], told["kinds"], told["undo"]) == (29, {"unreadable": 2}, "c/undo.csv")
    for arguments, why in ((("--out", "c"), "is there already"), ((), "--dry-run")):
        refused = tl("data", "fix", faulty, *OPTIONS, *arguments, cwd=tmp_path)
        assert refused.returncode == 2
        assert why in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_the_kinds_of_the_command_are_those_of_the_library():
    from tl.commands.data_fix import _KINDS

    assert _KINDS == KINDS


def test_the_document_names_the_lists_that_are_written():
    named = set(re.findall(r"\b[\w.]*undo\.\w+", (ROOT / "docs" / "data.md").read_text()))
    assert named == {undo_of(Path("clean")).name, undo_of(Path("clean.csv")).name}
