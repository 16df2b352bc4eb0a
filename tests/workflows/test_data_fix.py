"""A clean copy with its list of changes; the original is not touched."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.data_sets import photo, write, write_faulty
from support.html import plain_cells
from support.runs import read_csv
from support.session import ROOT, TINY
from tl.commands.data import command
from tl.data.load import load
from tl.errors import DataError, UsageError
from tl.workflows.data_fix import fix, undo_path

TINY_NETWORK = {"backbone": TINY, "weights": "none"}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faulty(tmp_path_factory.mktemp("data") / "고양이 photos")


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def undo_rows(path: Path, folder: Path) -> dict[str, dict[str, str]]:
    return {Path(row["from"]).relative_to(folder).as_posix(): row for row in read_csv(path)}


def test_fix_writes_a_clean_folder_and_a_row_for_every_file(faulty, tmp_path):
    before = state(faulty)
    result = fix(faulty, out=tmp_path / "clean", merge_classes=True, **TINY_NETWORK)
    assert state(faulty) == before
    rows = undo_rows(tmp_path / "clean" / "undo.csv", faulty)
    assert set(rows) == set(before)
    changes = {name: action for changes in CHANGES.values() for name, action in changes.items()}
    assert {name: row["done"] for name, row in rows.items() if row["done"] != "kept"} == (
        changes | {"train/cat/notes.txt": "left out"}
    )
    assert rows["train/cat/00.jpg"]["path"] == "train/cat/00.png"
    assert (rows["train/Cats/1.png"]["path"], rows["train/Cats/1.png"]["label"]) == ("train/cat/1.png", "Cats")
    for name, row in rows.items():
        assert not row["path"] or (tmp_path / "clean" / row["path"]).read_bytes() == (faulty / name).read_bytes()
    assert "<td>train/dog/02.png</td><td>left out</td>" in plain_cells(result._repr_html_())
    assert "none of them sure" in rows["train/dog/twice.png"]["why"]
    clean = load(tmp_path / "clean")
    assert clean.class_names == ("cat", "dog")
    assert len(clean.names) == len(result.plan.kept)
    assert fix(tmp_path / "clean", dry_run=True, **TINY_NETWORK).plan.changed == []


def test_fix_writes_a_table_and_its_list_beside_it(faulty, tmp_path):
    fix(faulty, out=tmp_path / "clean.csv", merge_classes=True, **TINY_NETWORK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.csv", "clean.undo.csv"]
    clean = load(tmp_path / "clean.csv")
    assert clean.class_names == ("cat", "dog")
    assert faulty / "train/cat/00.jpg" in clean.images
    assert "validation" in clean.parts
    rows = undo_rows(tmp_path / "clean.undo.csv", faulty)
    assert rows["train/cat/00.jpg"]["done"] == "kept"
    assert len([row for row in rows.values() if row["path"]]) == len(clean.names)


CHANGES = {
    "unreadable": {"train/cat/broken.jpg": "left out", "train/cat/empty.jpg": "left out"},
    "duplicates": {"train/dog/04.png": "left out"},
    "leaks": {"train/dog/02.png": "left out"},
    "two-labels": {"train/cat/05.png": "left out", "train/dog/twice.png": "left out"},
    "extensions": {"train/cat/00.jpg": "renamed"},
    "class-names": {"train/Cats/1.png": "relabelled", "train/Cats/2.png": "relabelled"},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_fix_only_one_kind(faulty, kind):
    changed = fix(faulty, dry_run=True, only=kind, **TINY_NETWORK).plan.changed
    assert {step.sample.name: step.action for step in changed} == CHANGES[kind]
    assert {step.kind for step in changed} == {kind}


def test_fix_leaves_out_small_classes_if_requested(tmp_path):
    names = [f"{label}/{at}.png" for label, size in (("a", 4), ("b", 3), ("c", 1)) for at in range(size)]
    data = write(tmp_path / "data", {name: photo(at) for at, name in enumerate(names)} | {"b/twice.png": photo(4)})
    assert len(fix(data, dry_run=True, **TINY_NETWORK).plan.kept) == 8  # without the copy
    plan = fix(data, dry_run=True, drop_small=2, **TINY_NETWORK).plan
    assert [(step.sample.name, step.why) for step in plan.changed if step.kind == "too-small"] == [
        ("c/0.png", "1 image left of class 'c'")
    ]
    assert "no image is left of 'c'" in plan.notes
    with pytest.raises(DataError, match="would leave 1 of 3 classes"):
        fix(data, dry_run=True, drop_small=4, **TINY_NETWORK)  # the copy does not count


def test_fix_merges_classes_only_if_requested(faulty):

    plan = fix(faulty, dry_run=True, **TINY_NETWORK).plan
    assert "class-names" not in {step.kind for step in plan.changed}
    note = "possibly second names of other classes: 'Cats'; --merge-classes merges them"
    assert plan.notes[0] == note
    merged = fix(faulty, dry_run=True, merge_classes=True, **TINY_NETWORK).plan
    assert {step.sample.name for step in merged.changed if step.kind == "class-names"} == set(CHANGES["class-names"])
    assert note not in merged.notes


def test_fix_refuses_an_existing_or_missing_out(faulty, tmp_path):
    with pytest.raises(UsageError, match="--dry-run"):
        fix(faulty)
    with pytest.raises(UsageError, match="is there already|exists"):
        fix(faulty, out=tmp_path)
    with pytest.raises(UsageError, match="--only everything: choose unreadable,"):
        fix(faulty, out=tmp_path / "new", only=["everything"])


def test_fix_command(faulty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["fix", str(faulty), "--backbone", TINY, "--weights", "none"]
    dry = CliRunner().invoke(command, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.stderr
    assert "25 of 31 images would be kept" in dry.stdout
    assert max(map(len, dry.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    done = CliRunner().invoke(command, [*arguments, "--out", "c", "--only", "unreadable", "--link", "--json"])
    values = json.loads(done.stdout)
    assert (values["kept"], values["kinds"], values["undo"]) == (29, {"unreadable": 2}, "c/undo.csv")
    assert Path("c/train/dog/01.png").samefile(faulty / "train/dog/01.png")


def test_the_documentation_names_the_lists_of_changes():
    names = set(re.findall(r"\b[\w.]*undo\.\w+", (ROOT / "docs" / "data.md").read_text()))
    assert names == {undo_path(Path("clean")).name, undo_path(Path("clean.csv")).name}
