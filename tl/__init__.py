"""Turn a folder of labelled photos into an image classifier you can trust.

    import tl

    run = tl.finetune("photos/")
    classifier = tl.load(run.folder)
    classifier.predict("photo.jpg")

Every command has its function here, with the same name and options: `tl.finetune`, `tl.predict`, `tl.evaluate`,
`tl.data.check`, `tl.runs.list`, `tl.weights.get`, … Expected failures are `tl.errors.TLError`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl.classifier import Classifier as Classifier
    from tl.classifier import load as load
    from tl.progress import Progress as Progress
    from tl.runs.run import Run as Run

__version__ = "0.3.0"

_HOMES = {
    "Evaluation": "tl.prediction.evaluation:Evaluation",
    "Classifier": "tl.classifier:Classifier",
    "Client": "tl.client:Client",
    "Prediction": "tl.prediction.predictor:Prediction",
    "Progress": "tl.progress:Progress",
    "Run": "tl.runs.run:Run",
    "bench": "tl.workflows.bench:bench",
    "compare": "tl.workflows.compare:compare",
    "display_image_grid": "tl.workflows.grid:display_image_grid",
    "errors": "tl.errors",
    "evaluate": "tl.workflows.evaluate:evaluate",
    "explain": "tl.workflows.explain:explain",
    "export": "tl.workflows.export:export",
    "finetune": "tl.workflows.finetune:finetune",
    "grid": "tl.workflows.grid:grid",
    "keys": "tl.workflows.keys",
    "load": "tl.classifier:load",
    "model": "tl.workflows.model:model",
    "predict": "tl.workflows.predict:predict",
    "report": "tl.workflows.report:report",
    "search": "tl.workflows.search:search",
    "serve": "tl.workflows.serve:serve",
    "watch": "tl.workflows.watch:watch",
    "weights": "tl.workflows.weights",
    "data": "tl.data",
    "runs": "tl.runs",
    "cache": "tl.cache",
}


def lazy_attributes(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that imports its public names, `module:name`, when they are used."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import importlib

        module, _, attribute = homes[name].partition(":")
        loaded = importlib.import_module(module)
        return getattr(loaded, attribute) if attribute else loaded

    def names() -> list[str]:
        return sorted(homes)

    return get, names


__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
