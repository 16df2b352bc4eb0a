"""Tests of batches: each image once per epoch, reproducible by seed and step."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tl.data.images import decode, fit, read
from tl.features.activations import MARGIN
from tl.learning.batches import ActivationFeed, BatchOrder, ImageFeed, training_batches, validation_batches
from tl.networks.backbones import Recipe

RECIPE = Recipe(32, "stretch", bgr=True, mean=(103.939, 116.779, 123.68), std=(2.0, 2.0, 4.0))
CLASSES = 3
INDICES = np.arange(100, 123)


def taken(order, epoch):
    return np.concatenate([order.at(step) for step in range(epoch * order.steps, (epoch + 1) * order.steps)])


def one_hot(count):
    return np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES]


@pytest.mark.parametrize("batch", [1, 5, 8, 23, 40])
def test_order_takes_each_image_once_per_epoch(batch):
    order = BatchOrder(INDICES, batch, seed=7)
    assert order.steps == -(-23 // batch)
    for epoch in range(3):
        indices = taken(order, epoch)
        assert len(indices) == order.steps * batch  # every batch has the same size
        assert sorted(indices[:23]) == INDICES.tolist()
        assert indices[23:].tolist() == indices[: len(indices) - 23].tolist()  # filled up from its beginning
    assert set(BatchOrder(INDICES[:3], 8, seed=0).at(0)) == set(INDICES[:3])  # several times, if need be


def test_order_depends_on_seed_and_step_alone():
    order, again = BatchOrder(INDICES, 5, seed=7), BatchOrder(INDICES, 5, seed=7)
    later = [again.at(step).tolist() for step in (9, 3, 4)]  # as after a resumption: in any order
    assert later == [order.at(step).tolist() for step in (9, 3, 4)]
    assert taken(order, 0).tolist() != taken(order, 1).tolist()
    assert taken(order, 0).tolist() != taken(BatchOrder(INDICES, 5, seed=8), 0).tolist()
    assert taken(order, 0).tolist() != INDICES.tolist()


def test_order_with_probabilities_evens_out_classes():
    labels = np.array([0] * 5 + [1] * 95)
    shares = (1 / np.bincount(labels))[labels]
    order = BatchOrder(np.arange(100), 10, 3, shares / shares.sum())
    chosen = np.concatenate([taken(order, epoch) for epoch in range(50)])
    assert len(chosen) == 5000
    assert 0.46 < np.mean(labels[chosen] == 0) < 0.54
    assert set(chosen[labels[chosen] == 0]) == set(range(5))
    assert order.at(17).tolist() == order.at(17).tolist()


@pytest.fixture(scope="module")
def activation_feed():
    """Activations whose value tells the view and the picture: 100 * view + picture."""
    values = np.zeros((4, 12, 2, 2, 3), np.float16)
    values += 100 * np.arange(4).reshape(4, 1, 1, 1, 1) + np.arange(12).reshape(1, 12, 1, 1, 1)
    return ActivationFeed(values, seed=5)


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="module")
def images(shapes):
    return sorted(shapes.glob("*/*.png"))


@pytest.fixture(scope="module")
def image_feed(images, pool):
    """Photos with an augmentation that tells what it was given: cropped to size, and brighter by the step."""
    import tensorflow as tf

    def augment(photos, labels, step):
        size = RECIPE.image_size
        return tf.cast(photos, tf.float32)[:, :size, :size] + tf.cast(step, tf.float32), labels * 0.5

    return ImageFeed(images, RECIPE, augment, pool)


def test_activation_feed_takes_a_random_view_of_each_image(activation_feed):
    indices = np.array([3, 0, 11, 3])
    seen = set()
    for step in range(40):
        values = activation_feed.load(indices, step, training=True)
        assert (values.dtype, values.shape) == (np.float16, (4, 2, 2, 3))
        views, loaded = np.divmod(values[:, 0, 0, 0].astype(int), 100)
        assert loaded.tolist() == indices.tolist()
        seen |= set(enumerate(views.tolist()))
        assert np.array_equal(values, activation_feed.load(indices, step, training=True))
    assert seen == {(at, view) for at in range(4) for view in range(4)}
    other = ActivationFeed(activation_feed.values, seed=6)
    assert any(
        not np.array_equal(other.load(indices, at, training=True), activation_feed.load(indices, at, training=True))
        for at in range(5)
    )


def test_activation_feed_takes_the_first_view_outside_of_training(activation_feed):
    indices = np.array([3, 0, 11])
    assert activation_feed.load(indices, 9, training=False)[:, 0, 0, 0].tolist() == [3, 0, 11]
    alone = ActivationFeed(activation_feed.values[:1], seed=5)
    assert alone.load(indices, 9, training=True)[:, 0, 0, 0].tolist() == [3, 0, 11]


def test_image_feed_loads_larger_images_for_training(image_feed, images):
    indices = np.array([5, 2])
    for training, side in ((True, round(MARGIN * 32)), (False, 32)):
        loaded = image_feed.load(indices, 3, training=training)
        assert (loaded.dtype, loaded.shape) == (np.uint8, (2, side, side, 3))
        expected = [fit(decode(read(images[at]), side), side, "stretch") for at in indices]
        assert np.array_equal(loaded, expected)
        assert np.array_equal(loaded, image_feed.load(indices, 99, training=training))


@pytest.mark.parametrize(("training", "brighter", "share"), [(False, 0, 1), (True, 4, 0.5)])
def test_image_feed_augments_in_training_and_normalises(image_feed, training, brighter, share):
    photos = image_feed.load(np.array([5, 20]), 0, training=training)
    inputs, labels = image_feed.finish(photos, one_hot(2), 4, training=training)
    pixels = photos[:, :32, :32].astype(np.float32) + brighter
    expected = (pixels[..., ::-1] - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-4)
    assert np.array_equal(labels, share * one_hot(2))


@pytest.mark.parametrize("kind", ["activation_feed", "image_feed"])
def test_training_batches_are_those_of_each_step(kind, request):
    feed = request.getfixturevalue(kind)
    labels, order = one_hot(12) * np.linspace(1, 2, 12, dtype=np.float32)[:, None], BatchOrder(np.arange(12), 5, seed=2)
    data = training_batches(feed, order, labels, range(4, 9))
    result = list(data)
    assert len(result) == 5
    assert [part.shape[1:] for part in data.element_spec] == [part.shape[1:] for part in result[0]]
    for step, (inputs, truth) in enumerate(result, 4):
        indices = order.at(step)
        expected, shares = feed.finish(feed.load(indices, step, training=True), labels[indices], step, training=True)
        assert np.array_equal(inputs, expected)
        assert np.array_equal(truth, shares)


def test_mixup_mixes_activations_and_labels_alike(activation_feed):
    mixed = ActivationFeed(activation_feed.values, 5, mixup=0.2)
    indices, labels = np.arange(6), one_hot(6)
    loaded = activation_feed.load(indices, 3, training=True)
    shares = set()
    for step in range(20):
        inputs, truth = (part.numpy() for part in mixed.finish(loaded, labels, step, training=True))
        share = truth[0].max()
        assert 0.5 <= share <= 1
        expected = share * loaded.astype(np.float32) + (1 - share) * np.roll(loaded, 1, axis=0).astype(np.float32)
        assert np.allclose(inputs, expected, atol=1e-5)
        assert np.allclose(truth, share * labels + (1 - share) * np.roll(labels, 1, axis=0), atol=1e-6)
        again = mixed.finish(loaded, labels, step, training=True)[1].numpy()
        assert (again == truth).all()
        shares.add(round(float(share), 4))
    assert len(shares) > 10
    for feed, training in ((mixed, False), (activation_feed, True)):
        plain, same = feed.finish(loaded, labels, 0, training=training)
        assert plain.dtype == "float32"
        assert (plain.numpy() == loaded).all()
        assert (np.asarray(same) == labels).all()


@pytest.mark.parametrize("kind", ["activation_feed", "image_feed"])
def test_validation_batches_are_in_order_without_augmentation(kind, request):
    feed = request.getfixturevalue(kind)
    indices, labels = np.array([4, 7, 1, 11, 0, 2, 3]), one_hot(12)
    result = list(validation_batches(feed, indices, labels, 3))
    assert [len(inputs) for inputs, _ in result] == [3, 3, 1]
    expected, _ = feed.finish(feed.load(indices, 0, training=False), labels[indices], 0, training=False)
    assert np.array_equal(np.concatenate([inputs for inputs, _ in result]), expected)
    assert np.array_equal(np.concatenate([truth for _, truth in result]), labels[indices])
    assert list(validation_batches(feed, indices[:0], labels, 3)) == []
