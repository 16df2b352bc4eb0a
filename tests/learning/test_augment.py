"""Tests of augmentation: reproducible, within its limits, with the right labels."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tl.errors import UsageError
from tl.learning import augment as augment_module
from tl.learning.augment import augmenter, describe_augmentation

ROOT = Path(__file__).resolve().parents[2]
SIZE, CLASSES = 32, 4
CHANGING = ("light", "strong")


def batch(count=8, side=40, seed=0):
    """Noise with a frame of pure black and white, so that the ends of the range are there, and labels in turn."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, side, side, 3), np.uint8)
    images[:, :4], images[:, -4:] = 0, 255
    return images, np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES]


def ramps(count, height=64, width=64):
    """Photos whose red is the column and whose green is the row of each pixel, counted from their centres."""
    images = np.full((count, height, width, 3), 128, np.float32)
    images[..., 0] = np.arange(width)[None, None, :]
    images[..., 1] = np.arange(height)[None, :, None]
    return images


def run(augment, images, labels, step):
    changed, mixed = augment(images, labels, step)
    return np.asarray(changed), np.asarray(mixed)


def digest(augment, steps, parallel):
    """The SHA-256 of what a pipeline of several batches at a time gives at these steps."""
    import tensorflow as tf

    images, labels = batch()
    numbers = tf.data.Dataset.from_tensor_slices(np.asarray(steps, np.int64))
    made = numbers.map(lambda step: augment(images, labels, step), num_parallel_calls=parallel)
    total = hashlib.sha256()
    for changed, mixed in made:
        total.update(changed.numpy().tobytes() + mixed.numpy().tobytes())
    return total.hexdigest()


def test_none_changes_nothing_but_the_size():
    images, labels = batch(side=SIZE)
    same, mixed = run(augmenter("none", SIZE, CLASSES, seed=1), images, labels, 3)
    assert same.dtype == np.float32
    assert np.array_equal(same, images)
    assert np.array_equal(mixed, labels)
    images = np.full((2, 50, 70, 3), 200, np.uint8)
    images[:, :, 35:] = 40
    small, _ = run(augmenter("none", SIZE, CLASSES, seed=1), images, batch(2)[1], 0)
    assert small.shape == (2, SIZE, SIZE, 3)
    assert np.allclose(small[:, :, :14], 200, atol=0.5)
    assert np.allclose(small[:, :, 18:], 40, atol=0.5)


@pytest.mark.parametrize("level", CHANGING)
def test_a_step_does_not_depend_on_earlier_ones(level):
    images, labels = batch()
    long_used, fresh = (augmenter(level, SIZE, CLASSES, seed=5) for _ in range(2))
    before = [run(long_used, images, labels, step) for step in (0, 7, 3)]
    for changed, mixed in (run(fresh, images, labels, 7), run(long_used, images, labels, 7)):
        assert np.array_equal(changed, before[1][0])
        assert np.array_equal(mixed, before[1][1])
    assert not np.array_equal(before[0][0], before[1][0])
    assert not np.array_equal(run(augmenter(level, SIZE, CLASSES, seed=6), images, labels, 7)[0], before[1][0])


@pytest.mark.parametrize("level", CHANGING)
def test_parallel_pipeline_agrees_with_single_calls(level):
    import tensorflow as tf

    images, labels = batch()
    augment = augmenter(level, SIZE, CLASSES, seed=5)
    steps = tf.data.Dataset.range(12)
    made = list(steps.map(lambda step: augment(images, labels, step), num_parallel_calls=4))
    for step in (11, 4, 0):
        changed, mixed = run(augment, images, labels, step)
        assert np.allclose(made[step][0], changed, atol=1e-2)  # a compiled graph may round otherwise
        assert np.allclose(made[step][1], mixed, atol=1e-6)


@pytest.mark.slow
def test_another_process_gives_the_same_pixels():
    whole = digest(augmenter("strong", SIZE, CLASSES, seed=5), range(6, 10), parallel=1)
    code = (
        "import keras, tensorflow as tf\n"
        "tf.config.experimental.enable_op_determinism()\n"  # forbids the global generator
        "tf.random.set_seed(99)\n"
        "keras.config.set_dtype_policy('mixed_float16')\n"  # the network's, not the images'
        "from tests.learning.test_augment import digest\n"
        "from tl.learning.augment import augmenter\n"
        "print(digest(augmenter('strong', 32, 4, seed=5), range(6, 10), parallel=4))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == whole


def test_about_half_of_the_images_are_flipped():
    changed, _ = run(augmenter("light", SIZE, CLASSES, seed=1), ramps(200), batch(200)[1], 0)
    rightward = changed[:, SIZE // 2, -1, 0] > changed[:, SIZE // 2, 0, 0]
    assert 70 < rightward.sum() < 130
    steps = np.diff(changed[..., 0], axis=2)
    assert (steps[rightward] > 0).all()
    assert (steps[~rightward] < 0).all()
    assert (np.diff(changed[..., 1], axis=1) > 0).all()  # never upside down


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 60), (40, 40)])
def test_crops_stay_within_scale_and_aspect(height, width):
    count = 300
    changed, _ = run(augmenter("light", SIZE, CLASSES, seed=2), ramps(count, height, width), batch(count)[1], 0)
    columns, rows = changed[:, 0, :, 0], changed[:, :, 0, 1]
    across = np.abs(columns[:, -1] - columns[:, 0]) / (SIZE - 1) * SIZE / width
    down = (rows[:, -1] - rows[:, 0]) / (SIZE - 1) * SIZE / height
    area, aspect = across * down, across / down
    slack = 0.02  # the edges of the image hold back what would reach half a pixel beyond them
    for values, low, high, least in ((area, 0.5, 1, 0.4), (aspect, 3 / 4, 4 / 3, 0.5)):
        assert low - slack < values.min() < values.max() < high + slack
        assert np.ptp(values) > least
    assert abs(np.log(aspect).mean()) < 0.05  # wide as often as tall
    lefts = np.minimum(columns[:, 0], columns[:, -1])
    assert np.ptp(lefts) > 0.15 * width


