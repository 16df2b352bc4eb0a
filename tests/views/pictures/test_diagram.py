"""The drawing of a network: complete, well-formed, and nothing overlaps or leaves the page."""

import re
import xml.etree.ElementTree as ET
from functools import partial
from itertools import combinations, pairwise
from typing import Any

import pytest

from support.outlines import outline, registered
from tl.networks.zoo.teaching_networks import googlenet, lenet5, resnet18, vgg16_cifar
from tl.views.pictures.diagram import SIZES, draw, width
from tl.views.pictures.model_graph import architecture

SVG = "{http://www.w3.org/2000/svg}"
BOXES = ("convolution", "pooling", "dense", "gate", "cell", "other", "join", "tag")
NETWORKS = {
    "lenet5": lambda: outline(lenet5, classes=100),
    "vgg16-cifar": lambda: outline(vgg16_cifar, classes=100),
    "resnet18": lambda: outline(resnet18),
    "googlenet": lambda: outline(googlenet),
}
KERAS_NETWORKS = ("ResNet50", "DenseNet121", "InceptionV3", "EfficientNetB0", "NASNetMobile", "ResNet50V2")
NETWORKS |= {name.lower(): partial(registered, name) for name in KERAS_NETWORKS}
Area = tuple[float, float, float, float]


@pytest.fixture(scope="module", params=NETWORKS)
def drawing_of(request) -> tuple[str, Any, ET.Element]:
    """A network's name, its model and its drawing."""
    model = NETWORKS[request.param]()
    return request.param, model, ET.fromstring(draw(architecture(model, request.param)))  # noqa: S314 - our own


@pytest.fixture(scope="module")
def resnet50() -> str:
    return draw(architecture(NETWORKS["resnet50"](), "resnet50"))


def areas(root: ET.Element, *kinds: str) -> list[Area]:
    """Left, top, right and bottom of the boxes of these kinds."""
    found = []
    for box in root.iter(f"{SVG}rect"):
        if box.get("class") in kinds:
            x, y, across, down = (float(box.get(side, "nan")) for side in ("x", "y", "width", "height"))
            found.append((x, y, x + across, y + down))
    return found


def area(text: ET.Element) -> Area:
    size = next(name for name in SIZES if name in text.get("class", "").split())
    across = width(text.text or "", size)
    x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
    left = x - {"start": 0.0, "middle": across / 2, "end": across}[text.get("text-anchor", "start")]
    return left, y - 0.8 * SIZES[size], left + across, y + 0.2 * SIZES[size]


def overlap(one: Area, other: Area) -> bool:
    return min(one[2], other[2]) - max(one[0], other[0]) > 0.5 and min(one[3], other[3]) - max(one[1], other[1]) > 0.5


def inside(inner: Area, outer: Area) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def test_drawing_names_the_network_and_every_layer(drawing_of):
    name, model, root = drawing_of
    titles = {title.text or "" for title in root.iter(f"{SVG}title")}
    named = {name for title in titles for name in re.split(r"[,:] ", title)}
    assert {layer.name for layer in model.layers[1:] if not hasattr(layer, "layers")} <= named

    title, description = (root.find(f"{SVG}{part}") for part in ("title", "desc"))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == f"{name}: architecture"
    assert f"{model.count_params():,} parameters" in str(description.text)


def test_boxes_and_labels_do_not_overlap_and_labels_stay_in_their_box(drawing_of):
    root = drawing_of[2]
    boxes = areas(root, *BOXES)
    assert len(boxes) > 5
    assert [pair for pair in combinations(boxes, 2) if overlap(*pair)] == []
    words = [(text.text, area(text)) for text in root.iter(f"{SVG}text")]
    assert [(one, other) for (one, a), (other, b) in combinations(words, 2) if overlap(a, b)] == []
    steps = [group for group in root.iter(f"{SVG}g") if group.get("class") == "step"]
    assert steps
    for step in steps:
        (box,) = areas(step, *BOXES)
        for text in step.findall(f"{SVG}text"):
            assert inside(area(text), box), text.text


def test_drawing_stays_on_the_page_and_prints_legibly_on_one(drawing_of):
    root = drawing_of[2]
    page = tuple(map(float, root.get("viewBox", "").split()))
    assert [box for box in areas(root, *BOXES, "band", "frame") if not inside(box, page)] == []
    assert [text.text for text in root.iter(f"{SVG}text") if not inside(area(text), page)] == []
    for path in root.iter(f"{SVG}path"):
        numbers = list(map(float, re.findall(r"-?[\d.]+", path.get("d", ""))))
        assert all(0 <= x <= page[2] and 0 <= y <= page[3] for x, y in zip(numbers[::2], numbers[1::2], strict=True))
    scale = max(min(190 / page[2], 277 / page[3]), min(277 / page[2], 190 / page[3]))  # millimetres per pixel
    assert 10 * scale > 1.2  # the small letters; 3.4 points


def test_labels_do_not_cross_lines(drawing_of):
    root = drawing_of[2]
    boxed = {id(text) for group in root.iter(f"{SVG}g") if group.get("class") == "step" for text in group}
    loose = [text for text in root.iter(f"{SVG}text") if id(text) not in boxed]
    covered = areas(root, "join", "tag")  # lines run below these and may meet the words in them
    for path in root.iter(f"{SVG}path"):
        points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([-\d.]+ [-\d.]+)", path.get("d", ""))]
        for (ax, ay), (bx, by) in pairwise(points):
            line = (min(ax, bx) - 0.5, min(ay, by) - 0.5, max(ax, bx) + 0.5, max(ay, by) + 0.5)
            for text in loose:
                if not any(inside(area(text), box) for box in covered) and text.text not in ("+", "×"):
                    assert not overlap(area(text), line), (text.text, path.get("d"))


def test_resnet50_has_its_skip_connections_and_shapes_every_time(resnet50):
    assert draw(architecture(NETWORKS["resnet50"](), "resnet50")) == resnet50
    # four blocks with a projection, which interrupts the line, and four repeats with an arc
    assert resnet50.count('class="skip"') == 4 * 2 + 4 + 1  # and one in the legend
    assert resnet50.count('class="join"') == 8
    shapes = ("224×224×3", "112×112×64", "56×56×256", "28×28×512", "14×14×1024", "7×7×2048", "2,048")
    for text in ("× 2", "× 3", "× 5", *shapes):
        assert f">{text}</text>" in resnet50


def test_googlenet_has_its_concatenations():
    drawing = draw(architecture(outline(googlenet)))
    assert drawing.count(">concat</text>") == 9
    assert 'class="skip"' not in drawing


def test_every_class_has_a_colour_in_light_and_dark_mode(resnet50):
    style = re.search(r"<style>(.*?)</style>", resnet50, re.DOTALL)
    light, dark = style[1].split("@media (prefers-color-scheme:dark)")
    used = {name for value in re.findall(r'class="([^"]+)"', resnet50) for name in value.split()}
    for name in used - {"architecture", "block", "step", *SIZES}:
        assert f".{name}{{fill:" in light, name
        assert f".{name}{{fill:" in dark, name


def test_draw_escapes_names():
    drawing = draw(architecture(outline(lenet5), '<b>"lenet" & co'))
    assert ET.fromstring(drawing).find(f"{SVG}title").text == '<b>"lenet" & co: architecture'  # noqa: S314
