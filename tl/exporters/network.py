"""A run becomes Keras models: from photos of any size to pixels as its network wants them, and on to probabilities.

They are made of layers and operations of Keras alone, so that the file loads where `tl` is not installed.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.errors import RunError
from tl.exporters.resize import resizing
from tl.networks.backbones import Recipe
from tl.networks.weights import Weights, build, resolve, verify
from tl.progress import Progress
from tl.runs.run import Run


@dataclass(frozen=True)
class Parts:
    """The models that a run is made of, one after the other.

    `pixels`: uint8 `[n, height, width, 3]` to float32 `[n, size, size, 3]`, resized, whole numbers of 0 to 255;
    `trunk`: from those to features; `answer`: from features to calibrated probabilities `[n, classes]`.
    `network`: the name of the pretrained network, a model inside of the trunk.
    """

    pixels: Any
    trunk: Any
    answer: Any
    network: str

    def whole(self) -> Any:
        """The model from photos to probabilities."""
        import keras

        photos = self.pixels.input
        return keras.Model(photos, self.answer(self.trunk(self.pixels.output)), name="classifier")


def parts(run: Run, progress: Progress) -> Parts:
    """The models of a run, in float32, with channels last.

    Raises RunError where the weights it was made with are not here.
    """
    tensorflow()
    network = build(run.backbone, weights_of(run, progress))
    network.trainable = False
    return Parts(pixels(run.backbone.recipe), _trunk(run.backbone.recipe, network), _answer(run), network.name)


def weights_of(run: Run, progress: Progress) -> Weights:
    """The weights of a run's network for Keras: its own where it was tuned, else those it was made with.

    Raises RunError where other ones stand in their place.
    """
    if run.tuned is not None:
        return run.tuned
    made_with, options = run.manifest["weights"], run.manifest["options"]
    found = resolve(run.backbone, str(options["weights"]), seed=int(made_with["seed"] or 0), progress=progress)
    if found.sha256 != made_with["sha256"]:
        raise RunError(
            f"{run.folder} was made with other {run.backbone.name} weights than are here: export it --to openvino, "
            "which needs none"
        )
    verify(found)
    return found


def pixels(recipe: Recipe) -> Any:
    """The model that resizes photos as `tl.data.images.fit` does, to within one step of 255."""
    import keras
    from keras import ops

    photos = keras.Input((None, None, 3), dtype="uint8", name="photos")
    sides = _counted(photos[:1, :, 0, 0]), _counted(photos[:1, 0, :, 0])
    by = resizing(ops, *sides, recipe)
    fewer = ops.einsum("ih,nhwc->niwc", by.rows, ops.cast(photos, "float32"))
    small = ops.round(ops.einsum("jw,niwc->nijc", by.columns, fewer))
    taller = ops.einsum("ih,nhwc->niwc", by.taller, small)
    square = ops.einsum("jw,niwc->nijc", by.wider, taller)
    return keras.Model(photos, ops.clip(ops.round(square), 0.0, 255.0), name="pixels")


def _counted(line: Any) -> tuple[Any, Any]:
    """A line of pixels `[1, length]` to its length and its places; a graph of Keras cannot ask for a shape."""
    from keras import ops

    ones = ops.cast(ops.ones_like(line), "int32")
    return ops.sum(ones, axis=1, keepdims=True), ops.cumsum(ones, axis=1) - 1


def _trunk(recipe: Recipe, network: Any) -> Any:
    import keras
    from keras import ops

    resized = keras.Input((recipe.image_size, recipe.image_size, 3), name="pixels")
    ordered = ops.flip(resized, axis=-1) if recipe.bgr else resized
    shifted = ordered - np.array(recipe.mean, np.float32) if any(recipe.mean) else ordered
    scaled = shifted / np.array(recipe.std, np.float32) if set(recipe.std) != {1.0} else shifted
    return keras.Model(resized, network(scaled), name="trunk")


def _answer(run: Run) -> Any:
    import keras

    head = run.head
    features = keras.Input((head.kernel.shape[0],), name="features")
    layer = keras.layers.Dense(len(run.classes), activation="softmax", trainable=False, name="probabilities")
    model = keras.Model(features, layer(features), name="head")
    layer.set_weights([head.kernel / np.float32(head.temperature), head.bias / np.float32(head.temperature)])
    return model


@contextmanager
def silence() -> Iterator[None]:
    """Standard output and standard error closed, those of C++ as well, and the loggers of the converters."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with open(os.devnull, "wb") as nowhere, warnings.catch_warnings(action="ignore"):
            for number, _ in kept:
                os.dup2(nowhere.fileno(), number)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
