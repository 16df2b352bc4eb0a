"""Build a run as Keras models, from images of any size to probabilities, and the matrices that resize images.

The models consist of layers and operations of Keras alone, so that an export loads where `tl` is not installed.

`tl.data.images.fit` resizes with OpenCV: linear interpolation, once or twice, or area averaging where it shrinks, then
cubic interpolation where it enlarges. Each of them is linear and separable, rows @ image @ columns, whereas the
`Resize` of each runtime is another function. So an export resizes by matrices made of operators that every runtime has.
The coordinates are whole numbers, which a runtime that computes in bf16 or f16 does not lose. What is left in f32 is
rounding: one step of 255 in one value of a hundred.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.engines.tensorflow import tensorflow
from tl.files import muted
from tl.learning.head import IMAGENET_LEVEL, IMAGENET_WEIGHT
from tl.networks.backbones import Recipe
from tl.networks.weights import build, verify
from tl.progress import Progress
from tl.runs.run import Run, weights_of


@dataclass(frozen=True)
class RunModels:
    """The models that a run consists of, one after the other.

    `pixels`: uint8 `[n, height, width, 3]` to float32 `[n, size, size, 3]`, resized, whole numbers of 0 to 255;
    `trunk`: from those to features; `head`: from features to calibrated probabilities `[n, classes]`.
    `network`: the name of the pretrained network, a model inside the trunk.
    """

    pixels: Any
    trunk: Any
    head: Any
    network: str

    def whole(self) -> Any:
        """The model from images to probabilities."""
        import keras

        photos = self.pixels.input
        return keras.Model(photos, self.head(self.trunk(self.pixels.output)), name="classifier")


def build_models(run: Run, progress: Progress) -> RunModels:
    """The models of a run, in float32, with channels last.

    Raises RunError where the weights it was made with are not here.
    """
    tensorflow()
    weights = weights_of(run, "export it --to openvino, which needs none", progress)
    if run.tuned is None:
        verify(weights)
    network = build(run.backbone, weights)
    network.trainable = False
    return RunModels(resize_model(run.backbone.recipe), _trunk(run.backbone.recipe, network), _head(run), network.name)


def resize_model(recipe: Recipe) -> Any:
    """The model that resizes images as `tl.data.images.fit` does, to within one step of 255."""
    import keras
    from keras import ops

    photos = keras.Input((None, None, 3), dtype="uint8", name="photos")
    rows, columns, taller, wider = _resize_matrices(_side(photos[:1, :, 0, 0]), _side(photos[:1, 0, :, 0]), recipe)
    fewer = ops.einsum("ih,nhwc->niwc", rows, ops.cast(photos, "float32"))
    small = ops.round(ops.einsum("jw,niwc->nijc", columns, fewer))
    large = ops.einsum("jw,niwc->nijc", wider, ops.einsum("ih,nhwc->niwc", taller, small))
    return keras.Model(photos, ops.clip(ops.round(large), 0.0, 255.0), name="pixels")


def _side(line: Any) -> "_Side":
    """A line of pixels `[1, length]` to its length and its places: a graph of Keras cannot read a shape."""
    from keras import ops

    ones = ops.cast(ops.ones_like(line), "int32")
    return _Side(ops.sum(ones, axis=1, keepdims=True), ops.cumsum(ones, axis=1) - 1)


def _trunk(recipe: Recipe, network: Any) -> Any:
    import keras
    from keras import ops

    resized = keras.Input((recipe.image_size, recipe.image_size, 3), name="pixels")
    ordered = ops.flip(resized, axis=-1) if recipe.bgr else resized
    shifted = ordered - np.array(recipe.mean, np.float32) if any(recipe.mean) else ordered
    scaled = shifted / np.array(recipe.std, np.float32) if set(recipe.std) != {1.0} else shifted
    return keras.Model(resized, network(scaled), name="trunk")


def _head(run: Run) -> Any:
    import keras
    from keras import ops

    head, parts = run.head, []
    features = keras.Input((head.kernel.shape[0],), name="features")
    outputs = [_dense(head.kernel / np.float32(head.temperature), head.bias / np.float32(head.temperature))(features)]
    if head.normalized_kernel is not None:
        parts.append(_unit(ops.sign(features) * ops.sqrt(ops.absolute(features))))
        if head.imagenet is not None:
            scores = _dense(head.imagenet, name="imagenet")(features)
            centred = scores - ops.mean(scores, axis=-1, keepdims=True)
            spread = ops.sqrt(ops.mean(centred * centred, axis=-1, keepdims=True))
            parts.append(_unit(ops.relu(centred - IMAGENET_LEVEL * spread)) * IMAGENET_WEIGHT)
        normalized = ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        outputs.append(_dense(head.normalized_kernel / np.float32(head.temperature), name="normalized")(normalized))
    logits = outputs[0] + outputs[1] if len(outputs) > 1 else outputs[0]
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(features, probabilities, name="head")


def _dense(kernel: NDArray[np.float32], bias: NDArray[np.float32] | None = None, name: str = "logits") -> Any:
    """A built layer with these weights."""
    import keras

    layer = keras.layers.Dense(kernel.shape[1], use_bias=bias is not None, trainable=False, name=name)
    layer.build((None, kernel.shape[0]))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return layer


def _unit(rows: Any) -> Any:
    """Rows scaled to length 1; a row of zeros stays."""
    from keras import ops

    return rows / ops.maximum(ops.sqrt(ops.sum(rows * rows, axis=-1, keepdims=True)), 1e-12)


# resizing

_CUBIC = -0.75  # OpenCV's choice of the free parameter of Keys' cubic convolution (1981)


@dataclass(frozen=True)
class _Side:
    """A side of an image: its `length`, int32 `[1, 1]`, and its `places` 0, 1, 2, …, int32 `[1, length]`."""

    length: Any
    places: Any

    def centre(self, seen: Any) -> "_Side":
        """The `seen` pixels in the middle."""
        return _Side(seen, self.places - (self.length - seen) // 2)

    def shrink(self, size: int, slight: Any) -> Any:
        """The matrix that shrinks it to `size` pixels, by lines where both sides are `slight`; a short one is kept."""
        from keras import ops

        target = np.arange(size, dtype=np.int32)[:, None]
        end = ops.minimum(self.length * (target + 1), self.places * size + size)
        overlap = ops.maximum(end - ops.maximum(self.length * target, self.places * size), 0)
        areas = ops.cast(overlap, "float32") / ops.cast(self.length, "float32")
        kept = ops.cast(ops.equal(self.places - target, 0), "float32")
        return ops.where(self.length > size, ops.where(slight, self._lines(size, target), areas), kept)

    def _lines(self, size: int, target: Any) -> Any:
        """Linear interpolation; where a side is longer than two sizes, by way of half of it, rounded up."""
        from keras import ops

        half = (self.length + 1) // 2
        count = ops.where(self.length > 2 * size, half, ops.minimum(self.length, size))
        centre = ops.minimum(ops.maximum(count * (2 * target + 1) - size, 0), (count - 1) * (2 * size))
        before = centre // (2 * size)
        fraction = ops.cast(centre - before * (2 * size), "float32") / (2.0 * size)
        first = self._line(count, before)
        return first + (self._line(count, before + 1) - first) * fraction

    def _line(self, count: Any, target: Any) -> Any:
        """The weights of the two pixels around the centre of each of `count`, the outermost repeated."""
        from keras import ops

        centre = self.length * (2 * target + 1) - count
        inside = ops.minimum(ops.maximum(centre, 0), (self.length - 1) * (2 * count))
        parts = ops.maximum(2 * count - ops.absolute(inside - self.places * (2 * count)), 0)
        return ops.cast(parts, "float32") / ops.cast(2 * count, "float32")

    def enlarge(self, size: int) -> Any:
        """Cubic convolution of the four pixels around each centre, the outermost repeated; none where it is long."""
        from keras import ops

        places = np.arange(size, dtype=np.int32)[None]
        target, length = places.T, ops.minimum(self.length, size)
        # Runtimes differ in how they divide negative numbers: the first centre is at most half a pixel outside.
        centre = length * (2 * target + 1) + size
        before = centre // (2 * size) - 1
        t = ops.cast(centre - (before + 1) * (2 * size), "float32") / (2.0 * size)
        total: Any = 0.0
        for offset, weight in zip((-1, 0, 1, 2), _keys(t), strict=True):
            tap = ops.minimum(ops.maximum(before + offset, 0), length - 1)
            total = weight * ops.cast(ops.equal(tap - places, 0), "float32") + total
        return total


def _resize_matrices(height: _Side, width: _Side, recipe: Recipe) -> tuple[Any, Any, Any, Any]:
    """The matrices that resize images in two steps, each rounded to whole numbers, as `fit` does.

    Rows `[size, height]` and columns `[size, width]` shrink; they keep a side that is short enough, at the beginning of
    an otherwise empty one. The others, both `[size, size]`, make what was kept taller and wider. What the rule "crop"
    cuts off gets no weight.
    """
    from keras import ops

    size = recipe.image_size
    if recipe.resize == "crop":
        short = ops.minimum(height.length, width.length)
        # 7/8 of a whole number, rounded half to even as Python's `round` does
        odd = ops.equal(short - short // 16 * 16, 12)
        seen = ops.maximum((short * 7 + 4) // 8 - ops.cast(odd, "int32"), 1)
        height, width = height.centre(seen), width.centre(seen)
    slight = ops.maximum(height.length, width.length) <= 4 * size  # shrunk by lines: to a quarter at most
    return height.shrink(size, slight), width.shrink(size, slight), height.enlarge(size), width.enlarge(size)


def _keys(t: Any) -> tuple[Any, Any, Any, Any]:
    a, rest = _CUBIC, 1.0 - t
    second = (t * (a + 2.0) - (a + 3.0)) * t * t + 1.0
    third = (rest * (a + 2.0) - (a + 3.0)) * rest * rest + 1.0
    first = ((t * a - 2.0 * a) * t + a) * t
    return first, second, third, 1.0 - (first + second + third)


@contextmanager
def silence() -> Iterator[None]:
    """Standard output and standard error closed, those of C++ as well, and the loggers of the converters."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with muted(1, 2), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
