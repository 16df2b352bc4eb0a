"""Run a frozen network on images: `open_engine` picks the engine for this machine."""

from pathlib import Path

from tl.engines.engine import Engine
from tl.errors import UsageError
from tl.networks.backbones import Backbone, backbone
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
    """The engine for this machine: TensorFlow where there is a GPU, else OpenVINO on the CPU.

    With `unfreeze` it runs the part of the network that stays frozen and returns float16 activations instead of
    features. `threads` are OpenVINO's; None uses the fastest number measured here.
    Raises UsageError for an engine or precision that does not exist, EngineError for one this machine cannot run.
    """
    check_names(engine, precision)
    if uses_tensorflow(engine):
        from tl.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(backbone, weights, precision, unfreeze)
    from tl.engines.openvino import OpenVINOEngine
    from tl.engines.trunk import cached_trunk, content_key

    trunk = cached_trunk(backbone, weights, unfreeze=unfreeze, progress=progress)
    key = content_key(trunk.xml_sha256, trunk.bin_sha256, backbone.recipe)
    return OpenVINOEngine(trunk.xml, key, precision, threads, progress=progress)


def open_named(
    name: str, *, weights: str = "imagenet", offline: bool = False, progress: Progress
) -> tuple[Engine, Backbone]:
    """The engine and the backbone of that name; downloads its weights if necessary and allowed."""
    network = backbone(name)
    resolved = resolve(network, weights, offline=offline, progress=progress)
    return open_engine(network, resolved, progress=progress), network


def uses_tensorflow(engine: str) -> bool:
    """Whether an engine option means TensorFlow on this machine."""
    return engine == "tensorflow" or (engine == "auto" and has_gpu())


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, by its device file, without loading TensorFlow."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def check_names(engine: str, precision: str) -> None:
    """Raises UsageError for an engine or precision that does not exist."""
    for option, value, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise UsageError(f"--{option} {value}: choose {', '.join(allowed)}")
