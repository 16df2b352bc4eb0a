"""Read and write weights files, and assign their weights to a Keras model.

The format is the HDF5 layout of Keras Applications, so `keras.applications.ResNet50(weights=path)` reads it too.

Weights files come from anywhere. HDF5 can point into other files (external links, external storage, virtual datasets)
and can declare arrays far larger than the file; weights need neither, so both are refused before a byte is read.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError
from tl.files import atomic_write
from tl.text import count

_MOST_NAMES = 100_000
_MOST_DIMENSIONS = 8


class HDF5Reader:
    """An open file; `source` is its name in messages, `size` its length in bytes."""

    def __init__(self, root: Any, source: str, size: int) -> None:
        self.root = root
        self._source = source
        self._unread = size

    def has(self, group: Any, name: str) -> bool:
        """Whether a group has a member of that name; `name in group` would follow a link."""
        return group.get(name, getlink=True) is not None

    def member(self, group: Any, path: str) -> Any:
        """The group or dataset at a path inside the file. Raises WeightsError for links and missing members."""
        import h5py

        for part in path.split("/"):
            if not isinstance(group, h5py.Group) or part in ("", ".") or not self.has(group, part):
                raise WeightsError(f"{self._source} is damaged: it has no {path!r}; fetch or save it again")
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise WeightsError(f"{self._source} is refused: {path!r} is a link; weights must be in the file itself")
            group = group[part]
        return group

    def names(self, group: Any, attribute: str) -> list[str]:
        """The strings in an attribute, which Keras splits into numbered pieces if it is long."""
        pieces = [attribute]
        if attribute not in group.attrs:
            pieces = []
            while f"{attribute}{len(pieces)}" in group.attrs:
                pieces.append(f"{attribute}{len(pieces)}")
        return [name for piece in pieces for name in self._strings(group, piece)]

    def _strings(self, group: Any, attribute: str) -> list[str]:
        shape = group.attrs.get_id(attribute).shape
        if shape is None or 0 in shape:
            return []
        if math.prod(shape) > _MOST_NAMES:
            raise WeightsError(f"{self._source} is damaged: {attribute} has {math.prod(shape)} names")
        names = [name.decode() if isinstance(name, bytes) else name for name in np.ravel(group.attrs[attribute])]
        if not all(isinstance(name, str) and name.isprintable() for name in names):
            raise WeightsError(f"{self._source} is damaged: {attribute} is not a list of names")
        return [str(name) for name in names]

    def array(self, group: Any, path: str) -> NDArray[np.float32]:
        """A dataset as float32. Raises WeightsError for anything but numbers stored in this file."""
        import h5py

        stored = self.member(group, path)
        if not isinstance(stored, h5py.Dataset):
            raise WeightsError(f"{self._source} is damaged: {path!r} is not an array")
        if stored.is_virtual or stored.external:
            raise WeightsError(f"{self._source} is refused: {path!r} is stored in another file")
        if stored.dtype.kind not in "fiu" or stored.shape is None or len(stored.shape) > _MOST_DIMENSIONS:
            raise WeightsError(f"{self._source} is refused: {path!r} holds {stored.dtype} {stored.shape}, not weights")
        # Without this check, a file of one kilobyte could declare arrays that fill the memory.
        self._unread -= math.prod(stored.shape) * stored.dtype.itemsize
        if self._unread < 0:
            raise WeightsError(
                f"{self._source} is refused: {path!r} {stored.shape} is larger than the file; save it uncompressed"
            )
        with np.errstate(over="ignore"):
            return np.asarray(stored[()], dtype=np.float32)


@contextmanager
def open_hdf5(file: Path | BinaryIO, source: str) -> Iterator[HDF5Reader]:
    """Open a file or a seekable stream for reading; HDF5 errors inside the block become WeightsError."""
    import h5py

    try:
        with h5py.File(file, "r") as root:
            size = file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)
            yield HDF5Reader(root, source, size)
    except FileNotFoundError as error:
        raise WeightsError(f"{source} does not exist: give the path of an .h5 weights file") from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{source} cannot be read as HDF5 weights ({reason}); fetch or save it again") from error


# Layer name -> its arrays in the order of `layer.weights` (kernel, bias; gamma, beta, moving mean, moving variance);
# the layers in the order of the Keras model.
Checkpoint = dict[str, list[NDArray[np.float32]]]

_LONGEST_ATTRIBUTE = 64_512  # bytes; an HDF5 header has 64 KiB, and Keras splits at the same length
_MOST_TOP_LAYERS = 3  # VGG's fc1, fc2, predictions


def write_h5(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint in the layout of Keras Applications, whole or not at all.

    Keras infers the layout from the name, which must end in `.h5` and not `.weights.h5`. Raises StorageError.
    """
    import h5py

    hint = "free some space, or choose another folder"
    with atomic_write(path, hint=hint) as scratch:
        try:
            with h5py.File(scratch, "w") as file:
                file.attrs["backend"] = np.bytes_(b"tensorflow")
                # The version of Keras that defined the layout; readers only check whether it is 1.
                file.attrs["keras_version"] = np.bytes_(b"2.2.4")
                _write_names(file, "layer_names", list(checkpoint))
                for layer, arrays in checkpoint.items():
                    _write_layer(file.create_group(layer), layer, arrays)
        except RuntimeError as error:  # h5py's error for a full disk while closing
            raise OSError(str(error)) from error


