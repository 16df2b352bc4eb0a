"""Where Keras Applications keeps its official ImageNet files: network -> URL and published checksum.

Read off `keras.applications` itself, with `include_top=False`; a test asks Keras again and compares.
"""

from dataclasses import dataclass

ROOT = "https://storage.googleapis.com/"


@dataclass(frozen=True)
class OfficialFile:
    """A file as Keras asks for it: name in Keras' cache, address below `ROOT`, checksum (empty: none published)."""

    file: str
    address: str
    checksum: str

    @property
    def url(self) -> str:
        """The full address."""
        return ROOT + self.address


OFFICIAL_FILES: dict[str, OfficialFile] = {
    "convnextbase": OfficialFile(
        "convnext_base_notop.h5",
        "tensorflow/keras-applications/convnext/convnext_base_notop.h5",
        "sha256:40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    "convnextlarge": OfficialFile(
        "convnext_large_notop.h5",
        "tensorflow/keras-applications/convnext/convnext_large_notop.h5",
        "sha256:96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    "convnextsmall": OfficialFile(
        "convnext_small_notop.h5",
        "tensorflow/keras-applications/convnext/convnext_small_notop.h5",
        "sha256:6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    "convnexttiny": OfficialFile(
        "convnext_tiny_notop.h5",
        "tensorflow/keras-applications/convnext/convnext_tiny_notop.h5",
        "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "convnextxlarge": OfficialFile(
        "convnext_xlarge_notop.h5",
        "tensorflow/keras-applications/convnext/convnext_xlarge_notop.h5",
        "sha256:de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
    "densenet121": OfficialFile(
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:30ee3e1110167f948a6b9946edeeb738",
    ),
    "densenet169": OfficialFile(
        "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:b8c4d4c20dd625c148057b9ff1c1176b",
    ),
    "densenet201": OfficialFile(
        "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:c13680b51ded0fb44dff2d8f86ac8bb1",
    ),
    "efficientnetb0": OfficialFile(
        "efficientnetb0_notop.h5",
        "keras-applications/efficientnetb0_notop.h5",
        "md5:50bc09e76180e00e4465e1a485ddc09d",
    ),
    "efficientnetb1": OfficialFile(
        "efficientnetb1_notop.h5",
        "keras-applications/efficientnetb1_notop.h5",
        "md5:74c4e6b3e1f6a1eea24c589628592432",
    ),
    "efficientnetb2": OfficialFile(
        "efficientnetb2_notop.h5",
        "keras-applications/efficientnetb2_notop.h5",
        "md5:111f8e2ac8aa800a7a99e3239f7bfb39",
    ),
    "efficientnetb3": OfficialFile(
        "efficientnetb3_notop.h5",
        "keras-applications/efficientnetb3_notop.h5",
        "md5:af6d107764bb5b1abb91932881670226",
    ),
    "efficientnetb4": OfficialFile(
        "efficientnetb4_notop.h5",
        "keras-applications/efficientnetb4_notop.h5",
        "md5:ebc24e6d6c33eaebbd558eafbeedf1ba",
    ),
    "efficientnetb5": OfficialFile(
        "efficientnetb5_notop.h5",
        "keras-applications/efficientnetb5_notop.h5",
        "md5:38879255a25d3c92d5e44e04ae6cec6f",
    ),
    "efficientnetb6": OfficialFile(
        "efficientnetb6_notop.h5",
        "keras-applications/efficientnetb6_notop.h5",
        "md5:9ecce42647a20130c1f39a5d4cb75743",
    ),
    "efficientnetb7": OfficialFile(
        "efficientnetb7_notop.h5",
        "keras-applications/efficientnetb7_notop.h5",
        "md5:cbcfe4450ddf6f3ad90b1b398090fe4a",
    ),
    "efficientnetv2b0": OfficialFile(
        "efficientnetv2-b0_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b0_notop.h5",
        "md5:893217f2bb855e2983157299931e43ff",
    ),
    "efficientnetv2b1": OfficialFile(
        "efficientnetv2-b1_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b1_notop.h5",
        "md5:0e80663031ca32d657f9caa404b6ec37",
    ),
    "efficientnetv2b2": OfficialFile(
        "efficientnetv2-b2_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b2_notop.h5",
        "md5:1dfe2e7a5d45b6632553a8961ea609eb",
    ),
    "efficientnetv2b3": OfficialFile(
        "efficientnetv2-b3_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b3_notop.h5",
        "md5:f6abf7b5849ac99a89b50dd3fd532856",
    ),
    "efficientnetv2l": OfficialFile(
        "efficientnetv2-l_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-l_notop.h5",
        "md5:b0b66b5c863aef5b46e8608fe1711615",
    ),
    "efficientnetv2m": OfficialFile(
        "efficientnetv2-m_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-m_notop.h5",
        "md5:1b8dc055df72dde80d614482840fe342",
    ),
    "efficientnetv2s": OfficialFile(
        "efficientnetv2-s_notop.h5",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-s_notop.h5",
        "md5:af0682fb74e8c54910f2d4393339c070",
    ),
    "inceptionresnetv2": OfficialFile(
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:d19885ff4a710c122648d3b5c3b684e4",
    ),
    "inceptionv3": OfficialFile(
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "mobilenet": OfficialFile(
        "mobilenet_1_0_224_tf_no_top.h5",
        "tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        "",
    ),
    "mobilenetv2": OfficialFile(
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "tensorflow/keras-applications/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "",
    ),
    "mobilenetv3large": OfficialFile(
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "md5:07fb09a5933dd0c8eaafa16978110389",
    ),
    "mobilenetv3small": OfficialFile(
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "md5:d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "nasnetlarge": OfficialFile(
        "nasnet_large_no_top.h5",
        "tensorflow/keras-applications/nasnet/NASNet-large-no-top.h5",
        "md5:d81d89dc07e6e56530c4e77faddd61b5",
    ),
    "nasnetmobile": OfficialFile(
        "nasnet_mobile_no_top.h5",
        "tensorflow/keras-applications/nasnet/NASNet-mobile-no-top.h5",
        "md5:1ed92395b5b598bdda52abe5c0dbfd63",
    ),
    "resnet101": OfficialFile(
        "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:88cf7a10940856eca736dc7b7e228a21",
    ),
    "resnet101v2": OfficialFile(
        "resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:c0ed64b8031c3730f411d2eb4eea35b5",
    ),
    "resnet152": OfficialFile(
        "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:ee4c566cf9a93f14d82f913c2dc6dd0c",
    ),
    "resnet152v2": OfficialFile(
        "resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:ed17cf2e0169df9d443503ef94b23b33",
    ),
    "resnet50": OfficialFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:4d473c1dd8becc155b73f8504c6f6626",
    ),
    "resnet50v2": OfficialFile(
        "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:fac2f116257151a9d068a22e544a4917",
    ),
    "vgg16": OfficialFile(
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:6d6bbae143d832006294945121d1f1fc",
    ),
    "vgg19": OfficialFile(
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:253f8cb515780f3b799900260a226db6",
    ),
    "xception": OfficialFile(
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "tensorflow/keras-applications/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:b0042744bf5b25fce3cb969f33bebb97",
    ),
}
