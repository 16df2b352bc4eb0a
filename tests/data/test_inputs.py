"""What people type: everything that stands for pictures, mixed, in order, and what is refused at once."""

import os
import shutil
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import pytest

from data.test_folders import put
from data.test_video import make
from tl.data.images import read
from tl.data.inputs import Fetched, Request, requested
from tl.data.url import Limits
from tl.errors import DataError, ImageError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return put(tmp_path, "photos/b.JPG", "photos/a.png", "photos/notes.txt", "photos/sub/d.webp", "photos/sub/c.tiff")


def names(*images: str, stdin: bytes = b"", **request: object) -> list[str]:
    pipe = BufferedReader(BytesIO(stdin))  # type: ignore[arg-type]
    return [name for name, _ in requested(Request(images, **request), stdin=pipe)]  # type: ignore[arg-type]


def test_all_kinds_in_one_go_in_the_order_given(here: Path) -> None:
    (here / "table.csv").write_text("label,path\ncat,photos/a.png\ndog,https://example.org/x.jpg\ndog,\n", "utf-8")
    (here / "more").mkdir()
    (here / "more" / "table.tsv").write_text("filename\nz.png\n", "utf-8")
    make(here / "clip.avi", frames=5)
    given = [
        "photos/b.JPG",
        "photos",
        "photos/s*",
        "table.csv",
        "more/table.tsv",
        "clip.avi",
        "-",
        "http://a/b",
        "gone",
    ]
    found = list(requested(Request(given, every=2), stdin=BufferedReader(BytesIO(b"piped"))))  # type: ignore[arg-type]
    assert [name for name, _ in found] == [
        *("photos/b.JPG", "photos/a.png", "photos/b.JPG", "photos/sub/c.tiff", "photos/sub/d.webp"),
        *("photos/sub/c.tiff", "photos/sub/d.webp", "photos/a.png", "https://example.org/x.jpg", "table.csv"),
        *("more/z.png", "clip.avi#frame=0", "clip.avi#frame=2", "clip.avi#frame=4", "-", "http://a/b", "gone"),
    ]
    pictures = dict(found)
    assert read(pictures["-"]) == b"piped"
    assert isinstance(pictures["clip.avi#frame=2"], np.ndarray)
    assert pictures["http://a/b"] == Fetched("http://a/b", Limits())
    with pytest.raises(ImageError, match="a row without a path"):
        read(pictures["table.csv"])


def test_patterns_are_sorted_and_give_each_file_once(here: Path) -> None:
    assert names("photos/**") == names("photos") == names("ph*")
    assert names("**/s*/**") == ["photos/sub/c.tiff", "photos/sub/d.webp"]
    assert names("photos/*.t*") == ["photos/notes.txt"]
    assert names("*.none") == ["*.none"]
    put(here, "a [1].jpg", "a 1.jpg", "x:/y.jpg")
    assert names("a [1].jpg") == ["a [1].jpg"]


def test_lists_of_paths(here: Path) -> None:
    strange = b"photos/*.png\r\nhttps://a/b\n\n caf\xe9.jpg \nphotos"
    expected = ["photos/*.png", "https://a/b", os.fsdecode(b" caf\xe9.jpg "), "photos"]  # each stands for itself
    assert names(lists=["-"], stdin=strange) == expected
    assert names(lists=["-"], stdin=b"\xef\xbb\xbfa\nb") == ["a", "b"]
    assert names(lists=["-"], null=True, stdin=b"a\nb\0c\0") == ["a\nb", "c"]
    (here / "list.txt").write_bytes(b"photos/a.png\n")
    assert names("gone", lists=["list.txt", "-"], stdin=b"x") == ["gone", "photos/a.png", "x"]


def test_a_list_is_read_as_it_comes(here: Path) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb", buffering=0) as sink:
        sink.write(b"a.jpg\nb.jpg\n")
        found = requested(Request(lists=["-"]), stdin=source)
        assert [next(found)[0], next(found)[0]] == ["a.jpg", "b.jpg"]  # though nobody has closed it
        sink.write(b"c.jpg\n")
        assert next(found)[0] == "c.jpg"


@pytest.mark.parametrize(
    ("stdin", "message"), [(b"a\0b\0", "holds zero bytes: give --null"), (b"x" * 300_000, "is no list of paths")]
)
def test_what_is_no_list(here: Path, stdin: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        names(lists=["-"], stdin=stdin)


def test_what_cannot_be_meant_is_refused_before_the_first(here: Path) -> None:
    put(here, "none/notes.txt")
    (here / "bad.csv").write_text("name,label\na,b\n", "utf-8")
    (here / "empty.csv").write_text("path\n", "utf-8")
    for images, lists, kind, message in (
        (["photos", ""], [], UsageError, "is empty: give a file"),
        (["photos", "none"], [], DataError, "holds no images"),
        (["photos", "bad.csv"], [], DataError, "has no column 'path'"),
        (["photos", "empty.csv"], [], DataError, "has no rows"),
        (["photos"], ["gone.txt"], DataError, "list of paths 'gone.txt' cannot be read: no such file"),
        (["-"], ["-"], UsageError, "standard input can be given once"),
    ):
        with pytest.raises(kind, match=message):
            requested(Request(images, lists), stdin=BytesIO())  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_listed_is_a_picture_with_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(folder: str) -> object:
        if folder == "photos/sub":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    *photos, (name, picture) = requested(Request(["photos"]))
    assert [name for name, _ in photos] == ["photos/a.png", "photos/b.JPG"]
    assert name == "photos/sub"
    with pytest.raises(ImageError, match="folder cannot be read: permission denied"):
        read(picture)


def test_a_single_image_is_one_file_and_nothing_else(here: Path) -> None:
    (here / "folder.jpg").mkdir()
    (here / "table.csv").write_text("path\n", "utf-8")
    assert Request(["photos/b.JPG"]).single
    for others in (
        ["photos/*.png"],
        ["gone.jpg"],
        ["folder.jpg"],
        ["table.csv"],
        ["-"],
        ["http://a/b.jpg"],
        ["a\0.jpg"],
    ):
        assert not Request(others).single, others
    assert not Request(["photos/b.JPG", "photos/a.png"]).single
    assert not Request(["photos/b.JPG"], ["list.txt"]).single


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that cannot be read")
def test_standard_input_that_cannot_be_read_says_so(here: Path) -> None:
    with open("/proc/self/mem", "rb") as memory, pytest.raises(DataError, match="standard input cannot be read: "):
        list(requested(Request(["-"]), stdin=memory))  # type: ignore[arg-type]


def test_a_table_that_nobody_named_costs_only_its_own_row(here: Path) -> None:
    (here / "odd").mkdir()
    (here / "odd" / "notes.csv").write_text("name,price\nx,1\n")
    for name in ("a.png", "z.png"):
        shutil.copy(here / "photos" / "a.png", here / "odd" / name)
    found = list(requested(Request(["odd/*"])))
    assert [name for name, _ in found] == ["odd/a.png", "odd/notes.csv", "odd/z.png"]
    with pytest.raises(ImageError, match="path"):
        read(found[1][1])
    with pytest.raises(DataError):
        list(requested(Request(["odd/notes.csv"])))
