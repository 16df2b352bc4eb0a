"""What is seen of pictures without a network."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from support.data_sets import photo, write
from tl.data.image_stats import measure_images
from tl.data.images import fingerprint


def test_headers_errors_and_hashes_stand_by_their_pictures(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, grey = BytesIO(), BytesIO()
    photo(1).save(turned, "JPEG", exif=exif)
    photo(2).convert("L").save(grey, "PNG")
    write(tmp_path, {"a.jpg": turned.getvalue(), "b.png": grey.getvalue(), "c.jpg": b"", "d.webp": photo(3)})
    files = [tmp_path / name for name in ("a.jpg", "b.png", "c.jpg", "d.webp")]
    told = []
    looks = measure_images([*files, np.asarray(photo(4))], seen=lambda *some: told.extend(zip(*some, strict=True)))
    found = [(h.format, h.width, h.height, h.mode, h.orientation) if h else None for h in looks.headers]
    assert found == [
        ("JPEG", 120, 90, "YCbCr", 6),
        ("PNG", 120, 90, "L", 1),
        None,
        ("WEBP", 120, 90, "RGB", 1),
        ("", 120, 90, "RGB", 1),
    ]
    assert looks.errors == {2: "empty file"}
    assert looks.fingerprints[0] == fingerprint(turned.getvalue())
    assert sorted(told) == [(index, looks.fingerprints[index]) for index in (0, 1, 3, 4)]


def test_light_colour_border_and_sharpness():
    red = np.zeros((80, 80, 3), np.uint8)
    red[..., 0] = 200
    framed = np.asarray(photo(5, 160, 160)).copy()
    framed[:12] = framed[-12:] = framed[:, :12] = framed[:, -12:] = 255
    blurred = np.asarray(photo(6, 160, 160).filter(ImageFilter.GaussianBlur(6)))
    looks = measure_images([red, framed, blurred, np.asarray(photo(6, 160, 160))])
    assert looks.colour[0] == pytest.approx([200, 0, 0, 0, 0, 0], abs=1)
    assert looks.light[0] == pytest.approx([60, 60], abs=10)
    assert looks.border[1] == pytest.approx([255, 255, 255, 0, 0, 0, 0], abs=3)
    assert looks.sharpness[2] < looks.sharpness[3] / 5


def test_more_pictures_than_a_chunk_keep_their_places():
    pictures = [np.full((8, 8, 3), at, np.uint8) for at in range(200)]
    looks = measure_images(pictures)
    assert looks.grey[:, 0, 0].tolist() == list(range(200))
    assert looks.colour[:, 0].tolist() == list(range(200))
