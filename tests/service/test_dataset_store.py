"""Folders of photos are kept as data sets, found again, and removed with all that belongs to them."""

import os
import shutil

import pytest

from tl.errors import DataError
from tl.service import dataset_store, job_store
from tl.service.archives import Unpacked
from tl.service.database import Database
from tl.service.job_store import ConflictError

NOTHING = Unpacked(24, 1000, {"hidden": 2})


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "state")
    yield made
    made.close()


def keep(database, shapes, name="shapes", most=10):
    folder = dataset_store.incoming(database) / "photos"
    shutil.copytree(shapes, folder)
    return dataset_store.keep(database, folder, name, NOTHING, owner="ann", most=most)


@pytest.mark.parametrize(
    ("name", "kept", "folder"),
    [
        ("꽃 2026", "꽃 2026", "꽃-2026"),
        ("../../etc", "../../etc", "etc"),
        ("\n\x1b[31m\t", "[31m", "31m"),
        ("", "data", "data"),
    ],
)
def test_a_folder_is_kept_under_its_name(database, shapes, name, kept, folder):
    stored = keep(database, shapes, name)
    assert (stored.name, stored.folder, stored.images) == (kept, folder, 24)
    home = dataset_store.place(database, stored)
    assert home.parent.parent == database.folder / "datasets"
    assert sorted(os.listdir(home)) == ["noise", "stripes"]
    assert dataset_store.get(database, stored.id) == stored == dataset_store.listed(database)[0]
    assert stored.about["classes"] == {"noise": 12, "stripes": 12}
    assert stored.about["left_out"] == {"hidden": 2}


def test_parts_and_uneven_classes_are_told(database, shapes, tmp_path):
    for part, count in (("train", 12), ("val", 4)):
        for label in ("noise", "stripes"):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for file in sorted((shapes / label).iterdir())[: count if label == "noise" else 2]:
                shutil.copy(file, tmp_path / "photos" / part / label)
    stored = dataset_store.keep(database, tmp_path / "photos", "p", NOTHING)
    assert stored.about["parts"] == {"train": 14, "validation": 6}
    assert stored.about["findings"][0]["severity"] == "warning"
    assert "class stripes has 2 training photos" in [one["evidence"] for one in stored.about["findings"]]


def test_what_is_refused_leaves_nothing(database, shapes, tmp_path):
    keep(database, shapes)
    with pytest.raises(ConflictError, match="1 data sets are kept already"):
        keep(database, shapes, most=1)
    assert len(os.listdir(database.folder / "datasets")) == 1
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        dataset_store.keep(database, tmp_path / "photos", "mine", NOTHING)
    assert str(tmp_path) not in str(caught.value)


def test_a_data_set_goes_with_its_check_but_not_while_a_job_trains_on_it(database, shapes):
    stored = keep(database, shapes)
    job = job_store.add(database, "finetune", stored.id, {}, run="r")
    check = job_store.add(database, "check", stored.id, {})
    with pytest.raises(ConflictError, match=job.id):
        dataset_store.remove(database, stored)
    job_store.cancel(database, job.id)
    dataset_store.remove(database, stored)
    assert dataset_store.get(database, stored.id) is None
    assert os.listdir(database.folder / "datasets") == []
    assert job_store.get(database, check.id).cancel


def test_what_a_killed_server_left_is_tidied_away(database, shapes):
    stored = keep(database, shapes)
    (dataset_store.incoming(database) / "archive").write_bytes(b"half")
    (database.folder / "datasets" / "0123456789abcdef" / "x").mkdir(parents=True)
    dataset_store.tidy(database)
    assert os.listdir(database.folder / "datasets") == [stored.id]
    assert not (database.folder / "incoming").exists()
