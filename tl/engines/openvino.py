"""A trunk and photos become features on the CPU, through OpenVINO."""

import importlib
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines import autotune as choices
from tl.engines.autotune import DEFAULT, Choice
from tl.engines.engine import Photos, Tag, Vectors
from tl.errors import EngineError, StorageError, UsageError
from tl.progress import Progress


class OpenVINOEngine:
    """An OpenVINO network of photos of any number, compiled for throughput.

    `precision` "auto" is bf16 where the processor computes in it, f32 elsewhere. Batch, streams and threads are those
    of `choice`; without one, what was measured on this machine and remembered, or is once there are photos enough.
    `threads` alone override that: nothing is measured then.
    """

    name = "openvino"

    def __init__(
        self,
        xml: Path,
        key: str,
        precision: str = "auto",
        threads: int | None = None,
        *,
        choice: Choice | None = None,
        progress: Progress | None = None,
    ) -> None:
        runtime = _runtime()
        core = runtime.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = _precision(precision, able)
        self.key = f"{key}/openvino/{self.precision}"
        self.machine = ", ".join(
            (
                core.get_property("CPU", "FULL_DEVICE_NAME").strip(),
                f"{choices.cpus()} CPUs",
                f"OpenVINO {runtime.get_version().partition('-')[0]}",
            )
        )
        self._core, self._xml, self._report = core, xml, progress or Progress()
        if threads is not None and threads < 1:
            raise UsageError(f"threads={threads}: give 1 or more")
        if choice is None and threads is not None:
            choice = Choice(threads=threads)
        found = choice or choices.remembered(self.key, self.machine)
        self.choice = found or DEFAULT
        self._undecided, self._computed, self._since = found is None, 0, 0.0
        if choice is None and found not in (None, DEFAULT):
            self._report.log("engine", f"{found}, as measured on this machine")

    @property
    def batch(self) -> int:
        """Photos a batch."""
        return self.choice.batch

    @property
    def at_once(self) -> int:
        """How many batches it computes side by side."""
        return max(2, int(self.network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))

    def use(self, choice: Choice) -> None:
        """Compute with this batch, these streams and threads from the next photos on, whatever is measured."""
        if choice.options != self.choice.options:
            vars(self).pop("network", None)
        self.choice, self._undecided = choice, False

    def decide(self) -> choices.Measured:
        """Measure what is fastest here, compute with that, and remember it. Raises EngineError, StorageError."""
        self._undecided = False
        found = choices.measure(self._xml, self.precision)
        self.use(found.choice)
        choices.remember(self.key, self.machine, found)
        return found

    def compile(self) -> None:
        """Make the network now, not with the first photos."""
        self.network  # noqa: B018

    @cached_property
    def network(self) -> Any:
        """The compiled network, made at first use: where all features are known already, it is never made."""
        with self._complaining():
            options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision}
            model = vars(self).pop("_model", None) or self._read()
            return self._core.compile_model(model, "CPU", options | self.choice.options)

    @cached_property
    def _model(self) -> Any:
        return self._read()

    def _read(self) -> Any:
        with self._xml.open("rb") as file:  # what does not look like its own, OpenVINO takes for one of other programs'
            if not file.read(64).lstrip().startswith(b"<?xml"):
                raise RuntimeError("it is no network of OpenVINO")
        return self._core.read_model(self._xml)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """The side of its photos in pixels and the length of its features; zeros if it has not one of each."""
        with self._complaining():
            network = self.network if "network" in vars(self) else self._model
        ends = (*network.inputs, *network.outputs)
        shapes = [end.partial_shape for end in ends]
        if [len(shape) for shape in shapes] != [4, 2] or shapes[0][1].is_dynamic or shapes[1][1].is_dynamic:
            return 0, 0
        return int(shapes[0][1].get_length()), int(shapes[1][1].get_length())

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise EngineError(f"{self._xml} cannot be run by OpenVINO ({reason[:160]}); make the run again") from error

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos to features, as many batches at a time as the processor has streams, in order.

        The requests are waited for, never given a Python callback: a callback makes OpenVINO's threads take the
        interpreter's lock, and a network that is freed meanwhile then waits for them forever.
        """
        under_way: deque[tuple[Tag, Any]] = deque()
        idle: list[Any] = []
        try:
            for tag, photos in batches:
                if len(photos) and self._pays(len(photos)):
                    while under_way:
                        yield self._finished(*under_way.popleft(), idle)
                    idle = self._decided()
                if not len(photos):
                    under_way.append((tag, None))
                else:
                    idle = idle or self._requests()
                    request = idle.pop()
                    request.start_async({0: photos})
                    under_way.append((tag, request))
                while under_way and (not idle or under_way[0][1] is None):
                    yield self._finished(*under_way.popleft(), idle)
            while under_way:
                yield self._finished(*under_way.popleft(), idle)
        finally:
            for _, request in under_way:
                if request is not None:
                    request.wait()

    def _requests(self) -> list[Any]:
        # One more than are computed at once: no stream waits until the caller is done with what came before.
        return [self.network.create_infer_request() for _ in range(self.at_once + 1)]

    def _pays(self, more: int) -> bool:
        """Whether so many photos have been computed, for so long, that measuring what is fastest is worth its time."""
        now = time.monotonic()
        self._since = self._since or now
        self._computed += more
        return self._undecided and self._computed > choices.MANY and now - self._since > choices.LONG

    def _decided(self) -> list[Any]:
        """Measures what is fastest and says so; gives requests to go on with, none where they are to be made anew."""
        try:
            with self._report.task("measuring what is fastest here, once", None, "s"):
                found = self.decide()
        except (EngineError, StorageError) as error:
            self._report.warn(str(error))
        else:
            self._report.log("engine", f"{found}; measured once on this machine, remembered")
        return []

    def _finished(self, tag: Tag, request: Any, idle: list[Any]) -> tuple[Tag, Vectors]:
        if request is None:
            return tag, np.zeros((0, 0), np.float32)
        request.wait()
        idle.append(request)
        return tag, request.get_output_tensor().data.copy()

    def run_one(self, photos: Photos) -> Vectors:
        """Features `[n, features]` of a few photos, at once."""
        vectors: Vectors = self.network([photos])[0]
        return vectors


_LOADING = threading.Lock()


def _runtime() -> Any:
    """OpenVINO without its model converter: that takes as long to load as all the rest, and brings a telemetry client.

    OpenVINO itself goes on without the converter where it is not installed.
    """
    converter = "openvino.tools.ovc"
    modules: dict[str, Any] = sys.modules
    with _LOADING:  # threads that train at the same time would find the converter half hidden
        hidden = "openvino" not in modules and converter not in modules
        if hidden:
            modules[converter] = None  # to Python: not there
        try:
            return importlib.import_module("openvino")
        finally:
            if hidden:
                del modules[converter]


def _precision(asked: str, able: list[str]) -> str:
    if asked == "auto":
        return "bf16" if "BF16" in able else "f32"
    if asked == "f32" or asked.upper().replace("F16", "P16") in able or asked.upper() in able:
        return asked
    raise EngineError(f"this processor does not compute in {asked}: choose auto or f32")
