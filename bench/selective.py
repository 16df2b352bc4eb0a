"""How often `--max-error` and `--unknown-rate` keep their promise, over draws of the training photos.

python bench/selective.py dogs               60 and 200 dogs-vs-cats photos, tested on all others
python bench/selective.py ten                60, 200 and 400 images of ten classes of CIFAR-100, tested on 1,000 others

In each draw a head is fitted and judged as `tl finetune` does, and its promises are compared with the test images; the
ten classes are drawn anew. A promise with 90% confidence may be broken in 10% of the draws. The test images are few, so
that a true rate just below the promise is above it on some; "posterior" is the mean probability that the true rate is
above, with Jeffreys' prior. Beside `--max-error`: the least threshold at which the fraction wrong among the answered
held-out images, not its bound, is small enough. Beside `--unknown-rate`: the quantile that keeps to it on average; and
what would be measured if held-out scores were exactly like those of new images, so that true rates have a Beta
distribution.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from few import features_of
from numpy.typing import NDArray
from paths import PHOTOS, cifar_folder
from scipy.stats import beta, betabinom

from tl.evaluation.selective import HeldOutAnswers
from tl.learning.head_fit import fit_head
from tl.learning.unknown import distances_to, fit_unknown
from tl.networks.backbones import backbone
from tl.networks.weights import imagenet_kernel, resolve

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Row = tuple[float, float, int, int]
"""What was promised, a fraction answered (or 1), and the exceptions among how many test images."""

ERRORS, RATES = (0.01, 0.02, 0.05, 0.1), (0.01, 0.05)
CLASSES, PER_CLASS = 10, 140


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("dogs", "ten"))
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="+")
    arguments = parser.parse_args()
    network = backbone("resnet50")
    top = imagenet_kernel(network, resolve(network))
    dogs = arguments.data == "dogs"
    with tempfile.TemporaryDirectory() as scratch:
        values, labels = features_of(PHOTOS if dogs else cifar_folder(Path(scratch) / "cifar100", PER_CLASS))
    for size in arguments.sizes or ([60, 200] if dogs else [60, 200, 400]):
        rows: dict[str, list[Row | None]] = {}
        for seed in range(arguments.draws):
            for name, row in one_draw(values, labels, size, seed, top).items():
                rows.setdefault(name, []).append(row)
        for name, all_of_one in rows.items():
            print(f"{arguments.data}, {size} photos, {name:28} {summary(all_of_one)}", flush=True)
            if name.startswith("--unknown-rate"):
                print(f"    {beside_exact(all_of_one, size)}", flush=True)


def one_draw(values: Floats, labels: Labels, size: int, seed: int, top: Floats | None) -> dict[str, Row | None]:
    random = np.random.default_rng(seed)
    classes = np.sort(random.permutation(np.unique(labels))[:CLASSES])
    per_class, train, test = size // len(classes), [], []
    for label in classes:
        order = random.permutation(np.flatnonzero(labels == label))
        train.append(order[:per_class])
        test.append(order[per_class:] if len(classes) == 2 else order[-100:])
    own, other = np.concatenate(train), np.concatenate(test)
    truth, features = np.searchsorted(classes, labels), values[own]
    fingerprints = [hashlib.sha256(row.tobytes()).digest() for row in features]
    fitted = fit_head(features, truth[own], len(classes), fingerprints=fingerprints, imagenet=top, seed=seed)
    held_out, unseen = fitted.head.calibrated(fitted.logits), fitted.head.probabilities(values[other])
    right = held_out.argmax(axis=1) == truth[own], unseen.argmax(axis=1) == truth[other]
    rows = max_errors(held_out.max(axis=1), unseen.max(axis=1), *right)
    for rate in RATES:
        unknown = fit_unknown(
            features,
            truth[own],
            len(classes),
            probabilities=held_out,
            imagenet=fitted.head.imagenet,
            rate=rate,
            seed=seed,
        )
        alarms = int(unknown.is_unknown(values[other], unseen).sum())
        rows[f"--unknown-rate {rate:.0%}"] = (unknown.rate, 1.0, alarms, len(other)) if unknown.rate else None
        distances = np.sort(distances_to(unknown.references, features, held_out=True))
        average = max(rate, 1 / (len(own) + 1))
        line = distances[max(1, int(np.ceil((len(own) + 1) * (1 - average) - 1e-9))) - 1]
        alarms = int((distances_to(unknown.references, values[other]) > line).sum())
        rows[f"  distance, on average {rate:.0%}"] = average, 1.0, alarms, len(other)
    return rows


def max_errors(held_out: Floats, unseen: Floats, right: Labels, right_unseen: Labels) -> dict[str, Row | None]:
    answers = HeldOutAnswers(held_out, right, np.zeros(len(right), bool))
    order = np.argsort(-held_out)
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    rows: dict[str, Row | None] = {}
    for error in ERRORS:
        selection = answers.select(error)
        fits = np.flatnonzero(wrong <= error)
        lines = {
            f"--max-error {error:.0%}": None if selection is None else selection.threshold,
            f"  fraction itself {error:.0%}": float(held_out[order][fits[-1]]) if len(fits) else None,
        }
        for name, line in lines.items():
            answered = np.zeros(len(unseen), bool) if line is None else unseen.round(6) >= line
            mistakes = int((answered & ~right_unseen).sum())
            rows[name] = None if line is None else (error, float(answered.mean()), mistakes, int(answered.sum()))
    return rows


def summary(rows: list[Row | None]) -> str:
    promised = [row for row in rows if row is not None]
    if not promised:
        return "promised in none of the draws"
    rates = [exceptions / max(count, 1) for _, _, exceptions, count in promised]
    broken = sum(rate > promise for rate, (promise, *_) in zip(rates, promised, strict=True)) / len(rows)
    posterior = sum(float(beta.sf(promise, k + 0.5, n - k + 0.5)) for promise, _, k, n in promised) / len(rows)
    return (
        f"promised {np.mean([row[0] for row in promised]):.2%} in {len(promised)} of {len(rows)} draws, "
        f"answered {np.mean([row[1] for row in promised]):.0%}, rate {np.mean(rates):.2%}, "
        f"above the promise in {broken:.0%} (posterior {posterior:.0%})"
    )


def beside_exact(rows: list[Row | None], size: int) -> str:
    promised = [row for row in rows if row is not None]
    if not promised:
        return ""
    rate, _, _, count = promised[0]
    ranks = np.arange(1, max(1, int(rate * size + 1e-9)) + 1)
    kept = ranks[beta.cdf(rate, ranks, size + 1 - ranks) >= 0.9 - 1e-9]
    shape = kept[-1], size + 1 - kept[-1]
    rates = np.array([alarms / count for _, _, alarms, _ in promised])
    noise = np.mean(rates * (1 - rates)) / (count - 1)
    spread = max(float(rates.var(ddof=1) - noise), 0.0) ** 0.5
    above = betabinom.sf(np.floor(rate * count), count, *shape)
    return (
        f"standard deviation of the true rate {spread:.2%}; exactly alike: rate {beta.mean(*shape):.2%}, "
        f"standard deviation {beta.std(*shape):.2%}, above the promise in {above:.0%} on {count:,} images"
    )


if __name__ == "__main__":
    main()
