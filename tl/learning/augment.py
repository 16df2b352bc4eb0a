"""Photos and their labels -> the same, cropped, mirrored, distorted and mixed for training, the same at every return.

What is drawn at random comes from the seed and the number of the step alone, by stateless generators: a training that
is killed and resumed sees the pixels it would have seen. The random layers of keras-cv carry a state instead, so only
their transformations are used (`augment_images`), each with a strength that was drawn here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from tl.errors import UsageError

LEVELS = ("none", "light", "strong")

Augment = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(photos, labels, step) -> (photos, labels)"""

AREA = (0.5, 1.0)
ASPECT = (3 / 4, 4 / 3)
OPERATIONS = 2  # a photo, one after the other
STRENGTH, SPREAD = 0.3, 0.15  # of the strongest of 1: the 9 of 30 that is usual for RandAugment
MIXUP, CUTMIX = 0.2, 1.0  # the Beta distributions of the papers

_Operation = Callable[[Any, Any], Any]
_PHILOX = "philox"  # the same numbers on every device


@dataclass(frozen=True)
class Augmentation:
    """How far photos are changed; with `mixes`, "strong" also mixes two photos and their labels.

    Raises UsageError for a level that does not exist.
    """

    level: str
    image_size: int
    classes: int
    mixes: bool = True

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UsageError(f"--augment {self.level!r}: choose {', '.join(LEVELS)}")

    def __str__(self) -> str:
        """What is done, in the words of the run's account."""
        steps = {
            "none": "photos as they are",
            "light": "crops of half the photo or more, mirrored or not",
            "strong": "crops of half the photo or more, mirrored or not, RandAugment",
        }
        return steps[self.level] + (", MixUp or CutMix" if self.level == "strong" and self.mixes else "")


def augmenter(level: str, image_size: int, classes: int, *, seed: int, mixes: bool = True) -> Augment:
    """A function of a batch and the number of its step, for `tf.data` and for eager use.

    It takes RGB photos [n, h, w, 3] of 0..255 (uint8 or float32) and labels [n, classes] (float32, one-hot), and gives
    photos [n, image_size, image_size, 3] (float32, 0..255) and labels. The same seed, step and batch give the same.
    Crops as in Szegedy et al. 2015 (arXiv 1409.4842), RandAugment as Cubuk et al. 2019 (1909.13719), MixUp as Zhang et
    al. 2017 (1710.09412), CutMix as Yun et al. 2019 (1905.04899). Raises UsageError for a level that does not exist.
    """
    plan = Augmentation(level, image_size, classes, mixes)
    import tensorflow as tf

    operations = _operations() if level == "strong" else []

    def augment(photos: Any, labels: Any, step: Any) -> tuple[Any, Any]:
        photos = tf.ensure_shape(tf.convert_to_tensor(photos), (None, None, None, 3))
        labels = tf.ensure_shape(tf.cast(labels, tf.float32), (None, classes))
        if level == "none":
            return _fitted(photos, image_size), labels
        root = tf.stack([tf.constant(seed % 2**63, tf.int64), tf.cast(step, tf.int64)])
        crop, change, mix = tf.unstack(tf.random.split(root, 3, alg=_PHILOX))
        photos = _cropped(photos, image_size, crop)
        if level == "strong":
            photos = _changed(photos, operations, change)
            if plan.mixes:
                photos, labels = _mixed(photos, labels, mix)
        return photos, labels

    return cast(Augment, tf.autograph.experimental.do_not_convert(augment))  # no Python of it needs to be rewritten


def _fitted(photos: Any, size: int) -> Any:
    import tensorflow as tf

    if photos.shape[1:3] != (size, size):
        photos = tf.clip_by_value(tf.image.resize(photos, (size, size), antialias=True), 0.0, 255.0)
    return tf.cast(photos, tf.float32)


def _cropped(photos: Any, size: int, seed: Any) -> Any:
    # RandomCropAndResize of keras-cv takes one photo at a time, in a loop; TensorFlow's operation behind it takes the
    # batch, and mirrors it at no cost when left and right of a box change places.
    import tensorflow as tf

    photos = _reduced(photos, 2 * size)
    count, height, width = tf.unstack(tf.shape(photos)[:3])
    area, aspect, top, left, mirror = tf.unstack(_uniform(seed, (5, count)))
    area = AREA[0] + area * (AREA[1] - AREA[0])
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect  # in logarithms, so that wide is as frequent as tall
    first_row, last_row = _sampled(tf.minimum(1.0, tf.sqrt(area / aspect)), top, height, size)
    first_column, last_column = _sampled(tf.minimum(1.0, tf.sqrt(area * aspect)), left, width, size)
    mirrored = mirror < 0.5
    first_column, last_column = (
        tf.where(mirrored, last_column, first_column),
        tf.where(mirrored, first_column, last_column),
    )
    boxes = tf.stack([first_row, first_column, last_row, last_column], axis=1)
    return tf.image.crop_and_resize(photos, boxes, tf.range(count), (size, size))


