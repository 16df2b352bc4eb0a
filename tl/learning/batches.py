"""Training batches of images or stored activations, in an order that depends on the seed and the step alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike
from tl.errors import TLError
from tl.features.activations import MARGIN, Halves, photos
from tl.learning.augment import Augment
from tl.learning.head_fit import Floats, Labels
from tl.networks.backbones import Recipe


@dataclass(frozen=True)
class ActivationFeed:
    """Batches of stored activations `[views, n, height, width, channels]`; training takes a random view of each image.

    `mixup` mixes each image with another of its batch, and their labels (Manifold Mixup: Verma et al. 2019): it is both
    parameters of the Beta distribution of the proportion, one for a whole batch; 0 turns it off.
    """

    values: Halves
    seed: int
    mixup: float = 0.0

    def load(self, indices: Labels, step: int, *, training: bool) -> NDArray[Any]:
        """One view of each image; outside of training the first, which is not augmented."""
        views = np.zeros(len(indices), np.int64)
        if training and len(self.values) > 1:
            views = np.random.default_rng([self.seed, step, 1]).integers(len(self.values), size=len(indices))
        return self.values[views, indices]

    def finish(self, inputs: Any, labels: Any, step: Any, *, training: bool) -> tuple[Any, Any]:
        """As float32, mixed in training."""
        import tensorflow as tf

        inputs = tf.cast(inputs, tf.float32)
        if not training or not self.mixup:
            return inputs, labels
        seed = tf.stack([tf.cast(self.seed % 2**31, tf.int32), tf.cast(step, tf.int32)])
        first, second = tf.unstack(tf.random.stateless_gamma([2], seed, self.mixup))
        share = tf.maximum(first, second) / (first + second)  # each image remains the larger part
        return tuple(share * own + (1 - share) * tf.roll(own, 1, axis=0) for own in (inputs, labels))


@dataclass(frozen=True)
class ImageFeed:
    """Images, decoded and augmented anew in every epoch, and preprocessed for the network."""

    images: Sequence[ImageLike]
    recipe: Recipe
    augment: Augment
    pool: ThreadPoolExecutor

    def load(self, indices: Labels, step: int, *, training: bool) -> NDArray[Any]:
        """Images uint8 `[n, side, side, 3]`, in training larger than the network's input, for crops."""
        side = round(MARGIN * self.recipe.image_size) if training else self.recipe.image_size
        return photos([self.images[at] for at in indices], side, self.recipe, self.pool)

    def finish(self, inputs: Any, labels: Any, step: Any, *, training: bool) -> tuple[Any, Any]:
        """Augmented in training, and normalised as the backbone expects."""
        import tensorflow as tf

        from tl.engines.tensorflow import preprocess

        size = self.recipe.image_size
        if training:
            inputs, labels = self.augment(inputs, labels, step)
        inputs = tf.ensure_shape(tf.cast(inputs, tf.float32), (None, size, size, 3))
        return preprocess(inputs, self.recipe), labels


Feed = ActivationFeed | ImageFeed
"""A source of batches: `load` reads the images at `indices`, which depends on its arguments alone, and `finish` turns
TensorFlow tensors of them and their labels into what the network takes."""


@dataclass(frozen=True)
class BatchOrder:
    """The images of each step: all once per epoch, shuffled, or sampled with `probabilities`.

    The last batch of an epoch is filled up from its beginning, so that every batch has the same size.
    """

    indices: Labels
    batch: int
    seed: int
    probabilities: NDArray[np.float64] | None = None

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-len(self.indices) // self.batch)

    def at(self, step: int) -> Labels:
        """The indices of a step's images."""
        epoch, inside = divmod(step, self.steps)
        random = np.random.default_rng([self.seed, epoch])
        if self.probabilities is None:
            shuffled = random.permutation(self.indices)
        else:
            shuffled = random.choice(self.indices, len(self.indices), p=self.probabilities)
        taken: Labels = np.take(shuffled, range(inside * self.batch, (inside + 1) * self.batch), mode="wrap")
        return taken


def training_batches(
    feed: Feed, order: BatchOrder, labels: Floats, steps: range, *, errors: list[TLError] | None = None
) -> Any:
    """A `tf.data.Dataset` of `(inputs, labels)` for consecutive training steps, loaded ahead.

    `labels` are one-hot, of all images. An error while loading is appended to `errors`, because TensorFlow raises one
    of its own in its place.
    """
    import tensorflow as tf

    def load(step: Any) -> tuple[NDArray[Any], Floats]:
        indices = order.at(int(step))
        try:
            return feed.load(indices, int(step), training=True), labels[indices]
        except TLError as error:
            if errors is not None:
                errors.append(error)
            raise

    sample, _ = load(steps.start)

    def batch(step: Any) -> tuple[Any, Any]:
        inputs, truth = tf.numpy_function(load, [step], [sample.dtype, tf.float32])
        inputs.set_shape((None, *sample.shape[1:]))
        truth.set_shape((None, labels.shape[1]))
        return feed.finish(inputs, truth, step, training=True)

    numbers = tf.data.Dataset.range(steps.start, steps.stop)
    return numbers.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)


def validation_batches(feed: Feed, indices: Labels, labels: Floats, size: int) -> Iterator[tuple[Any, Any]]:
    """Batches `(inputs, labels)` of the images without augmentation."""
    import tensorflow as tf

    for start in range(0, len(indices), size):
        some = indices[start : start + size]
        inputs = tf.convert_to_tensor(feed.load(some, 0, training=False))
        yield feed.finish(inputs, tf.convert_to_tensor(labels[some]), 0, training=False)
