"""The layer table: every layer once, correct totals, at most 80 columns."""

import pytest

from support.outlines import outline, registered
from tl.networks.zoo.teaching_networks import googlenet, resnet50_cifar, simple_cnn
from tl.views.terminal.tables import layer_table

OWN = {"googlenet": googlenet, "resnet50_cifar": resnet50_cifar}


@pytest.mark.parametrize("name", [*OWN, "DenseNet121", "ConvNeXtTiny", "NASNetMobile"])
def test_table_lists_every_layer_and_adds_up(name):
    model = outline(OWN[name]) if name in OWN else registered(name)
    table = layer_table(model)
    assert [layer.name for layer in table.layers] == [layer.name for layer in model.layers]
    assert sum(layer.parameters for layer in table.layers) == table.parameters == model.count_params()
    assert table.trainable == sum(layer.trainable for layer in table.layers)
    lines = table.text().splitlines()
    assert max(map(len, lines)) <= 80
    named = {line.split()[0] for line in lines[2:-4]}
    assert named >= {layer.name.removeprefix(f"{model.name}_") for layer in model.layers}
    assert lines[-3].split() == [str(len(model.layers)), "layers", f"{model.count_params():,}"]


def test_table_counts_parameters_that_are_not_trainable(monkeypatch):
    model = outline(resnet50_cifar, classes=100)
    assert layer_table(model).trainable == 23_712_932
    totals = [line.split()[-1] for line in layer_table(model).text().splitlines()[-3:]]
    assert totals == ["23,766,052", "23,712,932", "53,120"]
    monkeypatch.setattr(model.get_layer("conv1_conv"), "trainable", False)
    assert layer_table(model).trainable == 23_712_932 - 9_408


def test_table_shows_kind_shape_and_parameters_of_each_layer_once():
    rows = [line.split() for line in layer_table(outline(simple_cnn, classes=100)).text().splitlines()]
    assert rows[0] == ["layer", "kind", "output", "parameters"]
    assert rows[2][0].startswith("input_layer")  # numbered by Keras through the life of a process
    assert rows[2][1:] == ["InputLayer", "32×32×3", "0"]
    for row in ("conv1 Conv2D 30×30×16 448", "flatten Flatten 1,152 0", "predictions Dense 100 25,700"):
        assert row.split() in rows
    import keras

    image = keras.Input((4,))
    twice = keras.layers.Dense(4, name="twice")
    table = layer_table(keras.Model(image, twice(twice(image))))
    assert [(layer.name, layer.parameters) for layer in table.layers[1:]] == [("twice", 20)]
