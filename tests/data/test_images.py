"""Every format and mode, damaged bytes, and what the decoder must never do."""

import hashlib
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

from support.image_kinds import SWAPPED, deep_png, tiff
from tl.data import decoding, images
from tl.data.image_stats import measure_images
from tl.errors import ImageError

register_heif_opener()  # for files that are made here

RED, GREEN, BLUE, WHITE = (220, 30, 40), (30, 200, 50), (20, 40, 210), (255, 255, 255)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Four flat quarters: red, green over blue, white: any flip or turn shows."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def data(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    values = Image.Exif()
    values[0x0112] = orientation
    return values


def assert_quarters(array: np.ndarray, tolerance: int = 12) -> None:
    h, w = array.shape[:2]
    corners = array[[h // 4, h // 4, 3 * h // 4, 3 * h // 4], [w // 4, 3 * w // 4, w // 4, 3 * w // 4]]
    assert np.abs(corners.astype(int) - (RED, GREEN, BLUE, WHITE)).max() <= tolerance, corners


def grey(content: bytes) -> list[int]:
    return images.decode(content)[0, :, 0].tolist()


@pytest.mark.parametrize(("mode", "kind", "options", "tolerance"), [
    ("RGB", "JPEG", {"quality": 95}, 8),
    ("RGB", "JPEG", {"quality": 95, "progressive": True}, 8),
    ("CMYK", "JPEG", {"quality": 95}, 12),  # as Adobe writes it
    ("RGB", "PNG", {}, 0),
    ("P", "PNG", {}, 4),
    ("RGB", "WEBP", {"lossless": True}, 0),
    ("RGB", "WEBP", {"quality": 95}, 12),
    ("RGB", "BMP", {}, 0),
    ("RGB", "GIF", {}, 3),
    ("RGB", "GIF", {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}, 3),  # the first frame
    ("RGB", "TIFF", {}, 0),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}, 0),
    ("RGB", "TIFF", {"compression": "tiff_deflate"}, 0),
    ("RGB", "TIFF", {"compression": "packbits"}, 0),
    ("CMYK", "TIFF", {}, 2),
    ("RGB", "HEIF", {"quality": 95}, 12),
    ("RGB", "AVIF", {"quality": 95}, 12),
])  # fmt: skip
def test_all_formats_decode_to_the_same_colours(mode, kind, options, tolerance):
    array = images.decode(data(quarters().convert(mode, palette=Image.Palette.ADAPTIVE), kind, **options))
    assert (array.dtype, array.shape) == (np.uint8, (48, 64, 3))
    assert_quarters(array, tolerance)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_grey_image_has_three_equal_channels(kind):
    array = images.decode(data(Image.new("L", (20, 10), 100), kind))
    assert array == pytest.approx(np.full((10, 20, 3), 100), abs=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_image_is_black_and_white(kind):
    image = Image.new("1", (20, 10), 0)
    image.paste(1, (0, 0, 10, 10))
    assert grey(data(image, kind)) == [255] * 10 + [0] * 10


SIXTEEN_BITS = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)


def big_endian_tiff() -> bytes:
    pixels = SIXTEEN_BITS.astype(">u2").tobytes()
    entries = [(256, 3, 4), (257, 3, 1), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 1)]
    entries.append((279, 4, len(pixels)))
    ifd = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        ifd += struct.pack(">HHI", tag, kind, 1) + packed
    return b"MM\x00*" + struct.pack(">I", 8 + len(pixels)) + pixels + ifd + b"\0\0\0\0"


def test_sixteen_bits_are_scaled_not_clipped():
    sixteen = Image.fromarray(SIXTEEN_BITS)
    for content in (data(sixteen, "PNG"), data(sixteen, "TIFF"), big_endian_tiff()):
        assert grey(content) == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_blended_with_white(kind):
    image = Image.new("RGBA", (30, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (10, 0, 20, 10))
    image.paste((0, 0, 0, 255), (20, 0, 30, 10))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert grey(data(image, kind, **options)) == pytest.approx([255] * 10 + [127] * 10 + [0] * 10, abs=1)


def test_transparency_of_grey_palette_and_keyed_images():
    palette = Image.new("P", (10, 10), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    for image, kind, key in (
        (Image.new("LA", (10, 10), (0, 0)), "PNG", {}),
        (palette, "PNG", {"transparency": 1}),
        (palette, "PNG", {"transparency": b"\xff\x00"}),
        (palette, "GIF", {"transparency": 1}),
        (Image.new("L", (10, 10), 7), "PNG", {"transparency": 7}),
        (Image.new("RGB", (10, 10), (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)}),
    ):
        assert (images.decode(data(image, kind, **key)) == 255).all()
    assert (images.decode(data(palette, "PNG")) == 9).all()


# The stored pixels are what a camera writes that was held so; the turn undoes what EXIF will do.
UNDO = [
    *(None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
    *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270),
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("orientation", "undo"), list(enumerate(UNDO, 1)))
def test_exif_rotation_is_applied(kind, orientation, undo):
    stored = quarters() if undo is None else quarters().transpose(undo)
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    array = images.decode(data(stored, kind, exif=exif(orientation), **options))
    assert array.shape == (48, 64, 3)
    assert_quarters(array)
    assert array.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])  # CMYK goes through Pillow
