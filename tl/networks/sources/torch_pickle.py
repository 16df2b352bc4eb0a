"""A PyTorch state dict becomes named arrays, without PyTorch and without running anything the file asks for.

Both formats of `torch.save` are read: the zip archive of PyTorch 1.6 and later, and the sequence of pickles before it.
A pickle is a program; this one may build a dictionary and describe tensors, and all else is refused.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_BYTES = 2_000_000_000
_MOST_PICKLE_BYTES = 4_000_000  # 25,000 tensors
_MOST_DIMENSIONS = 8
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# What torch.save writes of a state dict (protocol 2). Left out are the opcodes that reach other objects (extensions,
# instances) and those of later protocols, whose lengths and frames would each need bounds of their own.
_ALLOWED = """
    PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    BINPUT LONG_BINPUT BINGET LONG_BINGET
"""
_OPCODES = frozenset(_ALLOWED.split())


# Tuples, because a pickle can set the state of any object that has one.
class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StateDict(dict[Any, Any]):
    """Stands for `collections.OrderedDict`; the attributes PyTorch hangs on it are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; it has no attributes, so that the file can change none."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor is not described by storage, shape and strides")
        if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has shape {len(shape)}-D and strides {len(strides)}-D")
        if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
            raise ValueError("a tensor has a negative offset, side or stride")
        return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, source: str) -> None:
        super().__init__(stream)
        self._source = source

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and (name in _DTYPES or name == "BFloat16Storage"):
            return name
        wanted = f"{module}.{name}"
        raise WeightsError(f"{self._source} is refused: it asks for {wanted!r}; a state dict is tensors alone")

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise ValueError("a storage is not described as torch.save does")
        _, dtype, key, _, length = pid[:5]
        if not (isinstance(dtype, str) and dtype.endswith("Storage") and isinstance(key, str)):
            raise ValueError("a storage has no type or no key")
        if type(length) is not int or length < 0:
            raise ValueError(f"storage {key} has length {length!r}")
        return _Storage(key, dtype, length)


def read(file: Path | bytes, source: str | None = None) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name, in the type they are stored in (bfloat16 as float32), read-only.

    `source` is what messages call the file.
    Raises WeightsError for anything but a state dict, naming what it asked for.
    """
    source = source or (str(file) if isinstance(file, Path) else "PyTorch file")
    with _refusing(source):
        content = _content(file, source)
        state, storages = (_read_zip if content[:4] == b"PK\x03\x04" else _read_legacy)(content, source)
        if not isinstance(state, dict) or not all(isinstance(name, str) and name.isprintable() for name in state):
            raise ValueError("it is not a dictionary of tensors")
        return {name: _array(tensor, name, storages) for name, tensor in state.items()}


def _content(file: Path | bytes, source: str) -> bytes:
    size = file.stat().st_size if isinstance(file, Path) else len(file)
    if size > _MOST_BYTES:
        raise WeightsError(f"{source} is refused: {size} bytes are more than {_MOST_BYTES}")
    return file.read_bytes() if isinstance(file, Path) else file


@contextmanager
def _refusing(source: str) -> Iterator[None]:
    try:
        yield
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error),
        *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    ) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{source} cannot be read as a PyTorch state dict ({reason}); fetch it again") from error


def _unpickle(stream: io.BytesIO, source: str) -> Any:
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        length = stream.tell() - start
        if opcode.name not in _OPCODES:
            raise WeightsError(f"{source} is refused: its pickle uses {opcode.name}, which a state dict does not need")
        # The unpickler allocates its memo up to the index asked for.
        if opcode.name == "LONG_BINPUT" and (argument is None or argument > length):
            raise ValueError(f"memo index {argument}")
        if length > _MOST_PICKLE_BYTES:
            raise ValueError("its pickle is too long")
    stream.seek(start)
    return _Unpickler(stream, source).load()


_Storages = Callable[[_Storage], NDArray[Any]]


def _read_legacy(content: bytes, source: str) -> tuple[Any, _Storages]:
    stream = io.BytesIO(content)
    if (_unpickle(stream, source), _unpickle(stream, source)) != (_MAGIC, _PROTOCOL):
        raise ValueError("it does not start as torch.save does")
    if _unpickle(stream, source).get("little_endian") is not True:
        raise ValueError("it is big-endian")
    state = _unpickle(stream, source)
    keys = _unpickle(stream, source)
    lengths = {tensor.storage.key: tensor.storage for tensor in state.values() if isinstance(tensor, _Tensor)}
    starts: dict[str, int] = {}
    position = stream.tell()
    for key in keys:
        (length,) = struct.unpack_from("<q", content, position)
        storage = lengths[key]
        if length != storage.length:
            raise ValueError(f"storage {key} has {length} numbers, {storage.length} announced")
        starts[key] = position + 8
        position += 8 + length * _item_size(storage.dtype)
    return state, lambda storage: _numbers(content, starts[storage.key], storage)


def _read_zip(content: bytes, source: str) -> tuple[Any, _Storages]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} data.pkl")
    folder = pickles[0].removesuffix("data.pkl")

    def member(name: str) -> bytes:
        # torch.save stores without compressing; a stored member cannot be larger than the file.
        if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        return archive.read(folder + name)

    if f"{folder}byteorder" in archive.namelist() and member("byteorder") != b"little":
        raise ValueError("it is big-endian")
    state = _unpickle(io.BytesIO(member("data.pkl")), source)
    read_once: dict[str, bytes] = {}

    def storages(storage: _Storage) -> NDArray[Any]:
        if storage.key not in read_once:
            read_once[storage.key] = member(f"data/{storage.key}")
            if sum(map(len, read_once.values())) > len(content):  # members that overlap
                raise ValueError("its storages are larger than the file")
        return _numbers(read_once[storage.key], 0, storage)

    return state, storages


def _item_size(dtype: str) -> int:
    return 2 if dtype == "BFloat16Storage" else np.dtype(_DTYPES[dtype]).itemsize


def _numbers(content: bytes, start: int, storage: _Storage) -> NDArray[Any]:
    if storage.length == 0:  # which frombuffer refuses
        return np.empty(0, _DTYPES.get(storage.dtype, "<f4"))
    if storage.dtype == "BFloat16Storage":  # the upper half of a float32
        halves = np.frombuffer(content, "<u2", count=storage.length, offset=start)
        return (halves.astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, _DTYPES[storage.dtype], count=storage.length, offset=start)


def _array(tensor: Any, name: str, storages: _Storages) -> NDArray[Any]:
    if not isinstance(tensor, _Tensor):
        raise ValueError(f"{name!r} is not a tensor")
    numbers = storages(tensor.storage)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    # Strides of 0 could make an array of any size from one number, so the count is bounded as well.
    if last >= numbers.size or math.prod(tensor.shape) > numbers.size:
        raise ValueError(f"{name!r} {tensor.shape} reaches beyond its storage of {numbers.size} numbers")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
