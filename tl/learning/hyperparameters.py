"""Hyperparameters chosen from the size of the data set, with the reason beside each number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TuningRule:
    """How a backbone is trained.

    `learning_rate` is that of the head and the last stage, multiplied by `stage_decay` for each stage below; `warmup`
    a fraction of all steps; `ema` the decay per step of the averaged weights; `views` the number of augmented views
    stored per image; `monitor` the fraction of the training images held out for early stopping, 0 for none; `patience`
    the epochs without a smaller loss there; `blend` the fraction of the trained weights in the result, the rest being
    the initial weights. `mixes` allows MixUp and CutMix of images; `mixup` mixes stored activations, as both parameters
    of a Beta distribution, 0 for not at all.
    """

    optimizer: str
    learning_rate: float
    stage_decay: float
    weight_decay: float
    label_smoothing: float
    ema: float
    batch: int
    epochs: int
    warmup: float
    augment: str
    mixes: bool
    mixup: float
    views: int
    monitor: float
    patience: int
    blend: float


@dataclass(frozen=True)
class HeadRule:
    """How a head is fitted.

    `folds` of the cross-validation (0: none), `shrinkages` of the covariance and L2 penalties to choose from, the
    `iterations` of softmax regression for each, and whether it starts from LDA; the `weights` of the members to expect.
    """

    folds: int
    shrinkages: tuple[float, ...]
    l2_path: tuple[float, ...]
    iterations: int
    starts_from_lda: bool
    weights: dict[str, float]


_MOST_STEPS = 400_000_000  # logits that softmax regression computes: 50,000 images of 100 classes are 240 million
HEAD_MEMBERS = ("normalized", "lda", "softmax")


def head_rule(images: int, classes: int, kind: str = "auto") -> HeadRule:
    """The rule for a number of distinct training images, with `kind` as `--head` has it."""
    # Every fold takes images from each class. With more folds than images a class, the class of a held-out image would
    # have fewer than the others, and the mixture would distrust what depends on them.
    typical = images // classes
    folds = 0 if typical < 2 else min(10 if images < 200 else 5 if images < 20_000 else 3, typical)
    iterations = 100 if images < 2000 else 30 if images < 20_000 else 12
    # With thousands of classes softmax regression takes minutes, and LDA says nearly as much.
    softmax = images >= 40 and images >= 2 * classes and images * classes * iterations * (folds + 1) <= _MOST_STEPS
    # In units of standard deviations of logits: what few images cannot outweigh. Softmax regression needs forty images
    # to be worth anything beside the others, LDA on features as they are ten.
    weights = {"normalized": 1.8, "lda": 0.6 if images >= 10 and typical >= 2 else 0.0, "softmax": 0.6 * softmax}
    if kind != "auto":
        weights = dict.fromkeys(HEAD_MEMBERS, 2.4 if kind in ("mean", "softmax") else 1.2)
    if kind == "mean" or images - classes < 6:
        shrinkages: tuple[float, ...] = (1.0,)  # a scatter of so few degrees of freedom only removes what it saw
    elif images < 40 or typical < 3:
        shrinkages = (0.8,)  # so few images cannot choose
    else:
        shrinkages = (0.2, 0.35, 0.5, 0.8) if images < 10_000 else (0.1, 0.2, 0.35, 0.5)
    # One L2 by size costs nothing beside the others, which make up for it; alone, it is chosen.
    l2 = 1.0 if images < 1000 else 10**-0.5 if images < 5000 else 0.1 if images < 20_000 else 10**-1.5
    return HeadRule(
        folds=folds,
        shrinkages=shrinkages,
        l2_path=(1.0, 10**-0.5, 0.1, 10**-1.5, 0.01) if kind == "softmax" else (l2,),
        iterations=iterations,
        starts_from_lda=images >= 10_000 and kind != "softmax",
        weights={name: weight for name, weight in weights.items() if weight > 0},
    )


RATES = {"adamw": 1e-4, "sgd": 3e-3}
"""Learning rates for an optimizer other than the one the rule chooses."""


LEAST_TO_SIZE, MOST_TO_SIZE = 20, 5000
"""Images among which an input size is chosen: ten choose by chance, and many take long."""


def input_sizes(side: int) -> list[int]:
    """The sizes of the input that `--image-size auto` compares, for a network trained at `side` pixels.

    Networks often do best at somewhat more than they were trained at (Touvron et al. 2019). Twice as many pixels a side
    and fewer are worse on average, and a cross-validation would choose them by chance.
    """
    return [side, *(16 * round(side * factor / 16) for factor in (9 / 7, 1.5))]


HELD_OUT_TO_TUNE = 0.2
"""The fraction of images held out where the backbone is trained: a network cannot be trained once for each fold."""


def unfreeze_rule(images: int, classes: int, *, gpu: bool) -> str:
    """What `--unfreeze auto` trains: none, last or all."""
    # With fewer than ten images per class the head alone is as good, and the backbone cannot overfit.
    if images < 10 * classes:
        return "none"
    # A GPU trains whole networks in minutes; but below 2,000 images training the last stage is as good.
    return "all" if gpu and images >= 2000 else "last"


def tuning_rule(images: int, unfreeze: str) -> TuningRule:
    """The rule for a number of training images, with `unfreeze` "last", "half" or "all"."""
    few, many = images < 200, images >= 2000
    # BiT's hyper-rule sets steps by data set size (500 below 20,000 images); from a fitted head fewer are needed.
    epochs = 10 if images < 2000 else 8 if images < 20_000 else 5
    whole = unfreeze == "all"
    return TuningRule(
        # AdamW moves every weight equally far, however small its gradient: with 40 images of cats and dogs it loses two
        # points of accuracy against the head alone, SGD none; with 5,000 CIFAR images it gains half a point, SGD two
        # and a half. In between, AdamW gains six points where a backbone fits badly (VGG16 trained for edges).
        optimizer="sgd" if few or many else "adamw",
        learning_rate=RATES["sgd"] if few else 1e-2 if many else RATES["adamw"] if unfreeze == "last" else 5e-5,
        stage_decay=0.5,  # lower stages are more general and need to change less (Howard & Ruder 2018)
        weight_decay=0.01,
        label_smoothing=0.1 if images >= 2000 else 0.0,  # with few images it lowers accuracy
        ema=0.9 if few else 0.99,  # averages over about ten or a hundred steps, a fraction of the training
        batch=16 if few else 32,  # below 200 images larger ones would leave a handful of steps per epoch
        epochs=epochs,
        warmup=0.1,
        # RandAugment, MixUp and CutMix pay off in long trainings on many images: a short one only learns more slowly.
        augment="strong" if whole and images >= 20_000 else "light",
        mixes=whole and images >= 20_000,
        # A part of a network sees few views of each image and soon memorises them: mixed, they are new every time.
        # CIFAR-100, 50 images a class, half of ResNet50: 2.7 points over the head without, 3.8 with it.
        mixup=0.2 if many and not whole else 0.0,
        views=1 if whole else 4 if images < 20_000 else 2,
        # Fewer than twenty images cannot rank epochs, and what is held out is missing from the training.
        monitor=0.0 if few else 0.1 if not many else 0.05,
        patience=3,
        blend=0.5 if few else 1.0,
    )


def scratch_rule(images: int) -> TuningRule:
    """The rule for a number of training images, from random weights."""
    few = images < 2000
    return TuningRule(
        optimizer="adamw",
        learning_rate=1e-3,  # the usual one for AdamW
        stage_decay=1.0,
        weight_decay=0.01,
        label_smoothing=0.0,
        ema=0.9 if few else 0.99,
        batch=32 if few else 128,
        # Random weights need ten times the steps of pretrained ones; on 50,000 images that takes hours on a CPU.
        epochs=30 if few else 20 if images < 20_000 else 10,
        warmup=0.05,
        augment="light",
        mixes=False,
        mixup=0.0,
        views=1,
        monitor=0.0 if images < 200 else 0.1 if images < 20_000 else 0.02,  # a thousand images rank epochs
        patience=5,
        blend=1.0,
    )


def class_weights(counts: tuple[int, ...], *, equal: bool = False) -> tuple[float, ...] | None:
    """Loss weights of the classes if the largest has more than 1.5 times the images of the smallest, else None.

    The mean weight of an image is 1. Inverse square roots: with inverses, which make all classes `equal`, a handful of
    images would drive the training (Mahajan et al. 2018).
    """
    if max(counts) <= 1.5 * min(counts):
        return None
    raw = [1 / count if equal else count**-0.5 for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    return tuple(weight / mean for weight in raw)
