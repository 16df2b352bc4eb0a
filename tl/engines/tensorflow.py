"""Compute features with TensorFlow: the engine for GPUs, and the devices that training runs on."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.engine import Photos, Tag, Vectors
from tl.engines.trunk import trunk_key
from tl.errors import EngineError
from tl.files import muted
from tl.networks.backbones import Backbone, Recipe
from tl.networks.trainable import frozen_part
from tl.networks.weights import Weights, build, verify

POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16", "f16": "mixed_float16"}


@dataclass(frozen=True)
class Devices:
    """The names of the devices that share each batch, whether they are GPUs, and their precision: f32, bf16 or f16."""

    names: tuple[str, ...]
    gpu: bool
    precision: str

    @property
    def policy(self) -> str:
        """The dtype policy for Keras; f32 on a CPU, where rewriting its graphs to bf16 is twice as fast."""
        return POLICIES[self.precision] if self.gpu else "float32"

    @contextmanager
    def graph_rewriting(self) -> Iterator[None]:
        """Graphs traced in the block compute in bf16 if that is the precision of a CPU; later ones do not."""
        tf, name = tensorflow(), "auto_mixed_precision_onednn_bfloat16"
        tf.config.optimizer.set_experimental_options({name: not self.gpu and self.precision == "bf16"})
        try:
            yield
        finally:
            tf.config.optimizer.set_experimental_options({name: False})

    def strategy(self) -> Any:
        """The strategy that distributes each batch: `MirroredStrategy` for several devices, else the default one."""
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(list(self.names)) if len(self.names) > 1 else tf.distribute.get_strategy()


def training_devices(precision: str = "auto") -> Devices:
    """All GPUs, with memory growth enabled, else the CPU; in bf16 if supported, in f16 on older GPUs.

    Raises EngineError for a precision that this machine cannot train in.
    """
    gpus = available_gpus()
    if gpus:
        import tensorflow as tf

        names = tuple(f"GPU:{at}" for at in range(len(tf.config.list_logical_devices("GPU"))))
        return Devices(names, True, gpu_precision(gpus) if precision == "auto" else precision)
    supported = has_bf16()
    if precision == "f16" or (precision == "bf16" and not supported):
        raise EngineError(f"this processor does not train in {precision}: choose auto or f32")
    if precision == "auto":
        precision = "bf16" if supported else "f32"
    return Devices(("CPU:0",), False, precision)


def tensorflow() -> Any:
    """TensorFlow, without its start-up messages. Raises EngineError if Keras uses another backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what fails is raised
    with muted(2):
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.zeros(1, tf.float16)  # the first computation, and the first in half precision, write messages
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about several trainings in one process
    if keras.backend.backend() != "tensorflow":
        raise EngineError(f"Keras runs on {keras.backend.backend()!r} here: set KERAS_BACKEND=tensorflow")
    return tf


def available_gpus() -> list[Any]:
    """The GPUs, whose memory TensorFlow allocates as needed instead of all at once."""
    tf = tensorflow()
    gpus: list[Any] = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with suppress(RuntimeError):  # too late: TensorFlow has initialized the GPU
            tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


def gpu_precision(gpus: list[Any]) -> str:
    """The precision of a GPU: bf16 from compute capability 8.0, f16 from 7.0, else f32."""
    import tensorflow as tf

    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "bf16" if capability >= (8, 0) else "f16" if capability >= (7, 0) else "f32"


def has_bf16() -> bool:
    """Whether the processor multiplies in bf16, from Linux; False on other systems."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)


class TensorFlowEngine:
    """The backbone in Keras, traced once, and compiled by XLA on a GPU.

    `precision` "auto" is f32 on a CPU; on a GPU it depends on the compute capability.
    """

    name = "tensorflow"

    def __init__(
        self, backbone: Backbone, weights: Weights, precision: str = "auto", unfreeze: str | None = None
    ) -> None:
        gpus = available_gpus()
        if precision == "auto":
            precision = gpu_precision(gpus) if gpus else "f32"
        self.precision = precision
        self.batch = 64 if gpus else 16
        self.key = f"{trunk_key(backbone, weights, unfreeze)}/tensorflow/{self.precision}"
        self._network = _traced(backbone, weights, POLICIES[self.precision], unfreeze, xla=bool(gpus))

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos to features, in order; the caller decodes the next batch while this one is computed."""
        for tag, photos in batches:
            yield tag, self.run_one(photos) if len(photos) else np.zeros((0, 0), np.float32)

    def run_one(self, photos: Photos) -> Vectors:
        """Features `[n, features]` of photos, padded to the traced batch size so that it is not traced again."""
        parts = [self._padded(photos[start : start + self.batch]) for start in range(0, len(photos), self.batch)]
        return np.concatenate(parts)

    def _padded(self, photos: Photos) -> Vectors:
        missing = self.batch - len(photos)
        filled = np.concatenate([photos, np.repeat(photos[-1:], missing, axis=0)]) if missing else photos
        vectors: Vectors = self._network(filled).numpy()
        return vectors[: len(photos)]


def preprocess(pixels: Any, recipe: Recipe) -> Any:
    """A float tensor of RGB pixels `[..., 3]`, 0–255, normalized for the network."""
    if recipe.bgr:
        pixels = pixels[..., ::-1]
    return (pixels - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers with this policy inside a block."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _traced(backbone: Backbone, weights: Weights, policy: str, unfreeze: str | None, *, xla: bool) -> Any:
    import tensorflow as tf

    verify(weights)
    with dtype_policy(policy):
        model = build(backbone, weights)
        model = frozen_part(model, unfreeze) if unfreeze else model

    @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator]
    def features(photos: Any) -> Any:
        pixels = preprocess(tf.cast(photos, tf.float32), backbone.recipe)
        values = model(pixels, training=False)
        return tf.cast(values, tf.float16 if unfreeze else tf.float32)

    return features
