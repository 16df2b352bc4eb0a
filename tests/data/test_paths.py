"""Names that people type: files, folders, patterns, and what looks like one but is another."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.test_folders import put
from tl.data.inputs import image_files
from tl.errors import DataError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return put(
        tmp_path,
        *("photos/b.JPG", "photos/a.png", "photos/notes.txt", "photos/sub/d.webp", "photos/sub/c.tiff"),
        *("photos/.hidden.jpg", "photos/.git/e.jpg", "photos/__MACOSX/f.jpg"),
    )


def found(*given: str | Path) -> list[str]:
    return [path.as_posix() for path in image_files(given)]


def test_a_folder_is_the_images_below_it_sorted(here: Path) -> None:
    expected = ["photos/a.png", "photos/b.JPG", "photos/sub/c.tiff", "photos/sub/d.webp"]
    assert found("photos") == found("photos/") == found(Path("photos")) == expected
    assert found(here / "photos") == [f"{here}/{name}" for name in expected]


def test_a_pattern_is_what_it_matches_sorted(here: Path) -> None:
    assert found("photos/*.[pJ]*") == ["photos/a.png", "photos/b.JPG"]
    assert found("photos/**/*.t*") == ["photos/notes.txt", "photos/sub/c.tiff"]
    assert found(Path("photos/?.png")) == ["photos/a.png"]


def test_a_pattern_that_matches_folders_is_the_images_below_them_each_once(here: Path) -> None:
    assert found("photos/s*") == ["photos/sub/c.tiff", "photos/sub/d.webp"]
    assert found("**/s*/**") == ["photos/sub/c.tiff", "photos/sub/d.webp"]
    assert found("ph*") == found("photos")


def test_what_exists_means_itself(here: Path) -> None:
    put(here, "a [1].jpg", "a 1.jpg", "x*.jpg", "xy.jpg", "[2]/i.jpg", "2/j.jpg")
    assert found("a [1].jpg") == ["a [1].jpg"]
    assert found("x*.jpg") == ["x*.jpg"]
    assert found("[2]") == ["[2]/i.jpg"]


def test_files_of_any_name_are_handed_on_in_the_order_given(here: Path) -> None:
    given = ["photos/notes.txt", "gone.jpg", "gone/*.jpg", "photos/a.png", "x" * 5000, "a\0b.jpg", "a\0*", "*" * 5000]
    assert found(*given[:-1]) == given[:-1]
    assert found(given[-1] + "/x") == [given[-1] + "/x"]


def test_a_folder_without_images_is_refused_before_anything_is_handed_out(here: Path) -> None:
    put(here, "none/deep/notes.txt")
    with pytest.raises(DataError) as caught:
        image_files(["photos/a.png", "none"])
    assert str(caught.value).startswith("folder 'none' holds no images (.avif, ")
    assert "give another folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="empty: give a file"):
        image_files([""])


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may read everything: be somebody else."""
    if os.name != "posix":
        pytest.skip("needs POSIX permissions")
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_folder_that_cannot_be_read_is_said_to_be_that(nobody: None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0)
        try:
            with pytest.raises(DataError, match="cannot be read: permission denied; make it readable"):
                image_files([name])
        finally:
            os.chmod(name, 0o700)
