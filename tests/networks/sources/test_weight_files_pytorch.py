"""Reading PyTorch state dicts: tensors keep their values, and pickles that use anything else run nothing."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tl.errors import WeightsError
from tl.networks.sources.weight_files import read_state_dict

# The opcodes that torch.save writes, by hand, because PyTorch is not installed.
MAGIC = 0x1950A86A20F9469CFC6C
ORDERED_DICT = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
NUMBERS = np.arange(24, dtype="<f4")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def several(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def storage(key: str, length: int, dtype: str = "FloatStorage") -> bytes:
    pid = [text("storage"), f"ctorch\n{dtype}\n".encode(), text(key), text("cpu"), number(length), b"N"]
    return several(*pid) + b"Q"


def tensor(stored: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sides, steps = (several(*map(number, numbers)) for numbers in (shape, strides))
    return REBUILD + several(stored, number(offset), sides, steps, b"\x89", ORDERED_DICT + b")R") + b"R"


def saved(entries: dict[str, bytes], storages: dict[str, np.ndarray]) -> bytes:
    items = b"".join(text(name) + value for name, value in entries.items())
    metadata = b"}" + text("_metadata") + ORDERED_DICT + b")Rs"
    state = b"\x80\x02" + ORDERED_DICT + b")R(" + items + b"u" + metadata + b"b."
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    start = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    keys = pickle.dumps(list(storages), 2)
    return start + state + keys + b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())


def test_read_keeps_names_shapes_and_values() -> None:
    stored = storage("1", 24)
    entries = {
        "a.weight": tensor(stored, (2, 3, 4), (12, 4, 1)),
        "turned": tensor(stored, (3, 4), (1, 3)),
        "part": tensor(stored, (2, 2), (4, 1), offset=5),
        "a.bias": tensor(storage("2", 3), (3,), (1,)),
        "count": tensor(storage("3", 1, "LongStorage"), (), ()),
    }
    found = read_state_dict(saved(entries, {"1": NUMBERS, "2": NUMBERS[5:8], "3": np.array([7], "<i8")}), "a.pth")
    assert list(found) == list(entries)
    assert np.array_equal(found["a.weight"], NUMBERS.reshape(2, 3, 4))
    assert found["a.weight"].dtype == np.float32
    assert np.array_equal(found["turned"], NUMBERS[:12].reshape(4, 3).T)
    assert found["part"].tolist() == [[5, 6], [9, 10]]
    assert found["a.bias"].tolist() == [5, 6, 7]
    assert found["count"] == 7


@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_parameter", "collections\nCounter"]
)
def test_read_refuses_other_names_and_runs_nothing(name: str, tmp_path: Path) -> None:
    call = b"c" + name.encode() + b"\n" + several(text(f"touch {tmp_path}/ran")) + b"R"
    with pytest.raises(WeightsError, match=f"it uses {name}".replace("\n", ".")):
        read_state_dict(saved({"x": call}, {}), "a.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps({"x": 1}), pickle.dumps(1, 2), b"PK\x03\x04"])
def test_read_names_a_file_that_is_no_state_dict(content: bytes) -> None:
    with pytest.raises(WeightsError, match=r"a\.pth cannot be read as a PyTorch state dict"):
        read_state_dict(content, "a.pth")
