"""A trained classifier becomes a run folder, and a run folder a classifier again. No pickle, checked by sha256."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tl.engines.trunk import Trunk, content_key
from tl.errors import RunError
from tl.learning.head import Head
from tl.learning.unknown import Unknown, most_references
from tl.networks.backbones import BACKBONES, RESIZE_RULES, Backbone, Recipe
from tl.networks.weights import Weights
from tl.runs.folder import find_run

FORMAT = 1
TUNED = "trunk.weights.h5"
_NAMED = 5  # classes of a run that its repr names
_CHECKED = ("head.npz", "trunk.xml", "trunk.bin")


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder: its classes in the order of the head's outputs, its network, its head; `manifest` has the rest."""

    folder: Path
    classes: tuple[str, ...]
    backbone: Backbone
    head: Head
    unknown: Unknown | None
    manifest: Mapping[str, Any]

    def __repr__(self) -> str:
        count = len(self.classes)
        names = ", ".join(self.classes) if count <= _NAMED else f"{', '.join(self.classes[:_NAMED])}, …"
        told = [self.backbone.name, f"{count} classes ({names})"]
        for part in ("validation", "test"):
            figures = self.metrics.get(part)
            if isinstance(figures, dict) and isinstance(figures.get("top1"), float):
                told.append(f"{part} top-1 {100 * figures['top1']:.1f} %")
        return f"<Run {self.name}: {', '.join(told)}>"

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures by part, as the manifest has them: `run.metrics["validation"]["top1"]`, from 0 to 1."""
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
        """The weights of the folded network where the run trained it itself, else None."""
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
    """Head, trunk and manifest into a claimed folder; the trunk as hard links where the disk allows.

    `tuned` is the file of the trunk's weights, there already, where they are the run's own.
    """
    _write_head(folder / "head.npz", head, unknown)
    _link(trunk.xml, folder / "trunk.xml")
    _link(trunk.bin, folder / "trunk.bin")
    files = {
        "head.npz": _sha256(folder / "head.npz"),
        "trunk.xml": trunk.xml_sha256,
        "trunk.bin": trunk.bin_sha256,
    }
    files |= {TUNED: _sha256(tuned)} if tuned is not None else {}
    whole = {"format": FORMAT, **manifest, "files": files}
    text = json.dumps(whole | {"digest": _digest(whole)}, indent=1, ensure_ascii=False)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def load_run(run: str | Path | None = None) -> Run:
    """The run in a folder, by name below `runs/`, or the newest one.

    Raises RunError when there is none, or when it is damaged, truncated, or of a newer format.
    """
    folder = find_run(run)
    for name in ("manifest.json", *_CHECKED):
        if (folder / name).exists() and not (folder / name).is_file():  # a pipe would be waited for
            raise _damaged(folder, f"{name} is no file")
    manifest = _manifest(folder)
    try:
        backbone = _backbone(manifest["backbone"])
        classes = _classes(manifest["classes"])
        if set(manifest["files"]) - {TUNED} != set(_CHECKED):
            raise ValueError(f"files are not {', '.join(_CHECKED)}")
        head, unknown = _head(folder, backbone.features, len(classes))
    except (AttributeError, KeyError, TypeError, ValueError, OSError, EOFError, MemoryError, BadZipFile) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}"[:200]) from error
    return Run(folder, classes, backbone, head, unknown, manifest)


def check_run(run: Run) -> None:
    """Compare every file with its recorded sha256; raises RunError for one that is missing or has changed."""
    for name, expected in run.manifest["files"].items():
        try:
            found = _sha256(run.folder / Path(name).name)
        except OSError as error:
            raise _damaged(run.folder, f"{name} cannot be read") from error
        if found != expected:
            raise _damaged(run.folder, f"{name} is not the file that was written")


def trunk_key(run: Run) -> str:
    """What names the features of a run's network: the contents of its files, as `check_run` compares them."""
    files = run.manifest["files"]
    return content_key(files["trunk.xml"], files["trunk.bin"], run.backbone.recipe)


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """A backbone as the manifest holds it."""
    return asdict(backbone)


