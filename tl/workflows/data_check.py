"""Check a data set: `tl data check`, and the quick check that `tl finetune` makes on the way."""

import os
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tl.cache import usable_cache
from tl.data.dataset import PARTS, Dataset, Labels, short_name
from tl.data.image_stats import ImageStats, measure_images
from tl.data.load import Data, load
from tl.data.near_duplicates import (
    Copy,
    NearPairs,
    cosines,
    find_copies,
    find_near_pairs,
    find_originals,
    group_copies,
    groups_of_several,
)
from tl.data.splits import GROUP_BY_HELP, Split, check_groups, grouped, split
from tl.doctor.balance import balance_findings, class_counts
from tl.doctor.duplicates import duplicate_findings, group_findings
from tl.doctor.faulty_files import file_findings, name_findings
from tl.doctor.findings import Diagnosis, Finding, in_words, rank
from tl.doctor.labels import label_findings
from tl.doctor.outliers import outlier_findings
from tl.doctor.shortcuts import shortcut_findings
from tl.engines import open_named
from tl.errors import DataError
from tl.features.extract import extract
from tl.files import write_text
from tl.linalg import Floats, pairs_above, projected
from tl.options import download_option, fraction_option, keywords, offline_option, option
from tl.progress import Progress
from tl.runs.folder import RUNS
from tl.text import count
from tl.views.pages.doctor import render_page

Parts = list[str | None]


@dataclass(frozen=True)
class CheckOptions:
    """The options of `tl data check`."""

    out: Path | None = option(None, "HTML page to write.", default_text="runs/check-<data>.html", metavar="FILE")
    page: bool = option(True, "Write the page, which shows the images.")
    group_by: str | None = option(None, GROUP_BY_HELP, metavar="RULE")
    backbone: str = option("resnet50", "Network whose features are compared.")
    weights: str = option("imagenet", "Its weights: a name or a file.", metavar="NAME|FILE")
    val: float = fraction_option(0.2, "Fraction for validation, if DATA has no split.", exclusive=True)
    seed: int = option(0, "Seed of the split, if DATA has none.")
    download: bool = download_option()
    offline: bool = offline_option()


@keywords(CheckOptions)
def check(
    data: Data, *, options: CheckOptions, progress: Progress | None = None, command: str | None = ""
) -> Diagnosis:
    """What is wrong with a data set, the worst first; the page shows `command`.

    With None instead, its readers have no shell where the files are: fixes are in words. Raises DataError for a data
    set that cannot be loaded at all.
    """
    started = time.monotonic()
    progress = progress or Progress()
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    dataset = grouped(dataset, data, options.group_by)
    check_groups(dataset, options.group_by)
    measured = measure(dataset, options.backbone, weights=options.weights, offline=options.offline, progress=progress)
    findings, notes = examine(dataset, measured, val=options.val, seed=options.seed)
    if command is None:
        findings = tuple(map(in_words, findings))
    page = (options.out or RUNS / f"check-{short_name(dataset.name)}.html") if options.page else None
    diagnosis = Diagnosis(dataset, findings, notes, seconds=time.monotonic() - started, page=page)
    if page is not None:
        write_text(page, render_page(diagnosis, command or ""))
    return diagnosis


@dataclass(frozen=True)
class Measured:
    """Statistics of all images, and features float32 `[len(usable), size]` of the readable ones, by index."""

    stats: ImageStats
    features: Floats
    usable: Labels


