"""What a run finds and decides becomes lines for the person who waits for it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tl.data.dataset import PARTS, Dataset
from tl.data.folders import several
from tl.data.splits import Split
from tl.engines.engine import Engine
from tl.evaluation.predictions import Predictions
from tl.features.extract import Features
from tl.learning.rules import TuningRule
from tl.progress import Progress

_NAMED = 5  # files left out that are named; the others are counted


def tell_data(dataset: Dataset, progress: Progress) -> None:
    """How many images of which classes, and what was left out."""
    counts = Counter(int(label) for label in dataset.labels)
    per_class = [f"{name} {counts[at]}" for at, name in enumerate(dataset.class_names)]
    shown = ", ".join(per_class) if len(per_class) <= 6 else f"{spread(counts.values())} each"
    progress.log("data", f"{dataset.name}: {len(dataset.images):,} images, {len(per_class)} classes ({shown})")
    for note in dataset.notes:
        progress.log("", note)
    doubt = several(dataset)
    if doubt:
        progress.warn(doubt)
    tell_left_out({item.path: item.reason for item in dataset.skipped}, progress)


def spread(counts: Collection[int]) -> str:
    """The least and the most of some counts, one number where they are the same."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def tell_left_out(reasons: Mapping[str, str], progress: Progress) -> None:
    """Files that cannot be used, and why."""
    for name, reason in list(reasons.items())[:_NAMED]:
        progress.warn(f"left out {name}: {reason}")
    if len(reasons) > _NAMED:
        progress.warn(f"left out {len(reasons) - _NAMED} more; all are listed in the run's skipped.csv")


def tell_features(features: Features, engine: Engine, progress: Progress) -> None:
    """How many were computed, how fast, and by what."""
    computed = len(features.kept) - features.cached
    rate = f", {computed / features.seconds:.0f} images/s" if computed else ""
    kept = f"{features.cached:,} from the cache, " if features.cached else ""
    progress.log(
        "features", f"{kept}{computed:,} computed in {features.seconds:.1f} s{rate} ({engine.name} {engine.precision})"
    )


def tell_split(parts: Split, seed: int, progress: Progress, notes: Sequence[str] = ()) -> None:
    """How many photos each part has, and more `notes` on how they were divided."""
    counts = ", ".join(f"{len(getattr(parts, name)):,} {name}" for name in PARTS if len(getattr(parts, name)))
    progress.log("split", f"{counts} (seed {seed})")
    for note in (*parts.notes, *notes):
        progress.log("", note)


def tell_confidence(predictions: Predictions, progress: Progress) -> None:
    """What was done so that a confidence can be believed."""
    progress.log("confidence", f"temperature {predictions.head.temperature:.2f}")
    if predictions.unknown is not None:
        progress.log("unknown", predictions.unknown.sentence)


def tell_doubts(doubts: str, progress: Progress) -> None:
    """What a glance at the data set finds worth a check; nothing where there is nothing."""
    if doubts:
        progress.warn(doubts)


def tell_plan(
    unfreeze: str, rule: TuningRule, train: int, monitor: int, progress: Progress, *, scratch: bool = False
) -> None:
    """What will be trained, and how."""
    held_out = f", {monitor:,} of them held out to stop early" if monitor else ""
    what = "from random weights" if scratch else f"{unfreeze} of the backbone"
    progress.log("training" if scratch else "fine-tuning", f"{what} on {train + monitor:,} photos{held_out}")
    smoothing = f", label smoothing {rule.label_smoothing:g}" if rule.label_smoothing else ""
    progress.log(
        "",
        f"{rule.optimizer}, learning rate {rule.learning_rate:.2g}, {rule.epochs} epochs of batches of {rule.batch}, "
        f"augmentation {rule.augment}{smoothing}",
    )
