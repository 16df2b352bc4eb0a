"""A trunk becomes an int8 one: NNCF quantizes what computes features, calibrated on training photos."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tl.engines.openvino import runtime
from tl.exporters.formats import Pixels
from tl.exporters.network import silence


def quantized(trunk: Any, calibration: Sequence[Pixels], name: str = "", kind: Any = np.uint8) -> Any:
    """The trunk in int8, a network of OpenVINO or of ONNX; its input, of that name, is resized photos of that type.

    Weights are symmetric a channel, activations as NNCF finds them best for the processor ("mixed").
    """

    def batch(photo: Pixels) -> Any:
        return {name: photo[None].astype(kind)} if name else photo[None].astype(kind)

    with silence(), _nncf() as nncf:
        data = nncf.Dataset(calibration, batch)
        return nncf.quantize(trunk, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(calibration))


@contextmanager
def _nncf() -> Iterator[Any]:
    """NNCF without its telemetry, which would send what is done to its makers: it goes on where there is none."""
    runtime()
    client, modules = "openvino_telemetry", dict[str, Any](sys.modules)
    before = modules.get(client)
    sys.modules[client] = None  # type: ignore[assignment]  # to Python: not there
    try:
        import nncf

        yield nncf
    finally:
        del sys.modules[client]
        if before is not None:
            sys.modules[client] = before