def examine(
    dataset: Dataset, measured: Measured, *, val: float = 0.2, seed: int = 0
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The ranked findings about a data set, and notes on the checks that were skipped."""
    stats, features, usable = measured.stats, measured.features, measured.usable
    pairs = find_near_pairs(stats)
    same = find_copies(stats, features, usable, pairs)
    group = group_copies(len(dataset.names), same)
    own_split = any(part in ("validation", "test") for part in dataset.parts)
    parts: Parts = [part or "train" for part in dataset.parts]
    notes: list[str] = []
    if not own_split:
        parts, notes = _default_parts(dataset, measured, pairs, val=val, seed=seed)
    findings = [*file_findings(dataset, stats), *name_findings(dataset)]
    findings += duplicate_findings(dataset, same, parts, own_split=own_split)
    if dataset.groups:
        findings += group_findings(dataset, dataset.groups, parts, own_split=own_split)
    if not len(usable):
        return rank(findings), (*notes, "none of the images can be read")
    labels, label_notes = label_findings(dataset, features, usable, group[usable], seed=seed)
    findings += labels
    findings += outlier_findings(dataset, stats, features, usable, seed=seed)
    findings += shortcut_findings(dataset, stats, usable, group[usable], seed=seed)
    findings += balance_findings(class_counts(dataset, group, parts, usable))
    return rank(findings), (*notes, *label_notes)


def _default_parts(
    dataset: Dataset, measured: Measured, pairs: NearPairs, *, val: float, seed: int
) -> tuple[Parts, list[str]]:
    """The part of each image in the split that training would make, and why there is none."""
    own, shown = measured.stats.fingerprints, find_originals(measured.stats, dataset.labels, pairs).fingerprints
    fingerprints, kept_together = ([each[index] for index in measured.usable] for each in (own, shown))
    readable = replace(dataset.without(measured.stats.errors), groups=())  # those on two sides are reported
    try:
        default = split(readable, fingerprints, originals=kept_together, validation=val, seed=seed)
    except DataError as error:
        return [None] * len(dataset.names), [f"there is no default split: {error}"]
    return _parts(default, measured.usable, len(dataset.names)), []


def _parts(sides: Split, indices: Labels, images: int) -> Parts:
    parts: Parts = [None] * images
    for part in PARTS:
        for index in indices[getattr(sides, part)].tolist():
            parts[index] = part
    return parts


def measure(
    dataset: Dataset, backbone: str, *, weights: str = "imagenet", offline: bool = False, progress: Progress
) -> Measured:
    """The statistics and the features of all images; those that are cached are not computed again."""
    engine, network = open_named(backbone, weights=weights, offline=offline, progress=progress)
    with usable_cache(progress) as cache:
        features = extract(dataset.images, engine, network.recipe, cache, progress=progress)
        hashes = [b""] * len(dataset.images)
        for index, fingerprint in zip(features.kept.tolist(), features.fingerprints, strict=True):
            hashes[index] = fingerprint
        stats = measure_images(dataset.images, fingerprints=hashes, cache=cache, progress=progress)
    stats.errors.update(features.failures)
    is_usable = np.array([index not in stats.errors for index in features.kept.tolist()], np.bool_)
    rows = features.values if is_usable.all() else features.values[is_usable]
    return Measured(stats, rows, features.kept[is_usable])


_MAX_QUICK = 10_000  # photos whose pairs are compared, in less than a second
_NEAR = 0.93  # cosine of projected features, from which the whole ones are compared
_COPY = 0.95  # cosine about the mean: in dogs-vs-cats, every pair above it shows one photo


def quick_check(dataset: Dataset, features: Floats, sides: Split, data: Data) -> str:
    """The worst problems that the features and the split of a training run show, in a line; "" if there are none.

    `features` `[n, size]` are in the order of the data set, which has no broken images. No file is read.
    """
    every = np.arange(len(dataset.names))
    parts = _parts(sides, every, len(every))
    findings = [*name_findings(dataset), *balance_findings(class_counts(dataset, every, parts, every))]
    kinds = [finding.kind for finding in findings if finding.severity != "note"]
    leaks, conflicts = _count_copies(dataset, features, parts)
    problems = (
        (leaks, "photo", "possibly on both sides of the split"),
        (conflicts, "photo", "possibly under two labels"),
        (kinds.count("class names"), "class", "possibly under two names"),
        (kinds.count("few photos"), "class", "with few images"),
    )
    listed = ", ".join(f"{count(number, noun)} {problem}" for number, noun, problem in problems if number)
    command = "tl.data.check(data)"
    if isinstance(data, (str, os.PathLike)):
        command = f"tl data check {shlex.quote(os.fspath(data))}"
    return f"{listed}: run `{command}`" if listed else ""


def _count_copies(dataset: Dataset, features: Floats, parts: Parts) -> tuple[int, int]:
    """How many photos, by almost the same features, are in two parts of the split, and how many have two labels."""
    if not 2 <= len(features) <= _MAX_QUICK:
        return 0, 0
    pairs = pairs_above(projected(features, 128), _NEAR)
    is_copy = cosines(features, features.mean(axis=0), pairs) >= _COPY
    same = [Copy(first, second, 1.0) for first, second in pairs[is_copy].tolist()]
    photos = groups_of_several(group_copies(len(features), same))
    leaks = sum(len({parts[index] for index in photo} - {None}) > 1 for photo in photos)
    return leaks, sum(len(np.unique(dataset.labels[photo])) > 1 for photo in photos)