def _reduced(photos: Any, most: int) -> Any:
    # Interpolating linearly skips pixels when it reduces to less than a half; what is larger is averaged down to that.
    import tensorflow as tf

    height, width = photos.shape[1:3]
    if height is not None and width is not None and max(height, width) <= most:
        return photos
    return tf.image.resize(photos, tf.minimum(tf.shape(photos)[1:3], most), "area")


def _sampled(share: Any, offset: Any, length: Any, size: int) -> tuple[Any, Any]:
    # Where along one axis the first and the last of `size` pixels are taken, as shares of the way between the centres
    # of the outermost pixels. A hair inside of these: rounding beyond them would make a black line.
    import tensorflow as tf

    length = tf.cast(length, tf.float32)
    start, step = offset * (1.0 - share) * length - 0.5, share * length / size
    inside = tf.clip_by_value(tf.stack([start + 0.5 * step, start + (size - 0.5) * step]), 1e-4, length - 1.0001)
    first, last = tf.unstack(inside / tf.maximum(length - 1.0, 1.0))
    return first, last


def _changed(photos: Any, operations: list[_Operation], seed: Any) -> Any:
    # Each operation gets the photos that drew it as one batch; the last group stays as it is.
    import tensorflow as tf

    count, kinds = tf.shape(photos)[0], len(operations) + 1
    for key in tf.unstack(tf.random.split(seed, OPERATIONS, alg=_PHILOX)):
        kind, sign, amount = tf.unstack(tf.random.split(key, 3, alg=_PHILOX))
        drawn = tf.random.stateless_uniform((count,), kind, maxval=kinds, dtype=tf.int32, alg=_PHILOX)
        strength = tf.random.stateless_normal((count,), amount, STRENGTH, SPREAD, alg=_PHILOX)
        strength = tf.clip_by_value(strength, 0.0, 1.0) * tf.where(_uniform(sign, (count,)) < 0.5, -1.0, 1.0)
        groups, strengths, places = (
            tf.dynamic_partition(values, drawn, kinds) for values in (photos, strength, tf.range(count))
        )
        done = [change(group, by) for change, group, by in zip(operations, groups[:-1], strengths[:-1], strict=True)]
        photos = tf.ensure_shape(tf.dynamic_stitch(places, [*done, groups[-1]]), photos.shape)
    return photos


def _operations() -> list[_Operation]:
    """RandAugment: each takes photos [k, h, w, 3] and signed strengths [k] of -1..1, on the scales of the paper.

    Without sharpness, which in keras-cv fails on an empty batch, and posterising, which takes a single strength there.
    """
    import math

    import keras_cv
    import tensorflow as tf

    # A seed keeps the layers off TensorFlow's global generator, which does not exist where it is made deterministic;
    # the type, off the half precision that a training may have set for its network.
    own: dict[str, Any] = {"seed": 1, "dtype": "float32"}
    layers, values = keras_cv.layers, {"value_range": (0, 255), **own}
    stretch, solarise = layers.AutoContrast(**values), layers.Solarization(**values)
    contrast, brightness = layers.RandomContrast(factor=0.5, **values), layers.RandomBrightness(0.5, **values)
    saturation = layers.RandomSaturation(0.5, **own)
    rotation, shift = layers.RandomRotation(0.1, **own), layers.RandomTranslation(0.1, 0.1, **own)
    shear = layers.RandomShear(0.1, 0.1, **own)

    def each(strength: Any) -> Any:
        return tf.reshape(strength, (-1, 1, 1, 1))

    def sheared(photos: Any, x: Any, y: Any) -> Any:
        return shear.augment_images(photos, {"shear_x": x, "shear_y": y})

    def shifted(photos: Any, x: Any, y: Any) -> Any:
        return shift.augment_images(photos, {"width_translations": x, "height_translations": y})

    return [
        lambda photos, _: stretch.augment_images(photos),
        lambda photos, _: _equalised(photos),
        lambda photos, by: solarise.augment_images(
            photos, {"additions": 0.0, "thresholds": 256.0 * (1.0 - each(tf.abs(by)))}
        ),
        # the layer takes f / (1 + f) for a saturation f times as high
        lambda photos, by: saturation.augment_images(photos, (1.0 + 0.9 * by) / (2.0 + 0.9 * by)),
        lambda photos, by: contrast.augment_images(photos, 1.0 + 0.9 * each(by)),
        lambda photos, by: brightness.augment_images(photos, 255.0 * 0.5 * each(by)),
        lambda photos, by: rotation.augment_images(photos, {"angles": by * math.radians(30)}),
        lambda photos, by: sheared(photos, 0.3 * by[:, None], None),
        lambda photos, by: sheared(photos, None, 0.3 * by[:, None]),
        lambda photos, by: shifted(photos, 0.45 * by[:, None], 0.0 * by[:, None]),
        lambda photos, by: shifted(photos, 0.0 * by[:, None], 0.45 * by[:, None]),
    ]


