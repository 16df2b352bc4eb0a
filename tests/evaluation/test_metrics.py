"""Tests of metrics against scikit-learn, scipy and values by hand; of intervals by their coverage."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn

from tl.errors import DataError
from tl.evaluation.metrics import (
    ConfusedClasses,
    alike_in_groups,
    compute_metrics,
    confusion,
    group_weights,
    mean_proportion,
    most_confused,
    proportion,
)


def sample(count: int, classes: int, seed: int = 0, sharp: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Random probabilities and labels that they know something of; the last class never occurs."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, classes)) * sharp
    labels = (logits + draw.gumbel(size=logits.shape) * 2)[:, :-1].argmax(axis=1)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (101, 102), (3, 7), (640, 2000)])
def test_proportion_has_the_wilson_interval(hits, count):
    ours = proportion(hits, count)
    assert ours.low <= ours.value <= ours.high  # also where rounding would put 1 above the end
    theirs = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_top1_top5_and_log_loss_by_hand():
    probabilities = np.full((4, 6), 0.1, np.float32)
    probabilities[[0, 1, 2, 3], [0, 1, 2, 3]] = 0.5
    probabilities[:, 5] = 0.01
    result = compute_metrics(probabilities, np.array([0, 1, 0, 5]))
    assert result.top1.value == 0.5
    assert result.top5.value == 0.75  # class 5 is the sixth of six in every row
    assert result.log_loss == pytest.approx(-np.mean(np.log([0.5, 0.5, 0.1, 0.01])), rel=1e-6)
    assert compute_metrics(np.eye(5, dtype=np.float32), np.arange(5)).top5 is None


@pytest.mark.parametrize(("count", "classes"), [(300, 2), (40, 12), (2000, 7), (1500, 100)])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn(count, classes, seed):
    probabilities, labels = sample(count, classes, seed)
    result, every = compute_metrics(probabilities, labels), list(range(classes))
    predicted = probabilities.argmax(axis=1)
    near = {"abs": 1e-9, "nan_ok": True}
    assert result.top1.value == pytest.approx(sklearn.accuracy_score(labels, predicted), **near)
    assert result.log_loss == pytest.approx(sklearn.log_loss(labels, probabilities, labels=every), **near)
    brier = np.mean(np.sum((probabilities - np.eye(classes)[labels]) ** 2, axis=1))
    assert result.brier.value == pytest.approx(brier, **near)
    recalls = sklearn.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert result.balanced_accuracy.value == pytest.approx(recalls, **near)  # warns of predicted that are no label
    assert result.macro_f1.value == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"), **near)
    if result.top5 is not None:
        top5 = sklearn.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
        assert result.top5.value == pytest.approx(top5, **near)
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    assert [one.support for one in result.per_class] == support.tolist()
    assert [one.precision.value for one in result.per_class] == pytest.approx(precision, **near)
    assert [one.recall.value for one in result.per_class] == pytest.approx(recall, **near)
    assert [one.f1.value for one in result.per_class] == pytest.approx(f1, **near)


def test_log_loss_clips_zeros_as_scikit_learn_does():
    probabilities, labels = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0])
    expected = sklearn.log_loss(labels, probabilities)
    assert compute_metrics(probabilities, labels).log_loss == pytest.approx(expected, abs=1e-9)


def test_equal_probabilities_are_ranked_as_by_argmax():
    probabilities = np.full((10, 10), 0.1, np.float32)
    result = compute_metrics(probabilities, np.arange(10))
    assert (result.top1.value, result.top5.value) == (0.1, 0.5)


def test_calibration_error_is_that_of_the_reliability_diagram():
    probabilities, labels = sample(800, 6)
    result = compute_metrics(probabilities, labels)
    assert result.calibration_error.value == pytest.approx(result.reliability.error, abs=1e-12)
    assert result.calibration_error.low <= result.calibration_error.value <= result.calibration_error.high


def test_intervals_agree_with_a_plain_bootstrap():
    probabilities, labels = sample(400, 5, sharp=1.0)
    result, draw = compute_metrics(probabilities, labels), np.random.default_rng(99)
    predicted, truth = probabilities.argmax(axis=1), np.eye(5)[labels]
    losses, squares = -np.log(probabilities[truth == 1]), ((probabilities - truth) ** 2).sum(axis=1)
    again: dict[str, list[float]] = {"log_loss": [], "brier": [], "first_f1": []}
    for _ in range(2000):
        at = draw.integers(0, 400, 400)
        again["log_loss"].append(float(losses[at].mean()))
        again["brier"].append(float(squares[at].mean()))
        hits = np.sum((predicted[at] == labels[at]) & (labels[at] == 0))
        again["first_f1"].append(float(2 * hits / (np.sum(labels[at] == 0) + np.sum(predicted[at] == 0))))
    ours = {
        "log_loss": result.log_loss_interval,
        "brier": (result.brier.low, result.brier.high),
        "first_f1": (result.per_class[0].f1.low, result.per_class[0].f1.high),
    }
    for name, theirs in again.items():
        low, high = np.quantile(theirs, [0.025, 0.975])
        assert np.abs(np.array(ours[name]) - (low, high)).max() < 0.4 * np.std(theirs), name
        assert ours[name][1] - ours[name][0] == pytest.approx(high - low, rel=0.08), name


def test_intervals_cover_about_95_percent():
    truth = compute_metrics(*sample(20_000, 4, seed=1000))
    covered = {"log_loss": 0, "brier": 0, "balanced_accuracy": 0, "macro_f1": 0}
    for seed in range(100):
        result = compute_metrics(*sample(100, 4, seed))
        covered["log_loss"] += result.log_loss_interval[0] <= truth.log_loss <= result.log_loss_interval[1]
        for name in ("brier", "balanced_accuracy", "macro_f1"):
            one = getattr(result, name)
            covered[name] += one.low <= getattr(truth, name).value <= one.high
    assert all(87 <= count <= 99 for count in covered.values()), covered


def test_calibration_error_interval_covers_despite_noise():
    """The plain percentiles of a well calibrated network's error lie above the true one in one case of five."""
    covered = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        confidence = draw.beta(5, 1, 500) / 2 + 0.5
        correct = draw.random(500) < np.where(confidence > 0.7, confidence - 0.02, confidence)
        probabilities = np.column_stack([confidence, 1 - confidence])
        result = compute_metrics(probabilities, (~correct).astype(np.int64)).calibration_error
        covered += result.low <= 0.02 <= result.high + 0.001
    assert covered >= 48


