"""Write and read a run: a trained classifier in a folder, without pickle, checked by sha256."""

import csv
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tl.engines.trunk import Trunk, content_key
from tl.errors import RunError
from tl.evaluation.selective import HeldOutAnswers
from tl.learning.head import Head
from tl.learning.unknown import Unknown, most_references
from tl.networks.backbones import BACKBONES, RESIZE_RULES, Backbone, Recipe
from tl.networks.weights import IMAGENET_CLASSES, Weights, resolve
from tl.progress import Progress
from tl.runs.folder import CROSS_VALIDATION, TRAINING_IMAGES, damaged_run, find_run
from tl.text import count, html_table, interval, judged_by, listed, percent

FORMAT = 2  # since heads have normalised features; format 1 has none
TUNED = "trunk.weights.h5"
_SHOWN = 5  # class names in a repr
_CHECKED = ("head.npz", "trunk.xml", "trunk.bin")
RECORDS = (
    *("split.csv", "skipped.csv", "predictions.csv", "metrics.json", "heads.csv", "history.csv", "learning_rates.csv"),
    CROSS_VALIDATION,
    TRAINING_IMAGES,
    "run.toml",
)
"""What predictions need none of: those who read it check it. Older runs have no sha256 of most of it."""


@dataclass(frozen=True, repr=False)
class Run:
    """A trained classifier: `classes` in the order of the head's outputs, network, head; the rest is in `manifest`."""

    folder: Path
    classes: tuple[str, ...]
    backbone: Backbone
    head: Head
    unknown: Unknown | None
    manifest: Mapping[str, Any]

    def __repr__(self) -> str:
        parts = [self.backbone.name, f"{count(len(self.classes), 'class', 'classes')} ({listed(self.classes, _SHOWN)})"]
        parts += [f"{part} accuracy {accuracy}" for part, accuracy in self._accuracies()]
        return f"<Run {self.name}: {', '.join(parts)}>"

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        rows = [
            ("run", self.name),
            ("backbone", self.backbone.name),
            ("classes", f"{len(self.classes):,}: {listed(self.classes, 2 * _SHOWN)}"),
            *((f"{part} accuracy", accuracy) for part, accuracy in self._accuracies()),
            ("folder", str(self.folder)),
        ]
        return html_table(rows)

    def _accuracies(self) -> Iterator[tuple[str, str]]:
        for part in ("validation", "test"):
            figures = self.metrics.get(part)
            if isinstance(figures, dict) and isinstance(figures.get("top1"), float):
                low_high = figures.get("top1_interval")
                bounds = f" ({interval(*low_high)})" if isinstance(low_high, list) and len(low_high) == 2 else ""
                yield judged_by(part, figures.get("folds")), percent(figures["top1"]) + bounds

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics by part, as in the manifest: `run.metrics["validation"]["top1"]` is the accuracy from 0 to 1."""
        metrics = self.manifest.get("metrics")
        return dict(metrics) if isinstance(metrics, dict) else {}

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def trunk(self) -> Path:
        """The OpenVINO network."""
        return self.folder / "trunk.xml"

    @property
    def tuned(self) -> Weights | None:
        """The weights of the folded network if it was fine-tuned, else None."""
        sha256 = self.manifest["files"].get(TUNED)
        return None if sha256 is None else Weights("tuned", self.folder / TUNED, "this run", str(sha256))


def write_run(
    folder: Path,
    head: Head,
    unknown: Unknown | None,
    trunk: Trunk,
    manifest: Mapping[str, Any],
    *,
    tuned: Path | None = None,
) -> None:
    """Write head, trunk and manifest into a claimed folder; the trunk as hard links where the disk allows.

    `tuned` is the file of the trunk's weights in the folder, for a run that trained them.
    """
    arrays: dict[str, Any] = {"kernel": head.kernel, "bias": head.bias, "temperature": np.float64(head.temperature)}
    if head.normalized_kernel is not None:
        arrays["normalized_kernel"] = head.normalized_kernel
    if head.imagenet is not None:
        arrays["imagenet"] = head.imagenet.astype(np.float16)  # which it was rounded to before the head was fitted
    if unknown is not None:
        arrays |= {"references": unknown.references, "threshold": unknown.threshold, "rate": unknown.rate}
        arrays |= {} if unknown.scales is None else {"unknown_scales": unknown.scales}
        arrays |= {} if unknown.profiles is None else {"unknown_profiles": unknown.profiles}
    np.savez(folder / "head.npz", **arrays)
    _link(trunk.xml, folder / "trunk.xml")
    _link(trunk.bin, folder / "trunk.bin")
    files = {
        "head.npz": sha256_of_file(folder / "head.npz"),
        "trunk.xml": trunk.xml_sha256,
        "trunk.bin": trunk.bin_sha256,
    }
    files |= {TUNED: sha256_of_file(tuned)} if tuned is not None else {}
    files |= {name: sha256_of_file(folder / name) for name in RECORDS if (folder / name).is_file()}
    content = {"format": FORMAT, **manifest, "files": files}
    text = json.dumps(content | {"digest": _digest(content)}, indent=1, ensure_ascii=False)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def load_run(run: str | Path | None = None) -> Run:
    """The run in a folder, by its name in `runs/`, or the newest one.

    Raises RunError when there is none, or when it is damaged, truncated, or of a newer format.
    """
    folder = find_run(run)
    for name in ("manifest.json", *_CHECKED):
        if (folder / name).exists() and not (folder / name).is_file():  # reading a pipe would block
            raise damaged_run(folder, f"{name} is not a file")
    manifest = _manifest(folder)
    try:
        backbone = _backbone(manifest["backbone"])
        classes = _classes(manifest["classes"])
        if set(manifest["files"]) - {TUNED, *RECORDS} != set(_CHECKED):
            raise ValueError(f"files are not {', '.join(_CHECKED)}")
        head, unknown = _head(folder, backbone.features, len(classes))
    except (AttributeError, KeyError, TypeError, ValueError, OSError, EOFError, MemoryError, BadZipFile) as error:
        raise damaged_run(folder, f"{type(error).__name__}: {error}"[:200]) from error
    return Run(folder, classes, backbone, head, unknown, manifest)


def check_run(run: Run, names: Iterable[str] = (*_CHECKED, TUNED)) -> None:
    """Compare files with their sha256, by default those that predict; the manifest may not have one.

    Raises RunError for a file that is missing or has changed.
    """
    for name in names:
        expected = run.manifest["files"].get(name)
        if expected is None:
            continue
        path = run.folder / Path(name).name
        if not path.is_file():  # reading a pipe would block
            raise damaged_run(run.folder, f"{name} is missing")
        try:
            sha256 = sha256_of_file(path)
        except OSError as error:
            raise damaged_run(run.folder, f"{name} cannot be read") from error
        if sha256 != expected:
            raise damaged_run(run.folder, f"{name} is not the file that was written")


def trunk_key(run: Run) -> str:
    """The cache key of a run's features: the contents of its network files, as `check_run` compares them."""
    files = run.manifest["files"]
    return content_key(files["trunk.xml"], files["trunk.bin"], run.backbone.recipe)


