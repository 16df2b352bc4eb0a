"""Whether the accuracy predicted from half of the images is that of a head fitted on all of them.

python bench/learning_curve.py dogs     dogs-vs-cats, 50 photos a class predict 100
python bench/learning_curve.py ten      ten classes of CIFAR-100, others in each draw: 10 images a class predict 20
python bench/learning_curve.py cifar    CIFAR-100, 10 images a class predict 20

--sizes 5 20 predicts from other numbers of images a class. The truth is measured on all images outside of the draw, of
CIFAR on those of 140 of each class, drawn from the training set by a seed; their features take some minutes the first
time.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from few import Floats, Labels, features_of, fit
from paths import PHOTOS, cifar_folder

from tl.evaluation.metrics import fold_weight
from tl.learning.learning_curve import learning_curve
from tl.networks.backbones import backbone
from tl.networks.weights import imagenet_kernel, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("dogs", "ten", "cifar"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--quiet", action="store_true", help="only the summaries")
    arguments = parser.parse_args()
    network = backbone("resnet50")
    top = imagenet_kernel(network, resolve(network))
    dogs = arguments.what == "dogs"
    with tempfile.TemporaryDirectory() as scratch:
        values, labels = features_of(PHOTOS if dogs else cifar_folder(Path(scratch) / "cifar100", 140))
    for size in arguments.sizes or [50 if dogs else 10]:
        rows = []
        for seed in range(arguments.draws):
            train, test = draw(labels, 2 * size, seed, 10 if arguments.what == "ten" else None)
            rows.append(predict(values, labels, train, test, top))
            low, median, high, truth = rows[-1][:4]
            if not arguments.quiet:
                print(f"  {median:.1%} ({low:.1%} to {high:.1%}), truth {truth:.1%}", flush=True)
        low, median, high, truth, fitting, curve = np.array(rows).T
        inside = int(np.sum((low <= truth) & (truth <= high)))
        print(
            f"{size} a class predict {2 * size}: truth within the 95% interval in {inside} of {len(rows)} draws; "
            f"means: width {np.mean(high - low):.1%}, predicted {np.mean(median):.1%}, truth {np.mean(truth):.1%}, "
            f"difference {np.mean(np.abs(median - truth)):.1%}; processor: head {np.mean(fitting):.2f} s, "
            f"curve {np.mean(curve):.2f} s",
            flush=True,
        )


def draw(labels: Labels, size: int, seed: int, classes: int | None) -> tuple[list[Labels], list[Labels]]:
    """By class, the indices of `size` images to train on and of all others; of that many classes, None: of all."""
    random = np.random.default_rng(seed)
    chosen = np.unique(labels) if classes is None else random.choice(np.unique(labels), classes, replace=False)
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in chosen]
    return [order[:size] for order in orders], [order[size:] for order in orders]


def predict(
    values: Floats, labels: Labels, train: list[Labels], test: list[Labels], top: Floats | None
) -> tuple[float, ...]:
    """Low, median, high, truth, seconds for the head of half of the images, seconds for its curve."""
    half = np.concatenate([each[: len(each) // 2] for each in train])
    every, others = np.concatenate(train), np.concatenate(test)
    truth = np.searchsorted(np.unique(labels[every]), labels)
    started = time.process_time()
    fitted = fit(values[half], truth[half], "auto", top)
    between = time.process_time()
    curve = learning_curve(
        values[half],
        truth[half],
        fitted,
        fingerprints=[str(at).encode() for at in half],
        weight=fold_weight(fitted.folds),
        imagenet=top,
    )
    ended = time.process_time()
    whole = fit(values[every], truth[every], "auto", top).head
    accuracy = float(np.mean(whole.logits(values[others]).argmax(axis=1) == truth[others]))
    return *curve.accuracy(2 * len(half)), accuracy, between - started, ended - between


if __name__ == "__main__":
    main()
