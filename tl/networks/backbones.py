"""The registry of backbones: which network, how its pixels are preprocessed, how its stages are named.

Preprocessing is that of `keras.applications.<module>.preprocess_input`, which has three modes (`caffe`, `torch`, `tf`),
or none if the network scales its input itself; a test compares each.
"""

import difflib
from dataclasses import dataclass

from tl.errors import BackboneError

RESIZE_RULES = ("stretch", "crop")

# preprocessing: channels reversed?, mean, standard deviation
_PREPROCESSING = {
    "caffe": (True, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torch": (False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "tf": (False, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "none": (False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "unit": (False, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "lite": (False, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
}
_STAGES = {"block": r"block\d+", "conv": r"conv\d+", "-": ""}  # as VGG and ResNet name them

# preprocessing, image data format that OpenVINO converts from, names of stages:
#   builder, features, parameters without the top, side of the input in pixels
_TABLE = """
caffe first conv:
  ResNet50 2048 23587712 224
  ResNet101 2048 42658176 224
  ResNet152 2048 58370944 224
caffe first block:
  VGG16 512 14714688 224
  VGG19 512 20024384 224
lite first -:
  tl.networks.zoo.efficientnet_lite:efficientnet_lite0 1280 3413024 224
unit first -:
  tl.networks.zoo.teaching_networks:simple_cnn 256 300256 32
  tl.networks.zoo.teaching_networks:lenet5 84 61156 32
  tl.networks.zoo.teaching_networks:alexnet 4096 58281344 227
  tl.networks.zoo.teaching_networks:googlenet 1024 5973552 224
unit first block:
  tl.networks.zoo.teaching_networks:vgg16_cifar 4096 33597248 32
  tl.networks.zoo.teaching_networks:vgg11 4096 128766336 224
unit first conv:
  tl.networks.zoo.teaching_networks:resnet50_cifar 2048 23561152 32
  tl.networks.zoo.teaching_networks:resnet18 512 11186112 224
  tl.networks.zoo.teaching_networks:resnet34 512 21301696 224
tf first -:
  MobileNet 1024 3228864 224
  MobileNetV2 1280 2257984 224
  InceptionV3 2048 21802784 299
  Xception 2048 20861480 299
  InceptionResNetV2 1536 54336736 299
tf first conv:
  ResNet50V2 2048 23564800 224
  ResNet101V2 2048 42626560 224
  ResNet152V2 2048 58331648 224
tf last -:
  NASNetMobile 1056 4269716 224
  NASNetLarge 4032 84887922 331
torch last conv:
  DenseNet121 1024 7037504 224
  DenseNet169 1664 12642880 224
  DenseNet201 1920 18321984 224
none first -:
  MobileNetV3Small 576 939120 224
  MobileNetV3Large 960 2996352 224
none last -:
  EfficientNetB0 1280 4049571 224
  EfficientNetB1 1280 6575239 240
  EfficientNetB2 1408 7768569 260
  EfficientNetB3 1536 10783535 300
  EfficientNetB4 1792 17673823 380
  EfficientNetB5 2048 28513527 456
  EfficientNetB6 2304 40960143 528
  EfficientNetB7 2560 64097687 600
  ConvNeXtTiny 768 27820128 224
  ConvNeXtSmall 768 49454688 224
  ConvNeXtBase 1024 87566464 224
  ConvNeXtLarge 1536 196230336 224
  ConvNeXtXLarge 2048 348147968 224
  EfficientNetV2B0 1280 5919312 224
  EfficientNetV2B1 1280 6931124 240
  EfficientNetV2B2 1408 8769374 260
  EfficientNetV2B3 1536 12930622 300
  EfficientNetV2S 1280 20331360 384
  EfficientNetV2M 1280 53150388 480
  EfficientNetV2L 1280 117746848 480
"""


@dataclass(frozen=True)
class Recipe:
    """Preprocessing of an RGB image: resize, reverse the channels if `bgr`, then `(x - mean) / std`.

    `image_size` in pixels; `mean` and `std` on the 0–255 scale, in the channel order of the network.
    """

    image_size: int
    resize: str
    bgr: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Backbone:
    """A network that ends in pooled features.

    `builder` is the function in `keras.applications` or `tl.networks.zoo` that builds it; `features` the number of its
    outputs; `parameters` those without the top. If `channels_first`, it can be built with channels first, which
    OpenVINO runs without transpositions; the others are converted through TensorFlow. `stages` is a pattern for the
    start of a layer's name that tells its stage, such as `conv4` of `conv4_block1_1_conv`; empty if names do not tell,
    and each halving of the image size ends a stage.
    """

    name: str
    builder: str
    features: int
    parameters: int
    recipe: Recipe
    channels_first: bool
    stages: str

    @property
    def in_keras(self) -> bool:
        """Whether it is one of Keras Applications."""
        return not self.builder.startswith("tl.")


def _parse(table: str) -> dict[str, Backbone]:
    backbones: dict[str, Backbone] = {}
    for line in table.strip().splitlines():
        if line.endswith(":"):
            preprocessing, channels, stages = line.rstrip(":").split()
            bgr, mean, std = _PREPROCESSING[preprocessing]
            continue
        builder, features, parameters, size = line.split()
        name = builder.rpartition(":")[2].replace("_", "-").lower()
        backbones[name] = Backbone(
            name=name,
            builder=builder,
            features=int(features),
            parameters=int(parameters),
            recipe=Recipe(int(size), "stretch", bgr=bgr, mean=mean, std=std),
            channels_first=channels == "first",
            stages=_STAGES[stages],
        )
    return backbones


BACKBONES = _parse(_TABLE)


def backbone(name: str) -> Backbone:
    """The backbone of that name in any case, hyphens or underscores. Raises BackboneError with similar names."""
    by_plain_name = {_plain(entry.name): entry for entry in BACKBONES.values()}
    if _plain(name) in by_plain_name:
        return by_plain_name[_plain(name)]
    similar = difflib.get_close_matches(_plain(name), by_plain_name, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(by_plain_name[match].name for match in similar)}? " if similar else ""
    raise BackboneError(f"no backbone is called {name!r}: {hint}see all with `tl weights list`")


def stage_pattern(model_name: str) -> str:
    """The `stages` of the backbone whose network has that name; empty for other networks."""
    return next((entry.stages for entry in BACKBONES.values() if _plain(entry.name) == _plain(model_name)), "")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
