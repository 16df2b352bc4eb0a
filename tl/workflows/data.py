"""`tl data stats`, `get` and `convert`: measure a data set, fetch a known one, write one in another form."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tl.data.dataset import Dataset, Sample
from tl.data.image_stats import measure_images
from tl.data.known import KNOWN, Known, resolve
from tl.data.load import Data, load
from tl.data.tfrecord import write_tfrecord
from tl.data.write import check_files, check_new, is_table, output_paths, write_files, write_table
from tl.doctor.balance import DatasetStats, dataset_stats
from tl.errors import DataError, StorageError, UsageError
from tl.files import atomic_write
from tl.options import download_option, keywords, offline_option, option
from tl.progress import Progress
from tl.settings import settings


@dataclass(frozen=True)
class StatsOptions:
    """Options of `tl data stats`."""

    download: bool = download_option()
    offline: bool = offline_option()


@keywords(StatsOptions)
def stats(data: Data, *, options: StatsOptions, progress: Progress | None = None) -> DatasetStats:
    """The statistics of a data set, from its files alone. Raises DataError for one that cannot be loaded."""
    progress = progress or Progress()
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    return dataset_stats(dataset, measure_images(dataset.images, progress=progress))


@dataclass(frozen=True)
class GetOptions:
    """Options of `tl data get`."""

    out: Path | None = option(None, "Put a copy into this folder.")
    offline: bool = offline_option()


@dataclass(frozen=True)
class KnownDataset:
    """A known data set: its size and checksum as it is downloaded, from which server, and where it is, or None."""

    name: str
    size: str
    checksum: str
    host: str
    path: Path | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"path": self.path and str(self.path)}


def list_known() -> list[KnownDataset]:
    """All data sets that `tl` knows by name."""
    known = []
    for name in sorted(KNOWN):
        try:
            path = resolve(name, download_it=False, offline=True)
        except (DataError, StorageError):
            path = None
        known.append(_describe(KNOWN[name], path))
    return known


@keywords(GetOptions)
def get(name: str, *, options: GetOptions, progress: Progress | None = None) -> KnownDataset:
    """Download a known data set unless it is on this machine; with `out`, put a copy into that folder.

    Raises UsageError for an unknown name or a copy that exists already, DownloadError where it cannot be downloaded or
    has another checksum than was published, DataError where that is not allowed.
    """
    if name not in KNOWN:
        raise UsageError(f"no data set {name!r} is known; there are {', '.join(sorted(KNOWN))}")
    offline = options.offline or settings().offline
    path = resolve(name, download_it=True, offline=offline, progress=progress or Progress())
    if options.out is None:
        return _describe(KNOWN[name], path)
    target = options.out / path.name
    check_new(target, path)
    with atomic_write(target, overwrite=False) as scratch:
        if path.is_dir():
            shutil.copytree(path, scratch)
        else:
            shutil.copyfile(path, scratch)
    return _describe(KNOWN[name], target)


def _describe(known: Known, path: Path | None) -> KnownDataset:
    host = urlsplit(known.url).hostname or ""
    return KnownDataset(name=known.name, size=known.size, checksum=known.checksum, host=host, path=path)


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `tl data convert`."""

    to: str = option(help="Form to write.", choices=("folders", "csv", "tfrecord"))
    out: Path = option(help="New folder, or table (.csv).")
    link: bool = option(False, "Folders: hard links to the originals, where the disk allows.")
    download: bool = download_option()
    offline: bool = offline_option()


@dataclass(frozen=True)
class ConvertResult:
    """What was written where: images by part ("" without one), classes, and why each of the others was left out."""

    out: Path
    parts: dict[str, int]
    classes: int
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"out": str(self.out)}


@keywords(ConvertOptions)
def convert(data: Data, *, options: ConvertOptions, progress: Progress | None = None) -> ConvertResult:
    """Write a data set as class folders, a table, or TFRecord files to a new place.

    Files stay as they are, byte for byte; arrays become PNGs. Raises UsageError for a place that is taken, DataError
    for a data set that cannot be written so, StorageError where nothing can be written.
    """
    progress, out = progress or Progress(), Path(options.out)
    check_new(out, data)
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    for note in dataset.omissions:
        progress.warn(note)
    samples = dataset.samples()
    with atomic_write(out, overwrite=False) as scratch:
        left_out = _write(dataset, samples, scratch, options=options, progress=progress)
    kept = [sample for sample in samples if sample.name not in left_out]
    counts = {part: sum((one.part or "") == part for one in kept) for part in ("", "train", "validation", "test")}
    return ConvertResult(
        out=out,
        parts={part: count for part, count in counts.items() if count},
        classes=len({one.label for one in kept} - {None}),
        left_out=left_out,
    )


def _write(
    dataset: Dataset, samples: list[Sample], scratch: Path, *, options: ConvertOptions, progress: Progress
) -> dict[str, str]:
    if options.to == "tfrecord":
        with progress.task("writing", len(samples), "images") as task:
            return write_tfrecord(scratch, samples, dataset.class_names, task.advance)
    if options.to == "folders":
        link = options.link and dataset.root is not None
        write_files(scratch, dataset.images, output_paths(samples), link=link, progress=progress)
        return {}
    check_files(dataset)
    if not is_table(options.out):
        raise UsageError(f"--out {str(options.out)!r}: the name of a table ends in .csv")
    write_table(scratch, options.out, samples)
    return {}
