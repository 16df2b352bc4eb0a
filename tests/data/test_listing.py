"""Which files and folders are data, by one rule for every command."""

import os
import re
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from support.data_sets import put, write
from tl.data.inputs import read_inputs
from tl.data.listing import LeftOut, walk_images
from tl.data.load import load
from tl.errors import DataError
from tl.views.pictures.show import save_png

HELPERS = (
    *("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".Trash-1000", "System Volume Information", "__MACOSX"),
    *(".thumbnails", "@Recycle", "@Recently-Snapshot", "#snapshot", "Network Trash Folder", "RECYCLER", "found.000"),
    *(".AppleDouble", ".@__thumb", "Photos.photoslibrary", "Catalog Previews.lrdata", ".ipynb_checkpoints"),
)


def encoded(form: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, form)
    return file.getvalue()


def both(folder: Path) -> tuple[list[str], list[str]]:
    """The images below a folder of classes, for training and for prediction."""
    trained = [str(image.relative_to(folder)) for image in load(folder).images]  # type: ignore[union-attr]
    return trained, [str(Path(one.name).relative_to(folder)) for one in read_inputs(folder)]


def test_walk_sorts_images_folder_by_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, *(f"in/{name}" for name in ("b.JPG", "a.png", "s/c.tiff", "s/t/e.gif", "s/d.webp", "f.jpg/i.bmp")))
    files = ["in/a.png", "in/b.JPG", "in/f.jpg/i.bmp", "in/s/c.tiff", "in/s/d.webp", "in/s/t/e.gif"]
    assert list(walk_images("in")) == files
    errors: list[OSError] = []
    assert list(walk_images("gone", errors.append)) == []
    assert [error.filename for error in errors] == ["gone"]


@pytest.mark.parametrize("at", [".", "cat", "cat/deep"])
def test_what_systems_put_beside_photos_is_no_data(tmp_path, at):
    photos = ["cat/a.jpg", "dog/b.jpg"]
    put(put(tmp_path, *photos) / at, *(f"{helper}/x/1.jpg" for helper in HELPERS))
    assert both(tmp_path) == (photos, photos)
    [note] = load(tmp_path).notes
    assert re.fullmatch(r"left out: .* \(put there by the system\), .* \(hidden\)", note)
    left_out = LeftOut()
    list(read_inputs(tmp_path, skip=left_out))
    assert f"left out: {left_out}" == note
    assert [Path(one.name).name for one in read_inputs(str(tmp_path / "*"))] == ["a.jpg", "b.jpg"]
    assert sum(left_out.counts.values()) == len(HELPERS)


def test_helper_folders_beside_split_folders_are_no_part_of_the_split(tmp_path):
    put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "val/dog/d.jpg", "@eaDir/x.jpg")
    data = load(tmp_path)
    assert (set(data.parts), data.class_names) == ({"train", "validation"}, ("cat", "dog"))
    assert data.notes[-1] == "left out: '@eaDir' (put there by the system)"


@pytest.mark.parametrize("part", ["val", "train"])
@pytest.mark.parametrize("name", ["extra/a.jpg", "extra/deep/photo", "unsorted/a.png"])
def test_images_beside_split_folders_are_refused(tmp_path, monkeypatch, part, name):
    monkeypatch.chdir(tmp_path.parent)
    put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", f"{part}/cat/c.jpg", f"{part}/dog/d.jpg")
    write(tmp_path, {name: encoded("JPEG")})
    with pytest.raises(DataError, match=f"split folders and beside them '{name.split('/')[0]}'"):
        load(tmp_path)


def test_a_folder_without_images_beside_train_is_told(tmp_path):
    data = load(put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "docs/readme.txt"))
    assert (data.class_names, set(data.parts)) == (("cat", "dog"), {"train"})
    assert data.notes == ("folder 'docs' beside the split folders left out: it holds no images", "split folders: train")


