"""What is to be trained and how, in one object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tl.data.images import Picture
from tl.learning.head import Head, Labels
from tl.learning.rules import TuningRule
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights


@dataclass(frozen=True)
class Job:
    """What is tuned, and how: pictures with their labels, the head to begin with, the rule.

    `train` and `monitor` are places of `pictures`; `monitor`, held out of the training, says when to stop. `weights_of`
    has a weight for each class, `balanced` draws classes evenly; `deadline` is a time of `time.monotonic`; from
    `scratch` the weights are random, and no layer is held back.
    """

    backbone: Backbone
    weights: Weights
    head: Head
    pictures: Sequence[Picture]
    labels: Labels
    train: Labels
    monitor: Labels
    unfreeze: str
    rule: TuningRule
    seed: int
    weights_of: tuple[float, ...] | None = None
    balanced: bool = False
    find_rate: bool = False
    precision: str = "auto"
    engine: str = "auto"
    deadline: float = math.inf
    scratch: bool = False
    threads: int | None = None