def test_compute_metrics_is_deterministic_by_seed():
    probabilities, labels = sample(100, 3)
    assert compute_metrics(probabilities, labels).macro_f1 == compute_metrics(probabilities, labels).macro_f1
    assert compute_metrics(probabilities, labels).macro_f1 != compute_metrics(probabilities, labels, seed=1).macro_f1


def test_all_correct_still_has_an_interval():
    result = compute_metrics(np.eye(2, dtype=np.float32)[[0, 1] * 10], np.array([0, 1] * 10))
    for share in (result.balanced_accuracy, result.macro_f1):
        assert (share.value, share.high) == (1.0, 1.0)
        assert share.low == pytest.approx(1 - (1 - proportion(10, 10).low) / math.sqrt(2))
    assert result.per_class[0].f1.low == pytest.approx(proportion(10, 10).low)


@pytest.mark.parametrize("cats_correct", [48, 47])
def test_balanced_accuracy_interval_is_wide_for_a_rare_class(cats_correct):
    labels = np.array([0] * 48 + [1] * 2)
    predicted = np.where(np.arange(50) < 48 - cats_correct, 1, labels)
    result = compute_metrics(np.eye(2, dtype=np.float32)[predicted], labels)
    cats, dogs = proportion(cats_correct, 48), proportion(2, 2)
    balanced = result.balanced_accuracy
    distance = math.hypot(cats.value - cats.low, dogs.value - dogs.low) / 2
    assert balanced.low == pytest.approx(balanced.value - distance)
    assert 0.65 < balanced.low < 0.68
    if cats_correct == 48:
        assert result.macro_f1 == balanced


@pytest.mark.parametrize(("counts", "probabilities"), [
    ([48, 2], [0.97, 0.7]),
    ([48, 2], [0.9, 0.5]),
    ([48, 8], [0.95, 0.8]),
    ([51, 51], [0.98, 0.98]),
    ([40, 20, 10, 5, 2], [0.99, 0.98, 0.97, 0.95, 0.9]),
    ([20] * 10, [0.95] * 10),
    ([1] * 100, [0.6] * 100),
    ([2] * 100, [0.6] * 100),
    ([4] * 100, np.linspace(0.2, 1, 100)),
    ([20] * 100, np.linspace(0.3, 1, 100)),
])  # fmt: skip
def test_balanced_accuracy_interval_covers(counts, probabilities):
    counts, probabilities = np.array(counts), np.array(probabilities)
    truth, covered = float(probabilities.mean()), 0
    for hits in np.random.default_rng(1).binomial(counts, probabilities, (500, len(counts))):
        result = mean_proportion(hits, counts)
        covered += result.low - 1e-9 <= truth <= result.high + 1e-9
    assert covered >= 440  # of 500; 475 are promised, and Wilson's own interval of two images holds in 91 of 100 cases


def test_balanced_accuracy_interval_is_within_the_ends_of_all_classes():
    result = mean_proportion(np.array([24, 2, 0]), np.array([48, 2, 0]))
    assert result.value == 0.75
    assert result.high == pytest.approx((proportion(24, 48).high + 1) / 2)


def test_metrics_of_a_single_wrong_image():
    result = compute_metrics(np.array([[0.9, 0.1]]), np.array([1]))
    assert (result.top1.value, result.macro_f1.value, result.macro_f1.low) == (0.0, 0.0, 0.0)
    assert result.macro_f1.high == pytest.approx(proportion(0, 1).high)
    assert result.balanced_accuracy == result.macro_f1
    assert result.brier.value == pytest.approx(2 * 0.81)


