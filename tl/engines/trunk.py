"""Convert a backbone to a trunk for OpenVINO, and keep it in the cache.

A trunk is an OpenVINO network from uint8 RGB photos to features, preprocessing included. Built with channels first on
Keras' OpenVINO backend, a network converts in seconds, without TensorFlow, and runs four times as fast as with
channels last, whose transpositions OpenVINO does not remove. TensorFlow traces the networks that Keras cannot build
that way, and OpenVINO's importer removes the transpositions. The conversion runs in a child process, which needs Keras
on another backend and gives its memory back.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tl.errors import EngineError, WeightsError
from tl.files import atomic_write, child_environment, locked, write_errors
from tl.networks.backbones import Backbone, Recipe, backbone
from tl.networks.weights import Weights, build, sha256_of, verify
from tl.progress import Progress
from tl.settings import Settings, settings

CONVERSION = 2  # raised whenever converted networks change, so that older ones are converted again


@dataclass(frozen=True)
class Trunk:
    """OpenVINO IR: `xml` and `bin`, their sha256, and the key that identifies the network by its content."""

    xml: Path
    bin: Path
    xml_sha256: str
    bin_sha256: str
    key: str


def cached_trunk(
    backbone: Backbone,
    weights: Weights,
    *,
    unfreeze: str | None = None,
    check: bool = True,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Trunk:
    """The trunk of a backbone, converted once per machine; `check=False` trusts the files in the cache.

    With `unfreeze` it is the part of the network that stays frozen and returns activations instead of features.
    Raises WeightsError for weights of another network, EngineError if the conversion fails.
    """
    key = trunk_key(backbone, weights, unfreeze)
    folder = _folder(backbone, key, where)
    trunk = _read(folder, key, check=check)
    if trunk is not None:
        return trunk
    with write_errors(folder, "set TL_CACHE_DIR"), locked(folder.with_suffix(".lock")):
        trunk = _read(folder, key)  # another process may have converted it meanwhile
        if trunk is not None:
            return trunk
        shutil.rmtree(folder, ignore_errors=True)
        return convert(backbone, weights, folder, unfreeze=unfreeze, progress=progress)


def converted_trunk(backbone: Backbone, weights: Weights) -> Trunk | None:
    """The trunk of a backbone if it is in the cache, not compared with its sha256."""
    key = trunk_key(backbone, weights)
    return _read(_folder(backbone, key), key, check=False)


def _folder(backbone: Backbone, key: str, where: Settings | None = None) -> Path:
    return (where or settings()).cache_dir / "trunks" / f"{backbone.name}-{key[:16]}"


def content_key(xml_sha256: str, bin_sha256: str, recipe: Recipe) -> str:
    """Identifies a trunk's features: the contents of its files and how photos are resized for it."""
    parts = [xml_sha256, bin_sha256, recipe.image_size, recipe.resize]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def trunk_key(backbone: Backbone, weights: Weights, unfreeze: str | None = None) -> str:
    """Identifies what a trunk's outputs depend on: network, weights, recipe, conversion, and where it ends."""
    parts = {"backbone": asdict(backbone), "weights": weights.sha256, "conversion": CONVERSION}
    parts |= {"unfreeze": unfreeze} if unfreeze else {}
    if not backbone.in_keras:  # one of our own networks: by its source code
        source = importlib.util.find_spec(backbone.builder.partition(":")[0])
        parts["builder"] = sha256_of(Path(source.origin)) if source is not None and source.origin else ""
    parts |= {"drawn by": "tensorflow"} if weights.seed is not None else {}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, key: str, *, check: bool = True) -> Trunk | None:
    """The trunk in a folder; with `check` only if both files are as written: runs share them by hard link."""
    try:
        entry = json.loads((folder / "trunk.json").read_text())
        files = folder / "trunk.xml", folder / "trunk.bin"
        trunk = Trunk(*files, entry["xml"], entry["bin"], key=entry["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if trunk.key != key or not trunk.xml.is_file() or not trunk.bin.is_file():
        return None
    intact = not check or (sha256_of(trunk.xml), sha256_of(trunk.bin)) == (trunk.xml_sha256, trunk.bin_sha256)
    return trunk if intact else None


def convert(
    backbone: Backbone, weights: Weights, folder: Path, *, unfreeze: str | None = None, progress: Progress | None = None
) -> Trunk:
    """Convert into a folder that does not exist yet, whole or not at all.

    Raises WeightsError for weights of another network, EngineError if the conversion fails.
    """
    verify(weights)
    progress, key = progress or Progress(), trunk_key(backbone, weights, unfreeze)
    once = "" if weights.choice == "tuned" else ", once"
    with atomic_write(folder, hint="free some space, or set TL_CACHE_DIR") as scratch:
        scratch.mkdir()
        with progress.task(f"converting {backbone.name} for OpenVINO{once}", None, "s"):
            _convert_in_child(backbone, weights, unfreeze, scratch)
        sha256 = {part: sha256_of(scratch / f"trunk.{part}") for part in ("xml", "bin")}
        (scratch / "trunk.json").write_text(json.dumps({**sha256, "key": key}))
    trunk = _read(folder, key, check=False)
    if trunk is None:
        raise EngineError(f"{backbone.name} was converted, but {folder} cannot be read; try --engine tensorflow")
    return trunk


def _convert_in_child(backbone: Backbone, weights: Weights, unfreeze: str | None, folder: Path) -> None:
    request = {
        "backbone": backbone.name,
        "recipe": asdict(backbone.recipe),
        "unfreeze": unfreeze,
        "weights": {**asdict(weights), "path": str(weights.path.resolve()) if weights.path else None},
        "folder": str(folder),
    }
    # TensorFlow draws random weights, as it does for training: other backends draw others from the same seed.
    keras = "openvino" if backbone.channels_first and weights.seed is None else "tensorflow"
    child = subprocess.run(
        [sys.executable, "-m", "tl.engines.trunk"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=child_environment() | {"KERAS_BACKEND": keras, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    reply = (child.stdout.strip().splitlines() or [""])[-1]
    if reply == "converted":
        return
    if reply.startswith("weights: "):
        raise WeightsError(reply.removeprefix("weights: "))
    last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
    raise EngineError(f"{backbone.name} could not be converted for OpenVINO ({last[:200]}); try --engine tensorflow")


def _main() -> None:
    """The child process: read the request from standard input, print the outcome on the last line."""
    request = json.load(sys.stdin)
    path = request["weights"]["path"]
    weights = Weights(**{**request["weights"], "path": Path(path) if path else None})
    try:
        network = replace(backbone(request["backbone"]), recipe=Recipe(**request["recipe"]))
        write_trunk(network, weights, request["unfreeze"], Path(request["folder"]))
    except WeightsError as error:
        sys.stdout.write(f"\nweights: {error}\n")
    else:
        sys.stdout.write("\nconverted\n")


def write_trunk(network: Backbone, weights: Weights, unfreeze: str | None, folder: Path) -> None:
    """Write `trunk.xml` and `trunk.bin`: uint8 `[n, size, size, 3]` to float32 `[n, features]`.

    With `unfreeze` they are the frozen part of the network, to float16 `[n, height, width, channels]`.
    """
    import keras
    import openvino

    from tl.networks.trainable import frozen_part

    channels_first = keras.backend.backend() == "openvino"
    if channels_first:
        keras.config.set_image_data_format("channels_first")
    size = network.recipe.image_size
    shape = (None, 3, size, size) if channels_first else (None, size, size, 3)
    model = build(network, weights)
    model = frozen_part(model, unfreeze) if unfreeze else model
    bare = folder / "bare.xml"
    signature = [keras.InputSpec(shape=shape, dtype="float32")]
    model.export(str(bare), format="openvino", verbose=False, input_signature=signature)
    layout = "NCHW" if channels_first else "NHWC"
    trunk = _with_preprocessing(openvino.Core().read_model(bare), network.recipe, layout, activations=bool(unfreeze))
    openvino.serialize(trunk, folder / "trunk.xml")
    for path in (bare, bare.with_suffix(".bin")):
        path.unlink()


def _with_preprocessing(model: Any, recipe: Recipe, layout: str, *, activations: bool) -> Any:
    from openvino import Layout, Model, PartialShape, Type
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.preprocess import PrePostProcessor

    size = recipe.image_size
    # TensorFlow's importer adds inner activations as outputs beside the features (SiLU's, of EfficientNet).
    model = Model(model.get_results()[:1], model.get_parameters())
    model.reshape(PartialShape([-1, 3, size, size] if layout == "NCHW" else [-1, size, size, 3]))
    steps = PrePostProcessor(model)
    photos = steps.input()
    photos.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    photos.model().set_layout(Layout(layout))
    pixels = photos.preprocess().convert_element_type(Type.f32)
    if recipe.bgr:
        pixels.reverse_channels()
    pixels.mean(list(recipe.mean)).scale(list(recipe.std))
    if activations:
        steps.output().model().set_layout(Layout(layout))
        steps.output().tensor().set_layout(Layout("NHWC")).set_element_type(Type.f16)
    trunk = steps.build()
    trunk.inputs[0].set_names({"photos"})
    trunk.outputs[0].set_names({"features"})
    apply_moc_transformations(trunk, cf=True)
    return trunk


if __name__ == "__main__":
    _main()
