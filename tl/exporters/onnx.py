"""Export a run as one `.onnx` file, written by tf2onnx and run by ONNX Runtime; optionally in int8."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Classify, ExportJob, quantize
from tl.exporters.network import build_models, silence


def write(job: ExportJob) -> None:
    """Write the file, with the metadata in its properties.

    The three models of a run are converted by themselves and joined, so that only the trunk is quantized.
    """
    tensorflow()
    import onnx

    models, size = build_models(job.run, job.progress), job.run.backbone.recipe.image_size
    with silence():
        pixels = _convert(models.pixels, "photos", (None, None, None, 3), np.uint8)
        trunk = _convert(models.trunk, "pixels", (None, size, size, 3), np.float32)
        head = _convert(models.head, "features", (None, job.run.backbone.features), np.float32)
    if job.calibration:
        trunk = quantize(trunk, job.calibration, trunk.graph.input[0].name, np.float32)
    whole = _join(_join(pixels, trunk, "pixels_", "trunk_"), head, "", "head_")
    _name_input_and_output(whole)
    onnx.helper.set_model_props(whole, {name: _text(value) for name, value in job.metadata.items()})
    onnx.checker.check_model(whole)
    onnx.save(whole, job.path)


def load(path: Path) -> Classify:
    """The file, run by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"photos": images})[0], np.float32)


def _convert(model: Any, name: str, shape: tuple[int | None, ...], kind: Any) -> Any:
    import tensorflow as tf
    import tf2onnx

    converted, _ = tf2onnx.convert.from_keras(model, [tf.TensorSpec(shape, kind, name=name)], opset=18)
    return converted


def _join(first: Any, second: Any, before: str, after: str) -> Any:
    from onnx import compose

    ends = (first.graph.output[0].name, second.graph.input[0].name)
    # Only models of one IR version can be merged; quantization writes another.
    second.ir_version = first.ir_version
    return compose.merge_models(first, second, io_map=[ends], prefix1=before or None, prefix2=after or None)


def _name_input_and_output(model: Any) -> None:
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
