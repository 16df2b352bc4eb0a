"""The formats a run can be exported to, what a writer gets, the metadata every export carries, and int8 by NNCF."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
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
METADATA = "classifier.json"  # the name of the metadata inside a model file or beside it

Pixels = NDArray[np.uint8]
"""Images, RGB `[n, height, width, 3]`, or one of them `[height, width, 3]`."""

Probabilities = NDArray[np.float32]

Classify = Callable[[Pixels], Probabilities]
"""From images of one size, `[n, height, width, 3]`, to calibrated probabilities `[n, classes]`."""


@dataclass(frozen=True)
class ExportFormat:
    """A format: `model` is its file or folder in the export, `packages` are what it needs beyond `tl`'s own.

    `runtime` is the package that runs it; `int8` says whether it can be quantized, `calibrated` on how many images.
    """

    name: str
    model: str
    runtime: str
    packages: tuple[str, ...] = ()
    int8: bool = False
    calibrated: int = 0

    @property
    def module(self) -> Any:
        """Its module, with `write(job)` and `load(path)`."""
        return importlib.import_module(f"tl.exporters.{self.name}")

    def check(self, int8: bool) -> None:
        """Raises UsageError where it cannot be quantized, EngineError for a package that is not installed."""
        if int8 and not self.int8:
            able = ", ".join(each.name for each in FORMATS.values() if each.int8)
            raise UsageError(f"--to {self.name} --int8: only {able} can be quantized")
        needed = self.packages + (("nncf",) if int8 and self.name != "litert" else ())
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            raise EngineError(f"--to {self.name} needs {' and '.join(missing)}, not installed here: {INSTALL}")


FORMATS = {
    each.name: each
    for each in (
        ExportFormat("keras", "classifier.keras", "keras"),
        ExportFormat("savedmodel", "1", "tensorflow"),
        ExportFormat(
            "onnx", "classifier.onnx", "onnxruntime", ("onnx", "onnxruntime", "tf2onnx"), int8=True, calibrated=300
        ),
        ExportFormat("openvino", "1/classifier.xml", "openvino", int8=True, calibrated=300),
        # Its converter calibrates with a reference kernel that takes seconds per image.
        ExportFormat("litert", "classifier.tflite", "ai_edge_litert", ("ai_edge_litert",), int8=True, calibrated=64),
    )
}


@dataclass(frozen=True)
class ExportJob:
    """What a writer gets: a run to write at `path` with `metadata`, quantized where there are `calibration` images.

    Those are resized already.
    """

    run: Run
    path: Path
    metadata: dict[str, Any]
    calibration: tuple[Pixels, ...]
    progress: Progress


def metadata_of(run: Run, name: str, int8: bool) -> dict[str, Any]:
    """What every format carries as metadata, as far as it has room."""
    recipe = run.backbone.recipe
    return {
        "classes": list(run.classes),
        "input": "photos: uint8 [n, height, width, 3], RGB, of any height and width, upright (EXIF rotation applied)",
        "output": "probabilities: float32 [n, classes], calibrated, in the order of classes",
        "inside": ["resize", "normalisation", "network", "head", "temperature"],
        "outside": ["decoding", "EXIF rotation", "detecting images unlike the training images (unknown)"],
        "backbone": run.backbone.name,
        "image_size": recipe.image_size,
        "resize": recipe.resize,
        "tuned": run.tuned is not None,
        "run": run.name,
        "format": name,
        "int8": int8,
        "tl": __version__,
    }


def append_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Append it to a file that is a zip archive, or becomes one at its end, which is LiteRT's convention."""
    with ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(metadata, indent=1, ensure_ascii=False).encode("utf-8", "replace"))


def quantize(trunk: Any, calibration: Sequence[Pixels], name: str = "", kind: Any = np.uint8) -> Any:
    """A trunk of OpenVINO or ONNX in int8, calibrated on resized images; its input has that name and type.

    Weights are symmetric per channel; NNCF chooses the activations for the processor ("mixed").
    """
    from tl.engines.openvino import hidden, runtime
    from tl.exporters.network import silence

    def batch(image: Pixels) -> Any:
        return {name: image[None].astype(kind)} if name else image[None].astype(kind)

    runtime()
    # Without its telemetry, which reports what it does to its makers; it works where that is not installed.
    with silence(), hidden("openvino_telemetry"):
        import nncf

        data = nncf.Dataset(calibration, batch)
        return nncf.quantize(trunk, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(calibration))
