"""Files sorted by label: nothing is overwritten, nothing leaves the folder, and a second call changes nothing."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from tl.data.write import class_folders
from tl.errors import StorageError, UsageError
from tl.prediction.predictor import Prediction
from tl.prediction.sort import LINKS, Sorter, check_outside


def photo(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put(sorter: Sorter, path: Path, label: str = "cat", *, unknown: bool = False, sha256: str = "") -> str:
    found = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    return sorter.put(Prediction(str(path), label, 0.5, ((label, 0.5),), sha256=found, unknown=unknown), path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("link", LINKS)
def test_put_keeps_files_of_one_name_and_sorts_none_twice(tmp_path: Path, link: str) -> None:
    a, b, c = (photo(tmp_path / name / "x.jpg", name.encode()) for name in ("a", "b", "c"))
    for _ in range(2):
        sorter = Sorter(tmp_path / "out", ["cat", "dog"], link)
        assert [put(sorter, a), put(sorter, b), put(sorter, a), put(sorter, c, "dog", unknown=True)] == [""] * 4
        suffix = hashlib.sha256(b"b").hexdigest()[:16]
        assert tree(tmp_path / "out") == {"cat/x.jpg": b"a", f"cat/x-{suffix}.jpg": b"b", "unknown/x.jpg": b"c"}
    assert sorter.sorted == 0
    made = tmp_path / "out" / "cat" / "x.jpg"
    assert made.is_symlink() == (link == "symbolic")
    assert os.path.samefile(made, a) == (link != "copy")


@pytest.mark.parametrize("link", LINKS)
def test_put_overwrites_nothing(tmp_path: Path, link: str) -> None:
    mine = photo(tmp_path / "out" / "cat" / "x.jpg", b"mine")
    (tmp_path / "out" / "cat" / "y.jpg").symlink_to(tmp_path / "precious")
    sorter = Sorter(tmp_path / "out", ["cat"], link)
    assert put(sorter, photo(tmp_path / "in" / "x.jpg", b"new")) == ""
    assert put(sorter, photo(tmp_path / "in" / "y.jpg", b"newer")) == ""
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "precious").exists()
    assert len(list((tmp_path / "out" / "cat").iterdir())) == 4


def test_class_folders_are_safe_and_distinct() -> None:
    reserved = ["..", "../../etc", "a/b", "a\\b", "", ".", "unknown", "Unknown", "errors.csv"]
    classes = [*reserved, "a_b", "cat", "CAT", "x" * 999]
    made = class_folders(classes, taken=("unknown", "errors.csv"), fold=str.casefold)
    assert set(made) == set(classes)
    names = [name.casefold() for name in made.values()]
    assert len(set(names)) == len(names)
    assert not {"unknown", "errors.csv", "", ".", ".."} & set(names)
    assert made["a_b"] == "a_b"
    for name in names:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) < 255
    assert class_folders(classes[::-1], taken=("unknown", "errors.csv"), fold=str.casefold) == made


def test_put_reports_a_file_that_changed_or_is_gone(tmp_path: Path) -> None:
    path = photo(tmp_path / "in" / "x.jpg", b"new")
    sorter = Sorter(tmp_path / "out", ["cat"])
    assert put(sorter, path, sha256="0" * 64) == "has changed since it was predicted"
    path.unlink()
    assert put(sorter, path, sha256="0" * 64) == "cannot be read: no such file or directory"
    assert put(Sorter(tmp_path / "out", ["cat"], "hard"), path, sha256="0" * 64) == "cannot be read: no such file"
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["고" * 80 + ".jpg", "a." + "x" * 240], ids=["name", "suffix"])
def test_put_shortens_long_names_before_a_usual_suffix(tmp_path: Path, name: str) -> None:
    sorter = Sorter(tmp_path / "out", ["cat"])
    for content in (b"a", b"b"):
        assert put(sorter, photo(tmp_path / "in" / name, content)) == ""
    assert sorted(tree(tmp_path / "out").values()) == [b"a", b"b"]
    assert all(place.endswith(".jpg") == name.endswith(".jpg") for place in tree(tmp_path / "out"))


def test_check_outside_refuses_a_folder_inside_the_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for place in (tmp_path / "in" / "out", tmp_path / "in"):
        with pytest.raises(UsageError, match="is inside"):
            check_outside(place, [str(tmp_path / "in"), "x.jpg"])
    with pytest.raises(UsageError, match="is not a folder"):
        check_outside(photo(tmp_path / "file", b""), [])
    check_outside(tmp_path / "out", [str(tmp_path / "in")])
    with pytest.raises(StorageError, match="cannot be written"):
        Sorter(tmp_path / "file" / "out", ["cat"])


@pytest.mark.parametrize("link", LINKS)
def test_put_resolves_a_path_through_a_linked_folder(tmp_path: Path, link: str) -> None:
    photo(tmp_path / "real" / "p.jpg", b"labelled")
    photo(tmp_path / "p.jpg", b"another")
    (tmp_path / "real" / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "sub")
    assert put(Sorter(tmp_path / "out", ["cat"], link), tmp_path / "link" / ".." / "p.jpg") == ""
    assert tree(tmp_path / "out") == {"cat/p.jpg": b"labelled"}


def test_put_refuses_files_that_are_sorted_already(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "out", ["cat"], "symbolic")
    assert put(sorter, photo(tmp_path / "in" / "x.jpg", b"a")) == ""
    assert "where the sorted files go" in put(sorter, tmp_path / "out" / "cat" / "x.jpg")
    assert len(tree(tmp_path / "out")) == 1
    with pytest.raises(UsageError, match="is inside --by-class"):
        check_outside(tmp_path / "out", [str(tmp_path / "out" / "cat")])


def test_put_leaves_no_partial_copy_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sorter = Sorter(tmp_path / "out", ["cat"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tl.prediction.sort.os.replace", full)
    with pytest.raises(StorageError, match="no space left"):
        put(sorter, photo(tmp_path / "in" / "x.jpg", b"a"))
    assert tree(tmp_path / "out") == {}
