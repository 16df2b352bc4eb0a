"""Prepare a network for fine-tuning: fold BatchNorm, cut it into a frozen and a trained part, speed up the latter.

Folding: in inference mode BatchNorm is `scale * x + shift` per channel, which the convolution or dense layer before it
can compute: kernel times `scale`, bias times `scale` plus `shift` (Jacob et al., arXiv:1712.05877, section 3.2).

Speed: a 1×1 convolution is a matrix product, and as one TensorFlow trains it 1.5 to 2 times as fast on a CPU. If only
1×1 convolutions with a stride read the cut point, the positions that they skip are neither computed nor stored.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import BackboneError, UsageError
from tl.networks.stages import cut_for, cut_points, functional, graph


def fold(model: Any, policy: str = "float32") -> Any:
    """A new model that computes the same in inference, with a dtype policy and as few BatchNorm layers as possible.

    Folds each BatchNorm that is the only reader of a linear Conv2D, DepthwiseConv2D, SeparableConv2D or Dense; that
    layer keeps its name, gains a bias, and loses its regularizers and constraints, which were meant for another kernel.
    The remaining BatchNorm layers are not trainable and stay in inference mode; all other layers are trainable.
    Raises BackboneError for a model that is not a graph of layers, or has BatchNorm inside a nested model.
    """
    import keras

    model = functional(model)
    for layer in model.layers:
        if _contains_batchnorm(layer):
            raise BackboneError(
                f"{model.name} cannot be folded: its layer {layer.name} is a model with its own BatchNorm; "
                "build the network without nesting"
            )
    pairs = _pairs(graph(model), model.outputs)
    folded_into = {id(convolution): normalization for normalization, convolution in pairs}
    removed = {id(normalization) for normalization, _ in pairs}

    def clone(layer: Any) -> Any:
        if id(layer) in removed or not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without weights, or one that `connect` skips
        return _clone(layer, policy, with_bias=id(layer) in folded_into)

    def connect(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return (*args, *kwargs.values())[0] if id(layer) in removed else layer(*args, **kwargs)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=connect)
    for layer in model.layers:
        if not layer.weights or id(layer) in removed:
            continue
        copy, normalization = folded.get_layer(layer.name), folded_into.get(id(layer))
        copy.set_weights(layer.get_weights() if normalization is None else _folded(layer, normalization))
        if hasattr(copy, "finalize_state"):  # Normalization derives what it uses from its weights
            copy.finalize_state()
    return folded


def below(model: Any, layer: str) -> Any:
    """The part of a model from its input to a cut point, inclusive; it shares the model's layers and weights.

    Raises BackboneError if the model cannot be cut after that layer.
    """
    import keras

    model = functional(model)
    return keras.Model(model.input, _cut(model, layer), name=f"{model.name}_below")


def above(model: Any, layer: str) -> Any:
    """The part of a model after a cut point, from the output of that layer to the model's output.

    It shares the model's layers and weights: training it trains the model.
    Raises BackboneError if the model cannot be cut after that layer, or has nothing after it.
    """
    import keras

    model = functional(model)
    tensor = _cut(model, layer)
    if any(tensor is output for output in model.outputs):
        raise BackboneError(f"{model.name} has nothing after {layer}: cut it at a layer before")
    return keras.Model(tensor, model.output, name=f"{model.name}_above")


def _cut(model: Any, layer: str) -> Any:
    points = {point.layer.name: point.tensor for point in cut_points(model)}
    if layer not in points:
        exists = any(call.operation.name == layer for call in graph(model))
        why = "not every path goes through it once" if exists else "it has no such layer"
        raise BackboneError(
            f"{model.name} cannot be cut after {layer!r}: {why}; take the layer of one of the stages of this very model"
        )
    return points[layer]


def _contains_batchnorm(layer: Any) -> bool:
    import keras

    inside = list(getattr(layer, "layers", ()) if isinstance(layer, keras.Model) else ())
    if isinstance(layer, keras.layers.Wrapper):
        inside.append(layer.layer)
    kind = keras.layers.BatchNormalization
    return any(isinstance(inner, kind) or _contains_batchnorm(inner) for inner in inside)


def _pairs(calls: list[Any], outputs: list[Any]) -> list[tuple[Any, Any]]:
    """Each BatchNorm that can be folded, with the layer that it is folded into."""
    import keras

    producers = {id(tensor): call for call in calls for tensor in call.output_tensors}
    times = Counter(id(call.operation) for call in calls)
    readers = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
    readers.update(id(tensor) for tensor in outputs)
    pairs = []
    for call in calls:
        if type(call.operation) is not keras.layers.BatchNormalization:  # subclasses may compute something else
            continue
        between = call.input_tensors[0]
        if id(between) not in producers:
            continue
        before = producers[id(between)].operation
        once = times[id(call.operation)] == times[id(before)] == readers[id(between)] == 1
        if once and _can_fold(before, call.operation, len(between.shape)):
            pairs.append((call.operation, before))
    return pairs


def _can_fold(layer: Any, normalization: Any, rank: int) -> bool:
    import keras

    kinds = keras.layers
    if type(layer) not in (kinds.Conv2D, kinds.DepthwiseConv2D, kinds.SeparableConv2D, kinds.Dense):
        return False
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
    # An activation other than linear comes between the sums and the BatchNorm.
    return layer.activation is keras.activations.linear and normalization.axis % rank == channels


def _clone(layer: Any, policy: str, *, with_bias: bool) -> Any:
    import keras

    config = layer.get_config()
    if not isinstance(layer, keras.Model):
        config["dtype"] = policy
    if with_bias:
        config["use_bias"] = True
        config |= {key: None for key in config if key.endswith(("_regularizer", "_constraint"))}
    copy = type(layer).from_config(config)
    copy.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return copy


def _folded(layer: Any, normalization: Any) -> list[NDArray[np.float32]]:
    import keras

    scale = 1.0 / np.sqrt(_array(normalization.moving_variance) + normalization.epsilon)
    if normalization.scale:
        scale = scale * _array(normalization.gamma)
    shift = -_array(normalization.moving_mean) * scale
    if normalization.center:
        shift = shift + _array(normalization.beta)
    arrays = [_array(weight) for weight in layer.get_weights()]
    *kernels, bias = arrays if layer.use_bias else [*arrays, np.zeros(len(scale))]
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    # A depthwise kernel ends in [inputs, outputs of each], the others in [inputs, outputs].
    kernels[-1] = kernels[-1] * (scale.reshape(kernels[-1].shape[2:]) if depthwise else scale)
    return [array.astype(np.float32) for array in (*kernels, bias * scale + shift)]


def _array(weight: Any) -> NDArray[np.float64]:
    """A variable or array in double precision, so that products are rounded once."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(weight), dtype=np.float64)


