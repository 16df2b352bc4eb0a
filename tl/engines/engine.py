"""What every engine is: a frozen network that turns batches of photos into features; and the choice of one."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights
from tl.reporting import Reporter

Photos = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Tag = TypeVar("Tag")

ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("auto", "f32", "bf16", "f16")


class Engine(Protocol):
    """A network ready to run; `key` names what its features depend on, `batch` is the size it runs best with."""

    name: str
    precision: str
    key: str

    @property
    def batch(self) -> int:
        """It may change between two batches, where the engine has found out what is faster."""

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos uint8 RGB `[n, size, size, 3]` to features float32 `[n, features]`, each with its tag, in any order.

        An empty batch is a tick: it comes back empty, so that the caller can hand on what is ready.
        """


def open_engine(
    backbone: Backbone,
    weights: Weights,
    *,
    engine: str = "auto",
    precision: str = "auto",
    unfreeze: str | None = None,
    threads: int | None = None,
    report: Reporter | None = None,
) -> Engine:
    """The engine for this machine: TensorFlow where it sees a GPU, OpenVINO on the CPU.

    With `unfreeze` it runs the part that stays frozen, and gives float16 activations instead of features. `threads`
    are OpenVINO's; without, what is fastest here.

    Raises UsageError for an engine or precision that does not exist, EngineError for one that this machine cannot run.
    """
    check_names(engine, precision)
    if engine == "tensorflow" or (engine == "auto" and has_gpu()):
        from tl.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(backbone, weights, precision, unfreeze)
    from tl.engines.openvino import OpenVINOEngine
    from tl.engines.trunks import content_key, prepare

    trunk = prepare(backbone, weights, unfreeze=unfreeze, report=report)
    key = content_key(trunk.xml_sha256, trunk.bin_sha256, backbone.recipe)
    return OpenVINOEngine(trunk.xml, key, precision, threads, report=report)


def has_gpu() -> bool:
    """Whether an NVIDIA card is there, told by its device node, without loading TensorFlow."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def check_names(engine: str, precision: str) -> None:
    """Raises UsageError for an engine or precision that does not exist."""
    for what, given, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if given not in allowed:
            raise UsageError(f"no {what} is called {given!r}: choose {', '.join(allowed)}")
