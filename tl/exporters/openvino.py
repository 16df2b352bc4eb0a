"""Export a run as OpenVINO IR, `classifier.xml` and `.bin`, from the trunk it already has."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.engines.openvino import OpenVINOEngine
from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Classify, ExportJob, quantize
from tl.exporters.network import resize_model, silence
from tl.learning.head import IMAGENET_LEVEL, IMAGENET_WEIGHT, Head
from tl.networks.backbones import Recipe


def write(job: ExportJob) -> None:
    """Write the network, with the metadata in its run-time information, as a version for OpenVINO Model Server."""
    import openvino

    trunk = openvino.Core().read_model(job.run.trunk)
    if job.calibration:
        trunk = quantize(trunk, job.calibration)
    whole = _whole_network(trunk, job.run.backbone.recipe, job.run.head)
    whole.set_rt_info(json.dumps(job.metadata, ensure_ascii=False).encode("utf-8", "replace").decode(), ["classifier"])
    job.path.parent.mkdir(parents=True)
    openvino.serialize(whole, job.path)


def load(path: Path) -> Classify:
    """The network, run by OpenVINO on the CPU in f32."""
    network = OpenVINOEngine(path, "", "f32").network
    return lambda images: np.asarray(network([images])[0], np.float32)


def _whole_network(trunk: Any, recipe: Recipe, head: Head) -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    photos = ops.parameter(PartialShape([-1, -1, -1, 3]), Type.u8, name="photos")
    features = _append(_resize(photos, recipe), trunk)
    probabilities = ops.softmax(_logits(features, head), 1)
    photos.output(0).set_names({"photos"})
    probabilities.output(0).set_names({"probabilities"})
    return Model([probabilities], [photos], "classifier")


def _logits(features: Any, head: Head) -> Any:
    """The calibrated logits of features `[n, features]`, as `Head` computes them."""
    from openvino import opset13 as ops

    def weights(array: NDArray[np.float32]) -> Any:
        return ops.constant(np.ascontiguousarray(array / np.float32(head.temperature)))

    logits = ops.add(ops.matmul(features, weights(head.kernel), False, False), weights(head.bias[None]))
    if head.normalized_kernel is None:
        return logits
    last = ops.constant([1], np.int32)
    parts = [ops.normalize_l2(ops.multiply(ops.sign(features), ops.sqrt(ops.absolute(features))), last, 1e-24, "max")]
    if head.imagenet is not None:
        scores = ops.matmul(features, ops.constant(head.imagenet), False, False)
        centred = ops.subtract(scores, ops.reduce_mean(scores, last, True))
        spread = ops.sqrt(ops.reduce_mean(ops.multiply(centred, centred), last, True))
        kept = ops.relu(ops.subtract(centred, ops.multiply(spread, np.float32(IMAGENET_LEVEL))))
        parts.append(ops.multiply(ops.normalize_l2(kept, last, 1e-24, "max"), np.float32(IMAGENET_WEIGHT)))
    normalized = ops.concat(parts, 1)
    return ops.add(logits, ops.matmul(normalized, weights(head.normalized_kernel), False, False))


def _resize(photos: Any, recipe: Recipe) -> Any:
    """Images `[n, height, width, 3]` to uint8 `[n, size, size, 3]`, as `tl.data.images.fit` makes them."""
    import openvino
    from openvino import opset13 as ops

    tensorflow()
    with silence(), TemporaryDirectory() as folder:
        resize_model(recipe).export(folder, verbose=False)
        return ops.convert(_append(photos, openvino.Core().read_model(folder)), "u8")


def _append(node: Any, model: Any) -> Any:
    """What a model with one input computes of the output of a node."""
    for reader in model.get_parameters()[0].output(0).get_target_inputs():
        reader.replace_source_output(node.output(0))
    return model.get_results()[0].input_value(0)
