"""Files of several images, files with damage or rubbish in them, and what is said of files that are not read."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from support.image_kinds import bad_text, chunk, encoded, picture, with_chunks
from tl.data import decoding, images
from tl.errors import ImageError

register_heif_opener()

RGB = picture()
NOISE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
LARGE = np.kron(NOISE, np.ones((4, 4, 1), np.uint8))
Remarks = list[tuple[str, str]]


def decoded(content: bytes) -> tuple[np.ndarray, Remarks]:
    remarks: Remarks = []
    return images.decode(content, None, remarks).astype(int), remarks


# ---- several images


def frames(*shown: bool) -> list[Image.Image]:
    return [Image.fromarray(RGB) if each else Image.new("RGB", (40, 30), "white") for each in shown]


ANIMATED = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 95},
    "HEIF": {"quality": 95},
}


@pytest.mark.parametrize("kind", ANIMATED)
def test_first_frame_that_shows_something_is_used(kind):
    first, *others = frames(False, False, True)
    # Two frames alike may be written as one that is shown for longer.
    others[0].putpixel((0, 0), (252, 252, 252))
    content = encoded(first, kind, save_all=True, append_images=others, **ANIMATED[kind])
    pixels, remarks = decoded(content)
    assert np.abs(pixels - RGB).mean() < 12
    assert remarks == [("several images", "image 3 of 3 is used, for those before it are blank")]


@pytest.mark.parametrize("kind", ANIMATED)
def test_first_frame_is_used_where_it_shows_something_or_none_does(kind):
    for shown in ((True, True), (False, False)):
        first, second = frames(*shown)
        second.putpixel((0, 0), (250, 250, 250))
        content = encoded(first, kind, save_all=True, append_images=[second], **ANIMATED[kind])
        pixels, remarks = decoded(content)
        assert np.abs(pixels - np.asarray(first)).mean() < 12
        assert remarks == [("several images", "the first of 2 images is used")]


def test_damage_behind_a_blank_frame_does_no_harm():
    first, second = frames(False, True)
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert (decoded(content[: len(content) * 2 // 3])[0] == 255).all()


def test_first_picture_of_a_camera_with_two_is_used():
    first = Image.fromarray(LARGE)
    content = encoded(first, "MPO", save_all=True, append_images=[first.resize((40, 30))])
    assert images.decode(content).shape == LARGE.shape
    assert ".mpo" in images.IMAGE_SUFFIXES


# ---- damage and rubbish


def jpeg(**options: object) -> bytes:
    return encoded(Image.fromarray(LARGE), "JPEG", quality=92, **options)


def _zeroed(content: bytes, size: int) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(size) + content[middle + size :]


DAMAGED = {
    "64 zeros": lambda content: _zeroed(content, 64),
    "4096 zeros": lambda content: _zeroed(content, 4096),
    "lost": lambda content: content[: len(content) // 2] + content[len(content) // 2 + 700 :],
    "cut and closed": lambda content: content[: len(content) * 6 // 10] + b"\xff\xd9",
}


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"subsampling": 0}])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_inside_of_a_jpeg_is_said(damage, options):
    _, remarks = decoded(DAMAGED[damage](jpeg(**options)))
    assert [kind for kind, _ in remarks] == ["damaged part"]


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 5}])
def test_whole_jpegs_are_not_called_damaged(options):
    flat = np.zeros((400, 400, 3), np.uint8)
    flat[:40, :60] = LARGE[:40, :60]
    for pixels in (LARGE, flat, flat[..., 0], 255 - flat):
        content = encoded(Image.fromarray(pixels), "JPEG", quality=90, **options)
        for whole in (content, content[:-2] + bytes(20) + content[-2:]):
            for tail in (b"", bytes(5000), bytes(5000) + jpeg()):
                assert decoded(whole + tail)[1] == []


TAILS = {"zeros": bytes(100_000), "scans": b"\xff\xda\0\x0c" * 3000, "photo": jpeg()}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF"])
def test_long_tail_is_ignored(kind, tail):
    content = encoded(Image.fromarray(RGB), kind)
    assert (images.decode(content + tail) == images.decode(content)).all()


BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000)))


@pytest.mark.parametrize("text", [bad_text(), bad_text(b"iTXt"), bad_text(b"tIME"), bad_text(b"eXIf"), BOMB])
@pytest.mark.parametrize("at_end", [False, True])
def test_png_is_read_in_spite_of_its_text(text, at_end):
    content = encoded(Image.fromarray(RGB), "PNG")
    assert (decoded(with_chunks(content, *([b"", text] if at_end else [text])))[0] == RGB).all()


def test_png_with_a_wrong_checksum_of_its_pixels_is_damaged():
    content = encoded(Image.fromarray(RGB), "PNG")
    with pytest.raises(ImageError, match="^damaged PNG$"):
        images.decode(with_chunks(content, bad_text(b"IDAT")))


# ---- files that are not read


def _frame(code: int, bits: int = 8) -> bytes:
    content = jpeg()
    at = content.index(b"\xff\xc0")
    return content[: at + 1] + bytes([code]) + content[at + 2 : at + 4] + bytes([bits]) + content[at + 5 :]


@pytest.mark.parametrize(("content", "kind"), [
    (_frame(0xC1, 12), "12-bit"),
    (_frame(0xC2, 12), "12-bit"),
    (_frame(0xC3, 16), "lossless"),
    (_frame(0xC5), "hierarchical"),
    (_frame(0xF7), "lossless (JPEG-LS)"),
])  # fmt: skip
def test_kinds_of_jpeg_that_are_not_read_are_named(content, kind):
    with pytest.raises(ImageError) as caught:
        images.decode(content)
    assert str(caught.value) == f"{kind} JPEG: save it as an ordinary JPEG, with 8 bits a channel"


def test_kind_of_tiff_that_is_not_read_is_not_called_damaged():
    content = encoded(Image.fromarray(RGB), "TIFF")
    place = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    with pytest.raises(ImageError, match=r"^TIFF of a kind that is not read \(unknown pixel mode\): save it as JPEG"):
        images.decode(content[:place] + b"\x22\x80" + content[place + 2 :])


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "GIF", "AVIF", "HEIF", "TIFF"])
def test_size_that_is_too_large_is_named(kind):
    content = bytearray(encoded(Image.new("P" if kind == "GIF" else "RGB", (64, 48)), kind))
    at, form, side = {"WEBP": (24, "<HBHB", 16000), "BMP": (18, "<ii", 20000), "GIF": (6, "<HH", 60000)}.get(
        kind, (content.find(b"ispe") + 8, ">II", 20000)
    )
    if kind == "WEBP":
        content[12:30] = b"VP8X\x0a\0\0\0" + bytes(10)
        content[24:30] = (side - 1).to_bytes(3, "little") * 2
    elif kind == "TIFF":
        for tag, size in ((256, 64), (257, 48)):
            place = content.index(struct.pack("<HHII", tag, 4, 1, size))
            content[place + 8 : place + 12] = struct.pack("<I", side)
    else:
        struct.pack_into(form, content, at, side, side)
    with pytest.raises(ImageError, match=f"^too large: {side} × {side} pixels, 178 million are allowed$"):
        images.decode(bytes(content))


def test_size_of_a_large_image_is_told_although_pillow_would_refuse_it(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decoding.open_image(encoded(Image.fromarray(RGB), "PNG")).size == (40, 30)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(encoded(Image.fromarray(RGB), "PNG")))
