"""The choice of an engine, for a network or for the name of one."""

from pathlib import Path

from tl.engines.engine import Engine
from tl.errors import UsageError
from tl.networks.backbones import Backbone
from tl.networks.backbones import backbone as find_backbone
from tl.networks.weights import Weights, resolve
from tl.progress import Progress

ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("auto", "f32", "bf16", "f16")


def open_engine(
    backbone: Backbone,
    weights: Weights,
    *,
    engine: str = "auto",
    precision: str = "auto",
    unfreeze: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
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
    from tl.engines.trunk import content_key, prepare

    trunk = prepare(backbone, weights, unfreeze=unfreeze, progress=progress)
    key = content_key(trunk.xml_sha256, trunk.bin_sha256, backbone.recipe)
    return OpenVINOEngine(trunk.xml, key, precision, threads, progress=progress)


def has_gpu() -> bool:
    """Whether an NVIDIA card is there, told by its device node, without loading TensorFlow."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def check_names(engine: str, precision: str) -> None:
    """Raises UsageError for an engine or precision that does not exist."""
    for what, given, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if given not in allowed:
            raise UsageError(f"no {what} is called {given!r}: choose {', '.join(allowed)}")


def open_named(
    backbone: str,
    *,
    weights: str = "imagenet",
    engine: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    progress: Progress,
) -> tuple[Engine, Backbone]:
    """The engine and the network behind a name; its weights are fetched where need be and allowed."""
    network = find_backbone(backbone)
    found = resolve(network, weights, offline=offline, progress=progress)
    return open_engine(network, found, engine=engine, precision=precision, progress=progress), network