def weights_of(run: Run, hint: str, progress: Progress | None = None) -> Weights:
    """The weights of a run's network for Keras: its own where it was tuned, else those it was trained with.

    Raises RunError, with a `hint` of what to do, where those on this machine are others.
    """
    if run.tuned is not None:
        return run.tuned
    expected, choice = run.manifest["weights"], str(run.manifest["options"]["weights"])
    weights = resolve(run.backbone, choice, seed=int(expected["seed"] or 0), progress=progress)
    if weights.sha256 != expected["sha256"]:
        name = run.backbone.name
        raise RunError(f"{run.folder} was trained with other {name} weights than those on this machine: {hint}")
    return weights


def read_table(run: Run, name: str, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The cells in these columns of a run's table, those in an `optional` one "" where the table has none.

    Raises RunError where it is missing or damaged.
    """
    folder, path = run.folder, run.folder / name
    if not path.is_file():
        raise damaged_run(folder, f"{name} is missing")
    check_run(run, (name,))
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [
                (*(row[column] for column in columns), *(row.get(column, "") for column in optional))
                for row in csv.DictReader(stream)
            ]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise damaged_run(folder, f"{name} cannot be read") from error
    if any(None in row for row in rows):
        raise damaged_run(folder, f"{name} is cut short")
    return rows


def read_answers(run: Run, *, unknown: bool) -> HeldOutAnswers:
    """How sure a run was of its validation images, and whether it was right; `unknown`: it marks unknown images.

    Raises RunError where predictions.csv is missing or damaged.
    """
    rows = read_table(run, "predictions.csv", ("split", "label", "predicted", "confidence", "unknown"))
    held_out = [row[1:] for row in rows if row[0] == "validation"]
    try:
        confidence = np.array([float(row[2]) for row in held_out])
    except ValueError:
        confidence = np.array([math.nan])
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise damaged_run(run.folder, "predictions.csv has a confidence that is not between 0 and 1")
    correct = np.array([label == predicted for label, predicted, *_ in held_out], np.bool_)
    is_unknown = np.array([unknown and row[3] == "1" for row in held_out], np.bool_)
    return HeldOutAnswers(confidence, correct, is_unknown, weight=_group_weight(run))


def _group_weight(run: Run) -> float:
    """How many independent images a validation image counts as, 1 without groups; the manifest may hold anything."""
    figures = run.metrics.get("validation")
    groups = figures.get("groups") if isinstance(figures, dict) else None
    weight = groups.get("weight") if isinstance(groups, dict) else None
    return weight if isinstance(weight, float) and 0 < weight <= 1 else 1.0


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged_run(folder, "manifest.json cannot be read") from error
    if type(version) is not int or version < 1:
        raise damaged_run(folder, f"format {version!r}")
    if version > FORMAT:
        raise RunError(f"{folder} has format {version}, this version of tl reads up to {FORMAT}: upgrade tl")
    digest = manifest.pop("digest", None)
    if digest != _digest(manifest):
        raise damaged_run(folder, "manifest.json is not the file that was written")
    return dict(manifest)


def _classes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError("classes is not a list of names")
    if len(set(names)) != len(names):
        raise ValueError("a class is named twice")
    for name in names:
        name.encode("utf-8", "surrogateescape")  # a name that is neither text nor bytes cannot be written anywhere
    return tuple(names)


def _backbone(about: Mapping[str, Any]) -> Backbone:
    """The backbone a manifest describes, taken from the registry by its name.

    The manifest's `builder` is not read: builders have moved since older runs were written, and a run folder from
    elsewhere must not name code to import.
    """
    backbone = BACKBONES.get(about["name"])
    if backbone is None:
        raise ValueError(f"this version of tl has no backbone {about['name']!r}")
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["recipe"].items()
    }
    recipe = Recipe(**fields)
    numbers = (*recipe.mean, *recipe.std, about["features"], recipe.image_size)
    if not all(isinstance(number, (int, float)) and abs(number) < 1e9 for number in numbers) or len(numbers) != 8:
        raise ValueError("the recipe has invalid numbers")
    if type(recipe.image_size) is not int or not 16 <= recipe.image_size <= 2048 or recipe.resize not in RESIZE_RULES:
        raise ValueError(f"recipe of {recipe.image_size!r} pixels, {recipe.resize!r}")
    parameters = int(about.get("parameters", backbone.parameters))
    return replace(backbone, features=int(about["features"]), parameters=parameters, recipe=recipe)


def _head(folder: Path, features: int, classes: int) -> tuple[Head, Unknown | None]:
    most = 4 * classes * (2 * features + IMAGENET_CLASSES + 1) + 2 * features * IMAGENET_CLASSES
    most += 4 * features * most_references(classes) + 4 * classes * IMAGENET_CLASSES + 8192
    with ZipFile(folder / "head.npz") as archive:  # its declared size, before anything is unpacked
        if sum(member.file_size for member in archive.infolist()) > most:
            raise ValueError("head.npz is larger than its classes and features require")
    with (folder / "head.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        temperature = float(arrays["temperature"])
        has_imagenet = "imagenet" in arrays
        of_normalized = features + IMAGENET_CLASSES * has_imagenet
        kernel, bias = _array(arrays, "kernel", (features, classes)), _array(arrays, "bias", (classes,))
        normalized = imagenet = None
        if "normalized_kernel" in arrays:
            normalized = _array(arrays, "normalized_kernel", (of_normalized, classes))
        if has_imagenet:
            imagenet = _array(arrays, "imagenet", (features, IMAGENET_CLASSES), np.float16)
        unknown = _unknown(arrays, features, classes, imagenet) if "references" in arrays else None
    if not 1e-3 < temperature < 1e3:
        raise ValueError(f"head.npz has the temperature {temperature}")
    return Head(kernel, bias, temperature, normalized, imagenet), unknown


def _array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], dtype: type[Any] = np.float32
) -> NDArray[Any]:
    stored = arrays[name]
    if stored.shape != shape or stored.dtype != dtype:
        raise ValueError(f"head.npz has {name} {stored.dtype} {stored.shape}, expected {shape}")
    array: NDArray[np.float32] = stored.astype(np.float32, copy=False)
    if not max(float(array.max(initial=0)), -float(array.min(initial=0))) <= 1e15:  # NaN, too
        raise ValueError(f"head.npz has numbers in {name} that are not finite or too large")
    return array


def _unknown(
    arrays: Mapping[str, NDArray[Any]], features: int, classes: int, imagenet: NDArray[np.float32] | None
) -> Unknown:
    references, threshold, rate = arrays["references"], float(arrays["threshold"]), float(arrays["rate"])
    if references.ndim != 2 or references.shape[1] != features or references.dtype != np.float32 or not len(references):
        raise ValueError(f"head.npz has references of shape {references.shape}, expected (images, {features})")
    scales = profiles = None  # old runs have the distance for a score, which is not negative
    if imagenet is not None and "unknown_profiles" in arrays:
        profiles = _array(arrays, "unknown_profiles", (classes, IMAGENET_CLASSES))
        if not (profiles >= 0).all():
            raise ValueError("head.npz has negative mean probabilities")
    if "unknown_scales" in arrays:
        scales = _array(arrays, "unknown_scales", (2 if profiles is None else 3, 2), np.float64)
        if not (scales[:, 1] > 0).all():
            raise ValueError("head.npz has deviations of the unknown check that are not positive")
    if not np.isfinite(references).all() or not threshold >= (0 if scales is None else -1e30) or not 0 <= rate < 1:
        raise ValueError("head.npz has an invalid threshold or rate")
    return Unknown(references, threshold, rate, scales, profiles, imagenet if profiles is not None else None)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another disk, or one without hard links


def sha256_of_file(path: Path) -> str:
    """The hexadecimal sha256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
