"""Export a run as one `.tflite` file for LiteRT, which runs on phones and small boards; optionally in int8."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Classify, ExportJob, Pixels, append_metadata
from tl.exporters.network import build_models, silence


def write(job: ExportJob) -> None:
    """Write the file, with the metadata in a zip archive at its end."""
    tf = tensorflow()
    models = build_models(job.run, job.progress)
    model = models.whole()
    with silence(), TemporaryDirectory(dir=job.path.parent, prefix=".") as scratch:
        _save_frozen(tf, model, scratch)
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch)
        content: bytes = converter.convert()
        if job.calibration:
            content = _quantize(tf, converter, job.calibration, _outside_network(content, models.network))
    job.path.write_bytes(content)
    append_metadata(job.path, job.metadata)


def load(path: Path) -> Classify:
    """The file, run by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    with silence():  # it prints about its delegate at first use
        runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner("serving_default")
        runner(photos=np.zeros((1, 1, 1, 3), np.uint8))
    return lambda images: np.asarray(runner(photos=images)["probabilities"], np.float32)


def _save_frozen(tf: Any, model: Any, folder: str) -> None:
    """A SavedModel whose weights are constants: LiteRT would look for variables that nothing has initialised."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="photos")
    traced = tf.function(lambda photos: model(photos, training=False), input_signature=[spec])
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def classify(photos: Any) -> dict[str, Any]:
        return {"probabilities": frozen(photos)[0]}

    module = tf.Module()
    module.classify = classify
    tf.saved_model.save(module, folder, signatures={"serving_default": classify})


def _outside_network(content: bytes, network: str) -> list[str]:
    """The tensors of resizing, normalisation and head, which stay in float.

    They are little of the work. Calibrated on images of one size, the matrices that resize would be wrong for others;
    flipped RGB would get another scale, while the kernel only copies bytes; and probabilities would have 256 steps.
    """
    from ai_edge_litert.interpreter import Interpreter

    names = [str(tensor["name"]) for tensor in Interpreter(model_content=content).get_tensor_details()]
    return [name for name in names if name and f"/{network}" not in name]


def _quantize(tf: Any, converter: Any, calibration: Sequence[Pixels], in_float: Sequence[str]) -> bytes:
    def images() -> Iterator[list[Pixels]]:
        for image in calibration:
            yield [image[None]]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    lite = tf.lite.experimental  # the only public way to leave operations out of quantization
    options = lite.QuantizationDebugOptions(denylisted_nodes=list(in_float))
    debugger = lite.QuantizationDebugger(converter=converter, debug_dataset=images, debug_options=options)
    content: bytes = debugger.get_nondebug_quantized_model()
    return content
