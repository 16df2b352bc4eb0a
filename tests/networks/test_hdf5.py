"""HDF5 files that point out of themselves, or claim more than they hold, are refused."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from tl.errors import WeightsError
from tl.networks.checkpoints import open_hdf5


def _array(path: Path, name: str = "group/x") -> np.ndarray:
    with open_hdf5(path, str(path)) as file:
        return file.array(file.root, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.h5"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    other = tmp_path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["group/x"] = np.arange(3.0)
    return other


def _refused(path: Path, match: str, name: str = "group/x") -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        _array(path, name)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "<i8"])
def test_numbers_become_float32(path: Path, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.array([[1, 2], [3, 4]], dtype)
    array = _array(path)
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2], [3, 4]]


def test_stream_is_read_like_a_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(4.0)
    with open_hdf5(io.BytesIO(path.read_bytes()), "stream") as file:
        assert file.array(file.root, "x").tolist() == [0, 1, 2, 3]


def test_external_links_are_not_followed(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file["group"] = h5py.ExternalLink(str(secret), "/group")
        file["there"] = h5py.ExternalLink("no such file", "/group/x")
        file.create_group("real")["x"] = h5py.ExternalLink(str(secret), "/group/x")
    _refused(path, "is a link")
    _refused(path, "is a link", "real/x")
    _refused(path, "is a link", "there")


def test_soft_links_are_not_followed(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file["out"] = h5py.ExternalLink(str(secret), "/group")
        file.create_group("group")["x"] = h5py.SoftLink("/out/x")
    _refused(path, "is a link")


def test_numbers_stored_in_another_file_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(12))
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", (3,), "<f4", external=[(str(tmp_path / "raw"), 0, 12)])
    _refused(path, "another file")


def test_virtual_datasets_are_refused(path: Path, secret: Path) -> None:
    layout = h5py.VirtualLayout((3,), "<f8")
    layout[:] = h5py.VirtualSource(str(secret), "group/x", (3,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("group/x", layout)
    _refused(path, "another file")


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20, 1 << 15), (100_000,)])
def test_arrays_larger_than_the_file_are_refused(path: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", shape, "<f4", chunks=(1,) * len(shape))
    _refused(path, "larger than the file")


def test_one_array_under_many_names_is_counted_each_time(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(10_000, np.float32)
        file["y"] = file["x"]
    with open_hdf5(path, str(path)) as reader:
        reader.array(reader.root, "x")
        with pytest.raises(WeightsError, match="larger than the file"):
            reader.array(reader.root, "y")


@pytest.mark.parametrize("value", ["text", np.array([b"a"]), np.array([1j]), h5py.Empty("f4")])
def test_what_is_not_numbers_is_refused(path: Path, value: object) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = value
    _refused(path, "not weights")


@pytest.mark.parametrize("name", ["group", "group/y", "group/x/y", "group//x", "/group/x", "./group/x", ""])
def test_paths_that_lead_to_no_array_are_refused(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.zeros(2)
    _refused(path, "damaged", name)


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _refused(path, "cannot be read as HDF5")


def test_truncated_file_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.zeros(10_000)
    path.write_bytes(path.read_bytes()[:5_000])
    _refused(path, "cannot be read as HDF5")


def test_missing_file_is_named(path: Path) -> None:
    _refused(path, "does not exist")


def test_names_come_whole_or_in_pieces(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["whole"] = [b"a", b"b"]
        file.attrs["text"] = ["ä"]
        file.attrs["cut0"] = [b"a"]
        file.attrs["cut1"] = [b"b"]
        file.attrs["none"] = []
    with open_hdf5(path, str(path)) as reader:
        assert reader.names(reader.root, "whole") == ["a", "b"]
        assert reader.names(reader.root, "text") == ["ä"]
        assert reader.names(reader.root, "cut") == ["a", "b"]
        assert reader.names(reader.root, "none") == []
        assert reader.names(reader.root, "absent") == []


@pytest.mark.parametrize("value", [[1.0, 2.0], [b"two\nlines"], [b"\xff\xfe"]])
def test_names_that_are_no_names_are_refused(path: Path, value: object) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["names"] = value
    with pytest.raises(WeightsError), open_hdf5(path, str(path)) as reader:
        reader.names(reader.root, "names")
