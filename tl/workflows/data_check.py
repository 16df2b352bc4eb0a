"""The composer: a data set becomes a diagnosis, from its files and a network's features of them."""

import importlib
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.load import load
from tl.data.near_duplicates import Alike, alike, copies, groups, originals
from tl.data.splits import groups_by, split
from tl.doctor import balance as balances
from tl.doctor.duplicates import duplicates, torn
from tl.doctor.files import files, names
from tl.doctor.findings import Diagnosis, Finding, ranked
from tl.doctor.labels import wrong_labels
from tl.doctor.outliers import outliers
from tl.doctor.read import Seen, read_all
from tl.doctor.shortcuts import shortcuts
from tl.engines import open_engine
from tl.errors import DataError
from tl.networks.backbones import backbone as find_backbone
from tl.networks.weights import resolve
from tl.progress import Progress

Parts = list[str | None]


def check(
    data: str | Path,
    *,
    backbone: str = "resnet50",
    weights: str = "imagenet",
    group_by: str | None = None,
    val: float = 0.2,
    seed: int = 0,
    engine: str = "auto",
    precision: str = "auto",
    download: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Diagnosis:
    """What is wrong with a data set, the most pressing first.

    `group_by` names groups of photos that must stay on one side of a split (see `tl.data.splits`); `val` and `seed`
    choose the split by default, where the data set has none of its own. Raises DataError for a data set that cannot be
    loaded at all, and whatever the network raises.
    """
    started = time.monotonic()
    progress = progress or Progress()
    dataset = load(data, download=download, offline=offline, progress=progress)
    together = groups_by(dataset, str(data), group_by) if group_by else None
    network = find_backbone(backbone)
    opened = open_engine(
        network,
        resolve(network, weights, offline=offline, seed=seed, progress=progress),
        engine=engine,
        precision=precision,
        progress=progress,
    )
    threading.Thread(target=_import_early).start()
    seen = read_all(dataset.images, opened, network.recipe, network.features, progress)
    del opened  # and with it the compiled network, whose memory the rest can use
    found, notes = examine(dataset, seen, together=together, val=val, seed=seed)
    return Diagnosis(dataset, found, notes, time.monotonic() - started)


def _import_early() -> None:
    """Load what labels and shortcuts need, seconds of it, while files are read."""
    with suppress(RuntimeError):  # where the process ends meanwhile; what is missing is imported again, and said, later
        importlib.import_module("cleanlab.filter")


def examine(
    dataset: Dataset, seen: Seen, *, together: list[str] | None = None, val: float = 0.2, seed: int = 0
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings about a data set that has been read, and notes on what could not be looked into."""
    looks, features, usable = seen.looks, seen.features, seen.usable
    found_alike = alike(looks)
    same = copies(looks, features, usable, found_alike)
    group = groups(len(dataset.names), same)
    given, parts, notes = _parts(dataset, seen, found_alike, val, seed)
    found = [*files(dataset, looks), *names(dataset)]
    found += duplicates(dataset, same, parts, given=given)
    if together is not None:
        found += torn(dataset, together, parts, given=given)
    if not len(usable):
        return ranked(found), (*notes, "none of the images can be read")
    labels, unknown = wrong_labels(dataset, features, usable, group[usable], seed=seed)
    found += labels
    notes += unknown
    found += outliers(dataset, looks, features, usable, seed=seed)
    found += shortcuts(dataset, looks, usable, group[usable], seed=seed)
    found += balances.balance(balances.counts(dataset, group, parts, usable))
    return ranked(found), tuple(notes)


def _parts(dataset: Dataset, seen: Seen, found: Alike, val: float, seed: int) -> tuple[bool, Parts, list[str]]:
    """Whether the data set has a split of its own, the part of each picture, and notes."""
    if any(part in ("validation", "test") for part in dataset.parts):
        return True, [part or "train" for part in dataset.parts], []
    parts: Parts = [None] * len(dataset.names)
    own, shown = seen.looks.fingerprints, originals(seen.looks, dataset.labels, found).fingerprints
    prints, counted = ([side[index] for index in seen.usable] for side in (own, shown))
    try:
        made = split(dataset.without(seen.looks.errors), prints, originals=counted, validation=val, seed=seed)
    except DataError as error:
        return False, parts, [f"the split by default cannot be made: {error}"]
    sides: tuple[tuple[str, NDArray[np.int64]], ...] = (
        ("train", made.train),
        ("validation", made.validation),
        ("test", made.test),
    )
    for name, places in sides:
        for index in seen.usable[places].tolist():
            parts[index] = name
    return False, parts, []
