"""Every format and mode, damaged bytes, and what the decoder must never do."""

import hashlib
import subprocess
import sys
import threading
import time
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

from tl.data import decoding, images
from tl.errors import ImageError

register_heif_opener()  # for files that are made here

RED, GREEN, BLUE, WHITE = (220, 30, 40), (30, 200, 50), (20, 40, 210), (255, 255, 255)


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


def corners(array: np.ndarray) -> list[np.ndarray]:
    h, w = array.shape[:2]
    return [array[h // 4, w // 4], array[h // 4, 3 * w // 4], array[3 * h // 4, w // 4], array[3 * h // 4, 3 * w // 4]]


def assert_quarters(array: np.ndarray, tolerance: int = 12) -> None:
    for result, wanted in zip(corners(array), (RED, GREEN, BLUE, WHITE), strict=True):
        assert np.abs(result.astype(int) - wanted).max() <= tolerance, (result, wanted)


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 8),
        ("JPEG", {"quality": 95, "progressive": True}, 8),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("BMP", {}, 0),
        ("GIF", {}, 3),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_deflate"}, 0),
        ("TIFF", {"compression": "packbits"}, 0),
        ("HEIF", {"quality": 95}, 12),
        ("AVIF", {"quality": 95}, 12),
    ],
)
def test_all_formats_decode_to_the_same_colours(kind: str, options: dict[str, object], tolerance: int) -> None:
    array = images.decode(data(quarters(), kind, **options))
    assert array.dtype == np.uint8
    assert array.shape == (48, 64, 3)
    assert_quarters(array, tolerance)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_grey_image_has_three_equal_channels(kind: str) -> None:
    array = images.decode(data(Image.new("L", (20, 10), 100), kind))
    assert array.shape == (10, 20, 3)
    assert np.abs(array.astype(int) - 100).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_image_is_black_and_white(kind: str) -> None:
    image = Image.new("1", (20, 10), 0)
    image.paste(1, (0, 0, 10, 10))
    array = images.decode(data(image, kind))
    assert (array[:, :10] == 255).all()
    assert (array[:, 10:] == 0).all()