def _equalised(photos: Any) -> Any:
    # The Equalization of keras-cv loops over channels and photos. Here all channels of a batch share one count, each
    # with 256 places of its own.
    import tensorflow as tf

    shape = tf.shape(photos)
    channels, pixels = shape[0] * shape[3], shape[1] * shape[2]
    own = tf.reshape(256 * tf.range(channels), (shape[0], 1, 1, shape[3]))
    places = own + tf.cast(tf.round(photos), tf.int32)
    counts = tf.math.bincount(tf.reshape(places, [-1]), minlength=256 * channels, maxlength=256 * channels)
    below = tf.cumsum(tf.reshape(counts, (channels, 256)), axis=1)
    darkest = tf.reduce_min(tf.where(below > 0, below, pixels), axis=1, keepdims=True)
    spread = tf.math.divide_no_nan(tf.cast(below - darkest, tf.float32), tf.cast(pixels - darkest, tf.float32))
    table = tf.where(pixels > darkest, 255.0 * tf.maximum(spread, 0.0), tf.range(256, dtype=tf.float32))
    return tf.gather(tf.reshape(table, [-1]), places)


def _mixed(photos: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
    # MixUp and CutMix of keras-cv draw while they mix, from generators with a state; and CutMix counts what of its
    # rectangle lies outside of the photo as shown, so that its labels are wrong near the edges.
    import tensorflow as tf

    count = tf.shape(photos)[0]
    choice, turn, share, place = tf.unstack(tf.random.split(seed, 4, alg=_PHILOX))
    # each photo meets another one, never itself: the batch is turned by 1 to n - 1 places
    by = 1 + tf.cast(_uniform(turn, ()) * tf.cast(count - 1, tf.float32), tf.int32)
    others = tf.roll(photos, by, axis=0)
    photos, shares = tf.cond(
        _uniform(choice, ()) < 0.5,
        lambda: _blended(photos, others, _beta(share, count, MIXUP)),
        lambda: _pasted(photos, others, _beta(share, count, CUTMIX), _uniform(place, (2, count))),
    )
    return photos, shares[:, None] * labels + (1.0 - shares)[:, None] * tf.roll(labels, by, axis=0)


def _blended(photos: Any, others: Any, share: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    share = tf.maximum(share, 1.0 - share)  # each photo is the larger part of its own mixture: none goes unseen
    own = share[:, None, None, None]
    return own * photos + (1.0 - own) * others, share


def _pasted(photos: Any, others: Any, share: Any, centre: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    height, width = photos.shape[1:3]
    half = 0.5 * tf.sqrt(1.0 - share)
    rows, columns = (
        _between(middle - half, middle + half, length)
        for middle, length in zip(tf.unstack(centre), (height, width), strict=True)
    )
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(inside, others, photos), 1.0 - tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2, 3))


def _between(low: Any, high: Any, length: int) -> Any:
    import tensorflow as tf

    centres = (tf.range(length, dtype=tf.float32) + 0.5) / length
    return (centres >= low[:, None]) & (centres < high[:, None])


def _beta(seed: Any, count: Any, alpha: float) -> Any:
    import tensorflow as tf

    # in double precision, where the tiny values of a gamma distribution of 0.2 are not 0, and 0 / 0 is out of reach
    one, other = (
        tf.random.stateless_gamma((count,), key, alpha, dtype=tf.float64)
        for key in tf.unstack(tf.random.split(seed, 2, alg=_PHILOX))
    )
    return tf.cast(one / (one + other), tf.float32)


def _uniform(seed: Any, shape: Any) -> Any:
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed, alg=_PHILOX)
