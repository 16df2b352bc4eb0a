"""A Keras backbone and photos become features through TensorFlow: the engine for GPUs, and the reference."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tl.engines.devices import POLICIES, gpu_precision, grow, tensorflow
from tl.engines.engine import Photos, Tag, Vectors
from tl.engines.trunk import trunk_key
from tl.networks.backbones import Backbone, Recipe
from tl.networks.models import build
from tl.networks.trainable import frozen_part
from tl.networks.weights import Weights, verify


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
