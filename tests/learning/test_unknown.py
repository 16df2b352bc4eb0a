"""Unlike all training photos: known distributions, promises kept, and sets that break a covariance."""

import io
import math
import time

import numpy as np
import pytest

from tl.errors import UsageError
from tl.learning.unknown import Unknown, fit


def photos(count: int, classes: int = 2, features: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features as of photos: positive, each class around a centre that is the same for every seed."""
    centres = np.random.default_rng(1000).gamma(1, size=(classes, features))
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = centres[labels] * draw.lognormal(0, 0.5, (count, features))
    return values.astype(np.float32), labels


def strangers(count: int, features: int = 64) -> np.ndarray:
    return np.random.default_rng(7).gamma(1, size=(count, features)).astype(np.float32)


def test_strangers_are_told_apart():
    found = fit(*photos(400), 2)
    known, strange = found.score(photos(300, seed=1)[0]), found.score(strangers(300))
    assert np.mean(known[:, None] < strange) > 0.999
    assert found.is_unknown(strangers(300)).mean() > 0.95
    assert found.rate == 0.01


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("count", [100, 3000])  # all are references, and most are not
def test_false_alarms_are_as_rare_as_promised(rate, count):
    alarms = [
        fit(*photos(count, 4, seed=seed), 4, rate=rate, seed=seed)
        .is_unknown(photos(2000, 4, seed=900 + seed)[0])
        .mean()
        for seed in range(8)
    ]
    assert np.mean(alarms) < rate * 1.25
    assert np.mean(alarms) > rate * 0.4  # and no rarer: that would let strangers through


def test_the_score_is_the_mean_distance_to_the_five_nearest():
    values, labels = photos(50)
    seen = photos(20, seed=1)[0]
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (values, seen))
    by_hand = np.sort(np.linalg.norm(other[:, None] - unit, axis=2), axis=1)[:, :5].mean(axis=1)
    assert fit(values, labels, 2).score(seen) == pytest.approx(by_hand, abs=1e-5)
    assert fit(values, labels, 2).score(seen * 1000) == pytest.approx(by_hand, abs=1e-5)  # the length tells nothing


@pytest.mark.parametrize(("count", "rate"), [(30, 1 / 31), (19, 0.05), (98, 1 / 99), (99, 0.01)])
def test_few_photos_promise_what_they_can(count, rate):
    found = fit(*photos(count), 2, rate=0.01)
    assert found.rate == pytest.approx(rate)
    assert math.isfinite(found.threshold)
    assert f"{100 * rate:.2g} %" in found.sentence


def test_with_fewer_than_19_nothing_is_unknown_unless_more_alarms_are_asked_for():
    found = fit(*photos(18), 2, rate=0.01)
    assert (found.threshold, found.rate) == (math.inf, 0.0)
    assert not found.is_unknown(strangers(50)).any()
    assert found.sentence.startswith("off: too few")
    asked = fit(*photos(18), 2, rate=0.2)
    assert asked.rate == 0.2
    assert asked.is_unknown(strangers(50)).mean() > 0.9


def test_a_rate_of_nearly_all_calls_nearly_all_unknown():
    found = fit(*photos(100), 2, rate=1 - 1e-12)
    assert found.is_unknown(photos(100, seed=1)[0]).mean() > 0.9


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.999999999999])
def test_two_photos_of_each_class(count, rate):
    found = fit(*photos(count), 2, rate=rate)
    assert np.isfinite(found.score(strangers(3))).all()
    assert found.is_unknown(strangers(3)).shape == (3,)
    if rate == 0.01:
        assert not found.is_unknown(strangers(3)).any()


def test_copies_do_not_lower_the_line():
    values, labels = photos(200)
    copies = np.concatenate([values] * 6) * (1 + 1e-6 * np.random.default_rng(0).normal(size=(1200, 1)))
    found = fit(copies.astype(np.float32), np.tile(labels, 6), 2, rate=0.05)
    assert found.is_unknown(photos(1000, seed=1)[0]).mean() < 0.15


def test_photos_that_are_all_alike():
    found = fit(np.ones((40, 8), np.float32), np.arange(40) % 2, 2)
    assert not found.is_unknown(np.ones((3, 8), np.float32)).any()
    assert found.rate == 0.0


def test_constant_features_zeros_and_fewer_photos_than_features():
    values, labels = photos(40, features=512)
    values[:, 100:] = 3.0
    values[7] = 0
    found = fit(values, labels, 2)
    assert np.isfinite(found.score(values)).all()
    assert not found.is_unknown(values[:5]).any()


def test_what_is_no_number_is_unknown():
    assert fit(*photos(200), 2).is_unknown(np.full((1, 64), np.nan, np.float32)).all()


def test_every_class_is_among_the_references_however_rare():
    values, labels = photos(5000, 2)
    rare = strangers(1)[0] * np.random.default_rng(3).lognormal(0, 0.3, (12, 64)).astype(np.float32)
    found = fit(np.concatenate([values, rare]), np.concatenate([labels, np.full(12, 2)]), 3)
    assert len(found.references) == 512
    assert found.is_unknown(rare).sum() <= 1


def test_it_is_small_and_is_kept_without_pickle():
    values, labels = photos(3000, 100, 2048)
    found = fit(values, labels, 100)
    file = io.BytesIO()
    np.savez(file, references=found.references, threshold=found.threshold, rate=found.rate)
    assert len(file.getvalue()) < 5_000_000
    file.seek(0)
    with np.load(file, allow_pickle=False) as kept:
        again = Unknown(kept["references"], float(kept["threshold"]), float(kept["rate"]))
    assert found.references.dtype == np.float32
    assert np.array_equal(again.is_unknown(values), found.is_unknown(values))


def test_order_of_rows_and_number_asked_at_once_do_not_matter():
    values, labels = photos(100)
    found, seen = fit(values, labels, 2), photos(5000, seed=1)[0]
    one_by_one = np.concatenate([found.score(seen[at : at + 1]) for at in range(20)])
    assert found.score(seen)[:20] == pytest.approx(one_by_one, abs=1e-6)
    assert found.score(seen[:0]).shape == (0,)


def test_the_same_seed_gives_the_same():
    values, labels = photos(1500)
    first, again, other = (fit(values, labels, 2, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.references, again.references)
    assert first.threshold == again.threshold
    assert not np.array_equal(first.references, other.references)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UsageError, match="--unknown-rate"):
        fit(*photos(10), 2, rate=rate)


def test_it_is_quick():
    values, labels = photos(20_000, 100, 256)
    started = time.process_time()
    fit(values, labels, 100).score(values[:5000])
    assert time.process_time() - started < 4
