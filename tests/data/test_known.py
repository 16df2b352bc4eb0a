"""Known data sets: found, downloaded from a real server, unpacked; CIFAR-100 files as Python 2 and 3 wrote them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.known_data import CIFAR_CLASSES, cifar_archive, cifar_batch, cifar_folder, photos_zip, serve
from support.known_data import site as site
from tl.data.known import extract_photos, is_cifar, load_cifar
from tl.data.load import load
from tl.errors import DataError
from tl.progress import Progress


@pytest.fixture(autouse=True)
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "keras" / "datasets"


@pytest.mark.parametrize("name", ["cifar100", "dogs-vs-cats"])
def test_missing_data_set_says_where_it_was_looked_for_and_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(name)
    text = str(caught.value)
    assert text.startswith(f"data set {name!r} is not on this machine (looked for {tmp_path}")
    assert "add --download to fetch it" in text
    assert "give the path of" in text
    assert "\n" not in text
    with pytest.raises(DataError, match="it cannot be fetched offline"):
        load(name, download=True, offline=True)
    assert not (tmp_path / "cache").exists()


def test_data_sets_are_downloaded_once(tmp_path, site, monkeypatch):
    serve(monkeypatch, "dogs-vs-cats", photos_zip(site[0] / "photos.zip"), site[1])
    data = load("dogs-vs-cats", download=True)
    assert (data.name, data.class_names, len(data.names)) == ("dogs-vs-cats", ("Cat", "Dog"), 6)
    assert Path(data.images[0]).read_bytes() == b"Cat 0"  # type: ignore[arg-type]
    datasets = tmp_path / "cache" / "datasets"
    assert sorted(p.name for p in datasets.iterdir() if p.suffix != ".lock") == ["dogs-vs-cats"]
    (site[0] / "photos.zip").unlink()
    assert load("dogs-vs-cats").names == data.names
    archive = cifar_archive(cifar_folder(tmp_path / "c"), site[0] / "cifar-100-python.tar.gz")
    serve(monkeypatch, "cifar100", archive, site[1])
    data = load("cifar100", download=True)
    assert (data.name, len(data.names)) == ("cifar100", 9)
    assert load("cifar100").names == data.names


@pytest.mark.parametrize("place", ["cifar-100-python", "cifar-100-python-target/cifar-100-python", "archive"])
def test_data_in_the_cache_of_keras_are_used(tmp_path, keras_cache, place):
    folder = cifar_folder((keras_cache if place != "archive" else tmp_path) / place)
    if place == "archive":
        keras_cache.mkdir(parents=True)
        cifar_archive(folder, keras_cache / "cifar-100-python.tar.gz")
    assert len(load("cifar100").names) == 9


def test_interrupted_extraction_leaves_nothing(tmp_path):
    class Interrupting(Progress):
        def task(self, name: str, total: int | None, unit: str) -> Any:
            raise KeyboardInterrupt

    archive = photos_zip(tmp_path / "whole.zip")
    with pytest.raises(KeyboardInterrupt):
        extract_photos(archive, tmp_path / "photos", Interrupting())
    assert list(tmp_path.iterdir()) == [archive]
    extract_photos(archive, tmp_path / "photos", Progress())
    assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 6


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar_in_the_official_layout(tmp_path, protocol):
    folder = cifar_folder(tmp_path / "cifar-100-python", protocol)
    assert is_cifar(folder)
    data = load(folder)
    assert (data.name, data.root, data.class_names) == ("cifar100", None, tuple(sorted(CIFAR_CLASSES)))
    assert data.names == (*(f"train/{i:05d}" for i in range(6)), *(f"test/{i:05d}" for i in range(3)))
    assert data.labels.tolist() == [1, 0, 2, 1, 0, 2, 1, 0, 2]
    assert data.parts == ("train",) * 6 + ("test",) * 3


def test_cifar_pixels_are_planes_of_red_green_blue(tmp_path):
    train = cifar_batch(6)
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[0], planes[1], planes[2, 5, 7] = 200, 100, 50
    train["data"][0] = planes.ravel()
    image = load_cifar(cifar_folder(tmp_path, train=train)).images[0]
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert image[0, 0].tolist() == [200, 100, 0]
    assert image[5, 7].tolist() == [200, 100, 50]


def test_cifar_as_python_2_wrote_it(tmp_path):
    # Python 2 wrote byte strings (opcode U, T) and the module names of its numpy; this is such a file by hand.
    def string(text: bytes) -> bytes:
        return b"T" + len(text).to_bytes(4, "little") + text

    pixels = bytes(range(256)) * 12 * 2
    dtype = b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b")
    array += b"tR(K\x01(K\x02M\x00\x0ct" + dtype + b"\x89" + string(pixels) + b"tb"
    content = b"\x80\x02}(" + string(b"data") + array + string(b"fine_labels") + b"](K\x00K\x01eu."
    data = load_cifar(cifar_folder(tmp_path, train=content, test=cifar_batch(2)))
    assert data.images[0][0, :3, 0].tolist() == [0, 1, 2]
    assert len(data.names) == 2 + 2


def test_cifar_archive_holds_what_the_folder_does(tmp_path):
    folder = cifar_folder(tmp_path / "keras" / "cifar-100-python")
    expected = load(folder)
    archived = load(cifar_archive(folder, tmp_path / "cifar-100-python.tar.gz"))
    assert archived.names == expected.names
    assert np.array_equal(np.stack(archived.images), np.stack(expected.images))  # type: ignore[arg-type]
    assert load(tmp_path / "keras").names == expected.names


class Attack:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trap),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("file", ["meta", "train"])
def test_pickle_that_runs_a_program_is_refused(tmp_path, file, protocol):
    content = pickle.dumps({"data": Attack(tmp_path / "trap")}, protocol=protocol)
    with pytest.raises(DataError, match=rf"{file}' is not a CIFAR-100 file: it asks for '(posix|nt)\.mkdir'"):
        load_cifar(cifar_folder(tmp_path / "c", **{file: content}))
    assert not (tmp_path / "trap").exists()


BATCH = cifar_batch(6)


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": b""}, r"train' is not a CIFAR-100 file, or damaged \(EOFError\)"),
    ({"train": pickle.dumps(BATCH, protocol=2)[:5000]}, "or damaged"),
    ({"train": [1, 2]}, "it holds no dictionary"),
    ({"train": {"fine_labels": [0]}}, "'data' is no array of bytes"),
    ({"train": BATCH | {"fine_labels": None}}, "'fine_labels' does not fit its 6 images"),
    ({"train": BATCH | {"data": np.zeros((6, 3072), np.float32)}}, "'data' is no array of bytes"),
    ({"train": BATCH | {"data": np.zeros((6, 1024), np.uint8)}}, "'data' is no array of bytes"),
    ({"test": BATCH | {"fine_labels": [0] * 5}}, "'fine_labels' does not fit its 6 images"),
    ({"test": BATCH | {"fine_labels": [0] * 5 + [3]}}, "'fine_labels' are not all from 0 to 2"),
    ({"meta": {"label_names": CIFAR_CLASSES}}, "it has no list 'fine_label_names'"),
    # pickles may name nothing but arrays
    ({"meta": b"cbuiltins\neval\n(S'1'\ntR."}, "it asks for "),
    ({"meta": b"c__builtin__\ngetattr\n(S'1'\ntR."}, "it asks for "),
    ({"meta": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."}, "it asks for "),
    ({"meta": b"cnumpy\nload\n(S'x'\ntR."}, "it asks for "),
])  # fmt: skip
def test_files_that_are_not_cifar_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        load_cifar(cifar_folder(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_archives_that_are_not_cifar_are_refused(tmp_path):
    (tmp_path / "text.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="is not the CIFAR-100 archive, or damaged"):
        load(tmp_path / "text.tar.gz")
    folder = cifar_folder(tmp_path / "c")
    whole = cifar_archive(folder, tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tgz' is not the CIFAR-100 archive, or damaged"):
        load(tmp_path / "cut.tgz")
    (folder / "test").unlink()
    with pytest.raises(DataError, match="is not CIFAR-100: it has no file 'test'"):
        load(cifar_archive(folder, tmp_path / "less.tgz"))
