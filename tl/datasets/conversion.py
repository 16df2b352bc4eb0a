"""A data set becomes the same in another form: class folders, a table, TFRecord, or the layout of CIFAR-100."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.data.dataset import Dataset, Sample
from tl.data.images import read
from tl.data.load import load
from tl.data.write import as_png, check_files, check_new, fresh, write_files, write_table
from tl.datasets.cifar_writing import write_cifar
from tl.datasets.examples import write_record
from tl.datasets.formats import format_of
from tl.datasets.naming import places
from tl.errors import ImageError, UsageError
from tl.progress import Reporter, Silent

_SHARD = 128 << 20  # bytes of images in a file: enough to read in one go, few enough to spread over machines


@dataclass(frozen=True)
class Converted:
    """What was written where: images by part ("" without one), classes, and why each of the others was left out."""

    out: Path
    parts: dict[str, int]
    classes: int
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"out": str(self.out)}


def convert(
    data: str | Path,
    to: str,
    out: str | Path,
    *,
    link: bool = False,
    download: bool = False,
    offline: bool = False,
    report: Reporter | None = None,
) -> Converted:
    """Write a data set as "folders", "csv", "tfrecord" or "cifar100" to the new place `out`.

    Files stay as they are, byte for byte, but for "cifar100", whose images have 32 × 32 pixels; arrays become PNGs.
    Raises UsageError for another form or a place that is taken, DataError for a data set that cannot be written so,
    StorageError where nothing can be written.
    """
    if to not in WRITERS:
        raise UsageError(f"no such form: {to!r}; there are {', '.join(WRITERS)}")
    report, out = report or Silent(), Path(out)
    check_new(out, data)
    dataset = load(data, download=download, offline=offline, report=report)
    samples = samples_of(dataset)
    with fresh(out) as scratch:
        left_out = WRITERS[to](_Job(dataset, samples, scratch, out, link and dataset.root is not None, report))
    kept = [sample for sample in samples if sample.name not in left_out]
    counted = {part: sum((s.part or "") == part for s in kept) for part in ("", "train", "validation", "test")}
    return Converted(
        out, {part: count for part, count in counted.items() if count}, len({s.label for s in kept} - {None}), left_out
    )


def samples_of(dataset: Dataset) -> list[Sample]:
    """The samples that a data set was made of."""
    labels = [dataset.class_names[label] if label >= 0 else None for label in dataset.labels.tolist()]
    return [Sample(*row) for row in zip(dataset.pictures, dataset.names, labels, dataset.parts, strict=True)]


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    samples: list[Sample]
    scratch: Path
    out: Path
    link: bool
    report: Reporter


def _folders(job: _Job) -> dict[str, str]:
    write_files(job.scratch, job.dataset.pictures, places(job.samples), link=job.link, report=job.report)
    return {}


def _csv(job: _Job) -> dict[str, str]:
    check_files(job.dataset)
    if job.out.suffix.lower() != ".csv":
        raise UsageError(f"--out {str(job.out)!r}: the name of a table ends in .csv")
    write_table(job.scratch, job.out, job.samples)
    return {}


def _tfrecord(job: _Job) -> dict[str, str]:
    job.scratch.mkdir()
    names = job.dataset.class_names
    lines = [" ".join(name.splitlines()) + "\n" for name in names]
    (job.scratch / "labels.txt").write_text("".join(lines), encoding="utf-8")
    left_out: dict[str, str] = {}
    first = "train" if any(job.dataset.parts) else "data"
    with job.report.task("writing", len(job.samples), "photos") as task:
        for part in (first, "validation", "test"):
            own = [sample for sample in job.samples if (sample.part or first) == part]
            shards = list(_shards(own, names, job.scratch / part, left_out, task.advance))
            for number, shard in enumerate(shards):
                shard.rename(job.scratch / f"{part}-{number:05d}-of-{len(shards):05d}.tfrecord")
    return left_out


def _shards(
    samples: Sequence[Sample],
    names: Sequence[str],
    start: Path,
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> Iterator[Path]:
    """Files of records, each full but the last."""
    waiting = iter(samples)
    number, sample = 0, next(waiting, None)
    while sample is not None:
        shard = start.with_name(f"{start.name}.{number}")
        with shard.open("wb") as file:
            while sample is not None and file.tell() < _SHARD:
                try:
                    write_record(file, _example(sample, names))
                except ImageError as error:
                    left_out[sample.name] = str(error)
                advance()
                sample = next(waiting, None)
        number += 1
        yield shard


def _example(sample: Sample, names: Sequence[str]) -> dict[str, bytes | int]:
    content = read(sample.picture)
    encoded = content if isinstance(content, bytes) else as_png(content)
    label = sample.label or ""
    return {
        "image/class/label": names.index(label) if label else -1,
        "image/class/text": label.encode(),
        "image/encoded": encoded,
        "image/filename": sample.name.encode(),
        "image/format": format_of(encoded).lower().encode(),
    }


def _cifar(job: _Job) -> dict[str, str]:
    job.scratch.mkdir()
    with job.report.task("writing", len(job.samples), "photos") as task:
        return write_cifar(job.scratch, job.samples, job.dataset.class_names, task.advance)


WRITERS: dict[str, Callable[[_Job], dict[str, str]]] = {
    "folders": _folders,
    "csv": _csv,
    "tfrecord": _tfrecord,
    "cifar100": _cifar,
}
"""What a data set can be written as."""
