"""A trunk and photos become features on the CPU, through OpenVINO."""

import importlib
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.engine import Photos, Tag, Vectors
from tl.errors import EngineError

BATCH = 16  # larger batches are no faster on two to eight cores, and smaller ones are slower


class OpenVINOEngine:
    """An OpenVINO network, compiled for throughput: one form serves one photo and a million.

    `precision` "auto" is bf16 where the processor computes in it, f32 elsewhere.
    """

    name = "openvino"
    batch = BATCH

    def __init__(self, xml: Path, key: str, precision: str = "auto", threads: int | None = None) -> None:
        core = _runtime().Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = _precision(precision, able)
        self.key = f"{key}/openvino/{self.precision}"
        self._core, self._xml = core, xml
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads

    def compile(self) -> None:
        """Make the network now, not with the first photos."""
        self.network  # noqa: B018

    @cached_property
    def network(self) -> Any:
        """The compiled network, made at first use: where all features are known already, it is never made."""
        with self._complaining():
            return self._core.compile_model(self._xml, "CPU", self._options)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """The side of its photos in pixels and the length of its features; zeros if it has not one of each."""
        with self._complaining():
            network = self.network if "network" in vars(self) else self._core.read_model(self._xml)
        ends = (*network.inputs, *network.outputs)
        shapes = [end.partial_shape for end in ends]
        if [len(shape) for shape in shapes] != [4, 2] or shapes[0][1].is_dynamic or shapes[1][1].is_dynamic:
            return 0, 0
        return int(shapes[0][1].get_length()), int(shapes[1][1].get_length())

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
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
        count = self.network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        return [self.network.create_infer_request() for _ in range(max(2, count))]

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