def read_stride(model: Any, layer: str | None) -> int:
    """The stride with which a model reads the output of `layer`: 1 for all of it, 2 for every second row and column."""
    if layer is None:
        return 1
    upper = above(model, layer)
    start = upper.inputs[0]
    readers = [call.operation for call in graph(upper) if any(tensor is start for tensor in call.input_tensors)]
    strides = {reader.strides for reader in readers if _is_pointwise(reader)}
    return int(strides.pop()[0]) if len(strides) == 1 and all(map(_is_pointwise, readers)) else 1


def frozen_part(model: Any, unfreeze: str) -> Any:
    """The part of the folded model that stays frozen when "last" or "half" of it is trained, see `lower_part`.

    Raises UsageError if nothing stays frozen.
    """
    folded = fold(model)
    layer = cut_for(folded, unfreeze)
    if layer is None:
        raise UsageError(f"{model.name} has no frozen part with --unfreeze {unfreeze}")
    return lower_part(folded, layer)


def lower_part(model: Any, layer: str) -> Any:
    """The frozen part: from the input of a model to what its upper part reads of the cut point `layer`."""
    import keras

    lower, stride = below(model, layer), read_stride(model, layer)
    if stride == 1:
        return lower
    return keras.Model(lower.input, keras.layers.MaxPooling2D(1, stride)(lower.output), name=lower.name)


def upper_part(model: Any, layer: str | None) -> Any:
    """The part to train, with channels last: from the output of `lower_part` to the output of the model.

    Without a layer it is the whole model. It shares the model's weights: training it trains the model.
    """
    import keras

    upper = above(model, layer) if layer is not None else model
    stride = read_stride(model, layer)
    start = upper.inputs[0]
    first = {id(call.operation) for call in graph(upper) if any(tensor is start for tensor in call.input_tensors)}

    def connect(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_pointwise(operation):
            return operation(*args, **kwargs)
        stored = stride > 1 and id(operation) in first
        return _pointwise()(operation, 1 if stored else operation.strides[0])(*args)

    side = [None if side is None else -(-side // stride) for side in start.shape[1:-1]]
    entry = keras.Input((*side, start.shape[-1]), dtype=start.dtype)
    return keras.models.clone_model(
        upper, input_tensors=entry, clone_function=lambda operation: operation, call_function=connect
    )


def _is_pointwise(layer: Any) -> bool:
    import keras

    if type(layer) is not keras.layers.Conv2D or set(layer.kernel_size) != {1} or layer.groups != 1:
        return False
    return len(set(layer.strides)) == 1  # 2 and 2, but not 1 and 2


def _pointwise() -> Any:
    import keras

    class Pointwise(keras.layers.Layer):  # type: ignore[misc]
        """A 1×1 convolution with channels last, computed as a matrix product."""

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
