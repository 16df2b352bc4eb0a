"""A backbone and its weights become a trunk: an OpenVINO network from uint8 photos to features, kept in the cache.

The conversion runs in a process of its own: it needs Keras on another backend, and its memory goes with it.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tl.errors import EngineError, StorageError, WeightsError
from tl.networks.backbones import Backbone, Recipe
from tl.networks.weights import Weights, verify
from tl.progress import Progress
from tl.settings import Settings, settings

CONVERSION = 2  # raised when a converted network changes, so that an older one is never used in its place


@dataclass(frozen=True)
class Trunk:
    """OpenVINO IR: `xml` and `bin`, their sha256, and the key that names the network by its content."""

    xml: Path
    bin: Path
    xml_sha256: str
    bin_sha256: str
    key: str


def prepare(
    backbone: Backbone,
    weights: Weights,
    *,
    unfreeze: str | None = None,
    check: bool = True,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Trunk:
    """The trunk for OpenVINO, converted once a machine; without `check` its files are taken as they are.

    With `unfreeze` it is the part of the network that stays frozen, and gives activations instead of features.

    Raises WeightsError for weights of another network, EngineError when the conversion fails.
    """
    from filelock import FileLock

    where = where or settings()
    key = trunk_key(backbone, weights, unfreeze)
    folder = where.cache_dir / "trunks" / f"{backbone.name}-{key[:16]}"
    found = _read(folder, key)
    if found is not None and (not check or is_whole(found)):
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            found = _read(folder, key)  # another process may have converted it while this one waited
            whole = found is not None and is_whole(found)
            if found and whole:
                return found
            shutil.rmtree(folder, ignore_errors=True)
            return convert(backbone, weights, folder, unfreeze=unfreeze, progress=progress)
    except OSError as error:
        raise StorageError(
            f"the network cannot be written to {folder.parent}: {error.strerror}; set TL_CACHE_DIR"
        ) from error


def content_key(xml_sha256: str, bin_sha256: str, recipe: Recipe) -> str:
    """What names a trunk's features: the contents of its files, and what is done to a photo before it."""
    about = [xml_sha256, bin_sha256, recipe.image_size, recipe.resize]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def is_whole(trunk: Trunk) -> bool:
    """Whether both files are those that were written: runs share them, and a run's copy may be changed in place."""
    return (_sha256(trunk.xml), _sha256(trunk.bin)) == (trunk.xml_sha256, trunk.bin_sha256)


def trunk_key(backbone: Backbone, weights: Weights, unfreeze: str | None = None) -> str:
    """What the trunk's outputs depend on, hashed: network, weights, recipe, conversion, and where it ends."""
    about = {"backbone": asdict(backbone), "weights": weights.sha256, "conversion": CONVERSION}
    about |= {"unfreeze": unfreeze} if unfreeze else {}
    if not backbone.in_keras:  # a network of our own: as it is written now
        source = importlib.util.find_spec(backbone.builder.partition(":")[0])
        about["builder"] = _sha256(Path(source.origin)) if source is not None and source.origin else ""
    about |= {"drawn by": "tensorflow"} if weights.seed is not None else {}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, key: str) -> Trunk | None:
    try:
        about = json.loads((folder / "trunk.json").read_text())
        trunk = Trunk(folder / "trunk.xml", folder / "trunk.bin", about["xml"], about["bin"], about["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return trunk if trunk.key == key and trunk.xml.is_file() and trunk.bin.is_file() else None


def convert(
    backbone: Backbone,
    weights: Weights,
    folder: Path,
    *,
    unfreeze: str | None = None,
    progress: Progress | None = None,
) -> Trunk:
    """Convert into a folder that does not exist yet, complete or not at all.

    Raises WeightsError for weights of another network, EngineError when the conversion fails.
    """
    verify(weights)
    progress, key = progress or Progress(), trunk_key(backbone, weights, unfreeze)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        once = "" if weights.choice == "tuned" else ", once"
        with progress.task(f"converting {backbone.name} for OpenVINO{once}", None, "s"):
            _run_conversion(backbone, weights, unfreeze, scratch)
        files = {part: scratch / f"trunk.{part}" for part in ("xml", "bin")}
        about = {part: _sha256(path) for part, path in files.items()} | {"key": key}
        (scratch / "trunk.json").write_text(json.dumps(about))
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    trunk = _read(folder, key)
    if trunk is None:
        raise EngineError(f"{backbone.name} was converted but cannot be read back from {folder}")
    return trunk


def _run_conversion(backbone: Backbone, weights: Weights, unfreeze: str | None, scratch: Path) -> None:
    # Random weights are drawn by TensorFlow, as where they are trained on: other backends draw others from a seed.
    order = {
        "backbone": backbone.name,
        "recipe": asdict(backbone.recipe),
        "unfreeze": unfreeze,
        "weights": {**asdict(weights), "path": str(weights.path.resolve()) if weights.path else None},
        "out": str(scratch),
    }
    environment = os.environ | {
        "KERAS_BACKEND": "openvino" if backbone.channels_first and weights.seed is None else "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "tl.engines.convert"]
    done = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, env=environment, check=False
    )
    answer = (done.stdout.strip().splitlines() or [""])[-1]
    if answer == "converted":
        return
    if answer.startswith("weights: "):
        raise WeightsError(answer.removeprefix("weights: "))
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise EngineError(f"{backbone.name} could not be converted for OpenVINO ({last[:200]}); try --engine tensorflow")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
