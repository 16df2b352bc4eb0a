"""A Keras backbone and photos become features through TensorFlow: the engine for GPUs, and the reference."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.engine import Photos, Tag, Vectors
from tl.engines.trunk import trunk_key
from tl.errors import EngineError
from tl.networks.backbones import Backbone, Recipe
from tl.networks.trainable import frozen_part
from tl.networks.weights import Weights, build, verify

POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16", "f16": "mixed_float16"}


@dataclass(frozen=True)
class Devices:
    """The `names` of the devices that share each batch, whether they are GPUs, and their precision: f32, bf16, f16."""

    names: tuple[str, ...]
    gpu: bool
    precision: str

    @property
    def policy(self) -> str:
        """The dtype policy for Keras. A CPU gets f32: its graphs are rewritten to bf16, which is twice as fast."""
        return POLICIES[self.precision] if self.gpu else "float32"

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """What is traced in the block computes in bf16 where that is the precision of a CPU; nothing after it does."""
        tf, name = tensorflow(), "auto_mixed_precision_onednn_bfloat16"
        tf.config.optimizer.set_experimental_options({name: not self.gpu and self.precision == "bf16"})
        try:
            yield
        finally:
            tf.config.optimizer.set_experimental_options({name: False})

    def strategy(self) -> Any:
        """What spreads each batch: `MirroredStrategy` over several devices, else none of consequence."""
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(list(self.names)) if len(self.names) > 1 else tf.distribute.get_strategy()


def training_devices(precision: str = "auto") -> Devices:
    """All GPUs, with memory growth on, or else the processor; bf16 where they compute in it, f16 on older GPUs.

    Raises EngineError for a precision that this machine cannot train in.
    """
    tf = tensorflow()
    cards = tf.config.list_physical_devices("GPU")
    for card in cards:
        grow(card)
    if cards:
        names = tuple(f"GPU:{at}" for at in range(len(tf.config.list_logical_devices("GPU"))))
        return Devices(names, True, gpu_precision(cards) if precision == "auto" else precision)
    able = has_bf16()
    if precision == "f16" or (precision == "bf16" and not able):
        raise EngineError(f"this processor does not train in {precision}: choose auto or f32")
    chosen = "bf16" if able and precision == "auto" else "f32" if precision == "auto" else precision
    return Devices(("CPU:0",), False, chosen)


def tensorflow() -> Any:
    """TensorFlow, quiet. Raises EngineError where Keras was told to use another backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _hushed():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.constant(0.0)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # several trainings in a process are no fault to warn of
    if keras.backend.backend() != "tensorflow":
        raise EngineError(f"Keras runs on {keras.backend.backend()!r} here: set KERAS_BACKEND=tensorflow")
    return tf


@contextmanager
def _hushed() -> Iterator[None]:
    """Standard error closed to what C++ writes while it loads, before any log level is heeded."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def grow(card: Any) -> None:
    """Let TensorFlow take the memory of a GPU as it needs it, not all at once."""
    import tensorflow as tf

    with suppress(RuntimeError):  # TensorFlow is running already, with the choice that its first user made
        tf.config.experimental.set_memory_growth(card, True)


def gpu_precision(cards: list[Any]) -> str:
    """bf16 from compute capability 8.0, f16 from 7.0, f32 before."""
    import tensorflow as tf

    capability = tf.config.experimental.get_device_details(cards[0]).get("compute_capability", (0, 0))
    return "bf16" if capability >= (8, 0) else "f16" if capability >= (7, 0) else "f32"


def has_bf16() -> bool:
    """Whether the processor multiplies in bf16, as Linux tells; elsewhere f32 is always right."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(words)


class TensorFlowEngine:
    """The backbone as Keras runs it, traced once and compiled by XLA on a GPU.

    `precision` "auto" is f32 on a CPU; on a GPU bf16 from compute capability 8.0, f16 from 7.0, f32 before.
    """

    name = "tensorflow"

    def __init__(
        self, backbone: Backbone, weights: Weights, precision: str = "auto", unfreeze: str | None = None
    ) -> None:
        cards = tensorflow().config.list_physical_devices("GPU")
        for card in cards:
            grow(card)
        auto = gpu_precision(cards) if cards else "f32"
        self.precision = auto if precision == "auto" else precision
        self.batch = 64 if cards else 16
        self.key = f"{trunk_key(backbone, weights, unfreeze)}/tensorflow/{self.precision}"
        self._network = _traced(backbone, weights, POLICIES[self.precision], unfreeze, xla=bool(cards))

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos to features, batch after batch; the next one is decoded while this one is computed."""
        for tag, photos in batches:
            if len(photos):
                yield tag, self.run_one(photos)
            else:
                yield tag, np.zeros((0, 0), np.float32)

    def run_one(self, photos: Photos) -> Vectors:
        """Features `[n, features]` of one batch, filled up to the traced size so that it is never traced again."""
        parts = [self._padded(photos[start : start + self.batch]) for start in range(0, len(photos), self.batch)]
        return np.concatenate(parts)

    def _padded(self, photos: Photos) -> Vectors:
        missing = self.batch - len(photos)
        filled = np.concatenate([photos, np.repeat(photos[-1:], missing, axis=0)]) if missing else photos
        vectors: Vectors = self._network(filled).numpy()
        return vectors[: len(photos)]


def preprocess(pixels: Any, recipe: Recipe) -> Any:
    """A float tensor of RGB pixels `[..., 3]`, 0-255, as the network wants them."""
    if recipe.bgr:
        pixels = pixels[..., ::-1]
    return (pixels - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)


def _traced(backbone: Backbone, weights: Weights, policy: str, unfreeze: str | None, *, xla: bool) -> Any:
    import keras
    import tensorflow as tf

    verify(weights)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build(backbone, weights)
        model = frozen_part(model, unfreeze) if unfreeze else model
    finally:
        keras.config.set_dtype_policy(before)

    @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator]
    def features(photos: Any) -> Any:
        pixels = preprocess(tf.cast(photos, tf.float32), backbone.recipe)
        values = model(pixels, training=False)
        return tf.cast(values, tf.float16 if unfreeze else tf.float32)

    return features
