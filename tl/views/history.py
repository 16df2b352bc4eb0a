"""A run's folder -> how its fine-tuning went: figures of each epoch, the range test, what was kept."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import RunError
from tl.learning.schedule import share_of_rate

Numbers = NDArray[np.float64]

MOST_BYTES = 10_000_000  # of a table: a hundred thousand epochs
MOST_STEPS = 2000  # of a schedule; a picture shows no more
PARTS = {"last": "the last stage", "half": "the upper half", "all": "all"}
_EPOCHS = ("epoch", "step", "learning_rate", "loss", "held_out_log_loss", "held_out_top1")
_TEST = ("learning_rate", "loss")


@dataclass(frozen=True)
class History:
    """A fine-tuning: a row of `epochs` an epoch, a row of `test` a rate of the range test, by their columns.

    `plan` says what was done, `verdict` what it came to; `rate` is the full learning rate, reached after the share
    `warmup` of the `total` steps that were planned.
    """

    name: str
    epochs: Mapping[str, Numbers]
    test: Mapping[str, Numbers] | None
    plan: str
    verdict: str
    rate: float
    warmup: float
    total: int

    @property
    def steps(self) -> float:
        """Steps an epoch."""
        return float(self.epochs["step"][0] / self.epochs["epoch"][0])

    @property
    def ends(self) -> Numbers:
        """How many epochs are over at each row: a last one that was cut short ends before its number."""
        return self.epochs["step"] / self.steps

    @property
    def best(self) -> int | None:
        """The row with the least loss held out, None where nothing was."""
        held_out = self.epochs["held_out_log_loss"]
        return int(np.nanargmin(held_out)) if np.isfinite(held_out).any() else None

    @property
    def best_epoch(self) -> int:
        """The number of that row's epoch, 0 for none."""
        return 0 if self.best is None else int(self.epochs["epoch"][self.best])

    def schedule(self) -> tuple[Numbers, Numbers] | None:
        """Epochs and the learning rate there, step by step; None where the rows tell of another schedule."""
        last = self.epochs["step"][-1]
        for total in (self.total, int(last)):  # a budget makes the training shorter
            known = self._rates(self.epochs["step"] - 1, total)
            if np.allclose(known, self.epochs["learning_rate"], rtol=1e-6, atol=1e-9 * self.rate):
                steps = np.unique(np.linspace(0, last - 1, MOST_STEPS).round())
                return (steps + 1) / self.steps, self._rates(steps, total)
        return None

    def _rates(self, steps: Numbers, total: int) -> Numbers:
        return np.array([self.rate * share_of_rate(int(step), total, self.warmup) for step in steps])


def read(folder: Path) -> History | None:
    """The history of a run; None where nothing was fine-tuned, or not for a single epoch.

    Raises RunError when its files are damaged.
    """
    if not (folder / "history.csv").is_file():
        return None
    try:
        return _read(folder)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise RunError(
            f"{folder} is damaged, its history cannot be read ({reason}): make it again with `tl finetune`"
        ) from error


def _read(folder: Path) -> History | None:
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["metrics"].get("fine-tuning")
    if about is None:
        return None
    epochs, test = _table(folder / "history.csv", _EPOCHS), None
    if not len(epochs["step"]):
        return None
    if (folder / "learning_rates.csv").is_file():
        test = _table(folder / "learning_rates.csv", _TEST)
    _check(epochs, test or {})
    rate, warmup = float(about["rule"]["learning_rate"]), float(about["rule"]["warmup"])
    if not 1e-30 < rate < 1e30 or not 0 <= warmup <= 1:
        raise ValueError(f"learning rate {rate}, warm-up {warmup}")
    total = round(epochs["step"][0] / epochs["epoch"][0] * int(about["rule"]["epochs"]))
    tested = test if test and len(test["loss"]) else None
    return History(folder.resolve().name, epochs, tested, _plan(about), _verdict(about), rate, warmup, total)


def _table(path: Path, columns: Iterable[str]) -> dict[str, Numbers]:
    """Columns of numbers; infinite ones become nan, which is not drawn."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} is larger than {MOST_BYTES // 1_000_000} MB")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = {name: np.array([float(row[name]) for row in rows]) for name in columns}
    return {name: np.where(np.abs(values) < 1e30, values, np.nan) for name, values in table.items()}


def _check(epochs: Mapping[str, Numbers], test: Mapping[str, Numbers]) -> None:
    counted = np.concatenate([epochs["epoch"], epochs["step"]])
    if not ((counted >= 1) & (counted < 1e9)).all() or (np.diff(epochs["step"]) <= 0).any():
        raise ValueError("history.csv counts its steps wrongly")
    if not (test.get("learning_rate", np.ones(1)) > 1e-30).all():
        raise ValueError("learning_rates.csv has one that is none")


def _plan(about: Mapping[str, Any]) -> str:
    rule, part = about["rule"], PARTS[about["unfreeze"]]
    what = "random weights" if not about["head_only"] else f"{part} of the backbone"
    done = f"{what}, {int(about['steps']):,} steps of {int(rule['batch']):,} photos"
    how = f"{rule['optimizer']}, augmentation {rule['augment']}"
    return f"Trained: {done}, {how}" + (f"; stopped early: {about['stopped']}" if about["stopped"] else "")


def _verdict(about: Mapping[str, Any]) -> str:
    after = about["tuned"]["validation"]
    if not about["head_only"]:  # from random weights: there is no head alone to compare with
        top1, loss = 100 * after["top1"], after["log_loss"]
        return f"Top-1 {top1:.1f} %, log-loss {loss:.3f} on {int(after['count']):,} photos"
    before = about["head_only"]["validation"]
    figures = f"top-1 {100 * before['top1']:.1f} to {100 * after['top1']:.1f} %"
    figures += f", log-loss {before['log_loss']:.3f} to {after['log_loss']:.3f} on {int(after['count']):,} photos"
    kept = "The tuned network is kept" if about["kept"] else "No more right on validation, so the head alone is kept"
    return f"{kept}: {figures}"
