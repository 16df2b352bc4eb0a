"""Batches for training: each picture once an epoch, the same for the same seed and step, in any number of threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tl.data.images import decode, fit, read
from tl.features.activations import MARGIN
from tl.learning.batches import ActivationFeed, BatchOrder, ImageFeed, training_batches, validation_batches
from tl.networks.backbones import Recipe

RECIPE = Recipe(32, "stretch", bgr=True, mean=(103.939, 116.779, 123.68), std=(2.0, 2.0, 4.0))
CLASSES = 3
PLACES = np.arange(100, 123)


def taken(order: BatchOrder, epoch: int) -> np.ndarray:
    return np.concatenate([order.at(step) for step in range(epoch * order.steps, (epoch + 1) * order.steps)])


def one_hot(count: int) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES]


@pytest.mark.parametrize("batch", [1, 5, 8, 23])
def test_each_picture_comes_once_an_epoch(batch):
    order = BatchOrder(PLACES, batch, seed=7)
    assert order.steps == -(-23 // batch)
    for epoch in range(3):
        places = taken(order, epoch)
        assert len(places) == order.steps * batch  # every batch has the same size
        assert sorted(places[:23]) == PLACES.tolist()
        assert places[23:].tolist() == places[: len(places) - 23].tolist()  # filled up from its beginning


def test_the_order_is_that_of_seed_and_step():
    order, again = BatchOrder(PLACES, 5, seed=7), BatchOrder(PLACES, 5, seed=7)
    later = [again.at(step).tolist() for step in (9, 3, 4)]  # as after a resumption: in any order
    assert later == [order.at(step).tolist() for step in (9, 3, 4)]
    assert taken(order, 0).tolist() != taken(order, 1).tolist()
    assert taken(order, 0).tolist() != taken(BatchOrder(PLACES, 5, seed=8), 0).tolist()
    assert taken(order, 0).tolist() != PLACES.tolist()


def test_a_batch_of_more_than_there_are_is_filled_up():
    places = BatchOrder(PLACES[:3], 8, seed=0).at(0)
    assert len(places) == 8
    assert set(places) == set(PLACES[:3].tolist())


def test_shares_make_uneven_classes_even():
    labels = np.array([0] * 5 + [1] * 95)
    shares = (1 / np.bincount(labels))[labels]
    order = BatchOrder(np.arange(100), 10, 3, shares / shares.sum())
    drawn = np.concatenate([taken(order, epoch) for epoch in range(50)])
    assert len(drawn) == 5000
    assert 0.46 < np.mean(labels[drawn] == 0) < 0.54
    assert set(drawn[labels[drawn] == 0]) == set(range(5))
    assert order.at(17).tolist() == order.at(17).tolist()


@pytest.fixture(scope="module")
def stored():
    """Activations whose value tells the view and the picture: 100 * view + picture."""
    values = np.zeros((4, 12, 2, 2, 3), np.float16)
    values += 100 * np.arange(4).reshape(4, 1, 1, 1, 1) + np.arange(12).reshape(1, 12, 1, 1, 1)
    return ActivationFeed(values, seed=5)


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="module")
def pictures(shapes):
    return sorted(shapes.glob("*/*.png"))


@pytest.fixture(scope="module")
def photographed(pictures, pool):
    """Photos with an augmentation that tells what it was given: cropped to size, and brighter by the step."""
    import tensorflow as tf

    def augment(photos, labels, step):
        size = RECIPE.image_size
        return tf.cast(photos, tf.float32)[:, :size, :size] + tf.cast(step, tf.float32), labels * 0.5

    return ImageFeed(pictures, RECIPE, augment, pool)


def test_a_stored_picture_comes_in_a_view_of_its_own(stored):
    places = np.array([3, 0, 11, 3])
    seen = set()
    for step in range(40):
        values = stored.load(places, step, training=True)
        assert values.dtype == np.float16
        assert values.shape == (4, 2, 2, 3)
        views, found = np.divmod(values[:, 0, 0, 0].astype(int), 100)
        assert found.tolist() == places.tolist()
        seen |= set(enumerate(views.tolist()))
        assert np.array_equal(values, stored.load(places, step, training=True))
    assert seen == {(at, view) for at in range(4) for view in range(4)}
    other = ActivationFeed(stored.values, seed=6)
    assert any(
        not np.array_equal(other.load(places, at, training=True), stored.load(places, at, training=True))
        for at in range(5)
    )


def test_outside_of_training_a_stored_picture_comes_as_it_is(stored):
    places = np.array([3, 0, 11])
    assert stored.load(places, 9, training=False)[:, 0, 0, 0].tolist() == [3, 0, 11]
    alone = ActivationFeed(stored.values[:1], seed=5)
    assert alone.load(places, 9, training=True)[:, 0, 0, 0].tolist() == [3, 0, 11]


def test_stored_activations_are_trained_on_in_32_bits(stored):
    labels = one_hot(3)
    inputs, truth = stored.finish(stored.values[1, :3], labels, 0, training=True)
    assert inputs.dtype == "float32"
    assert np.array_equal(inputs, stored.values[1, :3])
    assert np.array_equal(truth, labels)


def test_photos_are_loaded_larger_for_training(photographed, pictures):
    places = np.array([5, 2])
    for training, side in ((True, round(MARGIN * 32)), (False, 32)):
        found = photographed.load(places, 3, training=training)
        assert found.dtype == np.uint8
        assert found.shape == (2, side, side, 3)
        expected = [fit(decode(read(pictures[at]), side), side, "stretch") for at in places]
        assert np.array_equal(found, expected)
        assert np.array_equal(found, photographed.load(places, 99, training=training))


def test_photos_are_normalised_as_the_backbone_wants_them(photographed):
    photos = photographed.load(np.array([5, 20]), 0, training=False)
    inputs, labels = photographed.finish(photos, one_hot(2), 4, training=False)
    expected = (photos[..., ::-1].astype(np.float32) - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-4)
    assert np.array_equal(labels, one_hot(2))


def test_photos_are_augmented_before_they_are_normalised_and_only_in_training(photographed):
    photos = photographed.load(np.array([5, 20]), 0, training=True)
    inputs, labels = photographed.finish(photos, one_hot(2), 4, training=True)
    brighter = photos[:, :32, :32].astype(np.float32) + 4
    expected = (brighter[..., ::-1] - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-4)
    assert np.array_equal(labels, 0.5 * one_hot(2))


@pytest.mark.parametrize("kind", ["stored", "photographed"])
def test_batches_are_what_is_loaded_step_for_step(kind, request):
    feed = request.getfixturevalue(kind)
    labels, order = one_hot(12) * np.linspace(1, 2, 12, dtype=np.float32)[:, None], BatchOrder(np.arange(12), 5, seed=2)
    made = list(training_batches(feed, order, labels, range(4, 9)))
    assert len(made) == 5
    for step, (inputs, truth) in enumerate(made, 4):
        places = order.at(step)
        expected, shares = feed.finish(feed.load(places, step, training=True), labels[places], step, training=True)
        assert np.array_equal(inputs, expected)
        assert np.array_equal(truth, shares)


def test_a_training_that_goes_on_gets_the_batches_it_would_have_got(photographed):
    order = BatchOrder(np.arange(12), 5, seed=2)
    whole = [inputs.numpy() for inputs, _ in training_batches(photographed, order, one_hot(12), range(0, 8))]
    rest = [inputs.numpy() for inputs, _ in training_batches(photographed, order, one_hot(12), range(6, 8))]
    assert all(np.array_equal(one, other) for one, other in zip(whole[6:], rest, strict=True))


def test_mixup_mixes_each_activation_with_the_next_and_so_its_label(stored):
    mixed = ActivationFeed(stored.values, 5, mixup=0.2)
    places, labels = np.arange(6), one_hot(6)
    loaded = stored.load(places, 3, training=True)
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
    plain, same = mixed.finish(loaded, labels, 0, training=False)
    assert (plain.numpy() == loaded).all()
    assert (np.asarray(same) == labels).all()


def test_batches_have_a_shape_that_can_be_compiled(stored):
    data = training_batches(stored, BatchOrder(np.arange(12), 5, seed=2), one_hot(12), range(0, 2))
    inputs, labels = data.element_spec
    assert inputs.shape[1:] == (2, 2, 3)
    assert labels.shape[1:] == (CLASSES,)


@pytest.mark.parametrize("kind", ["stored", "photographed"])
def test_for_measuring_each_picture_comes_once_in_order_as_it_is(kind, request):
    feed = request.getfixturevalue(kind)
    places, labels = np.array([4, 7, 1, 11, 0, 2, 3]), one_hot(12)
    made = list(validation_batches(feed, places, labels, 3))
    assert [len(inputs) for inputs, _ in made] == [3, 3, 1]
    expected, _ = feed.finish(feed.load(places, 0, training=False), labels[places], 0, training=False)
    assert np.array_equal(np.concatenate([inputs for inputs, _ in made]), expected)
    assert np.array_equal(np.concatenate([truth for _, truth in made]), labels[places])
    assert list(validation_batches(feed, places[:0], labels, 3)) == []
