"""Checkpoints go to files and back, Keras reads the files, and weights of another network change nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tl.errors import StorageError, WeightsError
from tl.networks.checkpoints import Checkpoint, assign, is_keras3, read_h5, write_h5

# Keras and TensorFlow before they follow NumPy 2's `__array__`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NAMES = ["conv", "bn", "predictions"]


def _network(names: list[str] = NAMES, top: bool = True, filters: int = 2) -> Any:
    import keras
    from keras import layers

    inputs = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(name=names[1])(layers.Conv2D(filters, 3, name=names[0])(inputs))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(5, name=names[2])(x) if top else x, name="small")


def _checkpoint(names: list[str] = NAMES, filters: int = 2) -> Checkpoint:
    shapes = [[(3, 3, 3, filters), (filters,)], [(filters,)] * 4, [(filters, 5), (5,)]]
    drawn = np.random.default_rng(1)
    return {
        name: [drawn.random(shape, np.float32) + 0.5 for shape in layer]
        for name, layer in zip(names, shapes, strict=True)
    }


def _same(first: Checkpoint, second: Checkpoint) -> bool:
    return list(first) == list(second) and all(
        len(first[name]) == len(second[name]) and all(map(np.array_equal, first[name], second[name])) for name in first
    )


def _weights(model: Any) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.get_weights()]


def _flat(checkpoint: Checkpoint) -> list[np.ndarray]:
    return [array for arrays in checkpoint.values() for array in arrays]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.h5"


def test_file_gives_back_what_was_written(path: Path) -> None:
    checkpoint = _checkpoint()
    write_h5(checkpoint, path)
    assert _same(read_h5(path), checkpoint)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_reader_of_the_old_file_keeps_it(path: Path) -> None:
    write_h5(_checkpoint(), path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        write_h5(_checkpoint(filters=5), path)
        assert reader.read() == before
    assert read_h5(path)["conv"][0].shape == (3, 3, 3, 5)


def test_layer_names_longer_than_an_attribute_are_cut(path: Path) -> None:
    checkpoint = {f"layer{index}_{'x' * 60}": [np.full(1, index, np.float32)] for index in range(1200)}
    write_h5(checkpoint, path)
    assert _same(read_h5(path), checkpoint)


def test_keras_reads_the_file_itself(path: Path) -> None:
    checkpoint, model = _checkpoint(), _network()
    write_h5(checkpoint, path)
    model.load_weights(path)
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)))


def test_files_of_keras_are_read(path: Path) -> None:
    model = _network()
    assign(model, _checkpoint(), source="made here")
    model.save_weights(path.with_suffix(".weights.h5"))
    whole = path.with_name("whole.h5")
    model.save(whole)
    assert _same(read_h5(whole), _checkpoint())
    assert not is_keras3(whole)
    assert is_keras3(path.with_suffix(".weights.h5"))
    with pytest.raises(WeightsError, match="no weights in the layout"):
        read_h5(path.with_suffix(".weights.h5"))


def test_keras3_layout_is_told_apart(path: Path) -> None:
    assert not is_keras3(path)
    path.write_bytes(b"no HDF5")
    assert not is_keras3(path)
    write_h5(_checkpoint(), path)
    assert not is_keras3(path)


def test_layers_without_weights_are_left_out(path: Path) -> None:
    write_h5({**_checkpoint(), "relu": []}, path)
    assert list(read_h5(path)) == NAMES


@pytest.mark.parametrize("names", [[b"bn", b"bn"], [b"bn", b"gone"], [1.0], [b"../bn"]])
def test_damaged_lists_of_layers_are_refused(path: Path, names: list[object]) -> None:
    write_h5(_checkpoint(), path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = names
    with pytest.raises(WeightsError, match="damaged"):
        read_h5(path)


def test_layer_in_another_file_is_refused(path: Path) -> None:
    write_h5(_checkpoint(), path)
    other = path.with_name("other.h5")
    write_h5(_checkpoint(), other)
    with h5py.File(path, "r+") as file:
        del file["bn"]
        file["bn"] = h5py.ExternalLink(str(other), "/bn")
    with pytest.raises(WeightsError, match="is a link"):
        read_h5(path)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file", "missing"):
        with pytest.raises(StorageError, match=r"weights\.h5 cannot be written"):
            write_h5(_checkpoint(), tmp_path / folder / "weights.h5")


def test_full_disk_leaves_the_old_file_and_no_other(path: Path) -> None:
    write_h5(_checkpoint(), path)
    before = path.read_bytes()
    # A limit on the size of files fails a write as a full disk does.
    program = f"""
