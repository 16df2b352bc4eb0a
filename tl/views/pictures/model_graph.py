"""The architecture of a Keras model: a sequence of steps, branches between a fork and a join, and repeated blocks.

A network is split where a single tensor carries everything, each branch between two such points likewise, and so on.
A block that cannot be split this way, such as NASNet's cells, which read the two cells before them, is summarized by
the layers in it. Only blocks that keep the image size are merged as repeats, so a repeat never crosses a stage.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any

from tl.networks.stages import functional, graph

_LONGEST_PERIOD = 6  # items of a repeated block


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What all parts of an architecture have: their layers, a name, the shape of the output, and parameters."""

    layers: tuple[str, ...]
    name: str
    shape: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class LayerStep(_Part):
    """A layer with its helpers, such as BatchNorm: `before` names those before it, `notes` those after it.

    `reads` is the number of blocks above whose outputs it uses: 2 if it also uses the one before the last.
    """

    text: str
    kind: str
    before: tuple[str, ...]
    notes: tuple[str, ...]
    reads: int = 1


@dataclass(frozen=True)
class Junction(_Part):
    """Branches from one tensor that a `join` (add, concat, multiply) combines; an empty branch is a skip connection."""

    join: str
    branches: tuple["Chain", ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Repeat(_Part):
    """A block that occurs `times` in a row; `body` is the first, the other fields cover all of them."""

    times: int
    body: "Chain"


Item = LayerStep | Junction | Repeat
Chain = tuple[Item, ...]


def merge_repeats(items: Chain) -> Chain:
    """The same items with repeated blocks merged, the longest first."""
    merged: list[Item] = []
    at = 0
    while at < len(items):
        repeats = [(_times(items, at, period), period) for period in range(1, _LONGEST_PERIOD + 1)]
        times, period = max(repeats, key=lambda pair: (pair[0] * pair[1] if pair[0] > 1 else 0, -pair[1]))
        if times > 1:
            repeated, body = items[at : at + times * period], items[at : at + period]
            layers = tuple(name for item in repeated for name in item.layers)
            parameters = sum(item.parameters for item in repeated)
            name, shape = _range(repeated[0].name, repeated[-1].name), repeated[-1].shape
            merged.append(
                Repeat(times, merge_repeats(body), layers=layers, name=name, shape=shape, parameters=parameters)
            )
            at += times * period
        else:
            merged.append(items[at])
            at += 1
    return tuple(merged)


def _times(items: Chain, at: int, period: int) -> int:
    first, times = items[at : at + period], 1
    while _alike(first, items[at + times * period : at + (times + 1) * period]):
        times += 1
    return times if len(first) == period else 0


def _alike(some: Chain, others: Chain) -> bool:
    """Whether one sequence of items repeats another.

    A single item may have more parameters, as in DenseNet, whose blocks read more and more; longer sequences may not,
    or a repeat would start at the wrong item.
    """
    size = some[0].shape[:-1]
    if [(_pattern(item), item.shape[:-1]) for item in some] != [(_pattern(item), size) for item in others]:
        return False
    return len(some) == 1 or [item.parameters for item in some] == [item.parameters for item in others]


def _pattern(item: Item) -> tuple[Any, ...]:
    if isinstance(item, LayerStep):
        return item.text, item.before, item.notes
    if isinstance(item, Repeat):
        return item.times, tuple(map(_pattern, item.body))
    return item.join, item.notes, tuple(tuple(map(_pattern, branch)) for branch in item.branches)


def _range(first: str, last: str) -> str:
    """`conv2_block2` and `conv2_block10` as `conv2_block2–10`."""
    shared = re.sub(r"\d+$", "", commonprefix([first, last]))  # noqa: RUF071 - letters, not folders
    return f"{first}–{last.removeprefix(shared)}" if first and last and shared else first and f"{first} – {last}"


_ACTIVATIONS = {
    **{"relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "gelu": "GELU"},
    **{"hard_silu": "hard SiLU", "hard_sigmoid": "hard sigmoid"},
}
_CONVOLUTIONS = {"Conv2D": "conv", "DepthwiseConv2D": "depthwise", "SeparableConv2D": "separable"}
_POOLS = {"MaxPooling2D": "max pool", "AveragePooling2D": "average pool"}
_FIXED = {  # class of the layer: text, kind
    "BatchNormalization": ("BN", "note"),
    "LayerNormalization": ("LN", "note"),
    "LayerScale": ("scale", "note"),
    "Add": ("add", "join"),
    "Concatenate": ("concat", "join"),
    "Multiply": ("multiply", "join"),
    "CustomScaleLayer": ("scale and add", "join"),
    "GlobalAveragePooling2D": ("global average pool", "pooling"),
    "GlobalMaxPooling2D": ("global max pool", "pooling"),
    "Flatten": ("flatten", "other"),
    "Rescaling": ("rescale pixels", "other"),
    "Normalization": ("normalize pixels", "other"),
    # these only adapt the shape for a neighbour
    "InputLayer": ("input", "hidden"),
    "ZeroPadding2D": ("zero padding", "hidden"),
    "Cropping2D": ("cropping", "hidden"),
    "Reshape": ("reshape", "hidden"),
}


@dataclass(frozen=True)
class Label:
    """The text for a layer, and its kind: convolution, pooling, dense, join, other, note or hidden.

    A note, such as BatchNorm, is written beside the layer it belongs to; `notes` are the layer's own, such as ReLU.
    """

    text: str
    kind: str
    notes: tuple[str, ...] = ()


def label(layer: Any) -> Label:
    """The label of a Keras layer or operation."""
    name = type(layer).__name__
    if name in _FIXED:
        return Label(*_FIXED[name])
    if name in _CONVOLUTIONS:
        return Label(_convolution(layer, _CONVOLUTIONS[name]), "convolution", _activation(layer))
    if name in _POOLS:
        return Label(f"{'×'.join(map(str, layer.pool_size))} {_POOLS[name]}{_stride(layer)}", "pooling")
    if name == "Dense":
        return Label(f"dense {layer.units:,}", "dense", _activation(layer))
    if name == "ReLU":
        return Label(f"ReLU{layer.max_value:g}" if layer.max_value is not None else "ReLU", "note")
    if name == "Activation":
        notes = _activation(layer)
        return Label(notes[0], "note") if notes else Label("", "hidden")
    if name == "StochasticDepth" or getattr(layer, "noise_shape", None):
        return Label("drop path", "note")  # without its rate, which differs from block to block
    if name.endswith("Dropout"):
        return Label(f"dropout {layer.rate:.2g}", "note")
    return Label(_words(name), "other")


def _words(name: str) -> str:
    """`ZeroPadding2D` as `zero padding`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("2D")).lower()


def _convolution(layer: Any, kind: str) -> str:
    groups = getattr(layer, "groups", 1)
    if groups > 1 and groups == layer.filters:
        kind, groups = "depthwise", 1
    filters = "" if kind == "depthwise" else f", {layer.filters:,}"
    grouped = f", {groups} groups" if groups > 1 else ""
    dilation = f", dilated {layer.dilation_rate[0]}" if max(layer.dilation_rate) > 1 else ""
    return f"{'×'.join(map(str, layer.kernel_size))} {kind}{filters}{grouped}{_stride(layer)}{dilation}"


def _activation(layer: Any) -> tuple[str, ...]:
    name = getattr(layer.activation, "__name__", _words(type(layer.activation).__name__))
    return () if name == "linear" else (_ACTIVATIONS.get(name, name),)


def _stride(layer: Any) -> str:
    strides = layer.strides if isinstance(layer.strides, tuple | list) else (layer.strides,)
    return f", /{strides[0]}" if max(strides) > 1 else ""


@dataclass(frozen=True)
class Architecture:
    """A network's name, the shape of its input image, and its steps; `fixed` parameters are not trainable."""

    name: str
    image: tuple[int | None, ...]
    items: Chain
    parameters: int
    fixed: int


@dataclass(frozen=True)
class _Node:
    layer: Any
    name: str
    label: Label
    sources: tuple[int, ...]
    shape: tuple[int | None, ...]
    parameters: int


def architecture(model: Any, name: str = "") -> Architecture:
    """The architecture of a functional model with one input and one output, as `name` or the model's own name.

    Raises BackboneError for a model that is not a graph of layers.
    """
    model = functional(model)
    nodes: list[_Node] = []
    _add(nodes, model, f"{model.name}_", producer={}, counted=set())
    if {getattr(node.layer, "data_format", None) for node in nodes} == {None, "channels_first"}:
        nodes = [
            replace(node, shape=(*node.shape[1:], node.shape[0])) if len(node.shape) == 3 else node for node in nodes
        ]
    items = merge_repeats(_chain(nodes, 0, range(1, len(nodes))))
    total = sum(item.parameters for item in items)
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Architecture(name or model.name, nodes[0].shape, items, parameters=total, fixed=total - trainable)


def _add(nodes: list[_Node], model: Any, prefix: str, *, producer: dict[int, int], counted: set[int]) -> None:
    """Append the calls of layers, each after those it reads; nested models are replaced by their layers."""
    for call in graph(model):
        layer, outputs = call.operation, call.output_tensors
        if id(outputs[0]) in producer:
            continue  # the input of a nested model
        sources = tuple(dict.fromkeys(producer[id(tensor)] for tensor in call.input_tensors))
        if hasattr(layer, "layers") and len(sources) == len(outputs) == 1:
            inner = functional(layer)
            inside = {id(inner.inputs[0]): sources[0]}
            _add(nodes, inner, prefix, producer=inside, counted=counted)
            producer[id(outputs[0])] = inside[id(inner.outputs[0])]
            continue
        weights = [weight for weight in getattr(layer, "weights", ()) if id(weight) not in counted]
        counted.update(map(id, weights))
        producer.update((id(tensor), len(nodes)) for tensor in outputs)
        parameters = sum(math.prod(weight.shape) for weight in weights)
        name, shape = layer.name.removeprefix(prefix), outputs[0].shape[1:]
        nodes.append(_Node(layer, name, label(layer), sources, shape=shape, parameters=parameters))


def _chain(nodes: list[_Node], entry: int, members: Sequence[int]) -> Chain:
    """The items after `entry` up to the last of `members`, where all paths from it end."""
    parts: list[_Node | Item] = []
    for between, end in _stretches(nodes, entry, members):
        if between or len(nodes[end].sources) > 1:
            parts += _branches(nodes, entry, between, end)
        else:
            parts.append(nodes[end])
        entry = end
    return _steps(parts)


def _stretches(nodes: list[_Node], entry: int, members: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Each member that every path goes through, with the members since the one before it."""
    uses = Counter(source for member in members for source in nodes[member].sources)
    carried, between = {entry}, list[int]()
    for member in members:
        uses.subtract(nodes[member].sources)
        carried = {node for node in carried | {member} if uses[node] > 0 or node == members[-1]}
        if carried == {member}:
            yield between, member
            between = []
        else:
            between.append(member)


def _branches(nodes: list[_Node], entry: int, between: list[int], end: int) -> list[Item]:
    join, groups = nodes[end], _independent(nodes, between)
    exits = [[member for member in group if member in join.sources] for group in groups]
    if any(len(group) != 1 for group in exits):
        return _cells(nodes, between, end)
    ordered = sorted(zip(exits, groups, strict=True), key=lambda pair: join.sources.index(pair[0][0]))
    branches = [merge_repeats(_chain(nodes, entry, group)) for _, group in ordered]
    if entry in join.sources:
        branches.append(())
    inside = [nodes[at] for at in (*between, end)]
    if gate := _gate(join, branches, inside):
        return [gate]
    return [Junction(join.label.text, tuple(branches), (), **_summary(inside))]


def _independent(nodes: list[_Node], between: list[int]) -> list[list[int]]:
    """Nodes in groups that do not read each other's outputs."""
    groups: list[list[int]] = []
    for at in between:
        touched = [group for group in groups if set(group) & set(nodes[at].sources)]
        groups = [group for group in groups if group not in touched]
        groups.append(sorted([at, *(other for group in touched for other in group)]))
    return groups


def _gate(join: _Node, branches: list[Chain], inside: list[_Node]) -> LayerStep | None:
    """Squeeze-and-excitation (Hu et al., CVPR 2018) as one step instead of five layers; None for anything else."""
    pools = inside[0].label.text.startswith("global")
    if join.label.text != "multiply" or len(branches) != 2 or branches[1] or not pools:
        return None
    narrow = next((node.layer for node in inside if node.label.kind in ("convolution", "dense")), None)
    width = getattr(narrow, "filters", getattr(narrow, "units", 0))
    return LayerStep(f"squeeze-excite, {width:,}", "gate", (), (), **_summary(inside))


def _cells(nodes: list[_Node], between: list[int], end: int) -> list[Item]:
    """Nodes that do not form branches, cut after each concatenation."""
    home = {end: end}
    for at in reversed(between):
        readers = [home[reader] for reader in home if at in nodes[reader].sources]
        home[at] = at if nodes[at].label.text == "concat" else min(readers)
    cells: list[Item] = []
    current: list[int] = []
    previous = None
    for last in sorted(set(home.values())):
        current += [at for at in sorted(home) if home[at] == last]
        read = {home.get(source) for at in current for source in nodes[at].sources if source not in current}
        # Nodes that bypass the previous cell prepare the input of the next one.
        if last == end or previous is None or previous in read:
            cells.append(_cell([nodes[at] for at in current], len(read)))
            current, previous = [], last
    return cells


def _cell(inside: list[_Node], read: int) -> LayerStep:
    main = [node for node in inside if node.label.kind not in ("note", "hidden")]
    kinds = Counter(" ".join(re.sub(r"\d+×\d+|,.*", "", node.label.text).split()) for node in main)
    text = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    notes = (f"reads the {read} above",) if read > 1 else ()
    return LayerStep(text, "cell", (), notes, **_summary(inside), reads=read)


def _steps(parts: list["_Node | Item"]) -> Chain:
    """Steps from nodes: a note belongs to the layer before it, or to the one after it if there is none before."""
    items: list[Item] = []
    waiting: list[_Node] = []
    for part in parts:
        if not isinstance(part, _Node):
            if waiting:
                items.append(_step(waiting))
            items.append(part)
            waiting = []
            continue
        # Normalization after a join begins the next block (ECCV 2016).
        begins = not items or (isinstance(items[-1], Junction) and part.label.text in ("BN", "LN"))
        if part.label.kind == "hidden" or (part.label.kind == "note" and (waiting or begins)):
            waiting.append(part)
        elif part.label.kind == "note":
            items[-1] = _with(items[-1], [part])
        else:
            items.append(_step([*waiting, part]))
            waiting = []
    if waiting:
        items[-1:] = [_with(items[-1], waiting)] if items else [_step(waiting)]
    return tuple(items)


def _step(inside: list[_Node]) -> LayerStep:
    *before, main = inside
    summary = _summary(inside, _own_name(main))
    if main.label.kind in ("note", "hidden"):
        text = " · ".join(node.label.text for node in inside if node.label.kind == "note")
        return LayerStep(text or main.label.text, "other", (), (), **summary)
    notes = tuple(node.label.text for node in before if node.label.kind == "note")
    return LayerStep(main.label.text, main.label.kind, notes, main.label.notes, **summary)


def _with(item: Item, notes: list[_Node]) -> Item:
    if isinstance(item, Repeat):
        return item
    texts = (*item.notes, *(node.label.text for node in notes if node.label.kind == "note"))
    layers = (*item.layers, *(node.layer.name for node in notes))
    parameters = item.parameters + sum(node.parameters for node in notes)
    return replace(item, notes=texts, layers=layers, shape=notes[-1].shape, parameters=parameters)


def _common(inside: Sequence[_Node]) -> str:
    names = [name for name in map(_own_name, inside) if name]
    if len(set(names)) < 2:
        return names[0] if names else ""
    shared = commonprefix(names)  # noqa: RUF071 - letters, not folders
    return re.sub(r"[^_/.]*$", "", shared).strip("_/.") or _own_name(inside[-1])


def _own_name(node: _Node) -> str:
    """The layer's name; empty for an automatic one such as `conv2d_17`, which says nothing."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(node.layer).__name__)
    automatic = re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()
    return "" if re.fullmatch(rf"{automatic}(_\d+)?", node.name) else node.name


def _summary(inside: Sequence[_Node], name: str | None = None) -> dict[str, Any]:
    """The fields that all items have, for an item of these nodes."""
    layers, parameters = tuple(node.layer.name for node in inside), sum(node.parameters for node in inside)
    name = _common(inside) if name is None else name
    return {"layers": layers, "name": name, "shape": inside[-1].shape, "parameters": parameters}
