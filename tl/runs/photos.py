"""A run becomes the very photos that it was validated on, or trained on: found again by name, checked by sha256."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, decode, fingerprint, fit, read
from tl.data.load import Dataset, load
from tl.errors import DataError, DownloadError, ImageError, RunError
from tl.progress import Progress
from tl.runs.run import Run

Pixels = NDArray[np.uint8]
_HINT = "say where they are with --data"


@dataclass(frozen=True)
class Photo:
    """A photo of a run's data set, there now as it was then; `label` is the place of its class in the run's."""

    name: str
    label: int
    picture: ImageLike


@dataclass(frozen=True)
class Album:
    """The photos of one part of a run, and how many of that part are `lost`."""

    part: str
    photos: tuple[Photo, ...]
    lost: int


@dataclass(frozen=True)
class HeldOut:
    """The photos of one part of a run as a data set of the run's classes, and `where` they are."""

    dataset: Dataset
    part: str
    where: str


@dataclass(frozen=True)
class _Row:
    name: str
    label: str
    part: str
    sha256: str


class Photos:
    """The photos of a run, where it found them or at `data`; `hint` is what to do where they are gone.

    Raises DataError where nothing can be read there, RunError for a damaged run.
    """

    def __init__(self, run: Run, data: str | None, progress: Progress, hint: str = _HINT) -> None:
        self._run, self.where, self._hint = run, data if data is not None else _told(run), hint
        self._rows = tuple(_rows(run))
        if not self.where:
            raise DataError(f"{run.name} does not say where its photos are: {hint}")
        try:
            self.dataset = load(self.where, labelled=False, offline=True, progress=progress)
        except (DataError, DownloadError) as error:
            why = str(error).partition("; ")[0]
            raise DataError(f"the photos of {run.name} are not here: {why}; {hint}") from error
        self._by_name = dict(zip(self.dataset.names, self.dataset.images, strict=True))

    def held_out(self, most: int | None) -> Album:
        """The validation photos, or else the test photos; `most` of them, spread evenly.

        Raises DataError where none of them is left.
        """
        part = next((part for part in ("validation", "test") if any(row.part == part for row in self._rows)), None)
        if part is None:
            raise DataError(f"{self._run.name} held out no photos: train with --val")
        return self.of(part, most)

    def of(self, part: str, most: int | None) -> Album:
        """The photos of a part; `most` of them, spread evenly. Raises DataError where none of them is left."""
        if all(row.part != part for row in self._rows):
            raise DataError(f"{self._run.name} has no {part} photos: choose another part")
        found = self._found(part, most)
        if not found.photos:
            raise DataError(
                f"none of the {part} photos of {self._run.name} are at {self.where!r} as they were; {self._hint}"
            )
        return found

    def training(self, count: int) -> list[Pixels]:
        """So many of the photos it was trained on, spread evenly, resized. Raises DataError for none."""
        found, recipe = self._found("train", count), self._run.backbone.recipe
        decoded = (_decoded(photo.picture) for photo in found.photos)
        fitted = [fit(pixels, recipe.image_size, recipe.resize) for pixels in decoded if pixels is not None]
        if not fitted:
            raise DataError(
                f"no training photos of {self._run.name} are at {self.where!r} to calibrate with; {self._hint}"
            )
        return fitted

    def _found(self, part: str, most: int | None) -> Album:
        """The photos of a part that are there, `most` of them; `lost` counts those that were looked for in vain."""
        rows = [row for row in self._rows if row.part == part]
        most = len(rows) if most is None else min(most, len(rows))
        places = {name: at for at, name in enumerate(self._run.classes)}
        photos: list[Photo] = []
        missing: list[_Row] = []
        for row in _spread(rows, most):
            if len(photos) == most:
                break
            picture = self._by_name.get(row.name)
            if row.label in places and picture is not None and _is(picture, row.sha256):
                photos.append(Photo(row.name, places[row.label], picture))
            else:
                missing.append(row)
        renamed = self._renamed(missing, places) if missing and len(photos) < most else []
        return Album(part, tuple(photos + renamed[: most - len(photos)]), len(missing) - len(renamed))

    def _renamed(self, rows: Iterable[_Row], places: dict[str, int]) -> list[Photo]:
        """Photos that have other names now, by what is in them."""
        wanted = {row.sha256: row for row in rows if row.label in places}
        found = []
        for picture in self.dataset.images:
            row = wanted.pop(_sha256(picture), None) if wanted else None
            if row is not None:
                found.append(Photo(row.name, places[row.label], picture))
        return found


def held_out(run: Run, progress: Progress, part: str = "all") -> HeldOut:
    """The photos that a run was validated on, else those it was tested on, or those of `part`; told to `report`.

    Raises DataError where they are gone, RunError for a damaged run.
    """
    photos = Photos(run, None, progress, "give DATA, a folder of labelled photos")
    album = photos.held_out(None) if part == "all" else photos.of(part, None)
    count = len(album.photos)
    dataset = replace(
        photos.dataset,
        class_names=run.classes,
        images=tuple(photo.picture for photo in album.photos),
        names=tuple(photo.name for photo in album.photos),
        labels=np.array([photo.label for photo in album.photos], np.int64),
        parts=(album.part,) * count,
        skipped=(),
        notes=(),
    )
    progress.log("data", f"the {count:,} {album.part} photos of {run.name}, in {photos.where}")
    if album.lost:
        progress.warn(f"{album.lost:,} more {album.part} photos of {run.name} are gone, or not as they were")
    return HeldOut(dataset, album.part, photos.where)


def _told(run: Run) -> str:
    """Where a run found its photos. What is named from here was named beside the folder `runs`, as a rule."""
    options = run.manifest.get("options")
    told = str(options.get("data", "")) if isinstance(options, dict) else ""
    beside = os.path.join(os.path.realpath(run.folder), os.pardir, os.pardir, told)
    if not told or os.path.isabs(told) or not os.path.exists(beside):
        return told
    return told if os.path.exists(told) and os.path.samefile(told, beside) else os.path.normpath(beside)


def _rows(run: Run) -> Iterator[_Row]:
    try:
        with (run.folder / "split.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield _Row(row["path"], row["label"], row["split"], row["sha256"])
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise RunError(
            f"{run.folder} is damaged (split.csv cannot be read): make it again, or copy it whole"
        ) from error


def _spread(rows: Sequence[_Row], most: int) -> list[_Row]:
    """All of them; first so many that are spread evenly, which the others may have to stand in for."""
    first = [at * len(rows) // most for at in range(most)] if most else []
    chosen = set(first)
    return [rows[at] for at in (*first, *(at for at in range(len(rows)) if at not in chosen))]


def _is(picture: ImageLike, sha256: str) -> bool:
    return _sha256(picture) == sha256


def _sha256(picture: ImageLike) -> str:
    try:
        return fingerprint(read(picture)).hex()
    except ImageError:
        return ""


def _decoded(picture: ImageLike) -> Pixels | None:
    try:
        return decode(read(picture))
    except ImageError:
        return None
