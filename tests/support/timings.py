"""A timing for tests."""

from tl.engines.autotune import DEFAULT, AutotuneResult, InferenceOptions
from tl.engines.timing import BatchTiming, ProcessTiming, Timing

MACHINE = "Intel(R) Xeon(R) Platinum 8488C, 192 CPUs, OpenVINO 2026.4.1"


def timing(name: str = "run", scale: float = 1.0, sizes: tuple[int, ...] = (1, 4, 16)) -> Timing:
    """Two precisions with these batch sizes; `scale` stretches the latencies."""
    rows = tuple(
        BatchTiming(precision, size, 5, *(slow * scale * size * by for by in (1, 1.2, 1.9)), 800 / slow, 900 / slow)
        for precision, slow in (("bf16", 8.0), ("f32", 40.0))
        for size in sizes
    )
    processes = (
        ProcessTiming("one image", 1, 0.71, 259.4),
        ProcessTiming("one image, run read from disk", 1, 1.36, None),
        ProcessTiming("64 images", 64, 1.9, 1413.0),
    )
    choices = {"bf16": InferenceOptions(32, 48, 96), "f32": DEFAULT}
    measured = {"bf16": AutotuneResult(InferenceOptions(32, 48, 96), 1204.0, 900.0)}
    return Timing(name, MACHINE, "openvino", "64 validation images", rows, processes, choices, measured, 103.2)
