"""Tests of what a head computes from features."""

import numpy as np
import pytest

from tl.learning.head import IMAGENET_WEIGHT, Head, normalized


def head_of(features=20, classes=3, imagenet=True, seed=0):
    random = np.random.default_rng(seed)
    top = random.normal(size=(features, 50)).astype(np.float32) if imagenet else None
    width = features + (50 if imagenet else 0)
    kernels = [random.normal(size=(rows, classes)).astype(np.float32) for rows in (features, width)]
    return Head(kernels[0], random.normal(size=classes).astype(np.float32), 1.0, kernels[1], top)


def features_of(images, features=20):
    return np.random.default_rng(5).gamma(0.5, size=(images, features)).astype(np.float32)


def test_normalized_parts_have_their_lengths_and_ignore_brightness():
    head, values = head_of(), features_of(30)
    rows = normalized(values, head.imagenet)
    assert np.linalg.norm(rows[:, :20], axis=1) == pytest.approx(1)
    assert np.linalg.norm(rows[:, 20:], axis=1) == pytest.approx(IMAGENET_WEIGHT, abs=1e-5)
    assert normalized(7 * values, head.imagenet) == pytest.approx(rows, abs=1e-5)
    assert (normalized(-values, None) == -rows[:, :20]).all()
    assert not normalized(np.zeros((2, 20), np.float32), head.imagenet).any()


def test_logits_are_the_sum_of_both_parts():
    head, values = head_of(), features_of(30)
    by_hand = values @ head.kernel + head.bias + normalized(values, head.imagenet) @ head.normalized_kernel
    assert head.logits(values) == pytest.approx(by_hand, abs=1e-5)
    many = np.tile(values, (150, 1))  # more than are computed at a time
    assert head.logits(many)[-30:] == pytest.approx(by_hand, abs=1e-5)
    assert Head(head.kernel, head.bias, 1.0).logits(values) == pytest.approx(values @ head.kernel + head.bias)


@pytest.mark.parametrize("imagenet", [True, False])
def test_gradient_is_the_slope_of_the_logit(imagenet):
    head, values = head_of(imagenet=imagenet), features_of(3) + np.float32(0.05)
    for row in values:
        for label in range(3):
            slopes = []
            for at in range(20):
                step = np.zeros(20, np.float32)
                step[at] = 1e-2 * row[at]
                up, down = (head.logits((row + sign * step)[None])[0, label] for sign in (1, -1))
                slopes.append((up - down) / (2 * step[at]))
            assert head.gradient(row, label) == pytest.approx(np.array(slopes), abs=0.02, rel=0.02)
    assert np.isfinite(head.gradient(np.zeros(20, np.float32), 0)).all()