def test_classes_without_images_have_no_value():
    result = compute_metrics(np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]]), np.array([0, 1]))
    plain = result.details(["a", "b", "c"])["per_class"]
    assert plain["c"]["recall"] is None
    assert plain["b"]["precision"] is None
    assert plain["b"]["recall"] == 0.0
    assert math.isnan(result.per_class[2].f1.value)
    assert result.balanced_accuracy.value == 0.5  # of the two classes that have images


def test_as_dict_and_details_are_json():
    probabilities, labels = sample(60, 8)
    result = compute_metrics(probabilities.astype(np.float32), labels)
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert {"top1", "top1_interval", "top5", "top5_interval", "log_loss", "count"} <= set(plain)
    for name in ("log_loss", "brier", "calibration_error", "balanced_accuracy", "macro_f1"):
        low, high = plain[f"{name}_interval"]
        assert low <= plain[name] <= high
    details = json.loads(json.dumps(result.details(list("abcdefgh")), allow_nan=False))
    assert details["per_class"]["a"]["support"] == int(np.sum(labels == 0))
    assert sum(details["reliability"]["counts"]) == 60


def test_answers_that_are_the_same_in_each_group_count_as_groups():
    groups, right = np.repeat(np.arange(40), 5), np.repeat(np.arange(40) % 10 > 0, 5)
    assert alike_in_groups(right, groups) == 1.0
    assert alike_in_groups(np.ones(200, bool), groups) == 1.0  # without an error nothing is known
    probabilities = np.eye(2, dtype=np.float32)[np.where(right, 0, 1)]
    result = compute_metrics(probabilities, np.zeros(200, np.int64), groups=groups)
    whole = proportion(36, 40)
    for estimate in (result.top1, result.per_class[0].recall):
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.9, whole.low, whole.high))
    assert result.as_dict()["groups"] == {"count": 40, "weight": pytest.approx(0.2)}
    once = compute_metrics(probabilities[::5], np.zeros(40, np.int64))
    for name in ("brier", "macro_f1"):
        both = [getattr(each, name) for each in (result, once)]
        assert both[0].high - both[0].low == pytest.approx(both[1].high - both[1].low, rel=0.2)


def test_groups_of_one_image_change_nothing():
    probabilities, labels = sample(100, 4)
    alone = compute_metrics(probabilities, labels, groups=np.arange(100)[::-1])
    assert alone.top1 == compute_metrics(probabilities, labels).top1
    assert alone.weight == 1.0


@pytest.mark.parametrize("alike", [0.001, 0.3, 0.95])
def test_interval_of_grouped_images_covers_whatever_the_correlation(alike):
    random, accuracy, inside, ignored = np.random.default_rng(0), 0.9, 0, 0
    for _ in range(300):
        groups = np.repeat(np.arange(20), 1 + random.geometric(0.1, 20))
        rates = random.beta(accuracy * (1 / alike - 1), (1 - accuracy) * (1 / alike - 1), 20)
        right = random.random(len(groups)) < rates[groups]
        [weight] = group_weights(groups, np.zeros_like(groups), 1, alike_in_groups(right, groups))
        estimate, plain = (proportion(int(right.sum()), len(right), weight=each) for each in (weight, 1.0))
        inside += estimate.low <= accuracy <= estimate.high
        ignored += plain.low <= accuracy <= plain.high
    assert inside >= 0.93 * 300
    assert ignored < 0.7 * 300 or alike < 0.01


def test_compute_metrics_refuses_no_images():
    with pytest.raises(DataError, match="no images"):
        compute_metrics(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))


@pytest.mark.parametrize("classes", [2, 100])
def test_confusion_agrees_with_scikit_learn(classes):
    draw = np.random.default_rng(0)
    labels, predicted = draw.integers(0, classes, (2, 3000))
    expected = sklearn.confusion_matrix(labels, predicted, labels=range(classes))
    assert np.array_equal(confusion(labels, predicted, classes), expected)


def test_confusion_keeps_absent_classes():
    matrix = confusion(np.array([1, 1]), np.array([1, 0]), 4)
    assert matrix.shape == (4, 4)
    assert matrix[1].tolist() == [1, 1, 0, 0]
    assert confusion(np.zeros(0, np.int64), np.zeros(0, np.int64), 2).tolist() == [[0, 0], [0, 0]]


def test_most_confused_is_directed_and_sorted():
    matrix = np.array([[90, 6, 0], [3, 3, 0], [6, 3, 1]])
    assert most_confused(matrix) == [
        ConfusedClasses(2, 0, 6, 0.6),  # the larger share of its class
        ConfusedClasses(0, 1, 6, 6 / 96),
        ConfusedClasses(1, 0, 3, 0.5),
        ConfusedClasses(2, 1, 3, 0.3),
    ]
    assert most_confused(matrix, 1) == [ConfusedClasses(2, 0, 6, 0.6)]
    assert most_confused(np.diag([3, 0, 4])) == []
