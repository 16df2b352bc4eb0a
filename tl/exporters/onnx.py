"""A run becomes one `.onnx` file, written by tf2onnx and run by ONNX Runtime; in int8 if asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Answering, Writing
from tl.exporters.network import parts, silence

OPSET = 18


def write(job: Writing) -> None:
    """The file at `path`, in int8 where there is a `calibration`; `about` and the classes in its metadata.

    The three parts of a run are converted by themselves and joined, so that only the trunk is quantized.
    """
    tensorflow()
    import onnx

    made, size = parts(job.run, job.progress), job.run.backbone.recipe.image_size
    with silence():
        pixels = _converted(made.pixels, "photos", (None, None, None, 3), np.uint8)
        trunk = _converted(made.trunk, "pixels", (None, size, size, 3), np.float32)
        answer = _converted(made.answer, "features", (None, job.run.backbone.features), np.float32)
    if job.calibration:
        from tl.exporters.int8 import quantized

        trunk = quantized(trunk, job.calibration, trunk.graph.input[0].name, np.float32)
    whole = _joined(_joined(pixels, trunk, "pixels_", "trunk_"), answer, "", "head_")
    _name_ends(whole)
    onnx.helper.set_model_props(whole, {name: _text(value) for name, value in job.about.items()})
    onnx.checker.check_model(whole)
    onnx.save(whole, job.path)


def opened(path: Path) -> Answering:
    """The file, run by ONNX Runtime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda photos: np.asarray(session.run(["probabilities"], {"photos": photos})[0], np.float32)


def _converted(model: Any, name: str, shape: tuple[int | None, ...], kind: Any) -> Any:
    import tensorflow as tf
    import tf2onnx

    made, _ = tf2onnx.convert.from_keras(model, [tf.TensorSpec(shape, kind, name=name)], opset=OPSET)
    return made


def _joined(first: Any, second: Any, before: str, after: str) -> Any:
    from onnx import compose

    ends = (first.graph.output[0].name, second.graph.input[0].name)
    # Joined they are of one IR version, or not at all; what quantization writes is of another.
    second.ir_version = first.ir_version
    return compose.merge_models(first, second, io_map=[ends], prefix1=before or None, prefix2=after or None)


def _name_ends(model: Any) -> None:
    graph = model.graph
    names = {graph.input[0].name: "photos", graph.output[0].name: "probabilities"}
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    for end, sides in ((graph.input[0], ("n", "height", "width")), (graph.output[0], ("n",))):
        end.name = names[end.name]
        for at, side in enumerate(sides):
            end.type.tensor_type.shape.dim[at].dim_param = side


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()
