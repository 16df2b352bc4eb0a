"""TFRecord files of images become a data set, whose images are unpacked once into files of the cache.

Of each example are read image/encoded (or image), image/class/text (or image/class/label, or label) and
image/filename. Images stay as bytes on the disk, so that memory does not grow with them, and no name that a record
gives is ever a file's name.

A record is its length, a masked CRC-32C of that, the bytes, and a masked CRC-32C of those; the bytes are a protobuf
message, tf.train.Example. Source: https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tl.data.dataset import Dataset, Sample, Skipped, assemble, clean, part_of, short_name
from tl.data.images import MAX_BYTES
from tl.errors import DataError, StorageError
from tl.progress import Progress
from tl.settings import settings

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


_NAME = re.compile(r".*\.tfrecords?(-\d{5}-of-\d{5})?", re.IGNORECASE | re.DOTALL)
_LAYOUT = 1  # raised when the same records come to be unpacked otherwise


def is_tfrecord(path: Path) -> bool:
    """Whether a path is a TFRecord file, or a folder of some without folders in it, by their names."""
    if os.path.isfile(path):
        return _NAME.fullmatch(path.name) is not None
    try:
        flat = os.path.isdir(path) and not any(entry.is_dir() and entry.name[0] != "." for entry in path.iterdir())
        return flat and bool(_shards(path))
    except OSError:
        return False


def load_tfrecord(path: Path, *, labelled: bool, cache_dir: Path | None, progress: Progress) -> Dataset:
    """The images of a TFRecord file or of those in a folder; train-….tfrecord is the part "train", and so on.

    Raises DataError for damaged files or records without images, StorageError where they cannot be unpacked.
    """
    shards = [path] if path.is_file() else _shards(path)
    folder = (cache_dir or settings().cache_dir) / "datasets" / f"records-{_key(shards)}"
    samples, skipped = _unpacked(shards, folder, progress)
    return assemble(
        samples,
        source=f"TFRecord {str(path)!r}",
        name=short_name(path.resolve().name.split(".tfrecord")[0]),
        root=None,
        skipped=skipped,
        labelled=labelled,
    )


def _shards(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and entry.is_file())


def _key(shards: list[Path]) -> str:
    digest = hashlib.sha256(f"{_LAYOUT}".encode())
    for shard in shards:
        try:
            with shard.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"TFRecord {str(shard)!r} cannot be read: {(error.strerror or '').lower()}") from None
        digest.update(hashlib.sha256(os.fsencode(shard.name)).digest() + content)
    return digest.hexdigest()[:32]


def _unpacked(shards: list[Path], folder: Path, progress: Progress) -> tuple[list[Sample], list[Skipped]]:
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not (folder / "index.json").is_file():
                _unpack(shards, folder, progress)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {(error.strerror or '').lower()}; set TL_CACHE_DIR") from None
    samples = [Sample(folder / file, name, label, part) for file, name, label, part in index["images"]]
    return samples, [Skipped(name, why) for name, why in index["skipped"]]


def _unpack(shards: list[Path], folder: Path, progress: Progress) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.mkdir()
    try:
        index: dict[str, list[Any]] = {"images": [], "skipped": []}
        names: set[str] = set()
        with progress.task("unpack", None, "photos") as task:
            for number, (shard, values) in enumerate(_examples(shards)):
                _keep(part, number, shard, values, names, index)
                task.advance()
        (part / "index.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _examples(shards: list[Path]) -> Iterator[tuple[Path, dict[str, bytes | int]]]:
    for shard in shards:
        for values in read_records(shard):
            yield shard, values


def _keep(
    folder: Path,
    number: int,
    shard: Path,
    values: dict[str, bytes | int],
    names: set[str],
    index: dict[str, list[Any]],
) -> None:
    given = values.get("image/filename", b"")
    name = clean(given.decode("utf-8", "replace"))[:400] if isinstance(given, bytes) else ""
    if not name or name in names:
        name = f"{clean(shard.name)}/{number:06d}"
    names.add(name)
    content = values.get("image/encoded", values.get("image"))
    if not isinstance(content, bytes):
        index["skipped"].append((name, "the record has no image/encoded"))
        return
    file = f"{number // 1000:04d}/{number:07d}"
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    index["images"].append((file, name, _label(values), part_of(re.split(r"[-.]", shard.name)[0])))


def _label(values: dict[str, bytes | int]) -> str | None:
    text = values.get("image/class/text")
    if isinstance(text, bytes) and text:
        return clean(text.decode("utf-8", "replace"))
    number = values.get("image/class/label", values.get("label"))
    return str(number) if isinstance(number, int) and number >= 0 else None
