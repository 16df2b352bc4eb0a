"""Dictionaries of values become the records of a TFRecord file, and records dictionaries again, without TensorFlow.

A record is its length, a masked CRC-32C of that, the bytes, and a masked CRC-32C of those; the bytes are a protobuf
message, tf.train.Example. Source: https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tl.data.images import MAX_BYTES
from tl.errors import DataError

Values = Mapping[str, bytes | int]
"""One value a feature: bytes, or a whole number of 64 bits."""

_LENGTH, _CRC = struct.Struct("<Q"), struct.Struct("<I")
_MAX_RECORD = MAX_BYTES + (1 << 20)  # the largest image that is read, and what is said of it


def write_record(file: BinaryIO, values: Values) -> int:
    """Write one example to a file; returns the bytes it takes there."""
    example = _example_class()()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    content = example.SerializeToString(deterministic=True)
    length = _LENGTH.pack(len(content))
    file.write(length + _CRC.pack(_masked_crc(length)))
    file.write(content)
    file.write(_CRC.pack(_masked_crc(content)))
    return len(content) + len(length) + 2 * _CRC.size


def read_records(path: Path) -> Iterator[dict[str, bytes | int]]:
    """The examples of a TFRecord file, of each feature the first value; numbers of other kinds are passed over.

    Raises DataError for a file that is damaged or no TFRecord, before anything is believed that its checksums deny.
    """
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            for number in range(1 << 40):
                if not left:
                    return
                content = _content(file, left, path, number)
                left -= len(content) + _LENGTH.size + 2 * _CRC.size
                yield _values(content, path, number)
    except OSError as error:
        raise DataError(f"TFRecord {str(path)!r} cannot be read: {(error.strerror or '').lower()}") from None


def _content(file: BinaryIO, left: int, path: Path, number: int) -> bytes:
    head = file.read(_LENGTH.size + _CRC.size)
    if number == 0 and head.startswith(b"\x1f\x8b"):
        raise DataError(f"TFRecord {str(path)!r} is compressed: unpack it with gunzip first")
    if len(head) < _LENGTH.size + _CRC.size:
        raise _damaged(path, number, "truncated")
    if _CRC.unpack_from(head, _LENGTH.size)[0] != _masked_crc(head[: _LENGTH.size]):
        raise _damaged(path, number, "wrong checksum of its length")
    length = _LENGTH.unpack_from(head)[0]
    if length > _MAX_RECORD:
        raise _damaged(path, number, f"{length:,} bytes long, {_MAX_RECORD:,} are read")
    if length + len(head) + _CRC.size > left:
        raise _damaged(path, number, "truncated")
    content, checksum = file.read(length), file.read(_CRC.size)
    if len(content) < length or len(checksum) < _CRC.size:
        raise _damaged(path, number, "truncated")
    if _CRC.unpack(checksum)[0] != _masked_crc(content):
        raise _damaged(path, number, "wrong checksum")
    return content


def _values(content: bytes, path: Path, number: int) -> dict[str, bytes | int]:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        example = _example_class().FromString(content)
    except DecodeError:
        raise _damaged(path, number, "no tf.train.Example") from None
    found: dict[str, bytes | int] = {}
    for name, feature in example.features.feature.items():
        values = feature.bytes_list.value or feature.int64_list.value
        if values:
            found[name] = values[0]
    return found


def _damaged(path: Path, number: int, why: str) -> DataError:
    return DataError(f"TFRecord {str(path)!r}, record {number + 1}: {why}; write the file again, or leave it out")


def _masked_crc(content: bytes) -> int:
    import google_crc32c

    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def _example_class() -> Any:
    """tf.train.Example as protobuf knows it, from a description in a pool of its own: TensorFlow has the same name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    one, many = 1, 3
    number, message, raw = 3, 11, 12
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field, at, label, kind, of in fields:
            made.field.add(name=field, number=at, label=label, type=kind, type_name=f".tensorflow.{of}" if of else None)
        return made

    add("BytesList", ("value", 1, many, raw, ""))
    add("Int64List", ("value", 1, many, number, ""))
    lists = ("bytes_list", 1, one, message, "BytesList"), ("int64_list", 3, one, message, "Int64List")
    feature = add("Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = add("Features", ("feature", 1, many, message, "Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=9)
    entry.field.add(name="value", number=2, label=one, type=message, type_name=".tensorflow.Feature")
    add("Example", ("features", 1, one, message, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
