"""Files that cannot be read or are not what they seem, and names that look wrong."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.data_sets import dataset, photo, write
from support.image_kinds import deep_png, encoded, tiff, white_drawing
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.faulty_files import file_findings, name_findings
from tl.doctor.findings import Finding

TINY = photo(0, 8, 8)


def findings(folder: Path) -> dict[str, Finding]:
    images = load(folder)
    return {each.files[0]: each for each in file_findings(images, measure_images(images.images))}


@pytest.fixture
def good() -> dict[str, Image.Image | bytes]:
    return {f"{label}/{at}.png": photo(at) for label in ("cat", "dog") for at in range(4)}


def test_good_files_have_no_findings(tmp_path, good):
    assert findings(write(tmp_path / "photos", good)) == {}
    small = {f"{label}/{at}.png": photo(at, 16, 16) for label in "ab" for at in range(3)}
    assert findings(write(tmp_path / "small", small)) == {}


JPEG = encoded(photo(9), "JPEG")
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(400)
FLOATS = tiff(np.linspace(-300, 900, 900, dtype=np.float32).reshape(30, 30))
BANDS = tiff(np.zeros((30, 30, 5), np.uint8), photometric=1)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
ROTATED = encoded(photo(9), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0")
DEEP = JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c")
FILM = encoded(photo(9), "GIF", save_all=True, append_images=[photo(8)])
DELETE = object()  # a command that removes the file
LOOK = "look at it: keep it if it shows cat, remove it if not"
MIDDLE = len(JPEG) // 2
FAULTY = {
    "cat/cut.jpg": (JPEG[: len(JPEG) // 2], "truncated", "error", DELETE),
    "cat/hole.jpg": (JPEG[:2] + bytes(300) + JPEG[302:], "not an image", "error", DELETE),
    "cat/empty.jpg": (b"", "empty", "error", DELETE),
    "cat/words.jpg": (b"<html>not found</html>", "not an image", "error", DELETE),
    "cat/zeros.png": (bytes(900), "not an image", "error", DELETE),
    # These may be good: deleting them is not suggested.
    "cat/float.tiff": (FLOATS, "unread kind", "error", "scale them to 0–255 and save it as PNG"),
    "cat/bands.tiff": (BANDS, "unread kind", "error", "save those three as PNG"),
    "cat/pointer.png": (LFS, "unread kind", "error", "run git lfs pull"),
    "cat/12-bit.jpg": (DEEP, "unread kind", "error", "save it as an ordinary JPEG, with 8 bits a channel"),
    "cat/small.png": (photo(9, 20, 16), "tiny", "warning", LOOK),
    "cat/part.jpg": (JPEG[:MIDDLE] + b"\xff\xd9", "damaged part", "warning", LOOK),
    "cat/white.png": (white_drawing(120), "transparency", "note", ""),
    "cat/film.gif": (FILM, "several images", "note", ""),
    "cat/profile.jpg": (encoded(photo(9), "JPEG", icc_profile=b"rubbish" * 30), "colour profile", "note", ""),
    "cat/12 of 16.png": (deep_png(np.asarray(photo(9)).astype(np.uint16) * 16), "bit depth", "note", ""),
    "cat/1.jpg": (JXL, "unsupported format", "error", "save it as JPEG"),
    "cat/2.jxl": (JXL, "unsupported format", "warning", "save it as JPEG"),
    "cat/flat.png": (photo(9, 400, 30), "extreme aspect ratio", "note", "crop it to the subject"),
    "loose.png": (photo(9), "left out", "note", "move it to the folder of its class"),
    "cat/notes.txt": (b"words", "left out", "note", ""),
    "cat/cmyk.jpg": (encoded(photo(9).convert("CMYK"), "JPEG"), "colour mode", "note", ""),
    "cat/turned.jpg": (ROTATED, "rotated", "note", ""),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files(tmp_path, good, name):
    content, kind, severity, fix = FAULTY[name]
    folder = write(tmp_path / "photos", good | {name: content})
    (finding,) = findings(folder).values()
    assert (finding.kind, finding.severity, finding.files) == (kind, severity, (name,))
    assert finding.fix == (f"rm -- {folder / name}" if fix is DELETE else fix)


def test_deleting_is_suggested_for_proven_damage_alone(tmp_path, good):
    images = load(write(tmp_path / "photos", good))
    stats = measure_images(images.images)
    for reason, is_proven in (("damaged PNG", True), ("no pixels", True), ("JPEG with too many scans", False)):
        stats.errors[0] = reason
        (finding,) = file_findings(images, stats)
        assert finding.fix.startswith("rm " if is_proven else "if another program opens it")


def test_deleting_is_not_suggested_without_permission_to_read(tmp_path, good):
    images = load(write(tmp_path / "photos", good))
    stats = measure_images(images.images)
    stats.errors[0] = "cannot be read: permission denied"
    (finding,) = file_findings(images, stats)
    assert finding.fix == "check that the file exists and that you have permission to read it"


def test_the_command_that_corrects_an_extension_can_be_run(tmp_path, good):
    folder = write(tmp_path / "my photos", good | {"cat/it's one.png": encoded(photo(9), "JPEG")})
    subprocess.run(shlex.split(findings(folder)["cat/it's one.png"].fix), check=True)
    assert (folder / "cat" / "it's one.jpg").is_file()
    assert findings(folder) == {}


@pytest.mark.parametrize("names", [
    ("cat", "Cat"), ("cat", "cats"), ("maple tree", "maple_tree"), ("Bus", "buses"), ("fly", "flies"),
    ("caf\u00e9", "CAFE\u0301"), ("hot dog", "hot  dog"), ("horse", "horses"), ("1", "001"),
])  # fmt: skip
def test_class_names_that_differ_only_in_spelling(names):
    (finding,) = name_findings(dataset({f"{label}/1.png": TINY for label in (*names, "dog")}))
    assert (finding.kind, finding.severity) == ("class names", "warning")
    assert all(f"{name} (1)" in finding.evidence for name in names)


@pytest.mark.parametrize("names", [
    ("cat", "dog"), ("glass", "gla"), ("bus", "bu"), ("고양이", "강아지"), ("1", "10"), ("A+", "A-", "A"),
    ("1.5", "15"), ("C", "C#", "C++"), ("bas", "bass", "baß"), ("glas", "glass"), ("が", "か"),
    ("👍", "👎", "✋"), ("<", ">", "="), ("ไก", "ไก่"), ("कि", "की", "का"), ("cafe", "café"),
    ("x²", "x2"), ("1-2", "12", "1 2"),
])  # fmt: skip
def test_class_names_that_differ_in_meaning(names):
    assert name_findings(dataset({f"{label}/1.png": TINY for label in names})) == []


def test_classes_are_merged_into_the_largest():
    (finding,) = name_findings(dataset(dict.fromkeys(("cats/1.png", "Cat/1.png", "Cat/2.png", "dog/1.png"), TINY)))
    assert finding.fix == "if they are one class, move all their images to Cat"


def test_folders_inside_class_folders(tmp_path):
    files = {"cat/1.png": TINY, "cat/dog/2.png": TINY, "cat/new/3.png": TINY, "cat/new/4.png": TINY, "dog/5.png": TINY}
    assert [(each.severity, each.evidence) for each in name_findings(load(write(tmp_path / "photos", files)))] == [
        ("warning", "1 image of cat in the folder cat/dog, although dog is a class of its own"),
        ("note", "2 images of cat in the folder cat/new"),
    ]


def test_a_part_of_the_split_with_two_folders(tmp_path):
    files = {f"{part}/{label}/1.png": TINY for part in ("train", "val", "test") for label in ("cat", "dog")}
    folder = write(tmp_path / "photos", files)
    assert name_findings(load(folder)) == []
    write(folder, {"validation/cat/1.png": TINY, "validation/dog/1.png": TINY})
    (finding,) = name_findings(load(folder))
    assert finding.evidence == "'val' and 'validation' both exist, and both are read as validation"
    assert finding.severity == "warning"