def trained_on(run: Run) -> frozenset[str]:
    """The sha256 of every image that the run was trained on."""
    try:
        with (run.folder / "split.csv").open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            part, sha256 = header.index("split"), header.index("sha256")
            return frozenset(row[sha256] for row in rows if row[part] == "train")
    except (OSError, IndexError, ValueError, csv.Error) as error:
        raise _damaged(run.folder, "split.csv cannot be read") from error


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, "manifest.json cannot be read") from error
    if type(version) is not int or version < 1:
        raise _damaged(folder, f"format {version!r}")
    if version > FORMAT:
        raise RunError(f"{folder} has format {version}, this version of tl reads up to {FORMAT}: upgrade tl to use it")
    digest = manifest.pop("digest", None)
    if digest != _digest(manifest):
        raise _damaged(folder, "manifest.json is not the file that was written")
    return dict(manifest)


def _classes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError("classes are no list of names")
    if len(set(names)) != len(names):
        raise ValueError("a class is named twice")
    for name in names:
        name.encode("utf-8", "surrogateescape")  # what is neither text nor bytes of a name can be written nowhere
    return tuple(names)


def _backbone(about: Mapping[str, Any]) -> Backbone:
    """The backbone a manifest describes, taken from the registry by its name.

    The manifest's `builder` is not read: builders have moved since older runs were written, and a run folder from
    elsewhere must not name code to import.
    """
    known = BACKBONES.get(about["name"])
    if known is None:
        raise ValueError(f"this version of tl knows no backbone {about['name']!r}")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["recipe"].items()
    }
    recipe = Recipe(**given)
    numbers = (*recipe.mean, *recipe.std, about["features"], recipe.image_size)
    if not all(isinstance(number, (int, float)) and abs(number) < 1e9 for number in numbers) or len(numbers) != 8:
        raise ValueError("the recipe's numbers are none")
    if type(recipe.image_size) is not int or not 16 <= recipe.image_size <= 2048 or recipe.resize not in RESIZE_RULES:
        raise ValueError(f"recipe of {recipe.image_size!r} pixels, {recipe.resize!r}")
    return replace(known, features=int(about["features"]), recipe=recipe)


def _write_head(path: Path, head: Head, unknown: Unknown | None) -> None:
    arrays: dict[str, Any] = {"kernel": head.kernel, "bias": head.bias, "temperature": np.float64(head.temperature)}
    if unknown is not None:
        arrays |= {"references": unknown.references, "threshold": unknown.threshold, "rate": unknown.rate}
    np.savez(path, **arrays)


def _head(folder: Path, features: int, classes: int) -> tuple[Head, Unknown | None]:
    most = 4 * classes * (features + 1) + 4 * features * most_references(classes) + 8192
    with ZipFile(folder / "head.npz") as archive:  # what it says of itself, before anything is unpacked
        if sum(member.file_size for member in archive.infolist()) > most:
            raise ValueError("head.npz is larger than its classes and features need")
    with (folder / "head.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        kernel, bias, temperature = arrays["kernel"], arrays["bias"], float(arrays["temperature"])
        unknown = _unknown(arrays, features) if "references" in arrays else None
    if kernel.shape != (features, classes) or bias.shape != (classes,) or kernel.dtype != np.float32:
        raise ValueError(f"head.npz has shape {kernel.shape}, expected {(features, classes)}")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all() and 1e-3 < temperature < 1e3):
        raise ValueError("head.npz holds numbers that are not finite")
    if max(np.abs(kernel).max(), np.abs(bias).max()) > 1e15:
        raise ValueError("head.npz holds numbers too large to be fitted")
    return Head(kernel, bias, temperature), unknown


def _unknown(arrays: Mapping[str, NDArray[Any]], features: int) -> Unknown:
    references, threshold, rate = arrays["references"], float(arrays["threshold"]), float(arrays["rate"])
    if references.ndim != 2 or references.shape[1] != features or references.dtype != np.float32 or not len(references):
        raise ValueError(f"head.npz has references of shape {references.shape}, expected (photos, {features})")
    if not np.isfinite(references).all() or not threshold >= 0 or not 0 <= rate < 1:
        raise ValueError("head.npz holds numbers that cannot tell photos apart")
    return Unknown(references, threshold, rate)


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(f"{folder} is damaged ({reason}): make it again with `tl finetune`, or copy it whole")


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another disk, or one without hard links


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
