"""TIFFs of all kinds of samples come out as the picture that was put in, or are refused by name."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from support.image_kinds import encoded, grey_picture, picture, tiff
from tl.data import images
from tl.errors import ImageError

RGB, GREY = picture(), grey_picture()
OPAQUE = np.full_like(GREY, 255)


def deep(pixels: np.ndarray, white: int = 65535) -> np.ndarray:
    return (pixels.astype(np.uint32) * white // 255).astype(np.uint16)


def assert_decodes(content: bytes, expected: np.ndarray, tolerance: int = 1) -> None:
    pixels = images.decode(content)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


SAMPLES = {
    "16-bit RGB": (deep(RGB), {}, RGB),
    "16-bit planes": (deep(RGB), {"planar": True}, RGB),
    "8-bit planes": (RGB, {"planar": True}, RGB),
    "16-bit grey": (deep(GREY), {}, GREY),
    "12 of 16 bits": (deep(GREY, 4095), {}, GREY),
    "10 of 16 bits": (deep(RGB, 1023), {}, RGB),
    "8 of 16 bits": (deep(RGB, 255), {}, RGB),
    "12 bits": (deep(GREY, 4095), {"bits": 12}, GREY),
    "12-bit RGB": (deep(RGB, 4095), {"bits": 12}, RGB),
    "white is zero": (65535 - deep(GREY), {"photometric": 0}, GREY),
    "floats to 1": ((RGB / 255).astype(np.float32), {}, RGB),
    "floats to 255": (RGB.astype(np.float32), {}, RGB),
    "floats to 4095": (deep(GREY, 4095).astype(np.float32), {}, GREY),
    "half floats": ((GREY / 255).astype(np.float16), {}, GREY),
    "64-bit floats": ((RGB / 255).astype(np.float64), {}, RGB),
    "64-bit integers": (deep(GREY).astype(np.uint64), {}, GREY),
    "signed": (RGB.astype(np.int16) * 128, {}, RGB),
    "signed 12 of 16 bits": (deep(GREY, 4095).astype(np.int16), {}, GREY),
    "inks": (deep(255 - np.dstack([RGB, OPAQUE])), {"photometric": 5, "planar": True}, RGB),
}
STORED = {
    "strips": {},
    "one strip": {"rows": 30, "order": ">"},
    "deflate": {"compression": 8},
    "deflate of Motorola": {"compression": 8, "order": ">"},
    "tiles": {"tile": 16},
    "deflated tiles": {"tile": 16, "compression": 8, "order": ">"},
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED.keys())
@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_every_kind_are_read(kind, stored):
    samples, options, expected = SAMPLES[kind]
    assert_decodes(tiff(samples, **options, **stored), expected)


@pytest.mark.parametrize("stored", [{}, {"tile": 16}, {"order": ">"}])
def test_predictors_are_undone(stored):
    assert_decodes(tiff(deep(RGB), predictor=2, compression=8, **stored), RGB)
    assert_decodes(tiff((RGB / 255).astype(np.float32), predictor=3, compression=8, **stored), RGB)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])  # none, LZW, deflate, packbits
@pytest.mark.parametrize("pixels", [deep(RGB), (RGB / 255).astype(np.float32)])
def test_files_of_opencv_are_read(pixels, compression):
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    assert_decodes(cv2.imencode(".tif", np.ascontiguousarray(pixels[..., ::-1]), options)[1].tobytes(), RGB)


BANDS = {
    "RGB called grey": (RGB, {"photometric": 1}, RGB),
    "RGB and four more": (np.dstack([RGB, RGB, GREY]), {"photometric": 2, "tags": [(338, "H", (0,) * 4)]}, RGB),
    "RGB and nine more": (np.dstack([RGB] * 4), {"photometric": 2, "tags": [(338, "H", (0,) * 9)]}, RGB),
    "16-bit RGB and alpha": (deep(np.dstack([RGB, OPAQUE])), {"photometric": 2, "tags": [(338, "H", (2,))]}, RGB),
    "alpha of zeros": (deep(np.dstack([RGB, OPAQUE * 0])), {"photometric": 2, "tags": [(338, "H", (2,))]}, OPAQUE),
    "grey and premultiplied": (deep(np.dstack([GREY, OPAQUE])), {"photometric": 1, "tags": [(338, "H", (1,))]}, GREY),
    "RGB and alpha called grey": (
        deep(np.dstack([RGB, OPAQUE])),
        {"photometric": 1, "tags": [(338, "H", (0, 0, 2))]},
        RGB,
    ),
    "grey and alpha": (deep(np.dstack([GREY, OPAQUE])), {"photometric": 1, "tags": [(338, "H", (2,))]}, GREY),
}


@pytest.mark.parametrize("kind", BANDS)
def test_bands_that_have_a_meaning_are_read(kind):
    samples, options, expected = BANDS[kind]
    assert_decodes(tiff(samples, **options), expected)


def test_floats_may_overshoot():
    overshot = (RGB * 1.04 - 5).astype(np.float32)
    for white in (1, 255):
        assert_decodes(tiff(overshot * np.float32(white / 255)), overshot.clip(0, 255), 2)


def test_full_range_that_the_file_names_says_nothing():
    assert_decodes(tiff(deep(GREY, 4095), tags=[(281, "H", (65535,))]), GREY)


def test_highest_value_that_the_file_names_is_white():
    assert_decodes(tiff(deep(GREY // 4, 1023), tags=[(281, "H", (1023,))]), GREY // 4)


def test_orientation_of_deep_samples_is_applied():
    assert_decodes(tiff(deep(RGB[::-1]), tags=[(274, "H", (4,))]), RGB)


@pytest.mark.parametrize(("samples", "options", "reason"), [
    ((GREY / 127 - 1).astype(np.float32), {}, "32-bit floating-point pixels with values from -1 to"),
    ((GREY / 51).astype(np.float64), {}, "64-bit floating-point pixels with values from 0 to 5:"),
    (RGB.astype(np.int16) - 100, {}, "16-bit integer pixels with values from -100 to 155:"),
    (GREY.astype(np.uint32) << 24, {}, "32-bit integer pixels with values from 0 to 4.27"),
    (np.dstack([RGB, GREY, GREY]), {"photometric": 1}, "5 bands, of which none is called red, green or blue:"),
])  # fmt: skip
def test_ambiguous_samples_are_refused_by_name_and_with_advice(samples, options, reason):
    with pytest.raises(ImageError, match=f"^{reason}.* save .* PNG$|^{reason}.*save it as PNG$"):
        images.decode(tiff(samples, **options))


def test_camera_raw_is_not_read_as_its_thumbnail():
    with pytest.raises(ImageError, match="^camera raw images are not supported: save it as JPEG$"):
        images.decode(tiff(RGB, tags=[(254, "I", (1,)), (330, "I", (8,))]))


def test_reduced_copies_of_a_page_are_left_out():
    pages = [Image.fromarray(RGB).resize((20, 15)), Image.fromarray(RGB)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], tiffinfo={254: 1})
    reduced = struct.pack("<HHII", 254, 4, 1, 1)
    assert content.count(reduced) == 2
    remarks: list[tuple[str, str]] = []
    at = content.rindex(reduced) + 8
    assert (images.decode(content[:at] + bytes(4) + content[at + 4 :], None, remarks) == RGB).all()
    assert remarks == []


def test_unknown_compression_is_named():
    with pytest.raises(ImageError, match="^TIFF of compression 34712, which is not read: save it as PNG or JPEG$"):
        images.decode(tiff(RGB, compression=34712))


@pytest.mark.parametrize("samples", [deep(RGB), (RGB / 255).astype(np.float32), RGB], ids=["16-bit", "float", "8-bit"])
@pytest.mark.parametrize("compression", [1, 8])
def test_truncated_samples_are_refused(samples, compression):
    noise = np.random.default_rng(0).permuted(samples.repeat(4, axis=1), axis=1)
    content = tiff(noise, compression=compression, rows=30, lost=2000)
    with pytest.raises(ImageError, match=r"^(truncated|damaged) TIFF$"):
        images.decode(content)


@pytest.mark.parametrize("big", [False, True])
def test_first_page_that_shows_something_is_used(big):
    blank, shown = Image.new("RGB", (40, 30), "white"), Image.fromarray(RGB)
    content = encoded(blank, "TIFF", save_all=True, append_images=[blank, shown], big_tiff=big)
    remarks: list[tuple[str, str]] = []
    assert (images.decode(content, None, remarks) == RGB).all()
    assert remarks == [("several images", "image 3 of 3 is used, for those before it are blank")]
