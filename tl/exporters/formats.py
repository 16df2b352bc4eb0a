"""The formats that a run is exported to: what stands in the folder, which packages write and run it."""

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from tl import __version__
from tl.errors import EngineError, UsageError
from tl.progress import Progress
from tl.runs.run import Run

INSTALL = "pip install 'tl[export]'"


@dataclass(frozen=True)
class Format:
    """A format: the `model` is its file or folder in the export; `packages` are what it needs beyond `tl`'s own.

    `runtime` is the package that runs it; `int8` says whether it can be quantized, and `calibrated` on how many photos.
    """

    name: str
    model: str
    runtime: str
    packages: tuple[str, ...] = ()
    int8: bool = False
    calibrated: int = 0

    @property
    def writer(self) -> Any:
        """Its module, with `write` and `opened`."""
        return importlib.import_module(f"tl.exporters.{self.name}")


FORMATS = {
    each.name: each
    for each in (
        Format("keras", "classifier.keras", "keras"),
        Format("savedmodel", "1", "tensorflow"),
        Format("onnx", "classifier.onnx", "onnxruntime", ("onnx", "onnxruntime", "tf2onnx"), True, 300),
        Format("openvino", "1/classifier.xml", "openvino", (), True, 300),
        # Its converter calibrates with a reference kernel that takes seconds a photo.
        Format("litert", "classifier.tflite", "ai_edge_litert", ("ai_edge_litert",), True, 64),
    )
}


def chosen(name: str, int8: bool) -> Format:
    """The format of that name, with everything it needs installed.

    Raises UsageError for one that does not exist or cannot be quantized, EngineError for a missing package.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"--to {name}: choose {', '.join(FORMATS)}")
    if int8 and not found.int8:
        able = ", ".join(each.name for each in FORMATS.values() if each.int8)
        raise UsageError(f"--to {name} --int8: only {able} can be quantized")
    needed = found.packages + (("nncf",) if int8 and name != "litert" else ())
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise EngineError(f"--to {name} needs {' and '.join(missing)}, not installed here: {INSTALL}")
    return found


Pixels = NDArray[np.uint8]
"""Photos, RGB `[n, height, width, 3]`, or one of them `[height, width, 3]`."""

Probabilities = NDArray[np.float32]

Answering = Callable[[Pixels], Probabilities]
"""From photos of one size, `[n, height, width, 3]`, to calibrated probabilities `[n, classes]`."""


@dataclass(frozen=True)
class Writing:
    """A run that is to be written at `path`, with what it is `about` as metadata.

    It is quantized where there are photos for `calibration`, resized.
    """

    run: Run
    path: Path
    about: dict[str, Any]
    calibration: tuple[Pixels, ...]
    progress: Progress


MEMBER = "classifier.json"


def about(run: Run, name: str, int8: bool) -> dict[str, Any]:
    """What every format carries in its metadata, as far as it has room."""
    recipe = run.backbone.recipe
    return {
        "classes": list(run.classes),
        "input": "photos: uint8 [n, height, width, 3], RGB, of any height and width, upright (EXIF rotation applied)",
        "output": "probabilities: float32 [n, classes], calibrated, in the order of classes",
        "inside": ["resize", "normalisation", "network", "head", "temperature"],
        "outside": ["decoding", "EXIF rotation", "telling photos that are unlike all training photos (unknown)"],
        "backbone": run.backbone.name,
        "image_size": recipe.image_size,
        "resize": recipe.resize,
        "tuned": run.tuned is not None,
        "run": run.name,
        "format": name,
        "int8": int8,
        "tl": __version__,
    }


def attach(path: Path, told: dict[str, Any]) -> None:
    """Write it into a file that is a zip archive, or becomes one at its end as LiteRT's convention has it."""
    with ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(told, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
