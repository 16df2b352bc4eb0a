"""Compute features on the CPU with OpenVINO."""

import importlib
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.autotune import (
    DEFAULT,
    AutotuneResult,
    InferenceOptions,
    cpus,
    measure,
    pays,
    recall,
    remember,
    serve_request,
)
from tl.engines.engine import Photos, Tag, Vectors
from tl.errors import EngineError, StorageError, UsageError
from tl.progress import Progress
from tl.text import count


class OpenVINOEngine:
    """A network in OpenVINO's format, compiled for throughput with any batch size.

    `precision` "auto" is bf16 if the processor supports it, else f32. Batch size, streams and threads are those of
    `options`; by default those measured on this machine earlier, or the defaults until there are enough photos to
    measure. With `threads` nothing is measured.
    """

    name = "openvino"

    def __init__(
        self,
        xml: Path,
        key: str,
        precision: str = "auto",
        threads: int | None = None,
        *,
        options: InferenceOptions | None = None,
        progress: Progress | None = None,
    ) -> None:
        core = runtime().Core()
        self.precision = _precision(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        self.key = f"{key}/openvino/{self.precision}"
        self.machine = machine_name(core)
        self._core, self._xml, self._progress = core, xml, progress or Progress()
        if threads is not None and threads < 1:
            raise UsageError(f"--threads {threads}: give 1 or more")
        if options is None and threads is not None:
            options = InferenceOptions(threads=threads)
        recalled = None if options else recall(self.key, self.machine)
        self.options = options or recalled or DEFAULT
        self._untuned, self._computed, self._started = not (options or recalled), 0, 0.0
        if recalled not in (None, DEFAULT):
            self._progress.log("engine", f"{recalled}, as measured on this machine")

    @property
    def batch(self) -> int:
        """Photos per batch."""
        return self.options.batch

    @property
    def at_once(self) -> int:
        """How many batches it computes at the same time."""
        return max(2, int(self.network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))

    def use(self, options: InferenceOptions) -> None:
        """Compute with these options from the next photos on, and measure no others."""
        if options.properties != self.options.properties:
            vars(self).pop("network", None)
        self.options, self._untuned = options, False

    def tune(self) -> AutotuneResult:
        """Measure the fastest options on this machine, use and remember them. Raises EngineError, StorageError."""
        self._untuned = False  # even if measuring fails
        result = measure(self._xml, self.precision)
        self.use(result.options)
        remember(self.key, self.machine, result)
        return result

    def compile(self) -> None:
        """Compile the network now instead of with the first photos."""
        self.network  # noqa: B018

    @cached_property
    def network(self) -> Any:
        """The compiled network, compiled at first use: if all features are cached, never."""
        with self._engine_errors():
            hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision}
            model = self._model
            del self._model  # the compiled network does not need it
            return self._core.compile_model(model, "CPU", hints | self.options.properties)

    @cached_property
    def _model(self) -> Any:
        with self._xml.open("rb") as file:  # OpenVINO would try the formats of other frameworks on anything else
            if not file.read(64).lstrip().startswith(b"<?xml"):
                raise RuntimeError("it is not an OpenVINO network")
        return self._core.read_model(self._xml)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Side of its photos in pixels, number of its features; zeros for a network with other inputs or outputs."""
        with self._engine_errors():
            network = self.network if "network" in vars(self) else self._model
        return shape_of([*network.inputs, *network.outputs])

    @property
    def side(self) -> int:
        """Side of its photos in pixels, whatever its outputs are."""
        return int(self.network.inputs[0].partial_shape[1].get_length())

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise EngineError(f"OpenVINO cannot run {self._xml} ({reason[:160]}); run `tl finetune` again") from error

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos to features, in order, as many batches at once as the processor has streams.

        It waits for the requests instead of giving them a Python callback: with a callback OpenVINO's threads take
        the interpreter's lock, and a network that is freed at that moment waits for them for ever.
        """
        running: deque[tuple[Tag, Any]] = deque()
        idle: list[Any] = []
        try:
            for tag, photos in batches:
                request = None
                if len(photos):
                    if self._pays_to_tune(len(photos)):
                        while running:
                            yield self._finish(*running.popleft(), idle)
                        self._tune_aloud()
                        idle = []  # requests of the old network
                    # One more than run at once, so that no stream waits while the caller uses a result.
                    idle = idle or [self.network.create_infer_request() for _ in range(self.at_once + 1)]
                    request = idle.pop()
                    request.start_async({0: photos})
                running.append((tag, request))
                while running and (not idle or running[0][1] is None):
                    yield self._finish(*running.popleft(), idle)
            while running:
                yield self._finish(*running.popleft(), idle)
        finally:
            for _, request in running:
                if request is not None:
                    request.wait()

    def _pays_to_tune(self, more: int) -> bool:
        now = time.monotonic()
        self._started = self._started or now
        self._computed += more
        return self._untuned and pays(self._computed, now - self._started)

    def _tune_aloud(self) -> None:
        try:
            with self._progress.task("measuring the fastest inference options, once", None, "s"):
                result = self.tune()
        except (EngineError, StorageError) as error:
            self._progress.warn(str(error))
        else:
            self._progress.log("engine", f"{result}; measured once on this machine")

    def _finish(self, tag: Tag, request: Any, idle: list[Any]) -> tuple[Tag, Vectors]:
        if request is None:
            return tag, np.zeros((0, 0), np.float32)
        request.wait()
        idle.append(request)
        return tag, request.get_output_tensor().data.copy()

    def run_one(self, photos: Photos) -> Vectors:
        """Features `[n, features]` of a few photos, at once."""
        vectors: Vectors = self.network([photos])[0]
        return vectors


def shape_of(ends: Sequence[Any]) -> tuple[int, int]:
    """The side in pixels and the number of features of an input and an output; zeros for any other `ends`."""
    shapes = [end.partial_shape for end in ends]
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][1].is_dynamic or shapes[1][1].is_dynamic:
        return 0, 0
    return int(shapes[0][1].get_length()), int(shapes[1][1].get_length())


_IMPORT_LOCK = threading.Lock()


def runtime() -> Any:
    """The `openvino` module without its model converter, which doubles the import time and adds a telemetry client.

    OpenVINO itself works without the converter where that is not installed.
    """
    # Another thread must not see the converter half hidden.
    with _IMPORT_LOCK, nullcontext() if "openvino" in sys.modules else hidden("openvino.tools.ovc"):
        return importlib.import_module("openvino")


def machine_name(core: Any = None) -> str:
    """The processor, its CPUs and OpenVINO's version, on which a measured speed depends."""
    openvino = runtime()
    processor = (core or openvino.Core()).get_property("CPU", "FULL_DEVICE_NAME").strip()
    return f"{processor}, {count(cpus(), 'CPU')}, OpenVINO {openvino.get_version().partition('-')[0]}"


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Within the block, a module cannot be imported, as if it were not installed."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]  # Python's mark of a module that is not there
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


def _precision(precision: str, capabilities: list[str]) -> str:
    if precision == "auto":
        return "bf16" if "BF16" in capabilities else "f32"
    if precision == "f32" or {"bf16": "BF16", "f16": "FP16"}[precision] in capabilities:
        return precision
    raise EngineError(f"this processor does not compute in {precision}: choose auto or f32")


def _open(xml: Path, precision: str, options: InferenceOptions) -> OpenVINOEngine:
    engine = OpenVINOEngine(xml, "", precision, options=options)
    engine.compile()
    return engine


if __name__ == "__main__":
    serve_request(_open)
