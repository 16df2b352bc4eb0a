"""A trunk and photos become features on the CPU, through OpenVINO."""

from collections import deque
from collections.abc import Iterable, Iterator
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
        import openvino

        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = _precision(precision, able)
        self.key = f"{key}/openvino/{self.precision}"
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._network = core.compile_model(xml, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise EngineError(f"{xml} cannot be run by OpenVINO ({reason[:160]}); make the run again") from error
        self.image_size = self._network.inputs[0].partial_shape[1].get_length()
        self.features = self._network.outputs[0].partial_shape[1].get_length()

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos to features, several batches at a time; results come in the order in which they are ready."""
        from openvino import AsyncInferQueue

        done: deque[tuple[Tag, Vectors]] = deque()
        queue = AsyncInferQueue(self._network)
        queue.set_callback(lambda request, tag: done.append((tag, request.get_output_tensor().data.copy())))
        try:
            for tag, photos in batches:
                if len(photos):
                    queue.start_async({0: photos}, tag)
                else:
                    done.append((tag, np.zeros((0, self.features), np.float32)))
                while done:
                    yield done.popleft()
        finally:
            queue.wait_all()
        yield from done

    def run_one(self, photos: Photos) -> Vectors:
        """Features `[n, features]` of a few photos, at once."""
        vectors: Vectors = self._network([photos])[0]
        return vectors


def _precision(asked: str, able: list[str]) -> str:
    if asked == "auto":
        return "bf16" if "BF16" in able else "f32"
    if asked == "f32" or asked.upper().replace("F16", "P16") in able or asked.upper() in able:
        return asked
    raise EngineError(f"this processor does not compute in {asked}: choose auto or f32")