def test_exif_rotation_is_applied_while_shrinking(mode):
    stored = quarters(640, 480).transpose(Image.Transpose.ROTATE_90).convert(mode)
    shrunk = images.decode(data(stored, "JPEG", exif=exif(6), quality=95), min_side=50)
    assert shrunk.shape == (60, 80, 3)
    assert_quarters(shrunk)


@pytest.mark.parametrize("value", [0, 9, 56624])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientations_other_than_1_to_8_are_ignored(kind, value):
    content = data(quarters(), kind, exif=exif(value))
    assert_quarters(images.decode(content))
    assert measure_images([images.EncodedImage(content)]).headers[0].orientation == 1


@pytest.mark.parametrize("size", [1 << 16, 1 << 18])
def test_exif_behind_other_segments_is_found(size):
    content = data(quarters().transpose(UNDO[5]), "JPEG", exif=exif(6), quality=95)
    comments = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    assert_quarters(images.decode(content[:2] + comments * (size // 0xFFFF) + content[2:]))


def test_broken_exif_is_ignored():
    content = data(quarters(), "JPEG", exif=exif(6), quality=95)
    at = content.index(b"Exif") + 6
    assert_quarters(images.decode(content[:at] + b"\xff" * 10 + content[at + 10 :]))


@pytest.mark.parametrize(("size", "min_side", "expected"), [
    ((1600, 1200), 224, (300, 400)),
    ((1200, 1600), 224, (400, 300)),
    ((500, 500), 224, (250, 250)),
    ((4000, 300), 224, (300, 4000)),
    ((400, 300), 224, (300, 400)),
    ((50, 40), 224, (40, 50)),
])  # fmt: skip
def test_jpeg_is_shrunk_while_decoding_but_not_below_the_limit(size, min_side, expected):
    content = data(quarters(*size), "JPEG", quality=90)
    array = images.decode(content, min_side=min_side)
    assert array.shape[:2] == expected
    assert_quarters(array)
    assert images.decode(content).shape[:2] == (size[1], size[0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_one_pixel_is_decoded(kind):
    array = images.decode(data(Image.new("RGB", (1, 1), (128, 128, 128)), kind), min_side=224)
    assert array.shape == (1, 1, 3)
    for rule in ("stretch", "crop"):
        assert images.fit(array, 32, rule) == pytest.approx(np.full((32, 32, 3), 128), abs=2)


# ---- damaged and hostile bytes


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty file"),
    (b"<html>\n<body>not result", "not an image (starts with '<html>')"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the image itself: run git lfs pull"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript images are not supported: save it as JPEG"),
    (b"#!/bin/sh\nrm", "not an image (starts with '#!/bin/sh')"),
    (b"<?xml version='1.0'?>\n<!-- a --><svg xmlns='x'>", "SVG images are not supported: save it as JPEG"),
    (b"\0" * 128 + b"DICM", "DICOM images are not supported: save it as JPEG"),
    (b"/annex/objects/SHA256E-s1--0.jpg\n", "a git-annex pointer, not the image itself: run git annex get"),
    (b"\0" * 5000, "not an image (zero bytes)"),
    (b"\x1f\x8b\x08\x00abc", "a gzip archive: unpack it with gunzip"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "damaged HEIC"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL images are not supported: save it as JPEG"),
    (b"8BPS\0\1", "Photoshop images are not supported: save it as JPEG"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon raw images are not supported: save it as JPEG"),
    (b"\0\0\0\x18ftypavif\0\0\0\0", "truncated AVIF"),
    (b"\0\0\0\x18ftypisom\0\0\0\0", "a video, or a kind of HEIF that is not read: save the picture as JPEG"),
    (b"P6 1 1 255\n\1\2\3", "Netpbm images are not supported: save it as JPEG"),
    (b"\xff\xd8\xff\xe0", "damaged JPEG"),
    (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
    (b"GIF89a", "damaged GIF"),
])  # fmt: skip
def test_undecodable_content_has_a_short_reason(content, reason):
    with pytest.raises(ImageError) as caught:
        images.decode(content)
    assert str(caught.value) == reason


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("min_side", [None, 32])
def test_truncated_jpeg_is_refused(share, progressive, min_side):
    content = data(NOISE, "JPEG", progressive=progressive)
    with pytest.raises(ImageError, match=r"^truncated JPEG$"):
        images.decode(content[: int(len(content) * share)], min_side=min_side)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF"])
def test_truncated_image_is_refused(kind):
    content = data(NOISE, kind)
    with pytest.raises(ImageError, match=r"^(truncated|damaged) "):
        images.decode(content[: len(content) // 2])


def test_damaged_png_is_refused():
    content = data(quarters(), "PNG")
    at = content.index(b"IDAT") + 10
    with pytest.raises(ImageError, match=r"^(damaged|truncated) PNG$"):
        images.decode(content[:at] + b"\xff" * 8 + content[at + 8 :])


def test_few_extraneous_bytes_are_accepted():
    content = data(quarters(), "JPEG", quality=95)
    end = content.rindex(b"\xff\xd9")
    assert_quarters(images.decode(content + b"trailing rubbish"))
    padded = content[:end] + b"\0\0\0\0" + content[end:]
    with pytest.raises(ValueError, match="extraneous"):
        __import__("simplejpeg").decode_jpeg(padded)
    assert_quarters(images.decode(padded))


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    content = data(Image.new("RGB", (16, 16)), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


@pytest.mark.parametrize("size", [(60000, 60000), (20000, 20000), (13378, 13378)])
@pytest.mark.parametrize("bomb", [png_of_size, jpeg_of_size])
def test_decompression_bomb_is_refused_by_its_header(size, bomb):
    limits = {png_of_size: 178, jpeg_of_size: 1431}
    reason = f"^too large: {size[0]} × {size[1]} pixels, {limits[bomb]} million are allowed$"
    with pytest.raises(ImageError, match=reason if bomb is png_of_size or size[0] == 60000 else "^truncated JPEG$"):
        images.decode(bomb(*size), min_side=224)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])  # CMYK goes through Pillow
@pytest.mark.parametrize("min_side", [None, 30, 1000])
def test_jpeg_above_the_limit_is_decoded_reduced(monkeypatch, mode, min_side):
    content = data(quarters(640, 480).convert(mode), "JPEG", quality=95)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48 * 30)
    array = images.decode(content, min_side)
    assert array.shape[:2] == ((60, 80) if min_side == 30 else (240, 320))
    assert_quarters(array)


def test_what_is_refused_for_its_size_names_it_and_the_limit(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1_000_000)
    with pytest.raises(ImageError, match="^too large: 1200 × 1000 pixels, 1 million are allowed$"):
        images.decode(data(Image.new("RGB", (1200, 1000)), "PNG"))
    with pytest.raises(ImageError, match="^too large: 1600 × 1300 pixels, 2 million are allowed$"):
        images.decode(data(Image.new("RGB", (1600, 1300)), "JPEG", progressive=True))


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_that_is_too_large_is_refused(monkeypatch, kind):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="too large: 64 × 48 pixels"):
        images.decode(data(quarters(), kind))


def test_jpeg_with_too_many_scans_is_refused():
    content = data(quarters(), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start : content.rindex(b"\xff\xd9")]
    with pytest.raises(ImageError, match="too many scans"):
        images.decode(content[:start] + scan * 600 + b"\xff\xd9")


def test_large_image_decodes_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # 64 × 48 = 3072 pixels: Pillow warns above it
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(BytesIO(data(quarters(), "PNG"))).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_quarters(images.decode(data(quarters(), "PNG")))


def test_threads_restore_the_warning_filters():
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(images.decode, [data(quarters(300, 300), "PNG")] * 160))
    assert list(warnings.filters) == before
    assert decoding._QUIET.inside == 0


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "EPS"])
def test_pillow_tries_no_other_parsers(kind):
    Image.init()
    with pytest.raises(ImageError):
        images.decode(data(quarters(), kind))


SEEDS = [
    *(data(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF")),
    data(quarters(), "JPEG", progressive=True, exif=exif(6)),
    data(quarters().convert("CMYK"), "JPEG"),
    data(quarters().convert("P"), "PNG", transparency=b"\0\x80"),
    data(quarters(), "TIFF", compression="tiff_lzw"),
    data(quarters(), "JPEG", icc_profile=SWAPPED),
    data(quarters(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
    data(quarters(), "PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
    data(Image.fromarray(np.asarray(quarters().convert("L"), np.float32)), "TIFF", compression="tiff_lzw"),
    *(deep_png(np.asarray(quarters().convert(mode), np.uint16) * 257) for mode in ("L", "LA", "RGB", "RGBA")),
    *(tiff(np.asarray(quarters(), np.uint16) * 257, **kind) for kind in ({}, {"tile": 16}, {"compression": 8})),
    tiff(np.asarray(quarters(), np.float32), planar=True, compression=8, predictor=3),
    tiff(np.asarray(quarters().convert("L"), np.uint16) * 16, bits=12),
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=8),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    min_side=st.sampled_from([None, 8, 224]),
)
def test_decode_raises_nothing_but_image_errors(seed, edits, cut, min_side):
    content = bytearray(seed)
    for where, what in edits:
        at = int(where * (len(content) - 1))
        content[at : at + len(what)] = what
    try:
        array, reason = images.decode(bytes(content[: int(cut * len(content))]), min_side), ""
    except ImageError as error:
        array, reason = None, str(error)
    if array is None:
        assert "\n" not in reason
        assert 0 < len(reason) < 100
    else:
        assert (array.dtype, array.shape[2]) == (np.uint8, 3)
        assert array.size > 0


# ---- reading, fingerprints, arrays


def test_read_returns_bytes_or_a_reason(tmp_path):
    for name, content in (("a.png", b"abc"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "huge.png").open("wb") as out:
        out.truncate(images.MAX_BYTES + 1)
    assert images.read(tmp_path / "a.png") == b"abc"
    for name, reason in (
        ("empty.png", "empty file"),
        ("none.png", "cannot be read: no such file or directory"),
        (".", "not a file"),
        ("huge.png", "larger than 512 MB"),
    ):
        with pytest.raises(ImageError, match=f"^{reason}$"):
            images.read(tmp_path / name)


def test_fingerprint_depends_on_bytes_or_on_shape_and_pixels():
    assert images.fingerprint(b"abc") == hashlib.sha256(b"abc").digest()
    tall, wide = np.zeros((4, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    assert images.fingerprint(tall) != images.fingerprint(wide)
    strided = np.zeros((4, 4, 3), np.uint8)[:, ::2]
    assert images.fingerprint(strided) == images.fingerprint(tall) == images.fingerprint(tall.copy())


def test_rgb_arrays_are_returned_and_others_refused():
    array = np.zeros((4, 5, 3), np.uint8)
    assert images.read(array) is images.decode(array) is array
    with pytest.raises(ImageError, match="not an RGB array"):
        images.decode(np.zeros((4, 5), np.uint8))


# ---- fit


@pytest.mark.parametrize("rule", ["stretch", "crop"])
@pytest.mark.parametrize("shape", [(48, 64), (500, 700), (10, 700), (700, 10), (1, 70000), (224, 224), (300, 100)])
def test_fit_makes_a_square_of_any_shape(shape, rule):
    square = images.fit(np.full((*shape, 3), (10, 20, 30), np.uint8), 224, rule)
    assert (square.shape, square.dtype) == ((224, 224, 3), np.uint8)
    assert (square == (10, 20, 30)).all()


def test_stretch_shows_the_whole_image_and_crop_its_centre():
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, :40], image[:, 120:] = RED, GREEN
    assert (images.fit(image, 32, "stretch")[16, [2, 29]] == (RED, GREEN)).all()
    assert (images.fit(image, 32, "crop") == 0).all()


def test_crop_agrees_with_resize_then_crop():
    noise = np.random.default_rng(0).integers(0, 256, (640, 512, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 5)
    expected = cv2.resize(image, (256, 320), interpolation=cv2.INTER_AREA)[48:272, 16:240]
    assert np.abs(images.fit(image, 224, "crop").astype(int) - expected).mean() < 1


def test_shrinking_averages_and_unknown_rules_are_errors():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(images.fit(stripes, 16).astype(int) - 127).max() <= 1
    with pytest.raises(ValueError, match="no such rule"):
        images.fit(stripes, 16, "pad")


@pytest.mark.photos
def test_all_photos_decode(photos):
    files = sorted(photos.glob("*/*.jpg"))
    assert len(files) == 502
    assert all(min(images.decode(images.read(file), min_side=64).shape[:2]) >= 32 for file in files)


@pytest.mark.parametrize("rule", ["stretch", "crop"])
@pytest.mark.parametrize("side", [33, 65, 100, 130, 180, 300, 420])
def test_networks_are_shown_what_any_decoder_gives(side, rule):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side * 4 // 3, 3), np.uint8)
    content = data(Image.fromarray(pixels), "JPEG", quality=92)
    whole = images.fit(images.decode(content), 32, rule).astype(int)
    difference = np.abs(images.read_resized(content, 32, rule) - whole)
    assert difference.max() <= (0 if side < 2 * 5 * 32 else 12)  # larger ones are shrunk while they are decoded
    assert difference.mean() < 1.5