def test_adobe_cmyk_jpeg_keeps_its_colours() -> None:
    content = data(quarters().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert_quarters(images.decode(content), 12)


def test_cmyk_tiff_keeps_its_colours() -> None:
    assert_quarters(images.decode(data(quarters().convert("CMYK"), "TIFF")), 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    array = images.decode(data(Image.fromarray(values), kind))
    assert array[0, :, 0].tolist() == [0, 1, 128, 255]
    assert array.shape == (1, 4, 3)


def test_big_endian_sixteen_bit_tiff() -> None:
    import struct

    pixels = struct.pack(">4H", 0, 257, 32896, 65535)
    entries = [(256, 3, 4), (257, 3, 1), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 1)]
    entries.append((279, 4, len(pixels)))
    head = b"MM\x00*" + struct.pack(">I", 8 + len(pixels)) + pixels
    ifd = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        ifd += struct.pack(">HHI", tag, kind, 1) + packed
    array = images.decode(head + ifd + b"\0\0\0\0")
    assert array[0, :, 0].tolist() == [0, 1, 128, 255]


def test_unsupported_pixel_types_are_refused() -> None:
    floats = data(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point pixels are not supported"):
        images.decode(floats)
    deep = data(Image.fromarray(np.full((4, 4), 1 << 20, dtype=np.int32)), "TIFF")
    with pytest.raises(ImageError, match="32-bit pixels are not supported"):
        images.decode(deep)


def test_palette_image_keeps_its_colours() -> None:
    assert_quarters(images.decode(data(quarters().convert("P", palette=Image.Palette.ADAPTIVE), "PNG")), 4)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_blended_with_white(kind: str) -> None:
    image = Image.new("RGBA", (30, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (10, 0, 20, 10))
    image.paste((0, 0, 0, 255), (20, 0, 30, 10))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    array = images.decode(data(image, kind, **options))
    assert (array[:, :10] == 255).all()
    assert np.abs(array[:, 10:20].astype(int) - 127).max() <= 1
    assert (array[:, 20:] == 0).all()


def test_transparency_of_grey_palette_and_keyed_images() -> None:
    grey = Image.new("LA", (10, 10), (0, 0))
    assert (images.decode(data(grey, "PNG")) == 255).all()
    palette = Image.new("P", (10, 10), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (images.decode(data(palette, "PNG", transparency=1)) == 255).all()
    assert (images.decode(data(palette, "PNG", transparency=b"\xff\x00")) == 255).all()
    assert (images.decode(data(palette, "GIF", transparency=1)) == 255).all()
    assert (images.decode(data(palette, "PNG")) == 9).all()
    assert (images.decode(data(Image.new("L", (10, 10), 7), "PNG", transparency=7)) == 255).all()
    assert (images.decode(data(Image.new("RGB", (10, 10), (1, 2, 3)), "PNG", transparency=(1, 2, 3))) == 255).all()


def test_first_frame_of_a_gif_is_decoded() -> None:
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)]
    content = data(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(images.decode(content)[0, 0].astype(int) - RED).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    # The stored pixels are what a camera writes that was held so; the turn below undoes what EXIF will do.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = quarters()
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    content = data(stored, kind, exif=exif, **options)
    array = images.decode(content)
    assert array.shape == (48, 64, 3)
    assert_quarters(array)
    assert array.flags["C_CONTIGUOUS"]


def test_exif_rotation_is_applied_while_shrinking_and_through_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = quarters(640, 480).transpose(Image.Transpose.ROTATE_90)
    shrunk = images.decode(data(stored, "JPEG", exif=exif, quality=95), min_side=50)
    assert shrunk.shape == (60, 80, 3)
    assert_quarters(shrunk)
    cmyk = images.decode(data(stored.convert("CMYK"), "JPEG", exif=exif, quality=95), min_side=50)
    assert cmyk.shape[:2] == (60, 80)
    assert_quarters(cmyk)


def test_broken_exif_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = data(quarters(), "JPEG", exif=exif, quality=95)
    at = content.index(b"Exif") + 6
    broken = content[:at] + b"\xff" * 10 + content[at + 10 :]
    assert_quarters(images.decode(broken))


@pytest.mark.parametrize(("size", "min_side", "expected"), [
    ((1600, 1200), 224, (300, 400)),
    ((1200, 1600), 224, (400, 300)),
    ((500, 500), 224, (250, 250)),
    ((4000, 300), 224, (300, 4000)),
    ((400, 300), 224, (300, 400)),
    ((50, 40), 224, (40, 50)),
])  # fmt: skip
def test_jpeg_is_shrunk_while_decoding_but_not_below_the_limit(
    size: tuple[int, int], min_side: int, expected: tuple[int, int]
) -> None:
    content = data(quarters(*size), "JPEG", quality=90)
    array = images.decode(content, min_side=min_side)
    assert array.shape[:2] == expected
    assert min(array.shape[:2]) >= min(min_side, *size)
    assert_quarters(array)
    assert images.decode(content).shape[:2] == (size[1], size[0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_one_pixel_is_decoded(kind: str) -> None:
    array = images.decode(data(Image.new("RGB", (1, 1), (128, 128, 128)), kind), min_side=224)
    assert array.shape == (1, 1, 3)
    for rule in ("stretch", "crop"):
        square = images.fit(array, 32, rule)
        assert square.shape == (32, 32, 3)
        assert np.abs(square.astype(int) - 128).max() <= 2


# ---- damaged and hostile bytes


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty file"),
    (b"<html>\n<body>not result", "not an image (starts with '<html>')"),
    (b"version https://git-lfs.github.com/spec/v1\n", "not an image (starts with 'version https://')"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image (starts with '%!PS-Adobe-3.0 E')"),
    (b"\0" * 5000, "not an image (zero bytes)"),
    (b"\x1f\x8b\x08\x00abc", "not an image (starts with bytes 1f 8b 08 00)"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "damaged HEIC"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL images are not supported: save it as JPEG"),
    (b"8BPS\0\1", "Photoshop images are not supported: save it as JPEG"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon raw images are not supported: save it as JPEG"),
    (b"\0\0\0\x18ftypavif\0\0\0\0", "damaged AVIF"),
    (b"\0\0\0\x18ftypisom\0\0\0\0", "not an image (starts with bytes 00 00 00 18)"),
    (b"P6 1 1 255\n\1\2\3", "not an image (starts with 'P6 1 1 255')"),
    (b"\xff\xd8\xff\xe0", "damaged JPEG"),
    (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
    (b"GIF89a", "damaged GIF"),
])  # fmt: skip
def test_undecodable_content_has_a_short_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        images.decode(content)
    assert str(caught.value) == reason


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("min_side", [None, 32])
def test_truncated_jpeg_is_refused(share: float, progressive: bool, min_side: int | None) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    content = data(noise, "JPEG", progressive=progressive)
    with pytest.raises(ImageError, match=r"^truncated JPEG$"):
        images.decode(content[: int(len(content) * share)], min_side=min_side)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF"])
def test_truncated_image_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    content = data(noise, kind)
    with pytest.raises(ImageError, match=r"^(truncated|damaged) "):
        images.decode(content[: len(content) // 2])


def test_heic_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    for kind in ("HEIF", "AVIF"):
        with pytest.raises(ImageError, match="too large: 64 × 48 pixels"):
            images.decode(data(quarters(), kind))


def test_few_extraneous_bytes_are_accepted() -> None:
    content = data(quarters(), "JPEG", quality=95)
    end = content.rindex(b"\xff\xd9")
    assert_quarters(images.decode(content + b"trailing rubbish"))
    padded = content[:end] + b"\0\0\0\0" + content[end:]
    with pytest.raises(ValueError, match="extraneous"):
        __import__("simplejpeg").decode_jpeg(padded)
    assert_quarters(images.decode(padded))


def test_damaged_png_is_refused() -> None:
    content = bytearray(data(quarters(), "PNG"))
    at = content.index(b"IDAT") + 10
    content[at : at + 8] = b"\xff" * 8
    with pytest.raises(ImageError, match=r"^(damaged|truncated) PNG$"):
        images.decode(bytes(content))


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20000, 20000), (65535, 65535), (13378, 13378)])
def test_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    began = time.perf_counter()
    with pytest.raises(ImageError, match="too large"):
        images.decode(png_of_size(*size))
    assert time.perf_counter() - began < 1


def test_jpeg_bomb_is_refused_by_its_header() -> None:
    content = bytearray(data(Image.new("RGB", (16, 16)), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = b"\xea\x60\xea\x60"
    with pytest.raises(ImageError, match="too large: 60000 × 60000 pixels"):
        images.decode(bytes(content), min_side=224)


def test_jpeg_with_too_many_scans_is_refused() -> None:
    content = data(quarters(), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start : content.rindex(b"\xff\xd9")]
    with pytest.raises(ImageError, match="too many scans"):
        images.decode(content[:start] + scan * 600 + b"\xff\xd9")


def test_large_image_decodes_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # 64 × 48 = 3072 pixels: Pillow warns above it
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(BytesIO(data(quarters(), "PNG"))).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_quarters(images.decode(data(quarters(), "PNG")))


def test_threads_restore_the_warning_filters() -> None:
    before = list(warnings.filters)
    content = data(quarters(300, 300), "PNG")

    def work() -> None:
        for _ in range(20):
            images.decode(content)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
    assert decoding._QUIET.inside == 0


def test_pillow_tries_no_other_parsers() -> None:
    Image.init()
    for kind in ("PPM", "ICO", "TGA", "PCX", "EPS"):
        with pytest.raises(ImageError):
            images.decode(data(quarters(), kind))


SEEDS = [
    data(quarters(), "JPEG"),
    data(quarters(), "JPEG", progressive=True, exif=(lambda e: (e.__setitem__(0x0112, 6), e)[1])(Image.Exif())),
    data(quarters().convert("CMYK"), "JPEG"),
    data(quarters(), "PNG"),
    data(quarters().convert("P"), "PNG", transparency=b"\0\x80"),
    data(quarters(), "WEBP"),
    data(quarters(), "BMP"),
    data(quarters(), "GIF"),
    data(quarters(), "TIFF"),
    data(quarters(), "TIFF", compression="tiff_lzw"),
    data(quarters(), "HEIF"),
    data(quarters(), "AVIF"),
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=8),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    min_side=st.sampled_from([None, 8, 224]),
)
def test_decode_raises_nothing_but_image_errors(
    seed: bytes, edits: list[tuple[float, bytes]], cut: float, min_side: int | None
) -> None:
    content = bytearray(seed)
    for where, what in edits:
        at = int(where * (len(content) - 1))
        content[at : at + len(what)] = what
    try:
        array = images.decode(bytes(content[: int(cut * len(content))]), min_side)
    except ImageError as error:
        array, text = None, str(error)
    if array is None:
        assert "\n" not in text
        assert 0 < len(text) < 100
    else:
        assert array.dtype == np.uint8
        assert array.shape[2] == 3
        assert array.size > 0


# ---- reading, fingerprints, arrays


def test_read_returns_bytes_or_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"abc")
    assert images.read(file) == b"abc"
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"^empty file$"):
        images.read(tmp_path / "empty.png")
    with pytest.raises(ImageError, match=r"^cannot be read: no such file or directory$"):
        images.read(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"^not a file$"):
        images.read(tmp_path)


def test_files_over_the_limit_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    with file.open("wb") as out:
        out.truncate(images.MAX_BYTES + 1)
    with pytest.raises(ImageError, match="larger than 512 MB"):
        images.read(file)


def test_fingerprint_depends_on_bytes_or_on_shape_and_pixels() -> None:
    assert images.fingerprint(b"abc") == hashlib.sha256(b"abc").digest()
    tall, wide = np.zeros((4, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    assert images.fingerprint(tall) != images.fingerprint(wide)
    assert images.fingerprint(tall) == images.fingerprint(tall.copy())
    strided = np.zeros((4, 4, 3), np.uint8)[:, ::2]
    assert images.fingerprint(strided) == images.fingerprint(tall)


def test_rgb_arrays_are_returned_and_others_refused() -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    assert images.read(array) is array
    assert images.decode(array) is array
    with pytest.raises(ImageError, match="not an RGB array"):
        images.decode(np.zeros((4, 5), np.uint8))


# ---- fit


@pytest.mark.parametrize("rule", ["stretch", "crop"])
@pytest.mark.parametrize("shape", [(48, 64), (500, 700), (10, 700), (700, 10), (1, 70000), (224, 224), (300, 100)])
def test_fit_makes_a_square_of_any_shape(shape: tuple[int, int], rule: str) -> None:
    image = np.full((*shape, 3), (10, 20, 30), np.uint8)
    square = images.fit(image, 224, rule)
    assert square.shape == (224, 224, 3)
    assert square.dtype == np.uint8
    assert (square == (10, 20, 30)).all()


def test_stretch_shows_the_whole_image_and_crop_its_centre() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, :40] = RED
    image[:, 120:] = GREEN
    whole = images.fit(image, 32, "stretch")
    assert (whole[16, 2] == RED).all()
    assert (whole[16, 29] == GREEN).all()
    assert (images.fit(image, 32, "crop") == 0).all()


def test_crop_agrees_with_resize_then_crop() -> None:
    import cv2

    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (640, 512, 3), dtype=np.uint8), (0, 0), 5)
    resized = cv2.resize(image, (256, 320), interpolation=cv2.INTER_AREA)
    expected = resized[48:272, 16:240]
    assert np.abs(images.fit(image, 224, "crop").astype(int) - expected).mean() < 1


def test_shrinking_averages_and_unknown_rules_are_errors() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(images.fit(stripes, 16).astype(int) - 127).max() <= 1
    with pytest.raises(ValueError, match="no such rule"):
        images.fit(stripes, 16, "pad")


def test_import_loads_no_image_library() -> None:
    code = (
        "import sys, tl.data.images, tl.data.load, tl.data.splits;"
        "print([m for m in ('cv2', 'PIL', 'simplejpeg', 'filelock', 'tarfile', 'zipfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.photos
def test_all_photos_decode(photos: Path) -> None:
    files = sorted(photos.glob("*/*.jpg"))
    assert len(files) == 502
    for file in files:
        image = images.decode(images.read(file), min_side=64)
        assert min(image.shape[:2]) >= 32
