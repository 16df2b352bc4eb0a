"""The images of a run are found by content, also under other names; missing ones are reported."""

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

from support.recorder import Recorder
from support.runs import copy_run, pin
from tl.errors import DataError
from tl.progress import Progress
from tl.runs.photos import RunImages, held_out
from tl.runs.run import Run, load_run


@pytest.fixture
def here(shapes: Path, tmp_path: Path) -> Path:
    """The images of the tiny run in a folder that a test may change."""
    return Path(shutil.copytree(shapes, tmp_path / "here"))


@pytest.fixture
def moved(tiny_run: Path, tmp_path: Path) -> Run:
    """The tiny run as if its images had been in a folder that is gone."""
    return load_run(copy_run(tiny_run, tmp_path / "moved", options__data="gone/"))


def _validation(run: Run) -> list[str]:
    with (run.folder / "split.csv").open() as stream:
        return [row["path"] for row in csv.DictReader(stream) if row["split"] == "validation"]


def test_held_out_finds_images_at_the_recorded_path(tiny_run: Path):
    run = load_run(tiny_run)
    part = RunImages(run, None, Progress()).held_out(None)
    assert (part.part, part.missing) == ("validation", 0)
    assert [photo.name for photo in part.images] == _validation(run)
    assert all(run.classes[photo.label] == photo.name.split("/")[0] for photo in part.images)


def test_recorded_path_works_from_any_folder(tiny_run, here, tmp_path, monkeypatch):
    run = load_run(copy_run(tiny_run, tmp_path / "runs" / "own", options__data="here"))
    (tmp_path / "elsewhere" / "here").mkdir(parents=True)  # another one of that name
    monkeypatch.chdir(tmp_path / "elsewhere")
    photos = RunImages(run, None, Progress())
    assert photos.where == str(here)
    assert photos.held_out(None).missing == 0


def test_renamed_images_are_found_by_content(moved: Run, here: Path):
    for at, path in enumerate(sorted(here.rglob("*.png"))):
        path.rename(path.with_name(f"renamed-{at}.png"))
    part = RunImages(moved, str(here), Progress()).held_out(None)
    assert sorted(photo.name for photo in part.images) == sorted(_validation(moved))
    assert part.missing == 0


def test_missing_images_are_an_error(moved: Run):
    with pytest.raises(DataError, match="the images of moved cannot be read: .*give their folder with --data"):
        RunImages(moved, None, Progress())


def test_changed_images_are_not_used(moved: Run, here: Path):
    for path in here.rglob("*.png"):
        Image.new("RGB", (30, 30), (len(path.stem), 3, 9)).save(path)
    with pytest.raises(DataError, match="no unchanged validation image of moved is at"):
        RunImages(moved, str(here), Progress()).held_out(None)


def test_missing_images_are_counted_and_replaced(moved: Run, here: Path):
    shutil.rmtree(here / "stripes")
    Image.new("RGB", (30, 30)).save(here / "other.png")
    part = RunImages(moved, str(here), Progress()).held_out(None)
    assert (len(part.images), part.missing) == (2, 2)
    recorder = Recorder()
    held_out(load_run(copy_run(moved.folder, here.parent / "run", options__data=str(here))), recorder)
    assert recorder.lines[1] == "warning: 2 more validation images of run are missing or have changed"
    gone = next(name for name in _validation(moved) if name.startswith("noise"))
    (here / "noise" / Path(gone).name).unlink()
    assert len(RunImages(moved, str(here), Progress()).held_out(1).images) == 1


def test_held_out_is_a_data_set_with_the_classes_of_the_run(tiny_run: Path):
    recorder = Recorder()
    own = held_out(load_run(tiny_run), recorder)
    assert own.dataset.class_names == ("noise", "stripes")
    assert [own.dataset.class_names[at] for at in own.dataset.labels] == ["noise", "noise", "stripes", "stripes"]
    assert recorder.lines == [f"data: the 4 validation images of {load_run(tiny_run).name}, in {own.where}"]
    with pytest.raises(DataError, match="has no test images: choose another part"):
        held_out(load_run(tiny_run), recorder, "test")


@pytest.mark.parametrize("where", ["gone/", ""])
def test_held_out_asks_for_data_where_images_are_gone(tiny_run: Path, tmp_path: Path, where: str):
    run = load_run(copy_run(tiny_run, tmp_path / "run", options__data=where, data__folder="gone"))
    with pytest.raises(DataError, match="give DATA, a folder of labelled images"):
        held_out(run, Progress())


def test_held_out_uses_test_images_without_validation(tiny_run: Path, tmp_path: Path):
    folder = copy_run(tiny_run, tmp_path / "run")
    table = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text(table.replace(",validation,", ",test,"))
    pin(folder)
    assert held_out(load_run(folder), Progress()).part == "test"


def test_images_of_a_run_trained_on_a_list_are_found_where_they_were(tiny_run, here, tmp_path, monkeypatch):
    run = load_run(copy_run(tiny_run, tmp_path / "run", options__data="", data__folder=str(here)))
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    assert sorted(held_out(run, recorder).dataset.names) == sorted(_validation(run))
    assert recorder.lines[0].endswith("validation images of run, in their list")
    shutil.move(here, tmp_path / "gone")
    with pytest.raises(DataError, match="run has no record of where its images are"):
        RunImages(run, None, Progress())
