"""Photos or stored activations become batches for training, in an order that the seed and the step alone decide."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike
from tl.errors import TLError
from tl.features.activations import MARGIN, Halves, photos
from tl.learning.head import Floats, Labels
from tl.networks.backbones import Recipe

Augment = Callable[[Any, Any, Any], tuple[Any, Any]]
"""Photos `[n, side, side, 3]`, labels one-hot `[n, classes]` and the step to photos and labels for the network."""


class Feed(Protocol):
    """Where batches come from: `load` gives photos as they are stored, `finish` what the network reads of them."""

    def load(self, places: Labels, step: int, *, training: bool) -> NDArray[Any]:
        """The pictures at `places`; the same for the same arguments, whatever was loaded before."""

    def finish(self, inputs: Any, labels: Any, step: Any, *, training: bool) -> tuple[Any, Any]:
        """TensorFlow tensors of what was loaded, and its labels, as the network takes them."""


@dataclass(frozen=True)
class StoredFeed:
    """Activations `[views, n, height, width, channels]`; training takes a view of each at random.

    `mixup` mixes each with another of its batch, and their labels (Manifold Mixup: Verma et al. 2019): a share of a
    Beta distribution with this parameter twice, the same for a whole batch; 0 for not at all.
    """

    values: Halves
    seed: int
    mixup: float = 0.0

    def load(self, places: Labels, step: int, *, training: bool) -> NDArray[Any]:
        """One view of each; the first, which is not augmented, outside of training."""
        views = np.zeros(len(places), np.int64)
        if training and len(self.values) > 1:
            views = np.random.default_rng([self.seed, step, 1]).integers(len(self.values), size=len(places))
        return self.values[views, places]

    def finish(self, inputs: Any, labels: Any, step: Any, *, training: bool) -> tuple[Any, Any]:
        """In 32 bits; what is multiplied in fewer is up to the network."""
        import tensorflow as tf

        inputs = tf.cast(inputs, tf.float32)
        if not training or not self.mixup:
            return inputs, labels
        seed = tf.stack([tf.cast(self.seed % 2**31, tf.int32), tf.cast(step, tf.int32)])
        first, second = tf.unstack(tf.random.stateless_gamma([2], seed, self.mixup))
        share = tf.maximum(first, second) / (first + second)  # an image stays mostly itself
        return tuple(share * own + (1 - share) * tf.roll(own, 1, axis=0) for own in (inputs, labels))


@dataclass(frozen=True)
class PhotoFeed:
    """ImageLike files, decoded and augmented anew in every epoch, and preprocessed for the network."""

    pictures: Sequence[ImageLike]
    recipe: Recipe
    augment: Augment
    pool: ThreadPoolExecutor

    def load(self, places: Labels, step: int, *, training: bool) -> NDArray[Any]:
        """Photos uint8 `[n, side, side, 3]`, larger than the network's input where they will be augmented."""
        side = round(MARGIN * self.recipe.image_size) if training else self.recipe.image_size
        return photos([self.pictures[at] for at in places], side, self.recipe, self.pool)

    def finish(self, inputs: Any, labels: Any, step: Any, *, training: bool) -> tuple[Any, Any]:
        """Augmented, and normalised as the backbone wants it."""
        import tensorflow as tf

        from tl.engines.tensorflow import preprocess

        size = self.recipe.image_size
        if training:
            inputs, labels = self.augment(inputs, labels, step)
        inputs = tf.ensure_shape(tf.cast(inputs, tf.float32), (None, size, size, 3))
        return preprocess(inputs, self.recipe), labels


@dataclass(frozen=True)
class Order:
    """Which pictures each step takes: all of them once an epoch, shuffled, or by `shares` so that classes are even.

    The last batch of an epoch is filled up from its beginning: every batch has the same size.
    """

    places: Labels
    batch: int
    seed: int
    shares: NDArray[np.float64] | None = None

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return -(-len(self.places) // self.batch)

    def at(self, step: int) -> Labels:
        """The places that a step takes."""
        epoch, inside = divmod(step, self.steps)
        random = np.random.default_rng([self.seed, epoch])
        if self.shares is None:
            shuffled = random.permutation(self.places)
        else:
            shuffled = random.choice(self.places, len(self.places), p=self.shares)
        taken: Labels = np.take(shuffled, range(inside * self.batch, (inside + 1) * self.batch), mode="wrap")
        return taken


def batches(
    feed: Feed, order: Order, labels: Floats, start: int, stop: int, failures: list[TLError] | None = None
) -> Any:
    """A `tf.data.Dataset` of `(inputs, labels)` for the training steps from `start` to before `stop`, made ahead.

    What stands in the way of loading is added to `failures`: TensorFlow has but an error of its own for it.
    """
    import tensorflow as tf

    def loaded(step: Any) -> tuple[NDArray[Any], Floats]:
        places = order.at(int(step))
        try:
            return feed.load(places, int(step), training=True), labels[places]
        except TLError as error:
            if failures is not None:
                failures.append(error)
            raise

    sample, _ = loaded(start)

    def batch(step: Any) -> tuple[Any, Any]:
        inputs, truth = tf.numpy_function(loaded, [step], [sample.dtype, tf.float32])
        inputs.set_shape((None, *sample.shape[1:]))
        truth.set_shape((None, labels.shape[1]))
        return feed.finish(inputs, truth, step, training=True)

    steps = tf.data.Dataset.range(start, stop)
    return steps.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)


def plain_batches(feed: Feed, places: Labels, labels: Floats, size: int) -> Iterator[tuple[Any, Any]]:
    """Batches `(inputs, labels)` of the pictures as they are, for measuring."""
    import tensorflow as tf

    for start in range(0, len(places), size):
        some = places[start : start + size]
        loaded = tf.convert_to_tensor(feed.load(some, 0, training=False))
        yield feed.finish(loaded, tf.convert_to_tensor(labels[some]), 0, training=False)
