"""Find the images that a run was trained or validated on, by name and by sha256."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Sample, assemble
from tl.data.images import ImageLike, decode, fingerprint, fit, read
from tl.data.load import load
from tl.errors import DataError, DownloadError, ImageError
from tl.progress import Progress
from tl.runs.folder import read_table
from tl.runs.run import Run

Pixels = NDArray[np.uint8]
_HINT = "give their folder with --data"


@dataclass(frozen=True)
class RunImage:
    """An image of a run's data set, unchanged since; `label` is the index of its class in the run."""

    name: str
    label: int
    image: ImageLike


@dataclass(frozen=True)
class RunPart:
    """The images of one part of a run, and the number of its images that are `missing`."""

    part: str
    images: tuple[RunImage, ...]
    missing: int


@dataclass(frozen=True)
class HeldOutData:
    """The images of one part of a run as a data set with the run's classes; `where` they are, "" if in a list."""

    dataset: Dataset
    part: str
    where: str


@dataclass(frozen=True)
class _SplitRow:
    name: str
    label: str
    part: str
    sha256: str


class RunImages:
    """The images of a run, where it read them or at `data`; `hint` ends the errors for images that are gone.

    Raises DataError where nothing can be read, RunError for a damaged run.
    """

    def __init__(self, run: Run, data: str | None, progress: Progress, hint: str = _HINT) -> None:
        self._run, self.where, self._hint = run, data if data is not None else _recorded_path(run), hint
        table = read_table(run.folder, "split.csv", ("path", "label", "split", "sha256"))
        self._rows = [_SplitRow(*row) for row in table]
        try:
            dataset = load(self.where, labelled=False, offline=True, progress=progress) if self.where else None
        except (DataError, DownloadError) as error:
            reason = str(error).partition("; ")[0]
            raise DataError(f"the images of {run.name} cannot be read: {reason}; {hint}") from error
        dataset = dataset or listed_images(run)
        if dataset is None:
            raise DataError(f"{run.name} has no record of where its images are: {hint}")
        self.dataset = dataset
        self._by_name = dict(zip(self.dataset.names, self.dataset.images, strict=True))

    @property
    def _at(self) -> str:
        return f"at {self.where!r}" if self.where else "where it was listed"

    def held_out(self, most: int | None) -> RunPart:
        """The validation images, or else the test images; at most `most`, evenly spaced.

        Raises DataError where none is left.
        """
        part = next((part for part in ("validation", "test") if any(row.part == part for row in self._rows)), None)
        if part is None:
            raise DataError(f"{self._run.name} held out no images: train with --val")
        return self.of(part, most)

    def of(self, part: str, most: int | None) -> RunPart:
        """The images of a part; at most `most`, evenly spaced. Raises DataError where none is left."""
        if all(row.part != part for row in self._rows):
            raise DataError(f"{self._run.name} has no {part} images: choose another part")
        result = self._find(part, most)
        if not result.images:
            raise DataError(f"no unchanged {part} image of {self._run.name} is {self._at}; {self._hint}")
        return result

    def training(self, count: int) -> list[Pixels]:
        """The pixels of `count` training images, evenly spaced and resized. Raises DataError where none is left."""
        recipe = self._run.backbone.recipe
        images = []
        for entry in self._find("train", count).images:
            with suppress(ImageError):
                images.append(fit(decode(read(entry.image)), recipe.image_size, recipe.resize))
        if not images:
            raise DataError(f"no training image of {self._run.name} is {self._at}; {self._hint}")
        return images

    def _find(self, part: str, most: int | None) -> RunPart:
        """At most `most` images of a part, evenly spaced; others replace those that are missing."""
        rows = [row for row in self._rows if row.part == part]
        most = len(rows) if most is None else min(most, len(rows))
        labels = {name: index for index, name in enumerate(self._run.classes)}
        images: list[RunImage] = []
        missing: list[_SplitRow] = []
        evenly_spaced = [index * len(rows) // most for index in range(most)]
        for row in (rows[index] for index in dict.fromkeys([*evenly_spaced, *range(len(rows))])):
            if len(images) == most:
                break
            image = self._by_name.get(row.name)
            if row.label in labels and image is not None and _sha256(image) == row.sha256:
                images.append(RunImage(row.name, labels[row.label], image))
            else:
                missing.append(row)
        renamed = self._find_renamed(missing, labels) if missing and len(images) < most else []
        return RunPart(part, tuple(images + renamed[: most - len(images)]), len(missing) - len(renamed))

    def _find_renamed(self, rows: Iterable[_SplitRow], labels: dict[str, int]) -> list[RunImage]:
        missing_rows = {row.sha256: row for row in rows if row.label in labels}
        images = []
        for image in self.dataset.images:
            row = missing_rows.pop(_sha256(image), None) if missing_rows else None
            if row is not None:
                images.append(RunImage(row.name, labels[row.label], image))
        return images


def held_out(run: Run, progress: Progress, part: str = "all") -> HeldOutData:
    """The images that a run was validated on, else those it was tested on; or those of `part`.

    Raises DataError where they are gone, RunError for a damaged run.
    """
    images = RunImages(run, None, progress, "give DATA, a folder of labelled images")
    result = images.held_out(None) if part == "all" else images.of(part, None)
    dataset = replace(
        images.dataset,
        class_names=run.classes,
        images=tuple(entry.image for entry in result.images),
        names=tuple(entry.name for entry in result.images),
        labels=np.array([entry.label for entry in result.images], np.int64),
        parts=(result.part,) * len(result.images),
        skipped=(),
        notes=(),
    )
    progress.log(
        "data", f"the {len(result.images):,} {result.part} images of {run.name}, in {images.where or 'their list'}"
    )
    if result.missing:
        progress.warn(f"{result.missing:,} more {result.part} images of {run.name} are missing or have changed")
    return HeldOutData(dataset, result.part, images.where)


def listed_images(run: Run) -> Dataset | None:
    """The images of a run that was trained on a list of files or a DataFrame, where these were; None if none is there.

    Relative paths start at the working folder of the training, or at the parent of the folder `runs`.
    """
    rows, recorded = read_table(run.folder, "split.csv", ("path", "label")), run.manifest.get("data")
    folder = str(recorded.get("folder") or "") if isinstance(recorded, dict) else ""
    for place in (Path(folder), run.folder.resolve().parent.parent):
        samples = [Sample(place / name, name, label) for name, label in rows if os.path.isfile(place / name)]
        if samples:
            return assemble(samples, source=run.name, name="images", root=place, labelled=False)
    return None


def recorded_data(run: Run) -> str:
    """The path or name of the data set that a run was trained on, "" where it was passed in memory."""
    options = run.manifest.get("options")  # the manifest may hold anything
    return str(options.get("data") or "") if isinstance(options, dict) else ""


def _recorded_path(run: Run) -> str:
    """Where a run read its images. A relative path was, as a rule, relative to the parent of the folder `runs`."""
    path = recorded_data(run)
    beside = os.path.join(os.path.realpath(run.folder), os.pardir, os.pardir, path)
    if not path or os.path.isabs(path) or not os.path.exists(beside):
        return path
    return path if os.path.exists(path) and os.path.samefile(path, beside) else os.path.normpath(beside)


def _sha256(image: ImageLike) -> str:
    try:
        return fingerprint(read(image)).hex()
    except ImageError:
        return ""
