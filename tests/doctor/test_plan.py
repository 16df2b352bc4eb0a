"""Which images a clean copy leaves out and relabels, depending on how sure the labels are."""

import pytest

from support.data_sets import dataset, measured, photo
from tl.data.dataset import Dataset
from tl.data.near_duplicates import Copy
from tl.doctor.labels import Suspect
from tl.doctor.plan import Plan, Step, plan_fixes
from tl.errors import DataError


def plan(images: Dataset, **options: bool) -> Plan:
    values = measured(images)
    return plan_fixes(images, values.stats, values.features, values.usable, **options)


def changes(images: Dataset, **options: bool) -> dict[str, Step]:
    return {step.sample.name: step for step in plan(images, **options).changed}


@pytest.fixture
def surely_wrong(monkeypatch: pytest.MonkeyPatch):
    """Makes the named photos of a data set the ones whose labels are surely wrong, of another class."""

    def patch(images: Dataset, classes: dict[str, str]) -> Dataset:
        sure = {images.names.index(name): images.class_names.index(label) for name, label in classes.items()}
        suspects = [Suspect(row, int(images.labels[row]), label, 0.02, 0.97, True) for row, label in sure.items()]
        monkeypatch.setattr("tl.doctor.plan.suspect_labels", lambda *_, **__: suspects)
        return images

    return patch


@pytest.fixture
def conflict() -> Dataset:
    """cat/2.png and dog/same.png are the same photo."""
    images = {f"{label}/{at}.png": photo(ord(label[0]) * 9 + at) for label in ("cat", "dog", "eel") for at in range(4)}
    return dataset(images | {"dog/same.png": images["cat/2.png"]})


def test_a_sure_label_decides_between_two_labels_and_both_photos_are_left_out_if_none_is_sure(conflict, surely_wrong):
    found = changes(surely_wrong(conflict, {"dog/same.png": "cat"}))
    assert set(found) == {"dog/same.png"}
    assert "surely wrong" in found["dog/same.png"].why
    for sure in ({}, {"dog/same.png": "cat", "cat/2.png": "dog"}, {"dog/same.png": "eel"}):
        assert set(changes(surely_wrong(conflict, sure))) == {"dog/same.png", "cat/2.png"}


def test_labels_change_only_with_relabel(conflict, surely_wrong):
    images = surely_wrong(conflict, {"cat/1.png": "dog"})
    assert "cat/1.png" not in changes(images)
    step = changes(images, relabel=True)["cat/1.png"]
    assert (step.action, step.label, step.why) == ("relabelled", "dog", "looks like dog (97%)")


def test_the_largest_of_the_copies_stays(monkeypatch):
    images = dataset({"a/1.png": photo(1), "a/2.png": photo(2, 300, 200), "a/3.png": photo(3), "b/1.png": photo(9)})
    monkeypatch.setattr("tl.doctor.plan.find_copies", lambda *arguments: [Copy(0, 1, 0.9), Copy(1, 2, 0.9)])
    assert set(changes(images)) == {"a/1.png", "a/3.png"}


def test_fewer_than_two_classes_left_is_an_error():
    with pytest.raises(DataError, match="would leave 0 of 2 classes"):
        plan(dataset({"a/1.png": photo(1), "b/1.png": photo(1)}))
