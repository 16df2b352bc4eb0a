"""`tl data convert`: write a data set in another form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.data.dataset import Dataset, Sample
from tl.data.load import Data, load
from tl.data.tfrecord import write_tfrecord
from tl.data.write import check_files, check_new, output_paths, write_files, write_table
from tl.errors import UsageError
from tl.files import atomic_write
from tl.options import download_option, keywords, offline_option, option
from tl.progress import Progress


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
    samples = dataset.samples()
    with atomic_write(out, overwrite=False) as scratch:
        left_out = _write(dataset, samples, scratch, options, progress)
    kept = [sample for sample in samples if sample.name not in left_out]
    counts = {part: sum((one.part or "") == part for one in kept) for part in ("", "train", "validation", "test")}
    return ConvertResult(
        out=out,
        parts={part: count for part, count in counts.items() if count},
        classes=len({one.label for one in kept} - {None}),
        left_out=left_out,
    )


def _write(
    dataset: Dataset, samples: list[Sample], scratch: Path, options: ConvertOptions, progress: Progress
) -> dict[str, str]:
    """Write the samples; returns why each of those that were left out was."""
    if options.to == "tfrecord":
        with progress.task("writing", len(samples), "photos") as task:
            return write_tfrecord(scratch, samples, dataset.class_names, task.advance)
    if options.to == "folders":
        link = options.link and dataset.root is not None
        write_files(scratch, dataset.images, output_paths(samples), link=link, progress=progress)
        return {}
    check_files(dataset)
    if options.out.suffix.lower() != ".csv":
        raise UsageError(f"--out {str(options.out)!r}: the name of a table ends in .csv")
    write_table(scratch, options.out, samples)
    return {}
