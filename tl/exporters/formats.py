"""The formats that a run is exported to: what stands in the folder, which packages write and run it."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from tl.errors import EngineError, UsageError

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
        return importlib.import_module(f"tl.exports.{self.name}")


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
