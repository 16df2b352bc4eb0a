"""Read and write TFRecord files of images, through TensorFlow.

Of each example are read image/encoded (or image), image/class/text (or image/class/label, or label) and
image/filename. Images are unpacked once into files of the cache, so that memory does not grow with them; no name that
a record gives is ever a file's name.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from tl.data.dataset import Dataset, Sample, Skipped, assemble, class_name, clean, part_of, short_name
from tl.data.decoding import format_of
from tl.data.images import read_encoded
from tl.errors import DataError, ImageError
from tl.files import atomic_write, locked, muted, remove, write_errors
from tl.progress import Progress
from tl.settings import settings

Values = Mapping[str, bytes | int]  # one value a feature: bytes, or a whole number of 64 bits
_NAME = re.compile(r".*\.tfrecords?(-\d{5}-of-\d{5})?", re.IGNORECASE | re.DOTALL)
_LAYOUT = 1  # raised when the same records come to be unpacked otherwise
_SHARD = 128 << 20  # bytes of images in a file: enough to read in one go, few enough to spread over machines


def is_tfrecord(path: Path) -> bool:
    """Whether a path is a TFRecord file, or a folder of some without folders in it, by their names."""
    if os.path.isfile(path):
        return _NAME.fullmatch(path.name) is not None
    try:
        flat = os.path.isdir(path) and not any(entry.is_dir() and entry.name[0] != "." for entry in path.iterdir())
        return flat and bool(_shards(path))
    except OSError:
        return False


def load_tfrecord(path: Path, *, labelled: bool, progress: Progress) -> Dataset:
    """Load a TFRecord file or those in a folder; train-….tfrecord is the part "train", and so on.

    Raises DataError for damaged files or records without images, StorageError where they cannot be unpacked.
    """
    shards = [path] if path.is_file() else _shards(path)
    folder = settings().cache_dir / "datasets" / f"records-{_key(shards)}"
    samples, skipped = _unpacked(shards, folder, progress)
    source, name = f"TFRecord {str(path)!r}", short_name(Path(os.path.abspath(path)).name.split(".tfrecord")[0])
    return assemble(samples, source=source, name=name, root=None, skipped=skipped, labelled=labelled)


def read_records(path: Path) -> Iterator[dict[str, bytes | int]]:
    """Read the examples of a TFRecord file, of each feature its first value; floating-point features are left out.

    Raises DataError for a damaged file; one that is cut in the 12 bytes before a record just ends there, as TensorFlow
    reads it.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    tf = _tensorflow()
    number = 0
    try:
        with path.open("rb") as file:
            compression = "GZIP" if file.read(2) == b"\x1f\x8b" else ""
        for content in tf.data.TFRecordDataset(os.fsencode(path), compression).as_numpy_iterator():
            number += 1
            features = tf.train.Example.FromString(content).features.feature.items()
            lists = {name: feature.bytes_list.value or feature.int64_list.value for name, feature in features}
            yield {name: values[0] for name, values in lists.items() if values}
    except (tf.errors.OpError, DecodeError) as error:
        why = "truncated or damaged" if isinstance(error, tf.errors.OpError) else "no tf.train.Example"
        at = number + 1 if isinstance(error, tf.errors.OpError) else number
        raise DataError(f"TFRecord {str(path)!r}, record {at}: {why}; write the file again, or leave it out") from None
    except OSError as error:
        raise DataError(f"TFRecord {str(path)!r} cannot be read: {(error.strerror or '').lower()}") from None


def write_records(path: Path, rows: Iterable[Values], most: int | None = None) -> None:
    """Write examples to a TFRecord file, as many as make up `most` bytes; the others stay in `rows`."""
    tf = _tensorflow()
    written = 0
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for values in rows:
            content = _example(values).SerializeToString(deterministic=True)
            writer.write(content)
            written += len(content)
            if most is not None and written >= most:
                return


