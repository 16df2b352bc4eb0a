"""Turn a folder of labelled photos into an image classifier you can trust: `tl.finetune(...)`, `tl.load(run)`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl.api import bench, compare, evaluate, export, finetune, search
    from tl.classifier import Classifier, load
    from tl.prediction.predictor import Prediction
    from tl.runs.run import Run
    from tl.workflows.evaluate import Assessment

__version__ = "0.1.0"
__all__ = [
    "Assessment",
    "Classifier",
    "Client",
    "Prediction",
    "Run",
    "bench",
    "compare",
    "evaluate",
    "export",
    "finetune",
    "load",
    "search",
]

_HOMES = {
    "Assessment": "tl.workflows.evaluate",
    "Classifier": "tl.classifier",
    "Client": "tl.client",
    "Prediction": "tl.prediction.predictor",
    "Run": "tl.runs.run",
    "load": "tl.classifier",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES.get(name, "tl.api")), name)
