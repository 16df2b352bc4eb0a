"""A Keras model becomes an OpenVINO network that reads uint8 RGB photos; run as a process of its own by `trunks`.

Built with channels first on Keras' OpenVINO backend, a network converts in seconds, without TensorFlow, and runs four
times as fast as with channels last, whose transpositions OpenVINO does not remove. Networks that Keras cannot build so
are traced by TensorFlow instead, whose importer removes them.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tl.errors import WeightsError
from tl.networks.backbones import Backbone, Recipe, backbone
from tl.networks.models import build
from tl.networks.trainable import frozen_part
from tl.networks.weights import Weights


def convert(network: Backbone, weights: Weights, unfreeze: str | None, folder: Path) -> None:
    """Write `trunk.xml` and `trunk.bin`: uint8 `[n, size, size, 3]` to float32 `[n, features]`.

    With `unfreeze` they are the frozen part of the network, to float16 `[n, height, width, channels]`.
    """
    import keras
    import openvino

    first = keras.backend.backend() == "openvino"
    if first:
        keras.config.set_image_data_format("channels_first")
    size = network.recipe.image_size
    shape = (None, 3, size, size) if first else (None, size, size, 3)
    model = build(network, weights)
    model = frozen_part(model, unfreeze) if unfreeze else model
    signature = [keras.InputSpec(shape=shape, dtype="float32")]
    bare = folder / "bare.xml"
    model.export(str(bare), format="openvino", verbose=False, input_signature=signature)
    core = openvino.Core()
    layout = "NCHW" if first else "NHWC"
    whole = _with_preprocessing(core.read_model(bare), network.recipe, layout, activations=bool(unfreeze))
    openvino.serialize(whole, folder / "trunk.xml")
    for path in (bare, bare.with_suffix(".bin")):
        path.unlink()


def _with_preprocessing(model: Any, recipe: Recipe, layout: str, *, activations: bool) -> Any:
    from openvino import Layout, Model, PartialShape, Type
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.preprocess import PrePostProcessor

    size = recipe.image_size
    # TensorFlow's importer hands out copies of inner activations beside the features (SiLU's, of EfficientNet).
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
    whole = steps.build()
    whole.inputs[0].set_names({"photos"})
    whole.outputs[0].set_names({"features"})
    apply_moc_transformations(whole, cf=True)
    return whole


def _main() -> None:
    order = json.load(sys.stdin)
    given = order["weights"]
    weights = Weights(**{**given, "path": Path(given["path"]) if given["path"] else None})
    recipe = Recipe(**order["recipe"])
    try:
        network = replace(backbone(order["backbone"]), recipe=recipe)
        convert(network, weights, order["unfreeze"], Path(order["out"]))
    except WeightsError as error:
        sys.stdout.write(f"\nweights: {error}\n")
    else:
        sys.stdout.write("\nconverted\n")


if __name__ == "__main__":
    _main()