def test_crops_have_no_black_border_and_large_images_are_averaged():
    augment = augmenter("light", SIZE, CLASSES, seed=3)
    white = np.full((300, 37, 45, 3), 255, np.uint8)
    assert run(augment, white, batch(300)[1], 0)[0].min() > 254.9
    stripes = np.zeros((4, 256, 256, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.allclose(run(augment, stripes, batch(4)[1], 0)[0], 127.5, atol=2)


@pytest.mark.parametrize(("level", "mixes"), [("light", True), ("strong", False)])
def test_labels_are_unchanged_without_mixing(level, mixes):
    images, labels = batch()
    augment = augmenter(level, SIZE, CLASSES, seed=1, mixes=mixes)
    for step in range(4):
        changed, mixed = run(augment, images, labels, step)
        assert np.array_equal(mixed, labels)
        assert np.allclose(changed, run(augment, images.astype(np.float32), labels, step)[0])


def test_values_stay_within_0_and_255():
    augment = augmenter("strong", SIZE, CLASSES, seed=1)
    images, labels = batch(60)
    images[:3] = np.asarray([0, 255, 77], np.uint8)[:, None, None, None]  # of one colour: nothing to stretch
    for step in range(3):
        changed, mixed = run(augment, images, labels, step)
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert changed.min() >= 0
        assert changed.max() <= 255.001
        assert np.allclose(mixed.sum(axis=1), 1, atol=1e-6)
        assert (np.count_nonzero(mixed > 1e-6, axis=1) == 2).any()
    assert np.array_equal(run(augment, images[:1], labels[:1], 0)[1], labels[:1])  # mixed with itself


def test_mixed_labels_match_the_proportions_of_pixels(monkeypatch):
    monkeypatch.setattr(augment_module, "OPERATIONS", 0)
    count = 24
    augment = augmenter("strong", SIZE, count, seed=1)
    colours = np.arange(count, dtype=np.float32) * 10
    images = np.broadcast_to(colours[:, None, None, None], (count, SIZE, SIZE, 3))
    blended, pasted = [], []
    for step in range(16):
        changed, mixed = run(augment, images, np.eye(count, dtype=np.float32), step)
        assert np.allclose(changed.mean(axis=(1, 2, 3)), mixed @ colours, atol=0.01)
        parts = np.count_nonzero(mixed, axis=1)
        assert parts.max() == 2  # with one other image
        own = np.diag(mixed)
        if np.ptp(changed, axis=(1, 2, 3)).max() < 1e-3:
            blended.append(own)
        else:
            pasted.append(own)
            assert max(len(np.unique(image)) for image in changed) == 2
    assert len(blended) >= 4
    assert len(pasted) >= 4
    assert np.min(blended) >= 0.5
    assert np.min(pasted) < 0.25  # rectangles of all sizes
    assert np.max(pasted) > 0.9


@pytest.mark.parametrize("at", range(11))
def test_operation_depends_on_magnitude_and_takes_an_empty_batch(at):
    import tensorflow as tf

    operation = augment_module._operations()[at]
    across, down = np.meshgrid(np.linspace(0, 3, 24), np.linspace(0, 3, 24))
    one = 140 + 60 * np.stack([np.sin(across + down), np.cos(across), np.sin(down) * across / 3], axis=-1)
    one[10:14, 10:14] = 255
    images = tf.constant(np.stack([one, one[::-1], one[:, ::-1]]), tf.float32)
    assert operation(images[:0], tf.zeros([0])).shape == (0, 24, 24, 3)
    weak, strong, opposite = (np.asarray(operation(images, tf.fill([3], by))) for by in (0.0, 0.6, -0.6))
    assert not np.allclose(strong, images, atol=1)
    if at >= 2:  # contrast is stretched and equalised without a strength
        assert np.allclose(weak, images, atol=0.01)
    if at >= 3:  # solarising knows one direction alone
        assert not np.allclose(strong, opposite, atol=1)


def test_equalise_agrees_with_opencv():
    import tensorflow as tf

    images = (np.random.default_rng(0).random((2, 30, 50, 3)) ** 3 * 200).astype(np.uint8)
    images[1, ..., 2] = 9
    ours = np.asarray(augment_module._equalise(tf.constant(images, tf.float32)))
    for image, equalised in zip(images, ours, strict=True):
        for channel in range(3):
            assert np.allclose(equalised[..., channel], cv2.equalizeHist(image[..., channel].copy()), atol=1)


def test_augmenter_refuses_an_unknown_level():
    with pytest.raises(UsageError, match="^--augment 'heavy': choose none, light, strong$"):
        augmenter("heavy", SIZE, CLASSES, seed=1)


def test_describe_augmentation():
    assert describe_augmentation("none", mixes=True) == "images unchanged"
    assert "flipped" in describe_augmentation("light", mixes=False)
    assert "CutMix" in describe_augmentation("strong", mixes=True)
    assert "CutMix" not in describe_augmentation("strong", mixes=False)
