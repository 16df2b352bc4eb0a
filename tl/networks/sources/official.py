"""Where Keras Applications keeps its official ImageNet weights: address and published checksum of each network.

Taken from `keras.applications` itself; a test asks Keras and compares. The file with the ImageNet classifier is
downloaded, which costs 2 to 16 MB more and helps a head where photos are few (`tl.learning.head`). Not for VGG, whose
classifier is 495 MB beside 59, nor for MobileNetV3: theirs have hidden layers, so that they are not linear in the
features.
"""

import functools
import re
from dataclasses import dataclass

_ROOT = "https://storage.googleapis.com/"


@dataclass(frozen=True)
class OfficialFile:
    """A file as Keras requests it: name in Keras' cache, address, checksum (empty: none published)."""

    file: str
    url: str
    checksum: str


# folder:
#   backbone, file without the classifier in Keras' cache (* stands for _weights_tf_dim_ordering_tf_kernels_notop.h5),
#   its checksum (md5 or sha256; - for none), that of the file with the classifier
_FILES = """
    convnext:
      convnextbase convnext_base_notop.h5 40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45
        52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6
      convnextlarge convnext_large_notop.h5 96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd
        070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6
      convnextsmall convnext_small_notop.h5 6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab
        ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c
      convnexttiny convnext_tiny_notop.h5 d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1
        8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff
      convnextxlarge convnext_xlarge_notop.h5 de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05
        c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee
    densenet:
      densenet121 densenet121* 30ee3e1110167f948a6b9946edeeb738 9d60b8095a5708f2dcce2bca79d332c7
      densenet169 densenet169* b8c4d4c20dd625c148057b9ff1c1176b d699b8f76981ab1b30698df4c175e90b
      densenet201 densenet201* c13680b51ded0fb44dff2d8f86ac8bb1 1ceb130c1ea1b78c3bf6114dbdfd8807
    -:
      efficientnetb0 efficientnetb0_notop.h5 50bc09e76180e00e4465e1a485ddc09d 902e53a9f72be733fc0bcb005b3ebbac
      efficientnetb1 efficientnetb1_notop.h5 74c4e6b3e1f6a1eea24c589628592432 1d254153d4ab51201f1646940f018540
      efficientnetb2 efficientnetb2_notop.h5 111f8e2ac8aa800a7a99e3239f7bfb39 b15cce36ff4dcbd00b6dd88e7857a6ad
      efficientnetb3 efficientnetb3_notop.h5 af6d107764bb5b1abb91932881670226 ffd1fdc53d0ce67064dc6a9c7960ede0
      efficientnetb4 efficientnetb4_notop.h5 ebc24e6d6c33eaebbd558eafbeedf1ba 18c95ad55216b8f92d7e70b3a046e2fc
      efficientnetb5 efficientnetb5_notop.h5 38879255a25d3c92d5e44e04ae6cec6f ace28f2a6363774853a83a0b21b9421a
      efficientnetb6 efficientnetb6_notop.h5 9ecce42647a20130c1f39a5d4cb75743 165f6e37dce68623721b423839de8be5
      efficientnetb7 efficientnetb7_notop.h5 cbcfe4450ddf6f3ad90b1b398090fe4a 8c03f828fec3ef71311cd463b6759d99
    efficientnet_v2:
      efficientnetv2b0 efficientnetv2-b0_notop.h5 893217f2bb855e2983157299931e43ff 21ecbf6da12460d5c40bb2f29ceb2188
      efficientnetv2b1 efficientnetv2-b1_notop.h5 0e80663031ca32d657f9caa404b6ec37 069f0534ff22adf035c89e2d9547a9dc
      efficientnetv2b2 efficientnetv2-b2_notop.h5 1dfe2e7a5d45b6632553a8961ea609eb 424e49f28180edbde1e94797771950a7
      efficientnetv2b3 efficientnetv2-b3_notop.h5 f6abf7b5849ac99a89b50dd3fd532856 1f1fc43bd98a6e4fd8fdfd551e02c7a0
      efficientnetv2l efficientnetv2-l_notop.h5 b0b66b5c863aef5b46e8608fe1711615 27e6d408b53c7ebc868fefa357689935
      efficientnetv2m efficientnetv2-m_notop.h5 1b8dc055df72dde80d614482840fe342 a3bf6aa3276309f4fc6a34aa114c95cd
      efficientnetv2s efficientnetv2-s_notop.h5 af0682fb74e8c54910f2d4393339c070 e1d88a8495beba45748fedd0cecbe016
    inception_resnet_v2:
      inceptionresnetv2 inception_resnet_v2* d19885ff4a710c122648d3b5c3b684e4 e693bd0210a403b3192acc6073ad2e96
    inception_v3:
      inceptionv3 inception_v3* bcbd6486424b2319ff4ef7d526e38f63 9a0d58056eeedaa3f26cb7ebd46da564
    mobilenet:
      mobilenet mobilenet_1_0_224_tf_no_top.h5 - -
    mobilenet_v2:
      mobilenetv2 mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5 - -
    mobilenet_v3:
      mobilenetv3large weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5 07fb09a5933dd0c8eaafa16978110389
      mobilenetv3small weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5 d3e8ec802a04aa4fc771ee12a9a9b836
    nasnet:
      nasnetlarge nasnet_large_no_top.h5 d81d89dc07e6e56530c4e77faddd61b5 11577c9a518f0070763c2b964a382f17
      nasnetmobile nasnet_mobile_no_top.h5 1ed92395b5b598bdda52abe5c0dbfd63 020fb642bf7360b370c678b08e0adf61
    resnet:
      resnet101 resnet101* 88cf7a10940856eca736dc7b7e228a21 f1aeb4b969a6efcfb50fad2f0c20cfc5
      resnet101v2 resnet101v2* c0ed64b8031c3730f411d2eb4eea35b5 6343647c601c52e1368623803854d971
      resnet152 resnet152* ee4c566cf9a93f14d82f913c2dc6dd0c 100835be76be38e30d865e96f2aaae62
      resnet152v2 resnet152v2* ed17cf2e0169df9d443503ef94b23b33 a49b44d1979771252814e80f8ec446f9
      resnet50 resnet50* 4d473c1dd8becc155b73f8504c6f6626 2cb95161c43110f7111970584f804107
      resnet50v2 resnet50v2* fac2f116257151a9d068a22e544a4917 3ef43a0b657b3be2300d5770ece849e0
    vgg16:
      vgg16 vgg16* 6d6bbae143d832006294945121d1f1fc
    vgg19:
      vgg19 vgg19* 253f8cb515780f3b799900260a226db6
    xception:
      xception xception* b0042744bf5b25fce3cb969f33bebb97 0a58e3b7378bc2990ea3b43d5981f1f6
"""
_STORED_AS = {"nasnet_large": "NASNet-large", "nasnet_mobile": "NASNet-mobile", "_no_top": "-no-top"}


