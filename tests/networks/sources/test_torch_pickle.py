"""State dicts in both formats of torch.save become arrays; pickles that want anything else run nothing."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tl.errors import WeightsError
from tl.networks.sources.torch_pickle import read

# The opcodes that torch.save writes, by hand: PyTorch is not installed, and hostile files need other ones.
MAGIC = 0x1950A86A20F9469CFC6C
ORDERED_DICT = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def several(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def storage(key: str, length: int, dtype: str = "FloatStorage", view: bytes = b"N") -> bytes:
    pid = [text("storage"), f"ctorch\n{dtype}\n".encode(), text(key), text("cpu"), number(length), view]
    return several(*pid) + b"Q"


def tensor(stored: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sides, steps = (several(*map(number, numbers)) for numbers in (shape, strides))
    return REBUILD + several(stored, number(offset), sides, steps, b"\x89", ORDERED_DICT + b")R") + b"R"


def state(**entries: bytes) -> bytes:
    items = b"".join(text(name) + value for name, value in entries.items())
    metadata = b"}" + text("_metadata") + ORDERED_DICT + b")Rs"
    return b"\x80\x02" + ORDERED_DICT + b")R(" + items + b"u" + metadata + b"b."


def legacy(program: bytes, storages: dict[str, np.ndarray], little_endian: bool = True) -> bytes:
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    start = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    keys = pickle.dumps(list(storages), 2)
    return start + program + keys + b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())


def zipped(program: bytes, storages: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return stream.getvalue()


def refused(content: bytes, match: str) -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        read(content, "a.pth")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("a.pth ")


NUMBERS = np.arange(24, dtype="<f4")
FORMATS = pytest.mark.parametrize("save", [legacy, zipped])


@FORMATS
def test_tensors_keep_their_names_shapes_and_values(save) -> None:
    program = state(
        **{"a.weight": tensor(storage("1", 24), (2, 3, 4), (12, 4, 1)), "a.bias": tensor(storage("2", 3), (3,), (1,))}
    )
    found = read(save(program, {"1": NUMBERS, "2": NUMBERS[5:8]}))
    assert list(found) == ["a.weight", "a.bias"]
    assert np.array_equal(found["a.weight"], NUMBERS.reshape(2, 3, 4))
    assert found["a.weight"].dtype == np.float32
    assert found["a.bias"].tolist() == [5, 6, 7]


@FORMATS
def test_strides_and_offsets_are_followed(save) -> None:
    stored = storage("1", 24)
    program = state(turned=tensor(stored, (3, 4), (1, 3)), part=tensor(stored, (2, 2), (4, 1), offset=5))
    found = read(save(program, {"1": NUMBERS}))
    assert np.array_equal(found["turned"], NUMBERS[:12].reshape(4, 3).T)
    assert found["part"].tolist() == [[5, 6], [9, 10]]


@FORMATS
def test_scalars_and_empty_tensors(save) -> None:
    program = state(one=tensor(storage("1", 1, "LongStorage"), (), ()), none=tensor(storage("2", 0), (0, 3), (3, 1)))
    found = read(save(program, {"1": np.array([7], "<i8"), "2": NUMBERS[:0]}))
    assert found["one"].shape == ()
    assert found["one"] == 7
    assert found["none"].shape == (0, 3)


@FORMATS
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("IntStorage", "<i4"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
def test_number_types(save, dtype: str, stored: str) -> None:
    values = np.array([1, 0, 1], stored)
    found = read(save(state(x=tensor(storage("1", 3, dtype), (3,), (1,))), {"1": values}))
    assert found["x"].dtype == np.dtype(stored)
    assert found["x"].tolist() == values.tolist()


@FORMATS
def test_bfloat16_becomes_float32(save) -> None:
    values = np.array([1.5, -2.0, 0.0], "<f4")
    halves = (values.view("<u4") >> 16).astype("<u2")
    found = read(save(state(x=tensor(storage("1", 3, "BFloat16Storage"), (3,), (1,))), {"1": halves}))
    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [1.5, -2.0, 0.0]


def test_file_is_read_like_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(legacy(state(x=tensor(storage("1", 24), (24,), (1,))), {"1": NUMBERS}))
    assert np.array_equal(read(path)["x"], NUMBERS)


@FORMATS
@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_parameter", "collections\nCounter"]
)
def test_other_classes_are_refused_by_name_and_not_called(save, name: str, tmp_path: Path) -> None:
    call = b"c" + name.encode() + b"\n" + several(text(f"touch {tmp_path}/ran")) + b"R"
    refused(save(state(x=call), {}), f"asks for '{name}'".replace("\n", "."))
    assert not (tmp_path / "ran").exists()


TENSOR = tensor(storage("1", 24), (24,), (1,))


@FORMATS
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((2, 3), (22, 1), 0),
        ((4,), (8,), 0),
        ((2,), (-1,), 1),
        ((2,), (1,), -1),
        ((-2,), (1,), 0),
        ((1 << 40,), (0,), 0),
        ((1 << 70,), (1,), 0),
        ((1,), (1,), 1 << 70),
        ((1,), (1 << 70,), 0),
        ((2, 2), (1,), 0),
        ((1,) * 9, (1,) * 9, 0),
    ],
)
def test_tensors_beyond_their_storage_are_refused(save, shape, strides, offset: int) -> None:
    program = state(x=tensor(storage("1", 24), shape, strides, offset))
    refused(save(program, {"1": NUMBERS}), "cannot be read as a PyTorch state dict")


@FORMATS
@pytest.mark.parametrize("length", [25, 10**6, 1 << 60, 1 << 70, -1])
def test_storages_longer_than_the_file_are_refused(save, length: int) -> None:
    refused(save(state(x=tensor(storage("1", length), (24,), (1,))), {"1": NUMBERS}), "cannot be read")


@FORMATS
@pytest.mark.parametrize(
    "change",
    [
        TENSOR + b"(N}" + text("offset") + number(1 << 30) + b"stb",  # slots of a named tuple
        TENSOR + several(storage("1", 24), number(1 << 30)) + b"b",  # the state of a dataclass
        TENSOR + b"}" + text("offset") + number(1 << 30) + b"sb",
        REBUILD + b"(N}" + text("__defaults__") + several(number(1)) + b"stb",
        ORDERED_DICT + b"}" + text("__setstate__") + number(1) + b"sb",
        b"ctorch\nFloatStorage\n}" + text("a") + number(1) + b"sb",
    ],
)
def test_state_of_what_was_built_cannot_be_changed(save, change: bytes) -> None:
    refused(save(state(x=change), {"1": NUMBERS}), "cannot be read as a PyTorch state dict")
    assert np.array_equal(read(save(state(x=TENSOR), {"1": NUMBERS}))["x"], NUMBERS)


@FORMATS
@pytest.mark.parametrize(
    ("program", "match"),
    [
        (b"\x80\x04" + text("x") + b"\x94.", "uses MEMOIZE"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        (b"\x80\x02(ios\nsystem\n.", "uses INST"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "memo index"),
        (b"\x80\x02}", "cannot be read"),
        (b"\x80\x02X\xff\xff\xff\xff.", "cannot be read"),
        (b"\x80\x02N.", "cannot be read"),
        (state(x=number(3)), "cannot be read"),
        (state(x=TENSOR).replace(text("x"), number(3)), "cannot be read"),
        (state(x=tensor(storage("1", 24, view=text("view")), (24,), (1,))), "cannot be read"),
        (state(x=tensor(text("storage") + b"Q", (24,), (1,))), "cannot be read"),
        (state(x=tensor(storage("other", 24), (24,), (1,))), "cannot be read"),
    ],
)
def test_other_pickles_are_refused(save, program: bytes, match: str) -> None:
    refused(save(program, {"1": NUMBERS}), match)


def test_storage_of_another_length_than_announced_is_refused() -> None:
    refused(legacy(state(x=tensor(storage("1", 20), (20,), (1,))), {"1": NUMBERS}), "24 numbers, 20 announced")


def test_big_endian_is_refused() -> None:
    refused(legacy(state(x=TENSOR), {"1": NUMBERS}, little_endian=False), "big-endian")
    refused(zipped(state(x=TENSOR), {"1": NUMBERS}).replace(b"little", b"bigger"), "cannot be read")


def test_compressed_storages_are_refused() -> None:
    refused(zipped(state(x=TENSOR), {"1": NUMBERS}, zipfile.ZIP_DEFLATED), "compressed")


@FORMATS
def test_every_truncation_is_refused(save) -> None:
    content = save(state(x=TENSOR), {"1": NUMBERS})
    for length in range(0, len(content), 7):
        refused(content[:length], "cannot be read as a PyTorch state dict")


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps({"x": 1}), pickle.dumps(1, 2), b"PK\x03\x04"])
def test_other_files_are_refused(content: bytes) -> None:
    refused(content, "a.pth")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.pth cannot be read"):
        read(tmp_path / "a.pth")
