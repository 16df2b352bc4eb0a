"""Folders of any size: order, what is passed over, and memory that does not follow the number of names."""

import glob
import os
import random
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pytest

from data.test_folders import put
from tl.data import inputs as walking
from tl.data.inputs import below, in_order, matching, separated


def test_images_are_sorted_folder_by_folder_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "b.JPG", "a.png", "notes.txt", "s/d.webp", "s/t/e.gif", "r/z.tiff", ".git/f.jpg", "__MACOSX/g.jpg")
    put(tmp_path, ".hidden.png", "folder.jpg/inside.bmp")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    found = [os.path.relpath(name, tmp_path) for name in below(str(tmp_path))]
    assert found == ["a.png", "b.JPG", "folder.jpg/inside.bmp", "r/z.tiff", "s/d.webp", "s/t/e.gif"]


def test_what_is_too_much_for_memory_is_sorted_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_CHUNK", 100)
    names = [f"{at:05} \n é\udce9" for at in range(1000)]
    mixed = random.Random(0).sample(names, len(names))
    assert list(in_order(iter(mixed))) == names
    assert list(in_order(iter(mixed[:100]))) == sorted(mixed[:100])
    assert list(in_order(iter([]))) == []


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    gone = str(tmp_path / "gone")
    assert list(below(gone, lambda at, error: told.append((at, error.strerror)))) == []
    assert told == [(gone, "No such file or directory")]


def test_pieces_between_separators_come_one_by_one() -> None:
    assert list(separated(BytesIO(b"a\nb\n\nc").read, b"\n")) == [b"a", b"b", b"", b"c"]
    assert list(separated(BytesIO(b"a\0b\0").read, b"\0")) == [b"a", b"b"]
    long = b"x" * 50_000
    assert list(separated(BytesIO(long + b"\n" + long).read, b"\n")) == [long, long]
    with pytest.raises(ValueError, match="longer"):
        list(separated(BytesIO(b"x" * 200_000).read, b"\n"))


def test_folders_of_any_depth_are_matched_but_not_behind_links(tmp_path: Path) -> None:
    for name in ("0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a/.hidden/4.jpg"):
        put(tmp_path, name)
    for loop in ("l1", "l2"):
        (tmp_path / "a" / loop).symlink_to(tmp_path)
    found = {str(Path(name).relative_to(tmp_path)) for name in matching(f"{tmp_path}/**/*.jpg")}
    assert found == {"0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"}
    assert [Path(name).name for name in matching(f"{tmp_path}/a/**/c/*.jpg")] == ["3.jpg"]
    assert list(matching(f"{tmp_path}/nothing/**/*.jpg")) == []


@pytest.mark.parametrize("pattern", ["**/*.jpg", "a/**", "**", "./**/b/*", "*/**/*.jpg", "**/b/**/*.jpg", "a*/**/c"])
def test_patterns_mean_what_they_mean_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    for name in ("0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", ".h/4.jpg"):
        put(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    # Where a folder is matched, all below it is meant.
    ours, theirs = (_files(names) for names in (matching(pattern), glob.iglob(pattern, recursive=True)))
    assert ours == theirs != set()


def _files(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        found |= {os.path.normpath(file) for file in (below(name) if os.path.isdir(name) else [name])}
    return found
