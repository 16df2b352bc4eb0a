"""The options of `tl finetune`, which a run records in its manifest and in run.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.data.splits import GROUP_BY_HELP
from tl.errors import UsageError
from tl.learning.augment import LEVELS
from tl.learning.head_fit import HEADS
from tl.options import (
    download_option,
    engine_option,
    fraction_option,
    offline_option,
    option,
    precision_option,
    read_toml,
    seconds,
    threads_option,
)

UNFREEZE = ("none", "last", "half", "all", "auto")
BALANCE = ("auto", "none", "weights", "sampling")
OPTIMIZERS = ("adamw", "sgd")


def learning_rate(text: str) -> float | None:
    """A learning rate; None for "auto". Raises UsageError."""
    if text == "auto":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 100:
        raise UsageError(f"{text!r} is not a learning rate: give one such as 1e-4, or auto")
    return rate


def pixels(text: str) -> int | None:
    """The side of a network's input; None for "auto". Raises UsageError."""
    if text == "auto":
        return None
    if not (text.isdecimal() and 32 <= int(text) <= 1024):
        raise UsageError(f"{text}: give pixels from 32 to 1024, or auto")
    return int(text)


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of `tl finetune`. None: chosen by `tl.learning.hyperparameters` from the number of images.

    `data` is the path or the name of the data set, "" where it was passed in memory.
    """

    data: str = option("", "Path or name of the data set.", hidden=True)
    backbone: str = option("resnet50", "Network.", metavar="NAME")
    weights: str = option("imagenet", "Initial weights.", metavar="imagenet|none|FILE")
    from_run: str | None = option(None, "Run whose photos and options to keep.", metavar="RUN", short="--from")
    out: str | None = option(None, "New run folder.", metavar="DIR", default_text="runs/<date>-…")
    head: str = option("auto", "Kind of head.", choices=HEADS)
    val: float | None = fraction_option(None, "Held-out fraction.", exclusive=True, default_text="none")
    group_by: str | None = option(None, GROUP_BY_HELP, metavar="GROUPS")
    seed: int = option(0, "Random seed.", low=0, high=2**32 - 1, metavar="N")
    image_size: int | str | None = option(None, "Input size, or auto to choose.", metavar="PIXELS", parse=pixels)
    unfreeze: str = option("none", "Layers to train.", choices=UNFREEZE)
    epochs: int | None = option(None, "Epochs of training.", low=1, high=10_000, unit="epochs", metavar="N")
    batch: int | None = option(None, "Batch size.", low=1, high=4096, unit="images", metavar="N")
    lr: str | None = option(None, "Learning rate, or auto to search for one.", metavar="RATE", parse=learning_rate)
    optimizer: str | None = option(None, "Optimizer.", choices=OPTIMIZERS)
    weight_decay: float | None = option(None, "Weight decay.", low=0, high=1, metavar="DECAY")
    label_smoothing: float | None = fraction_option(None, "Label smoothing.", high=0.9)
    augment: str | None = option(None, "Augmentation.", choices=LEVELS)
    balance: str = option("auto", "Class balancing.", choices=BALANCE)
    unknown_rate: float = fraction_option(
        0.01, "False-alarm rate of `unknown`; 0 turns it off.", high=0.99, metavar="RATE"
    )
    budget: str | None = option(None, "Time limit, such as 90s, 10m or 1.5h.", metavar="TIME", parse=seconds)
    tensorboard: bool = option(False, "Write TensorBoard logs into the run.")
    engine: str = engine_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    cache: bool = option(True, "Keep features for next time.")
    download: bool = download_option()
    offline: bool = offline_option()

    @property
    def side(self) -> int | None:
        """The side of the network's input in pixels; None where the network or cross-validation chooses it."""
        return None if self.image_size is None else pixels(str(self.image_size))

    @property
    def learning_rate(self) -> float | None:
        """The learning rate; None where the rules or a search choose it."""
        return None if self.lr is None else learning_rate(str(self.lr))


def read_options(path: Path) -> dict[str, Any]:
    """The options in a run.toml or a `--config` file, by their names. Raises UsageError."""
    return read_toml(FinetuneOptions, path, removed=("views",))


def inherited_options(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the run that the option `from_run` names, for those that are not chosen; none without one.

    Raises RunError for a run that is not there, or whose run.toml has changed.
    """
    if chosen.get("from_run") is None:
        return {}
    from tl.runs.run import check_run, load_run  # the help needs neither

    run = load_run(chosen["from_run"])
    check_run(run, ("run.toml",))
    stored = read_options(run.folder / "run.toml")
    return {name: value for name, value in stored.items() if name not in ("data", "out", "from_run", "budget")}
