"""Files that cannot be read or are not what they seem, and names that look wrong."""

import shlex
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from support.data_sets import dataset, photo, write
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.files import file_findings, name_findings
from tl.doctor.findings import Finding

TINY = photo(0, 8, 8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def findings(folder: Path) -> dict[str, Finding]:
    images = load(folder)
    return {each.files[0]: each for each in file_findings(images, measure_images(images.images))}


@pytest.fixture
def good() -> dict[str, Image.Image | bytes]:
    return {f"{label}/{at}.png": photo(at) for label in ("cat", "dog") for at in range(4)}


def test_good_files_have_no_findings(tmp_path: Path, good):
    assert findings(write(tmp_path / "photos", good)) == {}
    small = {f"{label}/{at}.png": photo(at, 16, 16) for label in "ab" for at in range(3)}
    assert findings(write(tmp_path / "small", small)) == {}


def test_unreadable_files_are_errors(tmp_path: Path, good):
    jpeg = encoded(photo(9), "JPEG")
    broken = {
        "cat/cut.jpg": jpeg[: len(jpeg) // 2],
        "cat/empty.jpg": b"",
        "cat/hole.jpg": jpeg[:2] + bytes(300) + jpeg[302:],
        "cat/float.tiff": encoded(Image.new("F", (30, 30)), "TIFF"),
        "cat/words.jpg": b"<html>not found</html>",
    }
    found = findings(write(tmp_path / "photos", good | broken))
    assert found.pop("cat/hole.jpg").kind in ("corrupt", "not an image")
    assert {name: (each.kind, each.severity) for name, each in found.items()} == {
        "cat/cut.jpg": ("truncated", "error"),
        "cat/empty.jpg": ("empty", "error"),
        "cat/float.tiff": ("colour mode", "error"),
        "cat/words.jpg": ("not an image", "error"),
    }


def test_unusual_files(tmp_path: Path, good):
    exif = Image.Exif()
    exif[0x0112] = 8
    unusual = {
        "cat/cmyk.jpg": encoded(photo(9).convert("CMYK"), "JPEG"),
        "cat/flat.png": photo(9, 400, 30),
        "cat/named.png": encoded(photo(9), "JPEG"),
        "cat/small.png": photo(9, 20, 16),
        "cat/turned.jpg": encoded(photo(9), "JPEG", exif=exif),
        "cat/hidden.bin": encoded(photo(9), "PNG"),
        "cat/notes.txt": b"words",
    }
    found = findings(write(tmp_path / "photos", good | unusual))
    assert {name: (each.kind, each.severity) for name, each in found.items()} == {
        "cat/cmyk.jpg": ("colour mode", "note"),
        "cat/flat.png": ("extreme aspect ratio", "note"),
        "cat/hidden.bin": ("wrong extension", "warning"),
        "cat/named.png": ("wrong extension", "note"),
        "cat/notes.txt": ("left out", "note"),
        "cat/small.png": ("tiny", "warning"),
        "cat/turned.jpg": ("rotated", "note"),
    }


def test_the_command_that_corrects_an_extension_can_be_run(tmp_path: Path, good):
    folder = write(tmp_path / "my photos", good | {"cat/it's one.png": encoded(photo(9), "JPEG")})
    subprocess.run(shlex.split(findings(folder)["cat/it's one.png"].fix), check=True)
    assert (folder / "cat" / "it's one.jpg").is_file()
    assert findings(folder) == {}


def test_images_of_an_unsupported_format(tmp_path: Path, good):
    jxl = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(400)
    found = findings(write(tmp_path / "photos", good | {"cat/1.jpg": jxl, "cat/2.jxl": jxl, "cat/3.txt": b"words"}))
    assert {name: (each.kind, each.severity, each.evidence, each.fix) for name, each in found.items()} == {
        "cat/1.jpg": ("unsupported format", "error", "JPEG XL images are not read", "save it as JPEG"),
        "cat/2.jxl": ("unsupported format", "warning", "JPEG XL images are not read", "save it as JPEG"),
        "cat/3.txt": ("left out", "note", "not an image file (.txt)", ""),
    }


def test_deleting_is_not_suggested_for_files_that_may_be_good(tmp_path: Path, good):
    files = {
        "cat/float.tiff": encoded(Image.new("F", (30, 30)), "TIFF"),
        "cat/boxes.json": b"{}",
        "cat/flat.png": photo(9, 400, 30),
        "loose.png": photo(9),
    }
    folder = write(tmp_path / "photos", good | files)
    assert {name: each.fix for name, each in findings(folder).items()} == {
        "cat/float.tiff": "save it as JPEG",
        "cat/boxes.json": "",
        "cat/flat.png": "crop it to the subject",
        "loose.png": "move it to the folder of its class",
    }
    images = load(folder)
    stats = measure_images(images.images)
    stats.errors[0] = "cannot be read: permission denied"
    (unreadable,) = [each for each in file_findings(images, stats) if each.kind == "unreadable"]
    assert unreadable.fix == "check that the file exists and that you have permission to read it"


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "Cat"),
        ("cat", "cats"),
        ("maple tree", "maple_tree"),
        ("Bus", "buses"),
        ("fly", "flies"),
        ("café", "cafe"),
    ],
)
def test_class_names_that_differ_only_in_spelling(names: tuple[str, str]):
    (finding,) = name_findings(dataset({f"{label}/1.png": TINY for label in (*names, "dog")}))
    assert (finding.kind, finding.severity) == ("class names", "warning")
    assert all(f"{name} (1)" in finding.evidence for name in names)


@pytest.mark.parametrize("names", [("cat", "dog"), ("glass", "gla"), ("bus", "bu"), ("고양이", "강아지"), ("1", "10")])
def test_class_names_that_differ_in_meaning(names: tuple[str, str]):
    assert name_findings(dataset({f"{label}/1.png": TINY for label in names})) == []


def test_classes_are_merged_into_the_largest():
    (finding,) = name_findings(dataset({"cats/1.png": TINY, "Cat/1.png": TINY, "Cat/2.png": TINY, "dog/1.png": TINY}))
    assert finding.fix == "if they are one class, move all their photos to Cat"


def test_folders_inside_class_folders(tmp_path: Path):
    files = {"cat/1.png": TINY, "cat/dog/2.png": TINY, "cat/new/3.png": TINY, "cat/new/4.png": TINY, "dog/5.png": TINY}
    assert [(each.severity, each.evidence) for each in name_findings(load(write(tmp_path / "photos", files)))] == [
        ("warning", "1 photo of cat in the folder cat/dog, although dog is a class of its own"),
        ("note", "2 photos of cat in the folder cat/new"),
    ]


def test_a_part_of_the_split_with_two_folders(tmp_path: Path):
    files = {f"{part}/{label}/1.png": TINY for part in ("train", "val", "test") for label in ("cat", "dog")}
    folder = write(tmp_path / "photos", files)
    assert name_findings(load(folder)) == []
    write(folder, {"validation/cat/1.png": TINY, "validation/dog/1.png": TINY})
    (finding,) = name_findings(load(folder))
    assert finding.evidence == "'val' and 'validation' both exist, and both are read as validation"
    assert finding.severity == "warning"
