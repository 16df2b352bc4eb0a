"""The reader of image files in an export: without `tl`, the same pixels for every kind of file."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.data_sets import photo
from support.image_kinds import SWAPPED, deep_png, tiff, white_drawing
from tl.data.images import decode_for, read
from tl.exporters.reader import opened_reader, write_reader

SIZE = 32
EXIF = Image.Exif()
EXIF[0x0112] = 6


def transparent(image: Image.Image) -> Image.Image:
    alpha = np.zeros((image.height, image.width), np.uint8)
    alpha[10:50, 20:90] = 255
    alpha[30:40] //= 2
    return Image.merge("RGBA", (*image.convert("RGB").split(), Image.fromarray(alpha)))


def grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def grey12(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 16)


def palette(image: Image.Image) -> Image.Image:
    made = image.convert("P")
    made.info["transparency"] = made.getpixel((0, 0))
    return made


def large(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.tile(np.asarray(image), (8, 8, 1)))


KINDS = {
    "photo.jpg": (lambda image: image, {}),
    "large.jpg": (large, {"quality": 95}),
    "tall.jpg": (lambda image: image.resize((40, 900)), {}),
    "wide.jpg": (lambda image: image.resize((900, 40)), {}),
    "tiny.jpg": (lambda image: image.resize((3, 2)), {}),
    "rotated.jpg": (lambda image: image, {"exif": EXIF}),
    "grey.jpg": (lambda image: image.convert("L"), {}),
    "cmyk.jpg": (lambda image: image.convert("CMYK"), {}),
    "progressive.jpg": (lambda image: image, {"progressive": True}),
    "grey16.png": (grey16, {}),
    "grey16.tif": (grey16, {}),
    "grey12.png": (grey12, {}),
    "bits.png": (lambda image: image.convert("1"), {}),
    "rgba.png": (transparent, {}),
    "la.png": (lambda image: transparent(image).convert("LA"), {}),
    "palette.png": (palette, {}),
    "palette.gif": (palette, {}),
    "rgba.webp": (transparent, {"lossless": True}),
    "rgba.tif": (transparent, {}),
    "photo.bmp": (lambda image: image, {}),
    "profile.jpg": (lambda image: image, {"icc_profile": SWAPPED}),
    "profile.webp": (lambda image: image, {"icc_profile": SWAPPED}),
    "white.png": (lambda _: white_drawing(), {}),
    "film.gif": (lambda image: Image.new("RGB", (60, 40)), {"save_all": True, "append_images": [white_drawing()]}),
}

PROGRAM = """
import sys
import numpy as np
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from tl_images import read_image

files = sorted(Path(sys.argv[2]).iterdir())
np.savez(sys.argv[3], **{file.name: read_image(file) for file in files})
assert not [name for name in sys.modules if name.partition(".")[0] in ("tl", "cv2", "tensorflow", "click")]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """A file of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, (change, options) in KINDS.items():
        change(photo(1)).save(folder / name, **options)
    pixels = np.asarray(photo(1))
    (folder / "deep.png").write_bytes(deep_png(pixels.astype(np.uint16) * 16))
    (folder / "floats.tif").write_bytes(tiff((pixels / 255).astype(np.float32), compression=8, predictor=3))
    return sorted(folder.iterdir())


def test_reader_needs_no_tl_and_reads_every_kind_of_file_as_the_run_does(files, tmp_path):
    write_reader(tmp_path, SIZE)
    program = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path), str(files[0].parent), str(tmp_path / "read.npz")]
    subprocess.run(program, check=True, cwd=tmp_path)
    theirs = np.load(tmp_path / "read.npz")
    for file in files:
        ours = decode_for(read(file), SIZE)
        assert theirs[file.name].dtype == np.uint8
        assert np.array_equal(theirs[file.name], ours), file.name
    assert theirs["rgba.png"][0, 0].tolist() == [255, 255, 255]
    assert theirs["white.png"][0, 0].tolist() == [0, 0, 0]
    assert theirs["grey12.png"].max() > 150
    assert theirs["film.gif"].max() > 0
    assert theirs["large.jpg"].shape == (180, 240, 3)  # shrunk to no less than 5 · 32


def test_reader_takes_what_is_in_memory_and_leaves_nothing_behind(tmp_path):
    write_reader(tmp_path, SIZE)
    image, file = photo(2), BytesIO()
    image.save(file, "PNG")
    with opened_reader(tmp_path) as read_image:
        for form in (image, file.getvalue(), BytesIO(file.getvalue()), np.asarray(image), np.asarray(image) / 255):
            assert np.array_equal(read_image(form), np.asarray(image))
        with pytest.raises(Exception, match="starts with 'no image'"):
            read_image(b"no image")
    assert not [name for name in sys.modules if name.startswith("tl_images")]
    assert str(tmp_path) not in sys.path