def write_tfrecord(
    folder: Path, samples: Sequence[Sample], class_names: Sequence[str], advance: Callable[[], None]
) -> dict[str, str]:
    """Write a new folder of TFRecord files by part, and labels.txt; returns why each of the others was left out."""
    folder.mkdir()
    lines = [" ".join(name.splitlines()) + "\n" for name in class_names]
    (folder / "labels.txt").write_text("".join(lines), encoding="utf-8")
    left_out: dict[str, str] = {}
    first = "train" if any(sample.part for sample in samples) else "data"
    for part in (first, "validation", "test"):
        rows = _rows([one for one in samples if (one.part or first) == part], class_names, left_out, advance)
        shards: list[Path] = []
        for row in rows:
            shards.append(folder / f"{part}.{len(shards)}")
            write_records(shards[-1], chain([row], rows), _SHARD)
        for number, shard in enumerate(shards):
            shard.rename(folder / f"{part}-{number:05d}-of-{len(shards):05d}.tfrecord")
    return left_out


def _rows(
    samples: Sequence[Sample], class_names: Sequence[str], left_out: dict[str, str], advance: Callable[[], None]
) -> Iterator[Values]:
    for sample in samples:
        advance()
        try:
            encoded = read_encoded(sample.image)
        except ImageError as error:
            left_out[sample.name] = str(error)
            continue
        yield {
            "image/class/label": class_names.index(sample.label) if sample.label else -1,
            "image/class/text": (sample.label or "").encode(),
            "image/encoded": encoded,
            "image/filename": sample.name.encode(),
            "image/format": format_of(encoded).lower().encode(),
        }


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what fails is raised
    with nullcontext() if "tensorflow" in sys.modules else muted(2):  # its start-up messages
        import tensorflow as tf

    return tf


def _example(values: Values) -> Any:
    train = _tensorflow().train

    def feature(value: bytes | int) -> Any:
        if isinstance(value, bytes):
            return train.Feature(bytes_list=train.BytesList(value=[value]))
        return train.Feature(int64_list=train.Int64List(value=[value]))

    return train.Example(features=train.Features(feature={name: feature(value) for name, value in values.items()}))


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
    with write_errors(folder, "set TL_CACHE_DIR"), locked(folder.with_name(folder.name + ".lock")):
        if not (folder / "index.json").is_file():
            _unpack(shards, folder, progress)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    samples = [Sample(folder / file, name, label, part) for file, name, label, part in index["images"]]
    return samples, [Skipped(name, reason) for name, reason in index["skipped"]]


def _unpack(shards: list[Path], folder: Path, progress: Progress) -> None:
    """Write the images of records as files of a folder, and what is known of them to index.json."""
    remove(folder)
    with (
        atomic_write(folder, hint="free some space, or set TL_CACHE_DIR") as scratch,
        progress.task("unpack", None, "images") as task,
    ):
        scratch.mkdir()
        images: list[tuple[str, str, str | None, str | None]] = []
        skipped: list[tuple[str, str]] = []
        names: set[str] = set()
        for shard, values in ((path, row) for path in shards for row in read_records(path)):
            number = len(names)
            name = _text(values.get("image/filename"))[:400]
            if not name or name in names:
                name = f"{clean(shard.name)}/{number:06d}"
            names.add(name)
            content = values.get("image/encoded", values.get("image"))
            if isinstance(content, bytes):
                file = f"{number // 1000:04d}/{number:07d}"
                (scratch / file).parent.mkdir(exist_ok=True)
                (scratch / file).write_bytes(content)
                images.append((file, name, _label(values), part_of(re.split(r"[-.]", shard.name)[0])))
            else:
                skipped.append((name, "the record has no image/encoded"))
            task.advance()
        index = json.dumps({"images": images, "skipped": skipped}, ensure_ascii=False)
        (scratch / "index.json").write_text(index, encoding="utf-8")


def _text(value: bytes | int | None) -> str:
    return clean(value.decode("utf-8", "replace")) if isinstance(value, bytes) else ""


def _label(values: Values) -> str | None:
    if text := _text(values.get("image/class/text")):
        return class_name(text)
    number = values.get("image/class/label", values.get("label"))
    return str(number) if isinstance(number, int) and number >= 0 else None
