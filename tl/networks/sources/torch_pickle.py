"""Read a PyTorch state dict in the format before PyTorch 1.6, without PyTorch and without running code of the file.

The file is a sequence of pickles (magic number, protocol, system, state dict, storage keys), then the storages. A
pickle is a program: this one may build a dictionary and describe tensors; any other name it uses is refused.
"""

import io
import pickle
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError

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


def read(content: bytes, source: str) -> dict[str, NDArray[Any]]:
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
    except (
        pickle.UnpicklingError,
        struct.error,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise WeightsError(f"{source} cannot be read as a PyTorch state dict ({error}); fetch it again") from error


def _array(tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
