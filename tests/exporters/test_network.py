"""Exports resize as `tl.data.images.fit` does, for images of any size."""

from dataclasses import replace

import numpy as np
import pytest

from tl.data.images import fit
from tl.networks.backbones import Recipe

# Smaller, larger, far larger, on one side alone, by a pixel; ties of the cropped side.
SHAPES = [(32, 32), (1, 1), (20, 25), (60, 50), (300, 200), (700, 20), (1, 300), (3, 999), (33, 32), (64, 65), (28, 44)]
# Shrunk twice: on both sides or on one, as far as that goes and by one pixel.
SHAPES += [(97, 110), (128, 128), (129, 128), (90, 40), (40, 90), (127, 20), (20, 127), (65, 65), (188, 95), (180, 189)]
RECIPE = Recipe(32, "stretch", False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def image_of(shape: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(shape).integers(0, 256, (*shape, 3), np.uint8)
    noise[: shape[0] // 2] //= 4  # not the same everywhere, so that a shift shows
    return noise


def by_openvino(recipe: Recipe):
    from openvino import Core, Model, PartialShape, Type
    from openvino import opset13 as ops

    from tl.exporters.openvino import _resize

    photos = ops.parameter(PartialShape([-1, -1, -1, 3]), Type.u8)
    model = Model([_resize(photos, recipe)], [photos])
    network = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: network([image[None]])[0][0].astype(int)


def by_keras(recipe: Recipe):
    from tl.exporters.network import resize_model

    model = resize_model(recipe)
    return lambda image: np.asarray(model.predict_on_batch(image[None]))[0].astype(int)


@pytest.mark.parametrize("rule", ["stretch", "crop"])
@pytest.mark.parametrize(("graph", "size"), [(by_openvino, 32), (by_openvino, 47), (by_keras, 32)])
def test_resizing_equals_fit_to_within_rounding(graph, size, rule):
    resized = graph(replace(RECIPE, image_size=size, resize=rule))
    for shape in SHAPES:
        image = image_of(shape)
        difference = resized(image) - fit(image, size, rule)
        assert np.abs(difference).max() <= 2, shape
        assert np.mean(difference != 0) < 0.05, shape
        assert abs(difference.mean()) < 0.01, shape