import resource, signal
from pathlib import Path
import numpy as np
from tl.errors import StorageError
from tl.networks.checkpoints import write_h5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_h5({{"a": [np.zeros(100_000, np.float32)]}}, Path({str(path)!r}))
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_every_array_finds_its_variable() -> None:
    model, checkpoint = _network(), _checkpoint()
    assign(model, checkpoint, source="a.h5")
    conv, bn = model.get_layer("conv"), model.get_layer("bn")
    variables = [conv.kernel, conv.bias, bn.gamma, bn.beta, bn.moving_mean, bn.moving_variance]
    arrays = [*checkpoint["conv"], *checkpoint["bn"]]
    assert all(map(np.array_equal, map(np.array, variables), arrays))


def test_frozen_layers_take_weights_in_the_same_order() -> None:
    model, checkpoint = _network(), _checkpoint()
    model.trainable = False
    assign(model, checkpoint, source="a.h5")
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)))


def test_names_win_over_order() -> None:
    model, checkpoint = _network(), _checkpoint()
    assign(model, {name: checkpoint[name] for name in ("bn", "predictions", "conv")}, source="a.h5")
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)))


def test_other_names_are_taken_in_order() -> None:
    model, checkpoint = _network(), _checkpoint(["conv1", "bn_conv1", "fc1000"])
    assign(model, checkpoint, source="a.h5")
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)))


@pytest.mark.parametrize("names", [NAMES, ["conv1", "bn_conv1", "fc1000"]])
def test_top_that_the_model_has_not_is_left(names: list[str]) -> None:
    model, checkpoint = _network(top=False), _checkpoint(names)
    assign(model, checkpoint, source="a.h5")
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)[:6]))


def _refused(model: Any, checkpoint: Checkpoint, message: str) -> None:
    before = _weights(model)
    with pytest.raises(WeightsError) as caught:
        assign(model, checkpoint, source="a.h5")
    assert str(caught.value) == message
    assert all(map(np.array_equal, _weights(model), before))


def test_other_shapes_are_refused() -> None:
    _refused(
        _network(),
        _checkpoint(["block1_conv1", "b", "c"], filters=64),
        "weights of another network: a.h5 has block1_conv1 (3, 3, 3, 64) where small needs conv (3, 3, 3, 2); "
        "give a file made for small",
    )


def test_shape_that_differs_late_changes_nothing() -> None:
    checkpoint = _checkpoint()
    checkpoint["predictions"][1] = np.zeros(6, np.float32)
    _refused(
        _network(),
        checkpoint,
        "weights of another network: a.h5 has predictions (6,) where small needs predictions (5,); "
        "give a file made for small",
    )


def test_other_number_of_arrays_is_refused() -> None:
    checkpoint = _checkpoint()
    checkpoint["conv"].pop()
    _refused(
        _network(),
        checkpoint,
        "weights of another network: a.h5 has conv [(3, 3, 3, 2)] where small needs conv [(3, 3, 3, 2), (2,)]; "
        "give a file made for small",
    )


def test_missing_top_is_refused() -> None:
    checkpoint = _checkpoint()
    del checkpoint["predictions"]
    message = (
        "weights of another network: a.h5 has 2 layers with weights where small needs 3; give a file made for small"
    )
    _refused(_network(), checkpoint, message)


def test_many_more_layers_are_refused() -> None:
    checkpoint = {**_checkpoint(), **{f"more{index}": [np.zeros(1, np.float32)] for index in range(4)}}
    message = (
        "weights of another network: a.h5 has 7 layers with weights where small needs 3; give a file made for small"
    )
    _refused(_network(), checkpoint, message)


def test_damaged_numbers_are_refused() -> None:
    checkpoint = _checkpoint()
    checkpoint["bn"][3][1] = np.nan
    _refused(_network(), checkpoint, "a.h5 is damaged: bn has values that are not finite; fetch or save it again")


@pytest.mark.parametrize(("needs", "has"), [("VGG16", "VGG19"), ("ResNet50", "ResNet101")])
def test_larger_network_of_the_same_family_is_refused(needs: str, has: str) -> None:
    import keras

    # Every layer of the smaller network is in the larger one, by name and shape.
    larger = getattr(keras.applications, has)(weights=None, include_top=False)
    zero = np.zeros(1, np.float32)
    checkpoint = {
        layer.name: [np.broadcast_to(zero, weight.shape) for weight in layer.weights]
        for layer in larger.layers
        if layer.weights
    }
    smaller = getattr(keras.applications, needs)(weights=None, include_top=False)
    assert {layer.name for layer in smaller.layers if layer.weights} < set(checkpoint)
    with pytest.raises(WeightsError, match="weights of another network"):
        assign(smaller, checkpoint, source="a.h5")


def test_normalization_uses_what_was_assigned() -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Normalization(axis=-1)])
    mean, variance, count = np.array([3.0], "f4"), np.array([4.0], "f4"), np.float32(0)
    assign(model, {"normalization": [mean, variance, np.asarray(count)]}, source="a.h5")
    assert np.allclose(np.array(model(np.array([[7.0]], "f4"))), [[2.0]])
