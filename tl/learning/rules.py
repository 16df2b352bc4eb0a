"""The size of a data set decides hyperparameters: pure functions, the reason beside each number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadRule:
    """How a head is fitted: L2 strengths from strong to weak, L-BFGS iterations at each, and how they are compared.

    `rough` and `fine` are the largest slopes left when strengths are compared and when the head is fitted. With
    `one_thread` the linear algebra runs on one processor alone. With `every_fold` each of the folds is held out once;
    else only the first, which is enough photos by itself.
    """

    strengths: tuple[float, ...]
    iterations: int
    rough: float
    fine: float
    folds: int
    every_fold: bool
    one_thread: bool


def head_rule(photos: int) -> HeadRule:
    """The rule for so many training photos."""
    # From 1 (all but ignores the photos) to 1e-4 (separates any few thousand of them) lies the best strength for 40
    # photos as for 50,000; steps of sqrt(10) are fine enough, the loss is flat around its minimum.
    strengths = tuple(10 ** (-place / 2) for place in range(9))
    # Few photos make a single hold-out noisy: five folds below 2,000; beyond, a fifth held out once decides as well.
    every_fold = photos < 2000
    # Warm-started along the path, 30 iterations a strength come within 0.1 points of the converged solution.
    # A slope of 1e-4 ranks the strengths as one of 1e-6 does, in half the time.
    iterations = 100 if every_fold else 30
    # Matrices of a thousand photos are too small to share: a second thread of BLAS costs twice the processor time.
    one_thread = photos < 1000
    return HeadRule(strengths, iterations, rough=1e-4, fine=1e-6, folds=5, every_fold=every_fold, one_thread=one_thread)


@dataclass(frozen=True)
class TuningRule:
    """How a backbone is trained on from its fitted head.

    `learning_rate` is that of the head and the uppermost stage, `stage_decay` what it is multiplied by for each stage
    below; `warmup` a share of all steps; `ema` the decay of the averaged weights a step; `views` how many augmented
    views of a photo are stored; `monitor` the share of the training photos held out to stop early, 0 for none;
    `patience` the epochs without a smaller loss there; `blend` the share of the trained weights in those that are
    taken, the rest being the weights before. `mixes` allows MixUp and CutMix of photos, `mixup` is how evenly two
    stored activations are mixed (both parameters of a Beta distribution), 0 for not at all.
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


RATES = {"adamw": 1e-4, "sgd": 3e-3}
"""Learning rates for an optimizer that the rule would not have taken."""


def unfreeze_rule(photos: int, classes: int, *, gpu: bool) -> str:
    """How much of a backbone "auto" trains: none, last or all."""
    # With fewer than ten photos a class the head alone is as good and cannot overfit the backbone.
    if photos < 10 * classes:
        return "none"
    # A GPU trains whole networks in minutes; a whole network needs data: below 2,000 photos its last stage is as good.
    return "all" if gpu and photos >= 2000 else "last"


def tuning_rule(photos: int, unfreeze: str) -> TuningRule:
    """The rule for so many training photos, when "last", "half" or "all" of the backbone is trained."""
    few, many = photos < 200, photos >= 2000
    # BiT's hyper-rule counts steps by data set size (500 below 20,000 photos); from a fitted head fewer are needed.
    epochs = 10 if photos < 2000 else 8 if photos < 20_000 else 5
    # Below 200 photos larger batches would leave a handful of steps an epoch.
    batch = 16 if few else 32
    whole = unfreeze == "all"
    return TuningRule(
        # AdamW moves every weight as far, however small its gradient: with 40 photos of cats and dogs it costs two
        # points of accuracy against the head alone, where SGD costs none; with 5,000 CIFAR images it gains half a
        # point, SGD two and a half. In between, AdamW gains six points where a backbone fits badly (VGG16 for edges).
        optimizer="sgd" if few or many else "adamw",
        learning_rate=RATES["sgd"] if few else 1e-2 if many else RATES["adamw"] if unfreeze == "last" else 5e-5,
        stage_decay=0.5,  # lower stages hold what every picture has: they move less (Howard & Ruder 2018)
        weight_decay=0.01,
        label_smoothing=0.1 if photos >= 2000 else 0.0,  # with few photos it only blurs what they say
        ema=0.9 if few else 0.99,  # averages over about ten or a hundred steps, a fraction of the whole training
        batch=batch,
        epochs=epochs,
        warmup=0.1,
        # RandAugment, MixUp and CutMix are for long trainings on many photos: a short one only learns more slowly.
        augment="strong" if whole and photos >= 20_000 else "light",
        mixes=whole and photos >= 20_000,
        # A part of a network sees few views of each photo, which it soon knows by heart: mixed, they are ever new ones.
        # CIFAR-100, 50 images a class, half of ResNet50: 2.7 points over the head without, 3.8 with it.
        mixup=0.2 if many and not whole else 0.0,
        views=1 if whole else 4 if photos < 20_000 else 2,
        # Fewer than twenty photos cannot tell one epoch from the next; what is held out is missing in the training.
        monitor=0.0 if few else 0.1 if not many else 0.05,
        patience=3,
        blend=0.5 if few else 1.0,  # half-way back gains accuracy where nothing held out says when to stop (WiSE-FT)
    )


def scratch_rule(photos: int) -> TuningRule:
    """The rule for so many training photos, when a network is trained from random weights."""
    few = photos < 2000
    return TuningRule(
        optimizer="adamw",
        learning_rate=1e-3,  # AdamW's usual one
        stage_decay=1.0,
        weight_decay=0.01,
        label_smoothing=0.0,
        ema=0.9 if few else 0.99,
        batch=32 if few else 128,
        # Random weights need an order more steps than pretrained ones; on 50,000 images that is hours on a CPU.
        epochs=30 if few else 20 if photos < 20_000 else 10,
        warmup=0.05,
        augment="light",
        mixes=False,
        mixup=0.0,
        views=1,
        monitor=0.0 if photos < 200 else 0.1 if photos < 20_000 else 0.02,  # a thousand photos tell epochs apart
        patience=5,
        blend=1.0,
    )


def class_weights(counts: tuple[int, ...]) -> tuple[float, ...] | None:
    """A weight for each class when the largest has over 1.5 times the photos of the smallest, else None.

    A photo's mean weight is 1. Inverse square roots: full inverses would let a handful of photos drive the whole
    training (Mahajan et al. 2018).
    """
    if max(counts) <= 1.5 * min(counts):
        return None
    raw = [count**-0.5 for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    return tuple(weight / mean for weight in raw)
