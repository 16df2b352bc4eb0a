"""Colour profiles, deep samples and transparent parts, in every format that has them."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from support.image_kinds import (
    BLUE,
    GREEN,
    RED,
    SWAPPED,
    chunk,
    cmyk_profile,
    deep_png,
    encoded,
    grey_picture,
    grey_profile,
    matrix_profile,
    picture,
    tiff,
    white_drawing,
)
from tl.data import images
from tl.data.colour import _transform

register_heif_opener()

RGB, GREY = picture(), grey_picture()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = matrix_profile((0.5151, 0.2412, -0.0011), (0.292, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))  # Display P3
Remarks = list[tuple[str, str]]


def decoded(content: bytes) -> tuple[np.ndarray, Remarks]:
    remarks: Remarks = []
    return images.decode(content, None, remarks).astype(int), remarks


def converted(image: Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    return np.asarray(
        ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    ).astype(int)


FORMATS = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 98},
    "HEIF": {"quality": 98},
}


@pytest.mark.parametrize("profile", [SWAPPED, WIDE], ids=["swapped", "wide"])
@pytest.mark.parametrize("kind", FORMATS)
def test_colours_are_converted_by_the_profile(kind, profile):
    pixels, remarks = decoded(encoded(Image.fromarray(RGB), kind, icc_profile=profile, **FORMATS[kind]))
    assert np.abs(pixels - converted(Image.fromarray(RGB), profile)).mean() < 3
    assert remarks == []


def test_profile_of_a_bmp_is_used():
    plain = encoded(Image.fromarray(RGB), "BMP")
    size, offset = len(plain) - 54, 14 + 124
    head = b"BM" + struct.pack("<IHHI", offset + size + len(SWAPPED), 0, 0, offset)
    five = struct.pack("<I", 124) + plain[18:54].ljust(52, b"\0") + b"DEBM" + bytes(48)
    five += struct.pack("<IIII", 4, 124 + size, len(SWAPPED), 0)
    pixels, _ = decoded(head + five + plain[54:] + SWAPPED)
    assert np.abs(pixels - converted(Image.fromarray(RGB), SWAPPED)).max() <= 1


def test_colours_of_deep_samples_are_converted():
    expected = converted(Image.fromarray(RGB), SWAPPED)
    deep = RGB.astype(np.uint16) * 257
    for content in (
        tiff(deep, tags=[(34675, "B", tuple(SWAPPED))]),
        deep_png(deep, chunk(b"iCCP", b"x\0\0" + zlib.compress(SWAPPED))),
    ):
        assert np.abs(decoded(content)[0] - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_colours_are_converted_before_transparent_parts_are_filled(kind):
    half = np.dstack([RGB, np.where(np.arange(40) < 20, 255, 0)[None].repeat(30, 0)]).astype(np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels, _ = decoded(encoded(Image.fromarray(half), kind, icc_profile=SWAPPED, **options))
    assert np.abs(pixels[:, :20] - converted(Image.fromarray(RGB), SWAPPED)[:, :20]).max() <= 1
    assert (pixels[:, 20:] == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_table(kind):
    inks = Image.fromarray(np.dstack([RGB, GREY]), "CMYK")
    profile = cmyk_profile()
    pixels, remarks = decoded(encoded(inks, kind, icc_profile=profile, quality=98))
    assert np.abs(pixels - converted(inks, profile)).mean() < 4
    assert np.abs(pixels - np.asarray(inks.convert("RGB"))).mean() > 20
    assert remarks == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_is_converted_by_its_curve(kind):
    pixels, _ = decoded(encoded(Image.fromarray(GREY), kind, icc_profile=grey_profile(1.0)))
    assert np.abs(pixels - converted(Image.fromarray(GREY), grey_profile(1.0))).mean() < 2
    assert pixels.mean() > GREY.mean() + 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("profile", [SRGB, matrix_profile(RED, GREEN, BLUE, srgb_curve=True)])
def test_profiles_of_srgb_change_no_byte(kind, profile):
    plain, tagged = (
        images.decode(encoded(Image.fromarray(RGB), kind, **options)) for options in ({}, {"icc_profile": profile})
    )
    assert (plain == tagged).all()
    assert _transform(profile, "RGB") is False


@pytest.mark.parametrize("profile", [b"rubbish" * 40, SWAPPED[:200], cmyk_profile(), grey_profile(1.8)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_unusable_profiles_are_ignored_and_said(kind, profile):
    plain = images.decode(encoded(Image.fromarray(RGB), kind))
    pixels, remarks = decoded(encoded(Image.fromarray(RGB), kind, icc_profile=profile))
    assert (pixels == plain).all()
    assert [name for name, _ in remarks] == ["colour profile"]


def test_profiles_count_for_palettes_and_for_black_and_white():
    palette = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE)
    pixels, remarks = decoded(encoded(palette, "PNG", icc_profile=SWAPPED))
    assert np.abs(pixels - converted(palette.convert("RGB"), SWAPPED)).max() <= 1
    black_and_white = decoded(encoded(Image.fromarray(GREY).convert("1"), "PNG", icc_profile=grey_profile(1.8)))
    assert np.unique(black_and_white[0]).tolist() == [0, 255]
    assert remarks == black_and_white[1] == []


def test_profile_of_several_segments_is_put_together():
    long = SWAPPED + bytes(150_000)
    content = encoded(Image.fromarray(RGB), "JPEG", icc_profile=long, quality=98, subsampling=0)
    assert content.count(b"ICC_PROFILE\0") == 3
    assert np.abs(decoded(content)[0] - converted(Image.fromarray(RGB), SWAPPED)).mean() < 3


def test_profile_counts_for_images_in_memory():
    image = Image.open(BytesIO(encoded(Image.fromarray(RGB), "PNG", icc_profile=SWAPPED)))
    assert (images.as_image(image) == images.decode(encoded(Image.fromarray(RGB), "PNG", icc_profile=SWAPPED))).all()


def test_lab_is_converted():
    lab = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert np.abs(decoded(encoded(lab, "TIFF"))[0] - RGB).mean() < 3


# ---- samples of more than 8 bits


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_fewer_bits_in_a_png_of_16_are_scaled(bits, bands):
    pixels = np.dstack([RGB, np.full_like(GREY, 255)])[..., {1: 0, 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[bands]]
    values, remarks = decoded(deep_png((pixels.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)))
    expected = RGB if bands > 2 else GREY[..., None]
    assert np.abs(values - expected).max() <= 1
    assert [kind for kind, _ in remarks] == ([] if bits == 16 else ["bit depth"])


def test_number_of_bits_that_a_png_names_is_used():
    values = (GREY.astype(np.uint32) * 4095 // 255 // 8).astype(np.uint16)
    assert np.abs(decoded(deep_png(values, chunk(b"sBIT", b"\x0c")))[0] - GREY[..., None] // 8).max() <= 1
    assert np.abs(decoded(deep_png(values, chunk(b"sBIT", b"\x10")))[0] - GREY[..., None] // 2).max() <= 1


def test_pixels_of_a_pillow_image_of_16_bits_are_scaled():
    for array in (GREY.astype(np.uint16) * 16, GREY.astype(np.int32), (GREY / 255).astype(np.float32)):
        assert np.abs(images.as_image(Image.fromarray(array)).astype(int) - GREY[..., None]).max() <= 1


# ---- transparent parts


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (240, 245, 250)])
def test_white_drawing_is_put_over_black(kind, colour):
    drawing = white_drawing(colour=colour)
    pixels, remarks = decoded(encoded(drawing, kind, **({"lossless": True} if kind == "WEBP" else {})))
    alpha = np.asarray(drawing)[..., 3:] / 255
    assert np.abs(pixels - alpha * colour).mean() < 4
    assert [name for name, _ in remarks] == ["transparency"]


def test_white_drawing_of_grey_palette_and_deep_pixels_is_put_over_black():
    drawing = white_drawing()
    alpha = np.asarray(drawing)[..., 3]
    grey = np.dstack([np.full_like(alpha, 255), alpha])
    palette = Image.fromarray((alpha > 0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    for content in (
        encoded(Image.fromarray(grey, "LA"), "PNG"),
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "GIF", transparency=0),
        deep_png(grey.astype(np.uint16) * 257),
        deep_png(np.asarray(drawing).astype(np.uint16) * 257),
    ):
        assert (images.decode(content)[..., 0] == alpha).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 30), (255, 255, 0), (200, 200, 200)])
def test_other_drawings_stay_over_white(colour):
    drawing = white_drawing(colour=colour)
    pixels, remarks = decoded(encoded(drawing, "PNG"))
    alpha = np.asarray(drawing)[..., 3:] / 255
    assert np.abs(pixels - (alpha * colour + 255 * (1 - alpha))).max() <= 1
    assert remarks == []


def test_white_picture_without_transparent_parts_and_nothing_at_all_stay_white():
    for pixels in (np.full((20, 20, 4), 255, np.uint8), np.zeros((20, 20, 4), np.uint8)):
        assert (decoded(encoded(Image.fromarray(pixels), "PNG"))[0] == 255).all()
