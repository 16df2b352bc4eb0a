"""`tl model`: the layers of a network as a table, and its architecture as a drawing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl.files import muted, write_text
from tl.networks.backbones import Backbone, backbone
from tl.networks.weights import builder
from tl.options import keywords, option
from tl.views.pictures.diagram import draw
from tl.views.pictures.model_graph import Architecture, architecture
from tl.views.terminal.tables import LayerTable, layer_table


@dataclass(frozen=True)
class ModelOptions:
    """Options of `tl model`."""

    classes: int | None = option(
        None, "Number of classes.", low=1, high=1_000_000, default_text="1000; 100 for networks at 32 pixels"
    )
    svg: Path | None = option(None, "Draw the architecture into this SVG file.", metavar="PATH")


@dataclass(frozen=True)
class ModelSummary:
    """The layers of a network with its top, and its architecture; shown as a drawing in a notebook."""

    backbone: Backbone
    table: LayerTable = field(repr=False)
    architecture: Architecture = field(repr=False)

    def __str__(self) -> str:
        return self.table.text()

    def _repr_svg_(self) -> str:
        return draw(self.architecture)

    def save(self, path: str | Path) -> None:
        """Draw the architecture into an SVG file. Raises StorageError."""
        write_text(Path(path), draw(self.architecture), hint="give another --svg")

    def as_dict(self) -> dict[str, Any]:
        """The summary for JSON."""
        return {"name": self.backbone.name, "features": self.backbone.features, **self.table.as_dict()}


@keywords(ModelOptions)
def model(name: str, *, options: ModelOptions) -> ModelSummary:
    """Summarize a network by name, whole, with the top of its paper. Raises BackboneError for an unknown name."""
    network = backbone(name)
    # Networks for images below 64 pixels were designed for CIFAR-100.
    classes = options.classes or (100 if network.recipe.image_size < 64 else 1000)
    outline = _outline(network, classes)
    summary = ModelSummary(network, layer_table(outline), architecture(outline, network.name))
    if options.svg is not None:
        summary.save(options.svg)
    return summary


def _outline(network: Backbone, classes: int) -> Any:
    """The Keras model with shapes instead of numbers, which takes neither time nor memory for the largest network."""
    with muted(2):  # TensorFlow's start-up messages
        import keras

    size, before = network.recipe.image_size, keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        with keras.StatelessScope(initialize_variables=False):
            build = builder(network)
            return build(include_top=True, weights=None, classes=classes, input_shape=(size, size, 3))
    finally:
        keras.config.set_image_data_format(before)
