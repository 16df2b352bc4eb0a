"""Accuracy with few photos a class: the head that `tl finetune` fits, beside softmax regression alone.

python bench/few.py dogs                     1, 2, 5, 10, 20 photos a class, tested on all other dogs-vs-cats photos
python bench/few.py cifar                    2, 5, 20, 100 images a class of CIFAR-100, tested on 2,000 others
python bench/few.py balance                  uneven classes of CIFAR-100 by --balance, tested on 40 others of each
python bench/few.py dogs --image-sizes 224 288 336 --sizes 10 20 50 100     the size with the lowest log-loss, as
                                             `--image-size auto` chooses it, beside the first one
python bench/few.py intervals                coverage of the 95% interval of a cross-validated accuracy (dogs)
python bench/few.py groups                   the same where photos come in groups: simulated answers, and dogs-vs-cats
python bench/few.py copies                   copies of training photos recognised, others taken for copies
python bench/few.py speed                    seconds and peak memory of fitting 400 and 50,000 images

Training photos are drawn at random, ten times (--draws); the figures are means with standard errors of the draws. The
CIFAR images are 140 of each class, drawn from the training set; their features take some minutes the first time.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paths import PHOTOS, cifar_folder
from PIL import Image, ImageOps

from tl.cache import usable_cache
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.data.near_duplicates import find_known, find_near_pairs, find_originals, usual_likeness
from tl.engines import open_engine
from tl.evaluation.metrics import alike_in_groups, compute_metrics, fold_weight, group_weights, proportion
from tl.features.extract import extract
from tl.learning.calibration import log_loss, reliability, softmax
from tl.learning.head_fit import HeadFit, fit_head
from tl.learning.hyperparameters import class_weights
from tl.networks.backbones import backbone
from tl.networks.weights import imagenet_kernel, resolve
from tl.progress import Progress

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

TEST = 20  # images of each CIFAR class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("dogs", "cifar", "balance", "intervals", "groups", "copies", "speed"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--heads", nargs="+", default=["auto", "softmax"])
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[224])
    parser.add_argument("--pool", type=int, default=140, help="images of each CIFAR class to draw from")
    parser.add_argument("--no-top", action="store_true", help="without the ImageNet classifier of the backbone")
    arguments = parser.parse_args()
    network = backbone("resnet50")
    weights = resolve(network)
    top = None if arguments.no_top else imagenet_kernel(network, weights)
    if arguments.what == "speed":
        speed(top)
    elif arguments.what == "groups":
        simulated_groups(50 * arguments.draws)
        values, labels = features_of(PHOTOS)
        for size in arguments.sizes or [10, 30, 100]:
            grouped_coverage(values, labels, size, arguments.draws, top)
    elif arguments.what == "copies":
        with tempfile.TemporaryDirectory() as scratch:
            copies("dogs-vs-cats", PHOTOS, 200)
            copies("CIFAR-100", cifar_folder(Path(scratch) / "cifar100", 140), 100)
    elif arguments.what == "intervals":
        values, labels = features_of(PHOTOS)
        for size in arguments.sizes or [2, 10, 30, 100]:
            coverage(values, labels, size, arguments.draws, top)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            dogs = arguments.what == "dogs"
            folder = PHOTOS if dogs else cifar_folder(Path(scratch) / "cifar100", arguments.pool)
            by_side = {side: features_of(folder, side) for side in arguments.image_sizes}
        values, labels = by_side[arguments.image_sizes[0]]
        if arguments.what == "balance":
            for counts in ((90, 30, 8), np.geomspace(100, 5, 20).astype(int).tolist()):
                balanced(values, labels, counts, arguments.draws, top)
            return
        if len(by_side) > 1:
            for size in arguments.sizes or [10, 20]:
                chosen_size({side: each for side, (each, _) in by_side.items()}, labels, size, arguments.draws, top)
            return
        for size in arguments.sizes or ([1, 2, 5, 10, 20, 200] if dogs else [2, 5, 20, 100]):
            for head in arguments.heads:
                accuracy(values, labels, size, head, arguments.draws, None if head == "softmax" else top)


def features_of(folder: Path, side: int = 224) -> tuple[Floats, Labels]:
    """Features `[n, 2048]` of the photos in class folders at `side` pixels, and their labels `[n]`."""
    network, dataset = backbone("resnet50"), load(folder)
    network = replace(network, recipe=replace(network.recipe, image_size=side))
    engine = open_engine(network, resolve(network))
    with usable_cache(Progress()) as cache:
        features = extract(dataset.images, engine, network.recipe, cache)
    return features.values, dataset.labels[features.kept]


def draws_of(labels: Labels, size: int, draws: int) -> Iterator[tuple[Labels, Labels]]:
    """Indices of `size` training photos a class, and of the test photos: all others, or of CIFAR 20 a class."""
    for seed in range(draws):
        random = np.random.default_rng(seed)
        order = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        test = 0 if len(order) == 2 else TEST
        train = [each[test : test + size] for each in order]
        yield np.concatenate(train), np.concatenate([each[:test] if test else each[size:] for each in order])


def fit(values: Floats, labels: Labels, head: str, top: Floats | None, **options: Any) -> HeadFit:
    fingerprints = [hashlib.sha256(row.tobytes()).digest() for row in values]
    classes = int(labels.max()) + 1
    return fit_head(values, labels, classes, fingerprints=fingerprints, kind=head, imagenet=top, **options)


def accuracy(values: Floats, labels: Labels, size: int, head: str, draws: int, top: Floats | None) -> None:
    rows = []
    for train, test in draws_of(labels, size, draws):
        started = time.process_time()
        fitted = fit(values[train], labels[train], head, top).head
        seconds = time.process_time() - started
        logits, truth = fitted.logits(values[test]), labels[test]
        error = reliability(softmax(logits), truth).error
        rows.append((100 * np.mean(logits.argmax(axis=1) == truth), log_loss(logits, truth), 100 * error, seconds))
    means, noise = np.mean(rows, axis=0), np.std(rows, axis=0) / len(rows) ** 0.5
    print(
        f"{size:4} a class  {head:8} accuracy {means[0]:.1f}% (se {noise[0]:.1f})  log-loss {means[1]:.3f}  "
        f"calibration error {means[2]:.1f}%  {means[3]:.2f} s of processor",
        flush=True,
    )


def balanced(values: Floats, labels: Labels, counts: Sequence[int], draws: int, top: Floats | None) -> None:
    """Accuracy with `counts` images of classes, all classes alike and weighed by the frequencies of the training."""
    per_class, classes = np.array(counts), len(counts)
    weights = {
        "none": None,
        "weights": class_weights(tuple(counts)),
        "sampling": class_weights(tuple(counts), equal=True),
    }
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in weights}
    for seed in range(draws):
        random = np.random.default_rng(seed)
        order = [random.permutation(np.flatnonzero(labels == label)) for label in random.permutation(100)[:classes]]
        train = np.concatenate([each[:size] for each, size in zip(order, counts, strict=True)])
        test, truth = np.concatenate([each[100:] for each in order]), np.arange(classes).repeat(40)
        for name, chosen in weights.items():
            fitted = fit(values[train], np.arange(classes).repeat(counts), "auto", top, class_weights=chosen)
            recalls = (fitted.head.logits(values[test]).argmax(axis=1) == truth).reshape(classes, 40).mean(axis=1)
            scores[name].append((float(recalls.mean()), float(np.average(recalls, weights=per_class))))
    for name, each in scores.items():
        alike, natural = 100 * np.mean(each, axis=0)
        print(
            f"{classes} classes of {max(counts)} to {min(counts)}, {name}: {alike:.1f}%, natural {natural:.1f}%",
            flush=True,
        )


def chosen_size(by_side: dict[int, Floats], labels: Labels, size: int, draws: int, top: Floats | None) -> None:
    rows = []
    for train, test in draws_of(labels, size, draws):
        fitted = {side: fit(values[train], labels[train], "auto", top) for side, values in by_side.items()}
        losses = {side: log_loss(one.logits[one.judged], labels[train][one.judged]) for side, one in fitted.items()}
        logits = {side: one.head.logits(by_side[side][test]) for side, one in fitted.items()}
        truth, sides = labels[test], [*by_side, min(losses, key=losses.__getitem__)]
        rows.append([100 * np.mean(logits[side].argmax(axis=1) == truth) for side in sides])
        rows[-1] += [log_loss(logits[side], truth) for side in sides]
    means, count = np.mean(rows, axis=0), len(by_side)
    gain = np.array(rows)[:, count] - np.array(rows)[:, 0]
    each = ", ".join(f"{side} px {means[at]:.1f}% ({means[count + 1 + at]:.3f})" for at, side in enumerate(by_side))
    print(
        f"{size:4} a class  accuracy (log-loss): {each}; chosen {means[count]:.1f}% ({means[-1]:.3f}), "
        f"{gain.mean():+.2f} points (se {gain.std() / len(gain) ** 0.5:.2f})",
        flush=True,
    )


def coverage(values: Floats, labels: Labels, size: int, draws: int, top: Floats | None) -> None:
    """How often the interval of the cross-validated accuracy has the accuracy of the kept head on all other photos."""
    inside = {"corrected": 0, "Wilson": 0}

    for train, test in draws_of(labels, size, draws):
        fitted = fit(values[train], labels[train], "auto", top)
        truth = float(np.mean(fitted.head.logits(values[test]).argmax(axis=1) == labels[test]))
        hits = int(np.sum(fitted.logits.argmax(axis=1) == labels[train]))
        for name, weight in (("corrected", fold_weight(fitted.folds)), ("Wilson", 1.0)):
            estimate = proportion(hits, len(train), weight=weight)
            inside[name] += estimate.low <= truth <= estimate.high

    shares = ", ".join(f"{name} {100 * hits / draws:.0f}%" for name, hits in inside.items())
    print(f"{size:4} a class  the interval covers the truth: {shares} of {draws} draws", flush=True)


def simulated_groups(draws: int) -> None:
    """Coverage of intervals for answers whose accuracy differs between groups, by their intraclass correlation."""
    random = np.random.default_rng(0)
    for groups, size in ((8, 20), (20, 5), (20, 20), (50, 20)):
        for accuracy in (0.7, 0.9, 0.97):
            rates = []
            for alike in (0.001, 0.1, 0.3, 0.7, 0.99):
                inside = np.zeros(2)
                for _ in range(draws):
                    group = np.repeat(np.arange(groups), 1 + random.geometric(1 / size, groups))
                    shape = np.array([accuracy, 1 - accuracy]) * (1 / alike - 1)
                    right = random.random(len(group)) < random.beta(*shape, groups)[group]
                    [weight] = group_weights(group, np.zeros_like(group), 1, alike_in_groups(right, group))
                    both = [proportion(int(right.sum()), len(group), weight=each) for each in (weight, 1.0)]
                    inside += [one.low <= accuracy <= one.high for one in both]
                rates.append("{:.0f}% (Wilson {:.0f}%)".format(*(100 * inside / draws)))
            print(f"{groups} groups of about {size}, accuracy {accuracy:.0%}: covered {', '.join(rates)}", flush=True)


def grouped_coverage(values: Floats, labels: Labels, size: int, draws: int, top: Floats | None) -> None:
    """Coverage where each of `size` photos a class comes five times, changed as two other photos differ by half."""
    inside = {"groups": 0, "photos": 0}
    for seed, (train, test) in enumerate(draws_of(labels, size, draws)):
        random = np.random.default_rng(seed)

        def five_of(some: Labels, random: np.random.Generator = random) -> tuple[Floats, Labels]:
            group = np.repeat(some, 5)
            one, other = random.integers(0, len(values), (2, len(group)))
            return np.maximum(values[group] + 0.5 * (values[one] - values[other]), 0), group

        (rows, group), (others, of_others) = five_of(train), five_of(test)
        names = [str(each).encode() for each in group]
        fitted = fit_head(rows, labels[group], int(labels.max()) + 1, fingerprints=names, imagenet=top)
        truth = float(np.mean(fitted.head.logits(others).argmax(axis=1) == labels[of_others]))
        probabilities = softmax(fitted.logits)
        for name, of_each in (("groups", group), ("photos", None)):
            estimate = compute_metrics(probabilities, labels[group], folds=fitted.folds, groups=of_each).top1
            inside[name] += estimate.low <= truth <= estimate.high
    rates = ", ".join(f"counting {name} {100 * hits / draws:.0f}%" for name, hits in inside.items())
    print(f"{size:4} groups a class  the interval covers the truth: {rates} of {draws} draws", flush=True)


def copies(name: str, folder: Path, size: int) -> None:
    """How many copies of 400 of `size` training photos a class are recognised, and how many other photos are, too."""
    dataset = load(folder)
    [(train, test), *_] = draws_of(dataset.labels, size, 1)
    images = [np.asarray(Image.open(str(dataset.images[at])).convert("RGB")) for at in np.concatenate([train, test])]
    own, others = measure_images(images[: len(train)]), measure_images(images[len(train) :])
    near = find_near_pairs(own)
    usual = usual_likeness(own, near, find_originals(own, dataset.labels[train], near))
    some = np.random.default_rng(0).permutation(len(train))[:400]
    for change, make in CHANGES.items():
        found = find_known(measure_images([make(Image.fromarray(images[at])) for at in some]).grey, own.grey, usual)
        print(f"{name}, {change:32} {np.mean(found == some):6.1%} of 400 copies recognised", flush=True)
    found = find_known(others.grey, own.grey, usual)
    taken = found >= 0
    same = np.sum(dataset.labels[test][taken] == dataset.labels[train][found[taken]])
    print(f"{name}, {taken.sum()} of {len(found):,} others taken for copies, {same} of them of an image of their class")


def half(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)))


def jpeg(image: Image.Image, quality: int = 70) -> NDArray[np.uint8]:
    content = BytesIO()
    image.save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


CHANGES = {
    "quality 70": jpeg,
    "half the side": lambda image: jpeg(half(image), 95),
    "mirrored": lambda image: jpeg(ImageOps.mirror(image), 95),
    "half the side, mirrored, quality 70": lambda image: jpeg(ImageOps.mirror(half(image))),
}


def speed(top: Floats | None) -> None:
    random = np.random.default_rng(0)
    for images, classes in ((400, 2), (50_000, 100)):
        labels = np.arange(images) % classes
        centres = random.gamma(0.5, size=(classes, 2048)).astype(np.float32)
        values = random.gamma(0.5, size=(images, 2048)).astype(np.float32)
        values += 0.3 * centres[labels]
        started, processor = time.monotonic(), time.process_time()
        fitted = fit(values, labels, "auto", top)
        print(
            f"{images:,} images, {classes} classes: {time.monotonic() - started:.1f} s, "
            f"{time.process_time() - processor:.1f} s of processor, "
            f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB of the process "
            f"({fitted.sentence})",
            flush=True,
        )


if __name__ == "__main__":
    main()
