"""The part of a network that is trained becomes its fastest form, sharing the weights of the network it comes from.

A 1×1 convolution is a matrix product, which TensorFlow trains half again to twice as fast on a CPU when it is told so.
Where all that read a cut point are 1×1 convolutions with a stride, what they skip is neither computed nor stored.
"""

from typing import Any

from tl.errors import UsageError
from tl.networks.folding import above, below, fold
from tl.networks.stages import cut_for, graph


def read_stride(model: Any, layer: str | None) -> int:
    """The stride with which a model reads what `layer` gives: every value of it (1), or each second row and column."""
    if layer is None:
        return 1
    upper = above(model, layer)
    start = upper.inputs[0]
    readers = [call.operation for call in graph(upper) if any(tensor is start for tensor in call.input_tensors)]
    strides = {reader.strides for reader in readers if _is_pointwise(reader)}
    return int(strides.pop()[0]) if len(strides) == 1 and all(map(_is_pointwise, readers)) else 1


def frozen_part(model: Any, unfreeze: str) -> Any:
    """The part of a model that stays frozen when "last" or "half" of it is trained, as `lower_part` gives it.

    Raises UsageError where nothing stays frozen.
    """
    folded = fold(model)
    layer = cut_for(folded, unfreeze)
    if layer is None:
        raise UsageError(f"{model.name} has no part that stays frozen for {unfreeze!r}: train all of it")
    return lower_part(folded, layer)


def lower_part(model: Any, layer: str) -> Any:
    """The frozen part: from the input of a model to what its upper part reads of the cut point `layer`."""
    import keras

    lower, stride = below(model, layer), read_stride(model, layer)
    if stride == 1:
        return lower
    return keras.Model(lower.input, keras.layers.MaxPooling2D(1, stride)(lower.output), name=lower.name)


def upper_part(model: Any, layer: str | None) -> Any:
    """The part to train, with channels last: from what `lower_part` gives to the output of the model.

    Without a layer it is the whole model. It shares the model's weights: training it trains the model.
    """
    import keras

    upper = above(model, layer) if layer is not None else model
    stride = read_stride(model, layer)
    start = upper.inputs[0]
    first = {id(call.operation) for call in graph(upper) if any(tensor is start for tensor in call.input_tensors)}

    def connected(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_pointwise(operation):
            return operation(*args, **kwargs)
        stored = stride > 1 and id(operation) in first
        return _pointwise()(operation, 1 if stored else operation.strides[0])(*args)

    side = [None if side is None else -(-side // stride) for side in start.shape[1:-1]]
    entry = keras.Input((*side, start.shape[-1]), dtype=start.dtype)
    return keras.models.clone_model(
        upper, input_tensors=entry, clone_function=lambda operation: operation, call_function=connected
    )


def _is_pointwise(layer: Any) -> bool:
    import keras

    if type(layer) is not keras.layers.Conv2D or set(layer.kernel_size) != {1} or layer.groups != 1:
        return False
    return len(set(layer.strides)) == 1  # the strides may be 2 and 2, but not 1 and 2


def _pointwise() -> Any:
    import keras

    class Pointwise(keras.layers.Layer):  # type: ignore[misc]
        """A 1×1 convolution with channels last, computed as the matrix product that it is."""

        def __init__(self, convolution: Any, stride: int) -> None:
            super().__init__(dtype=convolution.dtype_policy)
            self.convolution, self.stride = convolution, stride

        def call(self, pixels: Any) -> Any:
            convolution, ops = self.convolution, keras.ops
            if self.stride > 1:
                pixels = pixels[:, :: self.stride, :: self.stride]
            height, width, channels = pixels.shape[1:]
            kernel = ops.reshape(convolution.kernel, (channels, convolution.filters))
            product = ops.matmul(ops.reshape(pixels, (-1, channels)), kernel)
            if convolution.use_bias:
                product = product + convolution.bias
            product = convolution.activation(product) if convolution.activation is not None else product
            return ops.reshape(product, (-1, height, width, convolution.filters))

    return Pointwise