def _parse(table: str) -> dict[str, tuple[OfficialFile, ...]]:
    files: dict[str, tuple[OfficialFile, ...]] = {}
    folder = ""
    for line in re.sub(r"\n {8}", " ", table).strip().splitlines():
        if line.endswith(":"):
            folder = line.strip(" :")
            continue
        backbone, file, *checksums = line.split()
        file = file.replace("*", "_weights_tf_dim_ordering_tf_kernels_notop.h5")
        names = [re.sub("_no_?top", "", file), file][-len(checksums) :]
        files[backbone] = tuple(map(functools.partial(_official, folder), names, reversed(checksums)))
    return files


def _official(folder: str, file: str, checksum: str) -> OfficialFile:
    where = "keras-applications" if folder == "-" else f"tensorflow/keras-applications/{folder}"
    stored = file
    for own, theirs in _STORED_AS.items() if folder == "nasnet" else ():
        stored = stored.replace(own, theirs)
    algorithm = {1: "", 32: "md5:", 64: "sha256:"}[len(checksum)]
    return OfficialFile(file, f"{_ROOT}{where}/{stored}", algorithm + checksum.removeprefix("-"))


OFFICIAL_FILES = _parse(_FILES)
"""The files of each network: first the one to download, then the one without the classifier, which serves as well."""
