"""Writing, reading and assigning checkpoints; files that refer to other files or declare too much are refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint, assign, is_keras3, open_hdf5, read_h5, write_h5

NAMES = ["conv", "bn", "predictions"]


def _network(top: bool = True) -> Any:
    import keras
    from keras import layers

    inputs = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(2, 3, name="conv")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(5, name="predictions")(x) if top else x, name="small")


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


def test_read_returns_what_was_written(path: Path) -> None:
    checkpoint = _checkpoint()
    write_h5({**checkpoint, "relu": []}, path)
    assert _same(read_h5(path), checkpoint)  # without the layer that has no weights
    assert not is_keras3(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    checkpoint = {f"layer{index}_{'x' * 60}": [np.full(1, index, np.float32)] for index in range(1200)}
    write_h5(checkpoint, path)
    assert _same(read_h5(path), checkpoint)


def test_keras_reads_the_file_and_read_takes_files_of_keras(path: Path) -> None:
    checkpoint, model = _checkpoint(), _network()
    write_h5(checkpoint, path)
    model.load_weights(path)
    assert all(map(np.array_equal, _weights(model), _flat(checkpoint)))
    whole, weights = path.with_name("whole.h5"), path.with_name("keras3.weights.h5")
    model.save(whole)
    model.save_weights(weights)
    assert _same(read_h5(whole), checkpoint)
    assert (is_keras3(whole), is_keras3(weights)) == (False, True)
    with pytest.raises(WeightsError, match="no weights in the layout"):
        read_h5(weights)


@pytest.mark.parametrize("names", [[b"bn", b"bn"], [b"bn", b"gone"], [1.0], [b"../bn"], [b"two\nlines"], [b"\xff\xfe"]])
def test_read_refuses_damaged_layer_names(path: Path, names: list[object]) -> None:
    write_h5(_checkpoint(), path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = names
    with pytest.raises(WeightsError, match="damaged|cannot be read"):
        read_h5(path)


def test_write_keeps_the_old_file_on_a_full_disk(path: Path) -> None:
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


@pytest.mark.parametrize("trainable", [True, False])
def test_assign_sets_every_variable(trainable: bool) -> None:
    model, checkpoint = _network(), _checkpoint()
    model.trainable = trainable
    assign(model, checkpoint, source="a.h5")
    conv, bn = model.get_layer("conv"), model.get_layer("bn")
    variables = [conv.kernel, conv.bias, bn.gamma, bn.beta, bn.moving_mean, bn.moving_variance]
    assert all(map(np.array_equal, map(np.array, variables), [*checkpoint["conv"], *checkpoint["bn"]]))


@pytest.mark.parametrize(("top", "checkpoint"), [
    (True, {name: _checkpoint()[name] for name in ("bn", "predictions", "conv")}),
    (True, _checkpoint(["conv1", "bn_conv1", "fc1000"])),
    (False, _checkpoint()),
    (False, _checkpoint(["conv1", "bn_conv1", "fc1000"])),
], ids=["names in another order", "other names", "top", "other names and top"])  # fmt: skip
def test_assign_matches_by_name_or_order_and_ignores_a_top(top: bool, checkpoint: Checkpoint) -> None:
    model = _network(top=top)
    assign(model, checkpoint, source="a.h5")
    expected = _flat(_checkpoint())
    assert all(map(np.array_equal, _weights(model), expected if top else expected[:6]))


ANOTHER, FOR_SMALL = "weights of another network: a.h5 has ", "; give a file made for small"


@pytest.mark.parametrize(("checkpoint", "message"), [
    (
        _checkpoint(["block1_conv1", "b", "c"], filters=64),
        f"{ANOTHER}block1_conv1 (3, 3, 3, 64) where small needs conv (3, 3, 3, 2){FOR_SMALL}",
    ),
    (
        {**_checkpoint(), "predictions": [np.zeros((2, 5), np.float32), np.zeros(6, np.float32)]},
        f"{ANOTHER}predictions (6,) where small needs predictions (5,){FOR_SMALL}",
    ),
    (
        {**_checkpoint(), "conv": [np.zeros((3, 3, 3, 2), np.float32)]},
        f"{ANOTHER}conv [(3, 3, 3, 2)] where small needs conv [(3, 3, 3, 2), (2,)]{FOR_SMALL}",
    ),
    (
        {name: _checkpoint()[name] for name in NAMES[:2]},
        f"{ANOTHER}2 layers with weights where small needs 3{FOR_SMALL}",
    ),
    (
        _checkpoint() | {f"more{index}": [np.zeros(1, np.float32)] for index in range(4)},
        f"{ANOTHER}7 layers with weights where small needs 3{FOR_SMALL}",
    ),
    (
        {**_checkpoint(), "bn": [np.full(2, np.nan, np.float32)] * 4},
        "a.h5 is damaged: bn has values that are not finite; fetch or save it again",
    ),
], ids=["shapes", "last shape", "number of arrays", "missing layer", "many more layers", "nan"])  # fmt: skip
def test_assign_refuses_other_weights_and_changes_nothing(checkpoint: Checkpoint, message: str) -> None:
    model = _network()
    before = _weights(model)
    with pytest.raises(WeightsError) as caught:
        assign(model, checkpoint, source="a.h5")
    assert str(caught.value) == message
    assert all(map(np.array_equal, _weights(model), before))


@pytest.mark.parametrize(("needs", "has"), [("VGG16", "VGG19"), ("ResNet50", "ResNet101")])
def test_assign_refuses_a_larger_network_of_the_same_family(needs: str, has: str) -> None:
    import keras

    # Every layer of the smaller network is in the larger one, by name and shape.
    larger, smaller = (getattr(keras.applications, name)(weights=None, include_top=False) for name in (has, needs))
    zero = np.zeros(1, np.float32)
    arrays = {layer.name: [np.broadcast_to(zero, weight.shape) for weight in layer.weights] for layer in larger.layers}
    checkpoint = {name: weights for name, weights in arrays.items() if weights}
    assert {layer.name for layer in smaller.layers if layer.weights} < set(checkpoint)
    with pytest.raises(WeightsError, match="weights of another network"):
        assign(smaller, checkpoint, source="a.h5")


def test_assign_updates_normalization() -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Normalization(axis=-1)])
    mean, variance, count = np.array([3.0], "f4"), np.array([4.0], "f4"), np.float32(0)
    assign(model, {"normalization": [mean, variance, np.asarray(count)]}, source="a.h5")
    assert np.allclose(np.array(model(np.array([[7.0]], "f4"))), [[2.0]])


def _array(path: Path, name: str = "group/x") -> np.ndarray:
    with open_hdf5(path, str(path)) as file:
        return file.array(file.root, name)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    other = tmp_path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["group/x"] = np.arange(3.0)
    return other


def _read_refused(path: Path, match: str, name: str = "group/x") -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        _array(path, name)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "<i8"])
def test_array_is_float32(path: Path, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.array([[1, 2], [3, 4]], dtype)
    array = _array(path)
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2], [3, 4]]


def test_data_in_another_file_is_refused(path: Path, secret: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(12))
    layout = h5py.VirtualLayout((3,), "<f8")
    layout[:] = h5py.VirtualSource(str(secret), "group/x", (3,))
    with h5py.File(path, "w") as file:
        file.create_dataset("external", (3,), "<f4", external=[(str(tmp_path / "raw"), 0, 12)])
        file.create_virtual_dataset("virtual", layout)
    for name in ("external", "virtual"):
        _read_refused(path, "another file", name)


def test_arrays_larger_than_the_file_are_refused_and_one_with_two_names_counts_twice(path: Path) -> None:
    for shape in ((1 << 40,), (1 << 20, 1 << 20, 1 << 15), (100_000,)):
        with h5py.File(path, "w") as file:
            file.create_dataset("group/x", shape, "<f4", chunks=(1,) * len(shape))
        _read_refused(path, "larger than the file")
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(10_000, np.float32)
        file["y"] = file["x"]
    with open_hdf5(path, str(path)) as reader:
        reader.array(reader.root, "x")
        with pytest.raises(WeightsError, match="larger than the file"):
            reader.array(reader.root, "y")


@pytest.mark.parametrize(("value", "match"), [
    (h5py.ExternalLink("secret.h5", "/group/x"), "is a link"),
    (h5py.ExternalLink("no such file", "/group/x"), "is a link"),
    (h5py.SoftLink("/other"), "is a link"),
    *((value, "not weights") for value in ("text", np.array([b"a"]), np.array([1j]), h5py.Empty("f4"))),
])  # fmt: skip
def test_links_and_other_types_are_refused(path: Path, secret: Path, value: object, match: str) -> None:
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(2)
        file.create_group("group")["x"] = value
    _read_refused(path, match)


@pytest.mark.parametrize("name", ["group", "group/y", "group/x/y", "group//x", "/group/x", "./group/x", ""])
def test_wrong_paths_are_refused(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.zeros(2)
    _read_refused(path, "damaged", name)


def test_missing_truncated_and_other_files_are_refused(path: Path) -> None:
    _read_refused(path, "does not exist")
    assert not is_keras3(path)
    with h5py.File(path, "w") as file:
        file["group/x"] = np.zeros(10_000)
    for content in (path.read_bytes()[:5_000], b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        _read_refused(path, "cannot be read as HDF5")
        assert not is_keras3(path)


def test_names_may_be_split(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"whole": [b"a", b"b"], "text": ["ä"], "cut0": [b"a"], "cut1": [b"b"], "none": []})
    expected = {"whole": ["a", "b"], "text": ["ä"], "cut": ["a", "b"], "none": [], "absent": []}
    with open_hdf5(path, str(path)) as reader:
        assert {name: reader.names(reader.root, name) for name in expected} == expected
