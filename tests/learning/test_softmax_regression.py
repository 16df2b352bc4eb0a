"""Tests of softmax regression: the problem is convex, so the solution is known."""

import numpy as np
import pytest

from tl.learning.calibration import softmax
from tl.learning.softmax_regression import SoftmaxRegression


def problem(images, features, classes=3):
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    values = random.normal(size=(classes, features))[labels] + random.normal(size=(images, features))
    return values.astype(np.float32), labels


@pytest.mark.parametrize(("images", "features"), [(60, 200), (200, 20)])
def test_path_makes_the_gradient_of_the_objective_zero(images, features):
    values, labels = problem(images, features)
    kernels = list(SoftmaxRegression(values, labels, 3, 200).path((1.0, 0.1), 1e-6))
    mean, spread = values.mean(axis=0), values.std(axis=0)
    for l2, (kernel, bias) in zip((1.0, 0.1), kernels, strict=True):
        residual = softmax(values @ kernel + bias) - np.eye(3)[labels]
        gradient = ((values - mean) / spread).T @ residual / images + l2 * kernel * spread[:, None]
        assert np.abs(gradient).max() < 1e-3
        assert np.abs(residual.mean(axis=0)).max() < 1e-3  # the bias is not regularised


@pytest.mark.parametrize(("images", "features"), [(60, 200), (200, 20)])
def test_path_ends_at_the_same_solution_from_any_start(images, features):
    values, labels = problem(images, features)
    values[:, 3] = 7.0
    plain = next(SoftmaxRegression(values, labels, 3, 200).path((0.1,), 1e-7))
    random = np.random.default_rng(1).normal(size=(features, 3)).astype(np.float32)
    warm = next(SoftmaxRegression(values, labels, 3, 400).path((0.1,), 1e-7, (random, np.ones(3, np.float32))))
    ends = [softmax(values @ kernel + bias) for kernel, bias in (plain, warm)]  # a constant for all classes is free
    assert ends[1] == pytest.approx(ends[0], abs=0.01)
    assert not plain[0][3].any()  # a constant feature is ignored


def test_start_at_the_solution_needs_no_iterations():
    values, labels = problem(200, 20)
    solution = next(SoftmaxRegression(values, labels, 3, 200).path((0.1,), 1e-7))
    again = next(SoftmaxRegression(values, labels, 3, 1).path((0.1,), 1e-7, solution))
    assert values @ again[0] + again[1] == pytest.approx(values @ solution[0] + solution[1], abs=0.01)
