"""Find the images that a run was trained or validated on, by name and by sha256."""

import functools
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Sample, assemble
from tl.data.images import ImageLike, fingerprint, read, read_resized
from tl.data.load import load
from tl.data.splits import grouped
from tl.errors import DataError, DownloadError, ImageError
from tl.progress import Progress
from tl.runs.cross_validation import read_cross_validation
from tl.runs.run import Run, read_table
from tl.text import count, judged_by, listed

Pixels = NDArray[np.uint8]
_HINT = "give their folder with --data"


@dataclass(frozen=True)
class RunImage:
    """An image of a run's data set, unchanged since; `label` is the index of its class in the run.

    `part` is the one that its source has, `group` its group, "" for none.
    """

    name: str
    label: int
    image: ImageLike
    sha256: str
    part: str | None = None
    group: str = ""


@dataclass(frozen=True)
class RunPart:
    """The images of one part of a run, and the number of its images that are `missing`."""

    part: str
    images: tuple[RunImage, ...]
    missing: int


@dataclass(frozen=True)
class HeldOutData:
    """The images of one part of a run as a data set with the run's classes; `where` they are, "" if in a list.

    `part` is "cross-validated" for training images that the run predicted with heads fitted without them.
    """

    dataset: Dataset
    part: str
    where: str


@dataclass(frozen=True)
class _SplitRow:
    name: str
    label: str
    part: str
    sha256: str
    group: str


class RunImages:
    """The images of a run, where it read them, at `data` or in `more`; `hint` ends the errors for images that are gone.

    Their groups are those that the run recorded, else those of `group_by`.
    Raises DataError where nothing can be read, RunError for a damaged run.
    """

    def __init__(
        self,
        run: Run,
        data: str | None,
        progress: Progress,
        hint: str = _HINT,
        *,
        group_by: str | None = None,
        more: Dataset | None = None,
    ) -> None:
        self._run, self._hint = run, hint
        self.sources = [data] if data is not None else recorded_sources(run)
        self.where = " and ".join(self.sources)
        table = read_table(run, "split.csv", ("path", "label", "split", "sha256"), optional=("group",))
        self._validated = validated = read_cross_validation(run)
        self._rows = [_SplitRow(*row) for row in table if row[1]]
        if validated is not None:  # all training images that it predicted stand for images held out
            self._rows = [
                replace(row, part="validation") if row.sha256 in validated.row_of else row for row in self._rows
            ]
        group_by = None if any(row.group for row in self._rows) else group_by
        dataset = None if self.sources else listed_images(run)
        if dataset is None and not self.sources and more is None:
            raise DataError(f"{run.name} has no record of where its images are: {hint}")
        try:
            loaded = (
                load_sources(self.sources, progress, group_by=group_by, more=more) if self.sources or more else None
            )
        except (DataError, DownloadError) as error:
            reason = str(error).partition("; ")[0]
            raise DataError(f"the images of {run.name} cannot be read: {reason}; {hint}") from error
        found = [each for each in (dataset, loaded) if each is not None]
        self.dataset = functools.reduce(Dataset.joined, found)
        self._by_name = {name: at for at, name in enumerate(self.dataset.names)}

    @property
    def _at(self) -> str:
        return f"at {self.where!r}" if self.where else "where it was listed"

    def held_out(self, most: int | None, *, or_trained: bool = False) -> RunPart:
        """The validation images, or else the test images; at most `most`, evenly spaced.

        `or_trained`: those trained on for a run that could not judge any. Raises DataError where none is left.
        """
        part = next((part for part in ("validation", "test") if any(row.part == part for row in self._rows)), None)
        if part is None and or_trained:
            part = "train"
        if part is None:
            raise DataError(
                f"{self._run.name} was trained on all its images and judged on none: give other ones as DATA"
            )
        return self.of(part, most)

    def of(self, part: str, most: int | None) -> RunPart:
        """The images of a part; at most `most`, evenly spaced. Raises DataError where none is left."""
        if all(row.part != part for row in self._rows):
            raise DataError(f"{self._run.name} has no {part} images: choose another part")
        result = self._find(part, most)
        if not result.images:
            raise DataError(f"no unchanged {part} image of {self._run.name} is {self._at}; {self._hint}")
        return result

    def everything(self) -> tuple[list[RunImage], int]:
        """All images of the run, in the order of its split.csv as far as they are where they were; those missing."""
        found = self._find(None, None)
        return list(found.images), found.missing

    def judged_by(self, part: str) -> str:
        """What the images of a part are called: see `tl.text.judged_by`."""
        return judged_by(part, self._validated is not None and part == "validation")

    def training(self, count: int) -> list[Pixels]:
        """The pixels of `count` training images, evenly spaced and resized. Raises DataError where none is left."""
        recipe = self._run.backbone.recipe
        images = []
        trained = "train" if any(row.part == "train" for row in self._rows) else "validation"
        for entry in self._find(trained, count).images:
            with suppress(ImageError):
                images.append(read_resized(read(entry.image), recipe.image_size, recipe.resize))
        if not images:
            raise DataError(f"no training image of {self._run.name} is {self._at}; {self._hint}")
        return images

    def _find(self, part: str | None, most: int | None) -> RunPart:
        """At most `most` images of a part, or of all, evenly spaced; others replace those that are missing."""
        rows = [row for row in self._rows if part in (None, row.part)]
        most = len(rows) if most is None else min(most, len(rows))
        labels = {name: index for index, name in enumerate(self._run.classes)}
        images: list[RunImage] = []
        missing: list[_SplitRow] = []
        evenly_spaced = [index * len(rows) // most for index in range(most)]
        for row in (rows[index] for index in dict.fromkeys([*evenly_spaced, *range(len(rows))])):
            if len(images) == most:
                break
            at = self._by_name.get(row.name)
            if row.label in labels and at is not None and sha256_of(self.dataset.images[at]) == row.sha256:
                images.append(self._image(row, labels, at))
            else:
                missing.append(row)
        renamed = self._find_renamed(missing, labels) if missing and len(images) < most else []
        return RunPart(part or "all", tuple(images + renamed[: most - len(images)]), len(missing) - len(renamed))

    def _find_renamed(self, rows: Iterable[_SplitRow], labels: dict[str, int]) -> list[RunImage]:
        missing_rows = {row.sha256: row for row in rows if row.label in labels}
        images = []
        for at, image in enumerate(self.dataset.images):
            row = missing_rows.pop(sha256_of(image), None) if missing_rows else None
            if row is not None:
                images.append(self._image(row, labels, at))
        return images

    def _image(self, row: _SplitRow, labels: dict[str, int], at: int) -> RunImage:
        whole = self.dataset
        group = row.group or (whole.groups[at] if whole.groups else "")
        return RunImage(row.name, labels[row.label], whole.images[at], row.sha256, whole.parts[at], group)


def held_out(run: Run, progress: Progress, part: str = "all", group_by: str | None = None) -> HeldOutData:
    """The images that a run was validated on, else those it was tested on; or those of `part`.

    Their groups are those of `group_by`, else of the run's training.

    Raises DataError where they are gone, RunError for a damaged run.
    """
    hint, options = "give DATA, a folder of labelled images", run.manifest.get("options")  # it may hold anything
    recorded = options.get("group_by") if isinstance(options, dict) else None
    images = RunImages(run, None, progress, hint, group_by=group_by or recorded)
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
        groups=tuple(entry.group for entry in result.images),
    )
    kind = images.judged_by(result.part)
    held = count(len(result.images), f"{kind} image")
    progress.log("data", f"the {held} of {run.name}, in {images.where or 'their list'}")
    if result.missing:
        noun, verb = ("image", "is missing or has") if result.missing == 1 else ("images", "are missing or have")
        progress.warn(f"{result.missing:,} more {kind} {noun} of {run.name} {verb} changed")
    return HeldOutData(dataset, kind, images.where)


