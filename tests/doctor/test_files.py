"""Files that cannot be read, and files that are not what they seem."""

import shlex
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from support.data_sets import photo, write
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.files import files
from tl.doctor.findings import Finding


def content(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def found(folder: Path) -> dict[str, Finding]:
    made = load(folder)
    return {one.files[0]: one for one in files(made, measure_images(made.images))}


@pytest.fixture
def usual() -> dict[str, Image.Image | bytes]:
    return {f"{label}/{at}.png": photo(at) for label in ("cat", "dog") for at in range(4)}


def test_good_files_have_no_findings(tmp_path: Path, usual):
    assert found(write(tmp_path / "photos", usual)) == {}


def test_broken_files_are_errors_of_their_kind(tmp_path: Path, usual):
    jpeg = content(photo(9), "JPEG")
    broken = {
        "cat/cut.jpg": jpeg[: len(jpeg) // 2],
        "cat/empty.jpg": b"",
        "cat/hole.jpg": jpeg[:2] + bytes(300) + jpeg[302:],
        "cat/float.tiff": content(Image.new("F", (30, 30)), "TIFF"),
        "cat/words.jpg": b"<html>not found</html>",
    }
    told = found(write(tmp_path / "photos", usual | broken))
    assert {name: one.kind for name, one in told.items()} == {
        "cat/cut.jpg": "truncated",
        "cat/empty.jpg": "empty",
        "cat/hole.jpg": told["cat/hole.jpg"].kind,
        "cat/float.tiff": "colour mode",
        "cat/words.jpg": "not an image",
    }
    assert told["cat/hole.jpg"].kind in ("corrupt", "not an image")
    assert {one.severity for one in told.values()} == {"error"}


def test_odd_files_are_named_for_what_is_odd(tmp_path: Path, usual):
    exif = Image.Exif()
    exif[0x0112] = 8
    odd = {
        "cat/cmyk.jpg": content(photo(9).convert("CMYK"), "JPEG"),
        "cat/flat.png": photo(9, 400, 30),
        "cat/named.png": content(photo(9), "JPEG"),
        "cat/small.png": photo(9, 20, 16),
        "cat/turned.jpg": content(photo(9), "JPEG", exif=exif),
        "cat/hidden.bin": content(photo(9), "PNG"),
        "cat/notes.txt": b"words",
    }
    told = found(write(tmp_path / "photos", usual | odd))
    assert {name: (one.kind, one.severity) for name, one in told.items()} == {
        "cat/cmyk.jpg": ("colour mode", "note"),
        "cat/flat.png": ("extreme shape", "note"),
        "cat/hidden.bin": ("wrong extension", "warning"),
        "cat/named.png": ("wrong extension", "note"),
        "cat/notes.txt": ("left out", "note"),
        "cat/small.png": ("tiny", "warning"),
        "cat/turned.jpg": ("rotated", "note"),
    }


def test_small_pictures_among_small_ones_are_as_usual(tmp_path: Path):
    folder = write(tmp_path / "photos", {f"{label}/{at}.png": photo(at, 16, 16) for label in "ab" for at in range(3)})
    assert found(folder) == {}


def test_what_mends_a_name_can_be_typed(tmp_path: Path, usual):
    folder = write(tmp_path / "my photos", usual | {"cat/it's one.png": content(photo(9), "JPEG")})
    told = found(folder)["cat/it's one.png"]
    subprocess.run(shlex.split(told.mend), check=True)
    assert (folder / "cat" / "it's one.jpg").is_file()
    assert found(folder) == {}


def test_photos_of_a_kind_that_is_not_read_are_to_be_saved_as_another(tmp_path: Path, usual):
    jxl = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(400)
    given = {"cat/1.jpg": jxl, "cat/2.jxl": jxl, "cat/3.txt": b"words"}
    told = found(write(tmp_path / "photos", usual | given))
    assert {name: (one.kind, one.severity, one.evidence, one.mend) for name, one in told.items()} == {
        "cat/1.jpg": ("unread format", "error", "JPEG XL images are not read", "save it as JPEG"),
        "cat/2.jxl": ("unread format", "warning", "JPEG XL images are not read", "save it as JPEG"),
        "cat/3.txt": ("left out", "note", "not an image file (.txt)", ""),
    }


def test_what_may_be_sound_is_not_offered_for_deleting(tmp_path: Path, usual):
    beside = {
        "cat/float.tiff": content(Image.new("F", (30, 30)), "TIFF"),
        "cat/boxes.json": b"{}",
        "cat/flat.png": photo(9, 400, 30),
        "loose.png": photo(9),
    }
    folder = write(tmp_path / "photos", usual | beside)
    told = found(folder)
    assert {name: one.mend for name, one in told.items()} == {
        "cat/float.tiff": "save it as JPEG",
        "cat/boxes.json": "",
        "cat/flat.png": "crop it to what it shows",
        "loose.png": "put it into the folder of its class",
    }
    made = load(folder)
    looks = measure_images(made.images)
    looks.errors[0] = "cannot be read: permission denied"
    (unreadable,) = [one for one in files(made, looks) if one.kind == "unreadable"]
    assert unreadable.mend == "see to it that it is there and may be read"
