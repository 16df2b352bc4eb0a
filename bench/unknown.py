"""How well published scores separate images of no class of a run: AUROC, of images of another kind and of near ones.

python bench/unknown.py far [--images 1000] [--splits 10]
python bench/unknown.py near [--superclasses 5] [--per-class 15]

far: dogs-vs-cats against CIFAR-100, 400 training photos and 102 held out in each split. Twice: with the photos
unchanged, and shrunk to the 32 pixels of CIFAR-100, so that blur does not give CIFAR-100 away.
near: CIFAR-100 without one superclass of five classes (Krizhevsky 2009) at a time, against that superclass and against
the photos of dogs and cats, unchanged and shrunk. The known images are ten of each class that were not trained on.

Features of ResNet50, of images drawn at random; those of CIFAR-100 take some minutes the first time.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from few import features_of
from paths import PHOTOS, cifar_folder
from scipy.stats import rankdata

from tl.cache import open_cache
from tl.data.images import ImageLike, decode, fit, read
from tl.data.load import load
from tl.engines import open_engine
from tl.features.extract import extract
from tl.learning.head_fit import HeadFit, fit_head
from tl.learning.unknown import Unknown, distances_to, fit_unknown
from tl.networks.backbones import backbone
from tl.networks.weights import imagenet_kernel, resolve

TRAIN, KNOWN, DRAWN = 400, 10, 140  # photos of dogs and cats; unseen and all images of each class of CIFAR-100
Scores = Callable[[np.ndarray], np.ndarray]
SUPERCLASSES = """\
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
""".splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("far", "near"))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--superclasses", type=int, default=len(SUPERCLASSES))
    parser.add_argument("--per-class", type=int, default=15)
    arguments = parser.parse_args()
    network = backbone("resnet50")
    small = [fit(decode(read(image), 32), 32, network.recipe.resize) for image in load(PHOTOS).images]
    (photos, labels), blurred = features_of(PHOTOS), features(small)
    top = imagenet_kernel(network, resolve(network))
    with tempfile.TemporaryDirectory() as scratch:
        folder = cifar_folder(Path(scratch) / "cifar100", DRAWN)
        classes = np.array(load(folder).class_names)
        cifar, of_cifar = features_of(folder)
    if arguments.what == "far":
        cifar = np.random.default_rng(0).permutation(cifar)[: arguments.images]
        for name, values in (("unchanged", photos), ("at 32 pixels", blurred)):
            far(name, values, labels, cifar, arguments.splits, top)
    else:
        foreign = {"dogs and cats": photos, "dogs and cats at 32 pixels": blurred}
        near(cifar, classes[of_cifar], foreign, arguments.superclasses, arguments.per_class, top)


def features(images: list[ImageLike]) -> np.ndarray:
    network = backbone("resnet50")
    with open_cache() as cache:
        return extract(images, open_engine(network, resolve(network)), network.recipe, cache).values


def far(
    name: str, photos: np.ndarray, labels: np.ndarray, foreign: np.ndarray, splits: int, top: np.ndarray | None
) -> None:
    aurocs: dict[str, list[float]] = {}
    alarms, caught = [], []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(photos))
        train, held_out = order[:TRAIN], photos[order[TRAIN:]]
        fitted = fit_to(photos[train], labels[train], top)
        for method, score in methods(fitted, photos[train], labels[train]).items():
            aurocs.setdefault(method, []).append(auroc(score(held_out), score(foreign)))
        unknown = check(fitted, photos[train], labels[train], seed)
        for images, rates in ((held_out, alarms), (foreign, caught)):
            rates.append(unknown.is_unknown(images, fitted.head.probabilities(images)).mean())
    print(f"dogs-vs-cats {name}: {len(photos) - TRAIN} held-out photos against {len(foreign):,} images of CIFAR-100")
    for method, values in aurocs.items():
        print(f"  {method:<44} AUROC {np.mean(values):.4f}, minimum {np.min(values):.4f}")
    print(f"  called unknown at a rate of 1%: {np.mean(alarms):.1%} of the photos, {np.mean(caught):.1%} of CIFAR-100")


def near(
    values: np.ndarray,
    names: np.ndarray,
    foreign: dict[str, np.ndarray],
    superclasses: int,
    per_class: int,
    top: np.ndarray | None,
) -> None:
    aurocs: dict[tuple[str, str], list[float]] = {}
    order = np.random.default_rng(0).permutation(len(SUPERCLASSES))[:superclasses]
    for number in np.sort(order):
        left_out = SUPERCLASSES[number].split()
        draws = [
            np.random.default_rng(number).permutation(np.flatnonzero(names == label))
            for label in np.unique(names)
            if label not in left_out
        ]
        known = np.concatenate([draw[:KNOWN] for draw in draws])
        train = np.concatenate([draw[KNOWN : KNOWN + per_class] for draw in draws])
        labels = np.unique(names[train], return_inverse=True)[1]
        fitted = fit_to(values[train], labels, top)
        sets = {"the superclass": values[np.isin(names, left_out)], **foreign}
        for method, score in methods(fitted, values[train], labels).items():
            of_known = score(values[known])
            for name, images in sets.items():
                aurocs.setdefault((method, name), []).append(auroc(of_known, score(images)))
        print(f"without {SUPERCLASSES[number]}: {fitted.sentence}", flush=True)
    print(f"CIFAR-100, {per_class} images a class: {KNOWN} others of each against …, over {superclasses} superclasses")
    for (method, name), each in aurocs.items():
        print(f"  {method:<44} {name:<28} AUROC {np.mean(each):.4f}, minimum {np.min(each):.4f}")


def fit_to(train: np.ndarray, labels: np.ndarray, top: np.ndarray | None) -> HeadFit:
    fingerprints = [hashlib.sha256(row.tobytes()).digest() for row in train]
    return fit_head(train, labels, int(labels.max()) + 1, fingerprints=fingerprints, imagenet=top)


def check(fitted: HeadFit, train: np.ndarray, labels: np.ndarray, seed: int = 0) -> Unknown:
    held_out = fitted.head.calibrated(fitted.logits)
    return fit_unknown(
        train, labels, int(labels.max()) + 1, probabilities=held_out, imagenet=fitted.head.imagenet, seed=seed
    )


def methods(fitted: HeadFit, train: np.ndarray, labels: np.ndarray) -> dict[str, Scores]:
    """The score of each method for features: the larger, the more likely unknown."""
    head, unknown = fitted.head, check(fitted, train, labels)
    return {
        "softmax (Hendrycks and Gimpel 2017)": lambda features: -head.probabilities(features).max(axis=1),
        "largest logit (Hendrycks et al. 2022)": lambda features: -head.logits(features).max(axis=1),
        "energy (Liu et al. 2020)": lambda features: -np.logaddexp.reduce(head.logits(features), axis=1),
        "Mahalanobis (Lee et al. 2018)": mahalanobis(train, labels),
        "Mahalanobis, length 1": scaled(mahalanobis(unit(train), labels)),
        "5th neighbour, length 1 (Sun et al. 2022)": scaled(lambda features: nearest(features, unit(train))[:, -1]),
        "mean of 5 neighbours, length 1": lambda features: distances_to(unknown.references, features),
        "distance and doubt (tl)": lambda features: unknown.score(features, head.probabilities(features)),
    }


def mahalanobis(train: np.ndarray, labels: np.ndarray, axes: int = 128) -> Scores:
    """Distance to the nearest class mean; the first axes of the shared covariance, isotropic beyond."""
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    _, lengths, back = np.linalg.svd(train - means[labels], full_matrices=False)
    variance = lengths[:axes] ** 2 / len(train)
    rest = np.sum(lengths[axes:] ** 2) / len(train) / (train.shape[1] - axes)

    def score(features: np.ndarray) -> np.ndarray:
        distances = []
        for mean in means:
            along = (features - mean) @ back[:axes].T
            beyond = np.sum((features - mean) ** 2, axis=1) - np.sum(along**2, axis=1)
            distances.append(np.sum(along**2 / variance, axis=1) + beyond / rest)
        return np.min(distances, axis=0)

    return score


def nearest(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    squares = np.sum(features**2, axis=1)[:, None] + np.sum(train**2, axis=1) - 2 * features @ train.T
    return np.sort(squares, axis=1)[:, :5]


def scaled(score: Scores) -> Scores:
    return lambda features: score(unit(features))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def auroc(known: np.ndarray, foreign: np.ndarray) -> float:
    """The fraction of pairs in which the foreign image has the higher score (Mann and Whitney 1947)."""
    ranks = rankdata(np.concatenate([known, foreign]))[len(known) :]
    return float((ranks.sum() - len(foreign) * (len(foreign) + 1) / 2) / (len(known) * len(foreign)))


if __name__ == "__main__":
    main()