def _write_layer(group: Any, layer: str, arrays: Sequence[NDArray[np.float32]]) -> None:
    kinds = ["kernel", "bias"][: len(arrays)]
    if len(arrays) == 4 and all(array.ndim == 1 for array in arrays):
        kinds = ["gamma", "beta", "moving_mean", "moving_variance"]
    elif len(arrays) > 2:
        kinds = [f"weight_{index}" for index in range(len(arrays))]
    names = [f"{layer}/{kind}:0" for kind in kinds]
    _write_names(group, "weight_names", names)
    for name, array in zip(names, arrays, strict=True):
        group.create_dataset(name, data=array.astype(np.float32, copy=False))


def _write_names(group: Any, attribute: str, names: list[str]) -> None:
    encoded = np.array([name.encode() for name in names])
    fit = _LONGEST_ATTRIBUTE // encoded.itemsize
    if len(names) <= fit:
        group.attrs[attribute] = encoded
        return
    for index, start in enumerate(range(0, len(names), fit)):
        group.attrs[f"{attribute}{index}"] = encoded[start : start + fit]


def read_h5(path: Path) -> Checkpoint:
    """The layers with weights in a file in the layout of Keras Applications, or in a model saved as legacy HDF5.

    Raises WeightsError for any other file; links out of the file are not followed.
    """
    checkpoint: Checkpoint = {}
    with open_hdf5(path, str(path)) as file:
        root = file.root
        if file.has(root, "model_weights") and not file.names(root, "layer_names"):
            root = file.member(root, "model_weights")
        for layer in file.names(root, "layer_names"):
            group = file.member(root, layer)
            names = file.names(group, "weight_names")
            if layer in checkpoint:
                raise WeightsError(f"{path} is damaged: it has the layer {layer!r} twice; fetch or save it again")
            if names:
                checkpoint[layer] = [file.array(group, name) for name in names]
    if not checkpoint:
        raise WeightsError(
            f"{path} holds no weights in the layout of Keras Applications; save them with model.save_weights('x.h5')"
        )
    return checkpoint


def read_classifier(path: Path, features: int, classes: int) -> NDArray[np.float32] | None:
    """The kernel `[features, classes]` of the last layer in a file, without the others; None where that is another.

    MobileNet's is a convolution of 1 × 1.
    Raises WeightsError for a damaged file.
    """
    if is_keras3(path):
        return None
    with open_hdf5(path, str(path)) as file:
        root = file.root
        if file.has(root, "model_weights") and not file.names(root, "layer_names"):
            root = file.member(root, "model_weights")
        for layer in reversed(file.names(root, "layer_names")):
            group = file.member(root, layer)
            names = file.names(group, "weight_names")
            if names:
                shape = file.member(group, names[0]).shape
                fits = shape in ((features, classes), (1, 1, features, classes))
                return file.array(group, names[0]).reshape(features, classes) if fits else None
    return None


def is_keras3(path: Path) -> bool:
    """Whether a file has the layout of Keras 3's `.weights.h5`, which only Keras itself can load."""
    try:
        with open_hdf5(path, str(path)) as file:
            if file.names(file.root, "layer_names") or file.has(file.root, "model_weights"):
                return False
            return any(file.has(file.root, name) for name in ("layers", "vars", "_layer_checkpoint_dependencies"))
    except WeightsError:
        return False


def assign(model: Any, checkpoint: Checkpoint, *, source: str) -> None:
    """Set the weights of a Keras model from a checkpoint; `source` is its name in messages.

    Layers are matched by name if the checkpoint starts with all of the model's, else by order: official files have
    names of older versions of Keras. Up to three layers more, a top, may follow. Matching names alone prove nothing
    (VGG19 has every name and shape of VGG16), so surplus layers anywhere else mean another network.
    Raises WeightsError, before anything is set, for weights that do not fit or are not finite.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = [layer.name for layer in layers]
    first = list(checkpoint)[: len(layers)]
    names = names if set(names) == set(first) else first
    for layer, name in zip(layers, names, strict=False):
        _check(layer, name, checkpoint[name], network=model.name, source=source)
    if not 0 <= len(checkpoint) - len(layers) <= _MOST_TOP_LAYERS:
        counts = f"{source} has {count(len(checkpoint), 'layer')} with weights where {model.name} needs {len(layers)}"
        raise WeightsError(f"weights of another network: {counts}; give a file made for {model.name}")
    for layer, name in zip(layers, names, strict=True):
        for variable, array in zip(_variables(layer), checkpoint[name], strict=True):
            variable.assign(array)
        if hasattr(layer, "finalize_state"):  # Normalization derives what it uses from its weights
            layer.finalize_state()


def _variables(layer: Any) -> list[Any]:
    # The order of legacy files, which differs from `layer.weights` only if sublayers mix both kinds.
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _check(layer: Any, name: str, arrays: Sequence[NDArray[np.float32]], *, network: str, source: str) -> None:
    needed = [tuple(variable.shape) for variable in _variables(layer)]
    shapes = [array.shape for array in arrays]
    if shapes != needed:
        differing = [(has, needs) for has, needs in zip(shapes, needed, strict=False) if has != needs]
        has, needs = differing[0] if differing else (shapes, needed)
        raise WeightsError(
            f"weights of another network: {source} has {name} {has} where {network} needs {layer.name} {needs}; "
            f"give a file made for {network}"
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise WeightsError(f"{source} is damaged: {name} has values that are not finite; fetch or save it again")
