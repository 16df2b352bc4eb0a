"""A step becomes a learning rate: warm-up and cosine; and a range test finds the rate to begin with."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOWEST, HIGHEST = 1e-7, 1.0
"""Where the range test begins and ends."""

_RISE = 4.0  # times the least loss so far, and a nat more: beyond that the test has seen enough


@dataclass(frozen=True)
class RangeTest:
    """Learning rates in rising order, the smoothed training loss at each, and the rate to take."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float


def share_of_rate(step: int, total: int, warmup: float) -> float:
    """The share of the full learning rate at a step: linear up over `warmup` of all steps, then a cosine down to 0.

    Goyal et al. 2017 and Loshchilov & Hutter 2017. Steps count from 0.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising + 1) / max(1, total - rising))))


def range_test(loss_at: Callable[[float], float], steps: int = 60) -> RangeTest:
    """Try rising rates, one training step each, until the loss explodes (Smith 2017).

    `loss_at` trains one step with a rate and gives the loss before it. The rate chosen is a tenth of that with the
    least loss, where training is fast but stable; where no rate lowers the loss, the lowest is chosen.
    """
    rates = [LOWEST * (HIGHEST / LOWEST) ** (at / (steps - 1)) for at in range(steps)]
    losses: list[float] = []
    average = 0.0
    for at, rate in enumerate(rates):
        loss = loss_at(rate)
        if not math.isfinite(loss):
            break
        average = 0.8 * average + 0.2 * loss
        losses.append(average / (1 - 0.8 ** (at + 1)))
        if losses[-1] > _RISE * min(losses) + 1.0:
            break
    return RangeTest(tuple(rates[: len(losses)]), tuple(losses), _chosen(rates, losses))


def _chosen(rates: Sequence[float], losses: Sequence[float]) -> float:
    if not losses:
        return rates[0]
    return max(rates[0], rates[min(range(len(losses)), key=losses.__getitem__)] / 10)