@pytest.fixture
def home(tmp_path: Path, tiny_run: Path) -> Path:
    """A folder of classes with all that `tl` writes into it."""
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    shutil.copytree(tiny_run, tmp_path / "runs" / "first")
    shutil.copytree(tiny_run, tmp_path / "dog" / "copied")
    (tmp_path / "runs" / "latest").symlink_to("first")
    put(tmp_path, "runs/compare/comparison.json", "runs/compare/comparison.csv", "runs/compare/grid.png")
    put(tmp_path, "service/service.sqlite3", "service/datasets/1/photos/cat/a.jpg")
    save_png(Image.new("RGB", (4, 3)), tmp_path / "runs" / "augmented-cat.png")
    save_png(Image.new("RGB", (4, 3)), tmp_path / "cat" / "grid.png")
    return tmp_path


def test_what_tl_writes_is_no_data(home):
    assert both(home) == (["cat/a.jpg", "dog/b.jpg"], ["cat/a.jpg", "dog/b.jpg"])
    assert load(home).notes == ("left out: 'copied', 'grid.png', 'runs', 'service' (written by tl)",)
    assert [one.name for one in read_inputs(str(home / "**" / "*.jpg"))] == [f"{home}/cat/a.jpg", f"{home}/dog/b.jpg"]


def test_a_class_called_runs_keeps_its_photos(home):
    put(home, "runs/jump.jpg")
    assert load(home).class_names == ("cat", "dog", "runs")
    assert [name for name in load(home).names if name.startswith("runs/")] == ["runs/jump.jpg"]


ODD = ("a", "b.jpg?w=400", "c.jpg_large", "d.jpg.1", "e.mpo", "f.jfif", "g.JPE", "h.tif1", "i.dat", "j.png~")


def test_images_with_other_endings_or_none_are_read_by_content(tmp_path):
    for number, name in enumerate(ODD):
        form = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")[number % 6]
        write(tmp_path, {f"{label}/{name}": encoded(form) for label in ("cat", "dog")})
    files = [f"{label}/{name}" for label in ("cat", "dog") for name in ODD]
    assert both(tmp_path) == (files, files)


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("notes", b"BMW and other cars of the nineties", "1 file (not an image file: no suffix)"),
    ("a.json", b"{}", "1 file (not an image file: .json)"),
    ("empty", b"", "1 file (not an image file: no suffix)"),
    ("a.nef", encoded("TIFF"), "1 file (raw images are not supported: .nef)"),
    ("a.jpg.part", encoded("JPEG"), "1 file (an incomplete file: .part)"),
    ("a.jxl", b"\xff\x0a" + bytes(60), "1 file (JPEG XL images are not supported)"),
    (".DS_Store", b"x", ""), ("Thumbs.db", b"x", ""), ("._a.jpg", encoded("JPEG"), ""),
])  # fmt: skip
def test_files_that_are_no_images_are_counted(tmp_path, name, content, reason):
    write(put(tmp_path, "a.jpg"), {name: content})
    left_out = LeftOut()
    assert [Path(one.name).name for one in read_inputs(tmp_path, skip=left_out)] == ["a.jpg"]
    assert str(left_out) == reason


def test_linked_folders_are_followed_out_of_the_data_once(tmp_path):
    root = put(tmp_path / "data", "cat/a.jpg", "dog/b.jpg")
    put(tmp_path, "other/c.jpg", "more/d.jpg")
    (root / "bird").symlink_to(tmp_path / "other")
    (root / "cat" / "more").symlink_to(tmp_path / "more")
    (root / "dog" / "all").symlink_to(root)
    (root / "dog" / "cats").symlink_to(root / "cat")
    (root / "up").symlink_to(tmp_path)
    (tmp_path / "other" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "other").symlink_to(tmp_path / "other")
    trained, predicted = both(root)
    assert trained == predicted
    assert [name for name in trained if name.count("/") == 1] == ["bird/c.jpg", "cat/a.jpg", "dog/b.jpg"]
    assert {"bird/more/d.jpg", "cat/more/d.jpg"} <= set(trained)
    assert len(trained) == 6
    assert [one.name for one in read_inputs(str(root / "**" / "*.jpg"))] == [
        os.path.join(root, name) for name in trained
    ]
    (tmp_path / "link").symlink_to(root)
    assert load(tmp_path / "link").name == "link"
    assert next(read_inputs(tmp_path / "link")).name == os.path.join(tmp_path, "link", "bird", "c.jpg")
