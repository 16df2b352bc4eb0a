"""TFRecord files of images become a data set, whose images are unpacked once into files of the cache.

Of each example are read image/encoded (or image), image/class/text (or image/class/label, or label) and
image/filename. Images stay as bytes on the disk, so that memory does not grow with them, and no name that a record
gives is ever a file's name.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl.data.dataset import Dataset, Sample, Skipped, assemble, clean, short_name
from tl.datasets.examples import read_records
from tl.datasets.parts import part_of
from tl.errors import DataError, StorageError
from tl.progress import Reporter
from tl.settings import settings

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


def load_tfrecord(path: Path, *, labelled: bool, cache_dir: Path | None, report: Reporter) -> Dataset:
    """The images of a TFRecord file or of those in a folder; train-….tfrecord is the part "train", and so on.

    Raises DataError for damaged files or records without images, StorageError where they cannot be unpacked.
    """
    shards = [path] if path.is_file() else _shards(path)
    folder = (cache_dir or settings().cache_dir) / "datasets" / f"records-{_key(shards)}"
    samples, skipped = _unpacked(shards, folder, report)
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


def _unpacked(shards: list[Path], folder: Path, report: Reporter) -> tuple[list[Sample], list[Skipped]]:
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not (folder / "index.json").is_file():
                _unpack(shards, folder, report)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {(error.strerror or '').lower()}; set TL_CACHE_DIR") from None
    samples = [Sample(folder / file, name, label, part) for file, name, label, part in index["images"]]
    return samples, [Skipped(name, why) for name, why in index["skipped"]]


def _unpack(shards: list[Path], folder: Path, report: Reporter) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.mkdir()
    try:
        index: dict[str, list[Any]] = {"images": [], "skipped": []}
        names: set[str] = set()
        with report.task("unpack", None, "photos") as task:
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
