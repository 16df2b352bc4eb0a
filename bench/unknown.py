"""How well published methods separate CIFAR-100 from the photos of a dogs-vs-cats run: AUROC over ten splits.

python bench/unknown.py [--images 1000] [--splits 10]

400 training photos and 102 held out in each split, features of ResNet50. Twice: with the photos unchanged, and shrunk
to the 32 pixels of CIFAR-100, so that blur does not give CIFAR-100 away.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from paths import PHOTOS, cifar_folder
from scipy.stats import rankdata

from tl.cache import open_cache
from tl.data.images import ImageLike, decode, fit, read
from tl.data.load import load
from tl.engines import open_engine
from tl.engines.engine import Engine
from tl.features.extract import extract
from tl.learning.head_fit import fit_head
from tl.learning.unknown import fit_unknown
from tl.networks.backbones import Backbone, backbone
from tl.networks.weights import resolve
from tl.progress import Progress

TRAIN = 400
Scores = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=10)
    arguments = parser.parse_args()
    network = backbone("resnet50")
    engine = open_engine(network, resolve(network), engine="auto", precision="auto", progress=Progress())
    photos = load(str(PHOTOS))
    small = [fit(decode(read(image), 32), 32, network.recipe.resize) for image in photos.images]
    with tempfile.TemporaryDirectory() as scratch:
        foreign = features(
            load(str(cifar_folder(Path(scratch) / "c", arguments.images // 100))).images, engine, network
        )
    for name, images in (("unchanged", photos.images), ("at 32 pixels", small)):
        compare(name, features(images, engine, network), photos.labels, foreign, arguments.splits)


def features(images: list[ImageLike], engine: Engine, network: Backbone) -> np.ndarray:
    with open_cache() as cache:
        return extract(images, engine, network.recipe, cache).values


def compare(name: str, photos: np.ndarray, labels: np.ndarray, foreign: np.ndarray, splits: int) -> None:
    aurocs: dict[str, list[float]] = {}
    alarms, caught = [], []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(photos))
        train, held_out = order[:TRAIN], photos[order[TRAIN:]]
        for method, score in methods(photos[train], labels[train]).items():
            aurocs.setdefault(method, []).append(auroc(score(held_out), score(foreign)))
        fitted = fit_unknown(photos[train], labels[train], 2, seed=seed)
        alarms.append(fitted.is_unknown(held_out).mean())
        caught.append(fitted.is_unknown(foreign).mean())
    print(f"dogs-vs-cats {name}: {len(photos) - TRAIN} held-out photos against {len(foreign):,} images of CIFAR-100")
    for method, values in aurocs.items():
        print(f"  {method:<44} AUROC {np.mean(values):.4f}, minimum {np.min(values):.4f}")
    print(f"  called unknown at a rate of 1%: {np.mean(alarms):.1%} of the photos, {np.mean(caught):.1%} of CIFAR-100")


def methods(train: np.ndarray, labels: np.ndarray) -> dict[str, Scores]:
    """The score of each method for features: the larger, the more likely unknown."""
    head = fit_head(train, labels, 2, fingerprints=[row.tobytes() for row in train]).head
    return {
        "softmax (Hendrycks and Gimpel 2017)": lambda features: -head.probabilities(features).max(axis=1),
        "energy (Liu et al. 2020)": lambda features: -np.logaddexp.reduce(head.logits(features), axis=1),
        "Mahalanobis (Lee et al. 2018)": mahalanobis(train, labels),
        "Mahalanobis, length 1": scaled(mahalanobis(unit(train), labels)),
        "5th neighbour": lambda features: nearest(features, train)[:, -1],
        "5th neighbour, length 1 (Sun et al. 2022)": scaled(lambda features: nearest(features, unit(train))[:, -1]),
        "mean of 5 neighbours, length 1 (tl)": fit_unknown(train, labels, 2).score,
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
