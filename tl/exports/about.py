"""A run becomes what its export says of itself: classes, network, what goes in and what comes out."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from tl import __version__
from tl.runs.run import Run

MEMBER = "classifier.json"


def about(run: Run, name: str, int8: bool) -> dict[str, Any]:
    """What every format carries in its metadata, as far as it has room."""
    recipe = run.backbone.recipe
    return {
        "classes": list(run.classes),
        "input": "photos: uint8 [n, height, width, 3], RGB, of any height and width, upright (EXIF rotation applied)",
        "output": "probabilities: float32 [n, classes], calibrated, in the order of classes",
        "inside": ["resize", "normalisation", "network", "head", "temperature"],
        "outside": ["decoding", "EXIF rotation", "telling photos that are unlike all training photos (unknown)"],
        "backbone": run.backbone.name,
        "image_size": recipe.image_size,
        "resize": recipe.resize,
        "tuned": run.tuned is not None,
        "run": run.name,
        "format": name,
        "int8": int8,
        "tl": __version__,
    }


def attach(path: Path, told: dict[str, Any]) -> None:
    """Write it into a file that is a zip archive, or becomes one at its end as LiteRT's convention has it."""
    with ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(told, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
