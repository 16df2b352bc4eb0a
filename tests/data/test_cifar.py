"""CIFAR-100 files as Python 2 and 3 wrote them, and files that only pretend to be."""

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl.data.cifar import is_cifar, load_cifar
from tl.data.load import load
from tl.errors import DataError

NAMES = ["bee", "apple", "cat"]


def batch(count: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "filenames": [f"f_{i}.png" for i in range(count)],
        "batch_label": "training batch 1 of 1",
        "fine_labels": [i % 3 for i in range(count)],
        "coarse_labels": [0] * count,
        "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
    }


def official(folder: Path, protocol: int = 2, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {
        "train": batch(6),
        "test": batch(3, seed=1),
        "meta": {"fine_label_names": NAMES, "coarse_label_names": ["thing"]},
        **changes,
    }
    for name, value in files.items():
        content = value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol)
        (folder / name).write_bytes(content)
    return folder


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="cifar-100-python")
    return archive


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_official_layout(tmp_path: Path, protocol: int) -> None:
    folder = official(tmp_path / "cifar-100-python", protocol)
    assert is_cifar(folder)
    data = load(folder)
    assert data.name == "cifar100"
    assert data.class_names == ("apple", "bee", "cat")
    assert data.names == (*(f"train/{i:05d}" for i in range(6)), *(f"test/{i:05d}" for i in range(3)))
    assert data.labels.tolist() == [1, 0, 2, 1, 0, 2, 1, 0, 2]
    assert data.parts == ("train",) * 6 + ("test",) * 3
    assert data.root is None


def test_pixels_are_rows_of_red_green_blue(tmp_path: Path) -> None:
    train = batch(6)
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[0], planes[1], planes[2, 5, 7] = 200, 100, 50
    train["data"][0] = planes.ravel()
    image = load_cifar(official(tmp_path, train=train)).images[0]
    assert isinstance(image, np.ndarray)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [200, 100, 0]
    assert image[5, 7].tolist() == [200, 100, 50]


def test_what_python_2_wrote(tmp_path: Path) -> None:
    # Python 2 wrote byte strings (opcode U, T) and the module names of its numpy; this is such a file by hand.
    def string(text: bytes) -> bytes:
        return b"T" + len(text).to_bytes(4, "little") + text

    pixels = bytes(range(256)) * 12 * 2
    dtype = b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR(K\x01(K\x02M\x00\x0ct"
    )
    array += dtype + b"\x89" + string(pixels) + b"tb"
    content = b"\x80\x02}(" + string(b"data") + array + string(b"fine_labels") + b"](K\x00K\x01eu."
    data = load_cifar(official(tmp_path, train=content, test=batch(2)))
    first = data.images[0]
    assert isinstance(first, np.ndarray)
    assert first[0, :3, 0].tolist() == [0, 1, 2]
    assert len(data.names) == 2 + 2


def test_the_archive_and_folders_around(tmp_path: Path) -> None:
    folder = official(tmp_path / "keras" / "cifar-100-python")
    expected = load(folder)
    archived = load(packed(folder, tmp_path / "cifar-100-python.tar.gz"))
    assert archived.names == expected.names
    assert np.array_equal(np.stack(archived.images), np.stack(expected.images))  # type: ignore[arg-type]
    assert load(tmp_path / "keras").names == expected.names


class Attack:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("file", ["meta", "train", "test"])
def test_a_pickle_that_runs_a_program_is_refused(tmp_path: Path, file: str, protocol: int) -> None:
    trap = tmp_path / "trap"
    folder = official(tmp_path / "c", **{file: pickle.dumps({"data": Attack(os.mkdir, str(trap))}, protocol=protocol)})
    with pytest.raises(DataError, match=rf"{file}' is not a CIFAR-100 file: it asks for '(posix|nt)\.mkdir'"):
        load_cifar(folder)
    assert not trap.exists()


@pytest.mark.parametrize("content", [
    b"cos\nsystem\n(S'echo'\ntR.",
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"c__builtin__\ngetattr\n(S'1'\ntR.",
    b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    b"cnumpy\nload\n(S'x'\ntR.",
    b"cnumpy.core.multiarray\nscalar\n(S'x'\ntR.",
])  # fmt: skip
def test_no_other_name_is_looked_up(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="it asks for "):
        load_cifar(official(tmp_path, meta=content))


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in batch(6).items() if name != key}


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": b""}, r"train' is not a CIFAR-100 file, or damaged \(EOFError\)"),
    ({"train": b"\x80\x02garbage"}, "or damaged"),
    ({"train": pickle.dumps(batch(6), protocol=2)[:5000]}, "or damaged"),
    ({"train": [1, 2]}, "it holds no dictionary"),
    ({"train": without("data")}, "'data' is no array of bytes"),
    ({"train": without("fine_labels")}, "'fine_labels' does not fit its 6 images"),
    ({"train": {**batch(6), "data": np.zeros((6, 3072), np.float32)}}, "'data' is no array of bytes"),
    ({"train": {**batch(6), "data": np.zeros((6, 1024), np.uint8)}}, "'data' is no array of bytes"),
    ({"train": {**batch(6), "data": [1, 2]}}, "'data' is no array of bytes"),
    ({"test": {**batch(6), "fine_labels": [0] * 5}}, "'fine_labels' does not fit its 6 images"),
    ({"test": {**batch(6), "fine_labels": [0] * 5 + [3]}}, "'fine_labels' are not all from 0 to 2"),
    ({"test": {**batch(6), "fine_labels": [0] * 5 + [-1]}}, "'fine_labels' are not all from 0 to 2"),
    ({"test": {**batch(6), "fine_labels": ["0"] * 6}}, "'fine_labels' are not all from 0 to 2"),
    ({"meta": {"label_names": NAMES}}, "it has no list 'fine_label_names'"),
    ({"meta": {"fine_label_names": [1, 2, 3]}}, "it has no list 'fine_label_names'"),
    ({"meta": {"fine_label_names": ["a", "a", "b"]}}, "it names a class twice"),
])  # fmt: skip
def test_files_that_are_something_else(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_cifar(official(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_more_than_it_brings(tmp_path: Path) -> None:
    content = pickle.dumps(batch(6), protocol=2)
    assert content.count(b"K\x06M\x00\x0c\x86") == 1
    huge = content.replace(b"K\x06M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86")
    with pytest.raises(DataError, match="or damaged"):
        load_cifar(official(tmp_path, train=huge))


def test_archives_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="is not the CIFAR-100 archive, or damaged"):
        load(tmp_path / "text.tar.gz")
    folder = official(tmp_path / "c")
    whole = packed(folder, tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tgz' is not the CIFAR-100 archive, or damaged"):
        load(tmp_path / "cut.tgz")
    (folder / "test").unlink()
    with pytest.raises(DataError, match="is not CIFAR-100: it has no file 'test'"):
        load(packed(folder, tmp_path / "less.tgz"))


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tgz", "w:gz") as tar:
        for number in range(200):
            tar.addfile(tarfile.TarInfo(f"x{number}"), io.BytesIO())
    with pytest.raises(DataError, match="it holds too much"):
        load(tmp_path / "bomb.tgz")
    info = tarfile.TarInfo("cifar-100-python/train")
    info.size = 1 << 40
    with tarfile.open(tmp_path / "claim.tgz", "w:gz") as tar:
        tar.fileobj.write(info.tobuf())  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"it holds too much|or damaged"):
        load(tmp_path / "claim.tgz")


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tgz", "w:gz") as tar:
        for name in ("meta", "train", "test"):
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    with pytest.raises(DataError, match="it has no file 'meta'"):
        load(tmp_path / "links.tgz")