def load_sources(
    sources: Sequence[str], progress: Progress, *, group_by: str | None = None, more: Dataset | None = None
) -> Dataset:
    """The data sets at some places, with the groups of `group_by`, and `more` as one.

    Raises DataError or DownloadError where not one of them can be read.
    """
    loaded: list[Dataset] = []
    for source in sources:
        try:
            one = load(source, labelled=False, offline=True, progress=progress)
        except (DataError, DownloadError):
            if more is None and not loaded and source == sources[-1]:
                raise
        else:
            loaded.append(grouped(one, source, group_by))
    return functools.reduce(Dataset.joined, loaded if more is None else [*loaded, more])


def listed_images(run: Run) -> Dataset | None:
    """The images of a run that was trained on a list of files or a DataFrame, where these were; None if none is there.

    Relative paths start at the working folder of the training, or at the parent of the folder `runs`.
    """
    rows, recorded = read_table(run, "split.csv", ("path", "label")), run.manifest.get("data")
    folder = str(recorded.get("folder") or "") if isinstance(recorded, dict) else ""
    for place in (Path(folder), run.folder.resolve().parent.parent):
        samples = [Sample(place / name, name, label or None) for name, label in rows if os.path.isfile(place / name)]
        if samples:
            return assemble(samples, source=run.name, name="images", root=place, labelled=False)
    return None


def recorded_data(run: Run) -> str:
    """The path or name of the data set that a run was trained on, "" where it was passed in memory."""
    options = run.manifest.get("options")  # the manifest may hold anything
    return str(options.get("data") or "") if isinstance(options, dict) else ""


def sources_text(run: Run) -> str:
    """Where a run read its images, in words: all places of a grown one."""
    grown = run.manifest.get("from")
    places = grown.get("data") if isinstance(grown, dict) else None
    return listed([str(place) for place in places], len(places)) if isinstance(places, list) else recorded_data(run)


def recorded_sources(run: Run) -> list[str]:
    """Where a run read its images: one place, or those of the run that it was grown from as well."""
    paths, grown = [recorded_data(run)], run.manifest.get("from")
    if isinstance(grown, dict) and isinstance(grown.get("data"), list):
        paths = grown["data"]
    return [_where(run, str(path)) for path in paths if path]


def _where(run: Run, path: str) -> str:
    """Where a path of a run is. A relative one was, as a rule, relative to the parent of the folder `runs`."""
    beside = os.path.join(os.path.realpath(run.folder), os.pardir, os.pardir, path)
    if os.path.isabs(path) or not os.path.exists(beside):
        return path
    return path if os.path.exists(path) and os.path.samefile(path, beside) else os.path.normpath(beside)


def sha256_of(image: ImageLike) -> str:
    """The sha256 of an image's content as hexadecimal digits, "" for one that cannot be read."""
    try:
        return fingerprint(read(image)).hex()
    except ImageError:
        return ""
