"""Groups that must stay together, by a column, a place in the path, or a pattern."""

from pathlib import Path

import pytest

from support.data_sets import dataset, photo, write
from tl.data.load import load
from tl.data.splits import groups_by
from tl.doctor.duplicates import torn
from tl.errors import UsageError

TINY = photo(0, 8, 8)
IMAGES = {f"{label}/p{patient}_{at}.png": TINY for label in ("cat", "dog") for patient in (1, 2) for at in range(2)}


def test_a_place_in_the_path_and_a_pattern():
    made = dataset(IMAGES)
    assert groups_by(made, "photos/", "0") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(made, "photos/", "-2") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(made, "photos/", "7") == [""] * 8
    assert groups_by(made, "photos/", r"(p\d)_") == ["p1", "p1", "p2", "p2"] * 2
    assert groups_by(made, "photos/", "(x)") == [""] * 8


def test_a_column_of_the_table(tmp_path: Path):
    write(tmp_path, dict(IMAGES))
    rows = [f"{name};{name.split('/')[0]};patient {place % 3}" for place, name in enumerate(IMAGES)]
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(["Path;label;Patient", *rows]), encoding="utf-8")
    made = load(table)
    assert groups_by(made, str(table), "patient") == [f"patient {place % 3}" for place in range(8)]
    with pytest.raises(UsageError, match="has no column 'doctor': it has path, label, patient"):
        groups_by(made, str(table), "doctor")


@pytest.mark.parametrize(
    ("given", "said"), [("patient", "no table"), ("(p", "regular expression"), (r"\(p\)", "no group")]
)
def test_what_cannot_be_meant_is_refused(given: str, said: str):
    with pytest.raises(UsageError, match=said):
        groups_by(dataset(IMAGES), "photos/", given)


def test_groups_on_both_sides_are_found():
    made = dataset(IMAGES)
    groups = groups_by(made, "photos/", r"(p\d)_")
    parts = ["train", "train", "train", "validation"] + ["train"] * 4
    (found,) = torn(made, groups, parts, given=True)
    assert (found.severity, found.files) == ("error", ("cat/p2_1.png",))
    assert found.evidence == "group p2 has photos in train and in validation"
    (by_default,) = torn(made, groups, parts, given=False)
    assert by_default.severity == "warning"
    assert torn(made, groups, ["train"] * 8, given=True) == []
    assert torn(made, [""] * 8, parts, given=True) == []
