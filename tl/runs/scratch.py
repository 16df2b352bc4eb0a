"""A data set and random weights become a trained network: the yardstick for what pretrained weights are worth."""

import math
from pathlib import Path

import numpy as np

from tl.evaluation.metrics import Evaluation
from tl.evaluation.significance import learned
from tl.learning.board import board
from tl.learning.head import Head
from tl.learning.job import Job
from tl.learning.rules import scratch_rule
from tl.learning.tuning import tune
from tl.progress import Reporter
from tl.runs.options import Options
from tl.workflows.finetune_backbone import Attempt, Outcome, answered, deadline_of, monitored, overridden, tell_tuned
from tl.workflows.finetune_log import tell_plan


def wanted(options: Options, zoo: bool) -> bool:
    """Whether a network is to be trained from random weights: the whole of it, or one that has no other weights.

    Other networks of random weights keep them, under a head of their own, unless all of them is to be trained.
    """
    return options.weights == "none" and (options.unfreeze == "all" or (zoo and options.unfreeze in ("none", "auto")))


def from_scratch(given: Attempt, folder: Path, started: float, report: Reporter) -> Outcome:
    """Train a network from random weights. `given.head` and `given.answers` are of no account."""
    options, train = given.options, given.split.train
    rule = overridden(scratch_rule(len(train)), options)
    monitor = monitored(given, rule)
    inner = np.setdiff1d(train, monitor)
    tell_plan("all", rule, len(inner), len(monitor), report, scratch=True)
    kept = np.concatenate([inner, monitor])
    job = Job(
        backbone=given.backbone,
        weights=given.weights,
        head=first_head(given.backbone.features, len(given.dataset.class_names), options.seed),
        pictures=[given.dataset.pictures[at] for at in kept],
        labels=given.dataset.labels[kept],
        train=np.arange(len(inner)),
        monitor=np.arange(len(inner), len(kept)),
        unfreeze="all",
        rule=rule,
        seed=options.seed,
        find_rate=options.lr == "auto",
        precision=options.precision,
        engine=options.engine,
        deadline=deadline_of(given, started),
        scratch=True,
    )
    with board(folder / "tensorboard" if options.tensorboard else None) as listen:
        tuned = tune(job, folder, report, listen)
    tell_tuned(tuned, report)
    trunk, answers = answered(given, tuned, folder, report)
    _tell_doubt(given.backbone.name, answers.scores["validation"], report)
    return Outcome("all", tuned, trunk, answers, {}, None, True)


def first_head(features: int, classes: int, seed: int) -> Head:
    """A head of small random numbers (Glorot & Bengio 2010)."""
    reach = math.sqrt(6 / (features + classes))
    kernel = np.random.default_rng(seed).uniform(-reach, reach, (features, classes)).astype(np.float32)
    return Head(kernel, np.zeros(classes, np.float32), 1.0)


def _tell_doubt(name: str, score: Evaluation, report: Reporter) -> None:
    """That a network did not learn, or that the photos do not tell."""
    top1, largest = score.top1, score.class_photos[1] / score.count
    verdict = learned(top1.low, top1.high, largest)
    if verdict:
        return
    interval = f"95 % interval {100 * top1.low:.1f} to {100 * top1.high:.1f}"
    figures = (
        f"{100 * top1.value:.1f} % of {score.count:,} validation photos are right ({interval}), naming the largest "
        f"class alone gives {100 * largest:.1f} %"
    )
    if verdict is None:
        report.warn(f"so few photos do not tell whether {name} learned: {figures}; history.csv tells how its loss fell")
    else:
        report.warn(f"{name} did not learn: {figures}; gradients.csv tells how long each layer's gradient was")
