"""A run becomes one `.tflite` file for LiteRT, which runs on telephones and small boards; in int8 if asked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Answering, Pixels, Writing, attach
from tl.exporters.network import parts, silence


def write(job: Writing) -> None:
    """The file at `path`, in int8 where there is a `calibration`; what it is about lies at its end, in a zip."""
    tf = tensorflow()
    made = parts(job.run, job.progress)
    whole = made.whole()
    with silence(), TemporaryDirectory(dir=job.path.parent, prefix=".") as scratch:
        _save_frozen(tf, whole, scratch)
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch)
        content: bytes = converter.convert()
        if job.calibration:
            content = _quantized(tf, converter, job.calibration, _around(content, made.network))
    job.path.write_bytes(content)
    attach(job.path, job.about)


def opened(path: Path) -> Answering:
    """The file, run by LiteRT."""
    import os

    from ai_edge_litert.interpreter import Interpreter

    with silence():  # it tells of its delegate at first use
        runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner("serving_default")
        runner(photos=np.zeros((1, 1, 1, 3), np.uint8))
    return lambda photos: np.asarray(runner(photos=photos)["probabilities"], np.float32)


def _save_frozen(tf: Any, whole: Any, folder: str) -> None:
    """A SavedModel whose weights are constants: LiteRT would look for variables that nothing has set."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="photos")
    traced = tf.function(lambda photos: whole(photos, training=False), input_signature=[spec])
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def classify(photos: Any) -> dict[str, Any]:
        return {"probabilities": frozen(photos)[0]}

    module = tf.Module()
    module.classify = classify
    tf.saved_model.save(module, folder, signatures={"serving_default": classify})


def _around(content: bytes, network: str) -> list[str]:
    """What is not the network: resizing, normalisation and head, which stay in float.

    They are little of the work. Calibrated on photos of one size, the matrices that resize would be wrong for others;
    RGB turned around gets another scale, while the kernel only copies bytes; and probabilities would have 256 steps.
    """
    from ai_edge_litert.interpreter import Interpreter

    names = [str(tensor["name"]) for tensor in Interpreter(model_content=content).get_tensor_details()]
    return [name for name in names if name and f"/{network}" not in name]


def _quantized(tf: Any, converter: Any, calibration: Sequence[Pixels], in_float: Sequence[str]) -> bytes:
    def photos() -> Iterator[list[Pixels]]:
        for photo in calibration:
            yield [photo[None]]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = photos
    lite = tf.lite.experimental  # the only public way to leave operations out of quantization
    options = lite.QuantizationDebugOptions(denylisted_nodes=list(in_float))
    debugger = lite.QuantizationDebugger(converter=converter, debug_dataset=photos, debug_options=options)
    content: bytes = debugger.get_nondebug_quantized_model()
    return content
