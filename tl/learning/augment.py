"""Augment training images: random crops and flips, RandAugment, MixUp and CutMix.

Random numbers depend on the seed and the step alone, through stateless generators: a training that is killed and
resumed sees the same pixels. The random layers of keras-cv keep a state instead, so only their transformations are used
(`augment_images`), with magnitudes drawn here.
"""

from collections.abc import Callable
from typing import Any, cast

from tl.errors import UsageError

LEVELS = ("none", "light", "strong")

Augment = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(images, labels, step) -> (images, labels)"""

AREA = (0.5, 1.0)
ASPECT = (3 / 4, 4 / 3)
OPERATIONS = 2  # per image, one after the other
MAGNITUDE, SPREAD = 0.3, 0.15  # of a maximum of 1: the usual 9 of 30 of RandAugment
MIXUP, CUTMIX = 0.2, 1.0  # parameters of the Beta distributions, as in the papers

_Operation = Callable[[Any, Any], Any]
_PHILOX = "philox"  # the same numbers on every device


def describe_augmentation(level: str, *, mixes: bool) -> str:
    """What a level does, in words."""
    crops = "crops of half the image or more, flipped or not"
    texts = {"none": "images unchanged", "light": crops, "strong": f"{crops}, RandAugment"}
    return texts[level] + (", MixUp or CutMix" if level == "strong" and mixes else "")


def augmenter(level: str, image_size: int, classes: int, *, seed: int, mixes: bool = True) -> Augment:
    """A function that augments a batch, given the number of its step, in `tf.data` or eagerly.

    It takes RGB images [n, h, w, 3] of 0..255 (uint8 or float32) and labels [n, classes] (float32, one-hot), and
    returns images [n, image_size, image_size, 3] (float32, 0..255) and labels, the same for the same seed, step and
    batch. With `mixes`, "strong" also mixes pairs of images and their labels. Crops as in Szegedy et al. 2015
    (arXiv 1409.4842), RandAugment as in Cubuk et al. 2019 (1909.13719), MixUp as in Zhang et al. 2017 (1710.09412),
    CutMix as in Yun et al. 2019 (1905.04899). Raises UsageError for an unknown level.
    """
    if level not in LEVELS:
        raise UsageError(f"--augment {level!r}: choose {', '.join(LEVELS)}")
    import tensorflow as tf

    operations = _operations() if level == "strong" else []

    def augment(images: Any, labels: Any, step: Any) -> tuple[Any, Any]:
        images = tf.ensure_shape(tf.convert_to_tensor(images), (None, None, None, 3))
        labels = tf.ensure_shape(tf.cast(labels, tf.float32), (None, classes))
        if level == "none":
            if images.shape[1:3] != (image_size, image_size):
                resized = tf.image.resize(images, (image_size, image_size), antialias=True)
                images = tf.clip_by_value(resized, 0.0, 255.0)
            return tf.cast(images, tf.float32), labels
        root = tf.stack([tf.constant(seed % 2**63, tf.int64), tf.cast(step, tf.int64)])
        crop, change, mix = tf.unstack(tf.random.split(root, 3, alg=_PHILOX))
        images = _crop(images, image_size, crop)
        if level == "strong":
            images = _rand_augment(images, operations, change)
            if mixes:
                images, labels = _mix(images, labels, mix)
        return images, labels

    return cast(Augment, tf.autograph.experimental.do_not_convert(augment))  # none of its Python needs rewriting


def _crop(images: Any, size: int, seed: Any) -> Any:
    # RandomCropAndResize of keras-cv loops over single images; the TensorFlow operation behind it takes the batch, and
    # flips it at no cost when the left and right of a box are swapped.
    import tensorflow as tf

    # Linear interpolation skips pixels when it shrinks by more than half: larger images are averaged first.
    if None in images.shape[1:3] or max(images.shape[1:3]) > 2 * size:
        images = tf.image.resize(images, tf.minimum(tf.shape(images)[1:3], 2 * size), "area")
    count, height, width = tf.unstack(tf.shape(images)[:3])
    area, aspect, top, left, mirror = tf.unstack(_uniform(seed, (5, count)))
    area = AREA[0] + area * (AREA[1] - AREA[0])
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect  # logarithmic, so that wide and tall are equally frequent
    first_row, last_row = _sample_range(tf.minimum(1.0, tf.sqrt(area / aspect)), top, height, size)
    first_column, last_column = _sample_range(tf.minimum(1.0, tf.sqrt(area * aspect)), left, width, size)
    mirrored = mirror < 0.5
    left_end = tf.where(mirrored, last_column, first_column)
    right_end = tf.where(mirrored, first_column, last_column)
    boxes = tf.stack([first_row, left_end, last_row, right_end], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(count), (size, size))


def _sample_range(share: Any, offset: Any, length: Any, size: int) -> tuple[Any, Any]:
    # Positions along an axis of the first and the last of `size` samples, as fractions between the centres of the
    # outermost pixels. Slightly inside: beyond them, rounding would make a black line.
    import tensorflow as tf

    length = tf.cast(length, tf.float32)
    start, step = offset * (1.0 - share) * length - 0.5, share * length / size
    inside = tf.clip_by_value(tf.stack([start + 0.5 * step, start + (size - 0.5) * step]), 1e-4, length - 1.0001)
    first, last = tf.unstack(inside / tf.maximum(length - 1.0, 1.0))
    return first, last


def _rand_augment(images: Any, operations: list[_Operation], seed: Any) -> Any:
    # Each operation gets its images as one batch; the last group stays unchanged.
    import tensorflow as tf

    count, kinds = tf.shape(images)[0], len(operations) + 1
    for key in tf.unstack(tf.random.split(seed, OPERATIONS, alg=_PHILOX)):
        kind, sign, amount = tf.unstack(tf.random.split(key, 3, alg=_PHILOX))
        choice = tf.random.stateless_uniform((count,), kind, maxval=kinds, dtype=tf.int32, alg=_PHILOX)
        magnitude = tf.random.stateless_normal((count,), amount, MAGNITUDE, SPREAD, alg=_PHILOX)
        magnitude = tf.clip_by_value(magnitude, 0.0, 1.0) * tf.where(_uniform(sign, (count,)) < 0.5, -1.0, 1.0)
        groups, magnitudes, places = (
            tf.dynamic_partition(values, choice, kinds) for values in (images, magnitude, tf.range(count))
        )
        done = [change(group, by) for change, group, by in zip(operations, groups[:-1], magnitudes[:-1], strict=True)]
        images = tf.ensure_shape(tf.dynamic_stitch(places, [*done, groups[-1]]), images.shape)
    return images


def _operations() -> list[_Operation]:
    """RandAugment: each takes images [k, h, w, 3] and signed magnitudes [k] of -1..1, on the scales of the paper.

    Without sharpness, which fails on an empty batch in keras-cv, and posterise, which takes a single magnitude there.
    """
    import math

    import keras_cv
    import tensorflow as tf

    # With a seed the layers do not use TensorFlow's global generator, which is missing in deterministic mode; with a
    # dtype they ignore the half precision that training may have set for the network.
    own: dict[str, Any] = {"seed": 1, "dtype": "float32"}
    layers, values = keras_cv.layers, {"value_range": (0, 255), **own}
    stretch, solarise = layers.AutoContrast(**values), layers.Solarization(**values)
    contrast, brightness = layers.RandomContrast(factor=0.5, **values), layers.RandomBrightness(0.5, **values)
    saturation = layers.RandomSaturation(0.5, **own)
    rotation, shift = layers.RandomRotation(0.1, **own), layers.RandomTranslation(0.1, 0.1, **own)
    shear = layers.RandomShear(0.1, 0.1, **own)

    def each(magnitude: Any) -> Any:
        return tf.reshape(magnitude, (-1, 1, 1, 1))

    def shifted(images: Any, x: Any, y: Any) -> Any:
        return shift.augment_images(images, {"width_translations": x[:, None], "height_translations": y[:, None]})

    return [
        lambda images, _: stretch.augment_images(images),
        lambda images, _: _equalise(images),
        lambda images, by: solarise.augment_images(
            images, {"additions": 0.0, "thresholds": 256.0 * (1.0 - each(tf.abs(by)))}
        ),
        # the layer takes f / (1 + f) for a saturation f times as high
        lambda images, by: saturation.augment_images(images, (1.0 + 0.9 * by) / (2.0 + 0.9 * by)),
        lambda images, by: contrast.augment_images(images, 1.0 + 0.9 * each(by)),
        lambda images, by: brightness.augment_images(images, 255.0 * 0.5 * each(by)),
        lambda images, by: rotation.augment_images(images, {"angles": by * math.radians(30)}),
        lambda images, by: shear.augment_images(images, {"shear_x": 0.3 * by[:, None], "shear_y": None}),
        lambda images, by: shear.augment_images(images, {"shear_x": None, "shear_y": 0.3 * by[:, None]}),
        lambda images, by: shifted(images, 0.45 * by, 0.0 * by),
        lambda images, by: shifted(images, 0.0 * by, 0.45 * by),
    ]


def _equalise(images: Any) -> Any:
    # Equalization of keras-cv loops over channels and images; here one histogram has 256 bins for each channel of each.
    import tensorflow as tf

    shape = tf.shape(images)
    channels, pixels = shape[0] * shape[3], shape[1] * shape[2]
    own = tf.reshape(256 * tf.range(channels), (shape[0], 1, 1, shape[3]))
    places = own + tf.cast(tf.round(images), tf.int32)
    counts = tf.math.bincount(tf.reshape(places, [-1]), minlength=256 * channels, maxlength=256 * channels)
    below = tf.cumsum(tf.reshape(counts, (channels, 256)), axis=1)
    darkest = tf.reduce_min(tf.where(below > 0, below, pixels), axis=1, keepdims=True)
    spread = tf.math.divide_no_nan(tf.cast(below - darkest, tf.float32), tf.cast(pixels - darkest, tf.float32))
    table = tf.where(pixels > darkest, 255.0 * tf.maximum(spread, 0.0), tf.range(256, dtype=tf.float32))
    return tf.gather(tf.reshape(table, [-1]), places)


def _mix(images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
    # MixUp and CutMix of keras-cv use generators with a state; and CutMix counts the part of its rectangle that is
    # outside of the image as visible, so that labels are wrong near the edges.
    import tensorflow as tf

    count = tf.shape(images)[0]
    choice, turn, share, place = tf.unstack(tf.random.split(seed, 4, alg=_PHILOX))
    # the batch is rotated by 1 to n - 1 positions, so that no image is mixed with itself
    by = 1 + tf.cast(_uniform(turn, ()) * tf.cast(count - 1, tf.float32), tf.int32)
    others = tf.roll(images, by, axis=0)
    images, own = tf.cond(
        _uniform(choice, ()) < 0.5,
        lambda: _mixup(images, others, _beta(share, count, MIXUP)),
        lambda: _cutmix(images, others, _beta(share, count, CUTMIX), _uniform(place, (2, count))),
    )
    return images, own[:, None] * labels + (1.0 - own)[:, None] * tf.roll(labels, by, axis=0)


def _mixup(images: Any, others: Any, share: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    share = tf.maximum(share, 1.0 - share)  # each image is the larger part of its own mixture
    own = share[:, None, None, None]
    return own * images + (1.0 - own) * others, share


def _cutmix(images: Any, others: Any, share: Any, centre: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    height, width = images.shape[1:3]
    half = 0.5 * tf.sqrt(1.0 - share)[:, None]

    def within(middle: Any, length: int) -> Any:
        distances = (tf.range(length, dtype=tf.float32) + 0.5) / length - middle[:, None]
        return (distances >= -half) & (distances < half)

    rows, columns = within(centre[0], height), within(centre[1], width)
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(inside, others, images), 1.0 - tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2, 3))


def _beta(seed: Any, count: Any, alpha: float) -> Any:
    import tensorflow as tf

    # float64: the tiny values of a gamma distribution of 0.2 would be 0 in float32, and 0 / 0 would be possible
    one, other = (
        tf.random.stateless_gamma((count,), key, alpha, dtype=tf.float64)
        for key in tf.unstack(tf.random.split(seed, 2, alg=_PHILOX))
    )
    return tf.cast(one / (one + other), tf.float32)


def _uniform(seed: Any, shape: Any) -> Any:
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed, alg=_PHILOX)
