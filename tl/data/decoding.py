"""Decode image files of each format to RGB, with libjpeg-turbo and the parsers of Pillow that are named here.

JPEGs go to libjpeg-turbo, which shrinks while it decodes. Everything else, and every JPEG it rejects, goes to Pillow;
HEIC, which telephones write, goes to libheif (pi-heif).
"""

import importlib
import re
import struct
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data import jpeg, tiff
from tl.data.colour import Remarks, check_size, over_ground, pixels_to_srgb, to_bytes, to_srgb
from tl.errors import ImageError
from tl.text import count

if TYPE_CHECKING:
    from PIL import Image


SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIF": (".heic", ".heif"),
    "AVIF": (".avif",),
}
"""The file endings of each supported format, the usual one first."""

HEAD = 64  # how many of the first bytes identify the format
_MAGIC = (
    (jpeg.START, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # of more than 4 GB, or of a program that always writes so
    (b"MM\x00+", "TIFF"),
)
_UNSUPPORTED = (
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (8, b"crx ", "Canon raw"),
    (8, b"CR\x02", "Canon raw"),
    (6, b"HEAPCCDR", "Canon raw"),
    (0, b"FUJIFILM", "Fujifilm raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"IIU\0", "Panasonic raw"),
    (0, b"FOVb", "Sigma raw"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance"),
    (0, b"#?RGBE", "Radiance"),
    (0, b"DDS ", "DirectDraw"),
    (0, b"qoif", "QOI"),
    (0, b"\0\0\1\0", "Windows icon"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile"),
    (40, b" EMF", "Windows metafile"),
    (0, b"%!PS", "PostScript"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
)
_PATTERNS = (
    (re.compile(rb"P[1-6]\s+(#[^\n]*\s+)*\d+\s+\d|P7\s+WIDTH"), "Netpbm"),
    (
        re.compile(
            rb"\s*(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.{,400}?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg\b", re.S
        ),
        "SVG",
    ),
)
_OTHER_CONTENT = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer, not the image itself: run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the image itself: run git annex get"),
    (b"\x1f\x8b", "a gzip archive: unpack it with gunzip"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"%PDF", "a PDF: save its pages as JPEG"),
    (b"\x93NUMPY", "a NumPy array: save it as PNG"),
)
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def format_of(content: bytes) -> str:
    """The format of an image, one of `SUFFIXES`; "" for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        # "mif1" alone says nothing of the codec: then the other brands do.
        brands = content[8:HEAD]
        if brands[:4] in (b"avif", b"avis") or (brands[:4] in (b"mif1", b"msf1") and b"avif" in brands):
            return "AVIF"
        return "HEIF" if brands[:4] in _HEIF else ""
    return next((name for magic, name in _MAGIC if content.startswith(magic)), "")


def unsupported_format(content: bytes) -> str:
    """The name of an image format that is not supported; "" for anything else."""
    by_magic = (name for at, magic, name in _UNSUPPORTED if content.startswith(magic, at))
    by_pattern = (name for pattern, name in _PATTERNS if pattern.match(content[:1024]))
    return next(by_magic, "") or next(by_pattern, "")


MAX_PIXELS = 178_956_970  # half a gigabyte of RGB: the limit of Pillow as well
_MAX_JPEG = 8  # times as many pixels, for a JPEG is shrunk while it is decoded; a progressive one is held in memory
_MAX_PROGRESSIVE = 2
_MIN_BYTES = 1 / 1024  # of a JPEG's pixel: less than a bit for a block of 64
_DISPLAY_NAMES = {"WEBP": "WebP", "HEIF": "HEIC"}
_MAX_FRAMES = 100  # of an animation that are looked at for one that is not blank
_BLANK = 8  # levels of 255 that the pixels of a frame differ by, if it shows nothing


def decode(content: bytes, min_side: int, remarks: Remarks | None = None) -> NDArray[np.uint8]:
    """Decode an image of any supported format to sRGB: upright, transparent parts over a ground, 16 bits scaled to 8.

    With `min_side` above 0 a JPEG may be shrunk, but no side below so many pixels. Of several frames the first is taken
    that shows something. What was decided, and what is damaged, is added to `remarks`. Raises ImageError, and whatever
    else Pillow's parsers raise on damaged bytes.
    """
    noted: Remarks = []
    is_jpeg = content.startswith(jpeg.START)
    image = _decode_jpeg(content, min_side, noted) if is_jpeg else None
    was_rejected = is_jpeg and image is None
    if image is None:
        image = _decode_any(content, min_side, noted)
    if remarks is not None:
        if is_jpeg and (damage := jpeg.damage(content, had_warning=was_rejected)):
            noted.append(("damaged part", f"part of the picture is damaged ({damage})"))
        remarks += noted if is_jpeg else _with_number_of_frames(noted, content)
    return image


def _decode_jpeg(content: bytes, min_side: int, remarks: Remarks) -> NDArray[np.uint8] | None:
    """Decode a JPEG; None when libjpeg-turbo rejects it (Pillow can tell harmless from truncated), and for inks.

    An image that lacks only its end marker is accepted. Raises ImageError for its size.
    """
    if jpeg.has_too_many_scans(content):
        raise ImageError("JPEG with too many scans")
    profile = jpeg.colour_profile(content)
    samples = jpeg.components(content) if profile else 0
    if samples == 4:  # libjpeg-turbo makes RGB of inks, and knows of no profile
        return None
    image = _decode_whole_jpeg(content, min_side)
    if image is None and jpeg.lacks_only_its_end(content):
        # With an end marker it is rejected only where data is missing.
        image = _decode_whole_jpeg(content + b"\xff\xd9", min_side)
    if image is None:
        return None
    image = pixels_to_srgb(image, profile, remarks, is_grey=samples == 1)
    return _rotate(image, jpeg.orientation(content))


def _decode_whole_jpeg(content: bytes, min_side: int) -> NDArray[np.uint8] | None:
    import simplejpeg

    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        least_width, least_height = _least_size(content, width, height, min_side)
        # libjpeg-turbo decodes a whole image faster than it scales one by 5/8 or 7/8, hence nothing between 1 and 1/2.
        sides = {"min_height": least_height, "min_width": least_width, "min_factor": 2} if least_width else {}
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, strict=True, **sides)
    except ValueError:
        return None
    return image


def _least_size(content: bytes, width: int, height: int, min_side: int) -> tuple[int, int]:
    """The width and height below which a JPEG is not to be shrunk; 0, 0 if it is not to be shrunk at all."""
    if width * height <= MAX_PIXELS:
        return min_side, min_side
    check_size(width, height, MAX_PIXELS * (_MAX_PROGRESSIVE if jpeg.is_progressive(content) else _MAX_JPEG))
    if len(content) < width * height * _MIN_BYTES:
        raise ImageError("truncated JPEG")
    factor = next(factor for factor in (2, 4, 8) if width * height <= MAX_PIXELS * factor**2)
    least = (max(1, width // factor), max(1, height // factor))
    return min(least[0], min_side or least[0]), min(least[1], min_side or least[1])


def _decode_any(content: bytes, min_side: int, remarks: Remarks) -> NDArray[np.uint8]:
    with _QUIET:
        try:
            return _first_visible(_frames(content, min_side, remarks), remarks)
        except ImageError:
            raise
        except Exception:
            check_size(*_declared_size(content, format_of(content)), MAX_PIXELS)
            needed = _without_text(content) if format_of(content) == "PNG" else content
            if needed == content:
                raise
            remarks.clear()
            return _first_visible(_frames(needed, min_side, remarks), remarks)


def _first_visible(frames: Iterator["Image.Image"], remarks: Remarks) -> NDArray[np.uint8]:
    first = _to_rgb(next(frames), remarks)
    try:
        most = min(_MAX_FRAMES, 10 * MAX_PIXELS // first.size)
        for number, frame in enumerate(islice(frames, most), 2) if _is_blank(first) else ():
            of_frame: Remarks = []
            pixels = _to_rgb(frame, of_frame)
            if not _is_blank(pixels):
                remarks[:] = [*of_frame, ("several images", f"{number}")]
                return pixels
    # The first frame is good, whatever is wrong with others.
    except Exception:  # noqa: BLE001, S110
        pass
    return first


def _is_blank(pixels: NDArray[np.uint8]) -> bool:
    """Whether the pixels show nothing; two of them tell mostly, and a few nearly always."""
    if abs(int(pixels[0, 0, 1]) - int(pixels[len(pixels) // 2, pixels.shape[1] // 2, 1])) >= _BLANK:
        return False
    return all(int(np.ptp(part, axis=(0, 1)).max()) < _BLANK for part in (pixels[::16, ::16], pixels))


def _frames(content: bytes, min_side: int, remarks: Remarks) -> Iterator["Image.Image"]:
    """The frames of an animation or the pages of a file, upright, beginning with the one that is shown first."""
    from PIL import ImageOps

    kind = format_of(content)
    if kind == "TIFF":
        for page in tiff.pages(content, remarks, MAX_PIXELS):
            ImageOps.exif_transpose(page, in_place=True)
            yield page
        return
    if kind != "HEIF":  # whose size is that of a part of it, if it is cropped
        check_size(*_declared_size(content, kind), MAX_PIXELS)
    with open_image(content) as image:
        if kind == "JPEG" and min(least := _least_size(content, *image.size, min_side)) > 0:
            image.draft(None, least)
        check_size(*image.size, MAX_PIXELS)
        image.load()
        if kind == "BMP":
            image.info["icc_profile"] = _bmp_profile(content)
        if kind == "PNG" and content[_DEPTH] == 16:
            yield ImageOps.exif_transpose(_deep_png(content, image, remarks))
            return
        is_animated = kind != "JPEG" and getattr(image, "is_animated", False)
        if not is_animated:
            ImageOps.exif_transpose(image, in_place=True)
            yield image
            return
        shown = image.tell()
        for number in (shown, *(other for other in range(getattr(image, "n_frames", 1)) if other != shown)):
            if number != image.tell():
                image.seek(number)
                image.load()
            yield ImageOps.exif_transpose(image)


def _bmp_profile(content: bytes) -> bytes:
    """The colour profile of a BMP of version 5, which Pillow does not read."""
    version, kind, at, size = struct.unpack_from("<I52xI52x2I", content.ljust(134, b"\0"), 14)
    return content[14 + at :][:size] if (version, kind) == (124, 0x4D424544) else b""


def _declared_size(content: bytes, kind: str) -> tuple[int, int]:
    """Width and height of a WebP, AVIF or HEIC, whose decoders do not say that it is too large; 1, 1 of others."""
    if kind == "WEBP" and content[12:16] in (b"VP8X", b"VP8L"):
        if content[15:16] == b"X":
            return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind in ("AVIF", "HEIF") and (at := content.find(b"ispe", 0, 1 << 14)) > 0 and len(content) >= at + 16:
        return int.from_bytes(content[at + 8 : at + 12], "big"), int.from_bytes(content[at + 12 : at + 16], "big")
    return 1, 1


def _deep_png(content: bytes, image: "Image.Image", remarks: Remarks) -> "Image.Image":
    """A PNG of 16 bits a channel, of which Pillow drops the lower half of all but grey ones."""
    from PIL import Image

    significant = content.find(b"sBIT", 8, content.find(b"IDAT"))
    bits = content[significant + 4] if significant > 0 else 0
    values: NDArray[np.uint16] = np.atleast_3d(np.asarray(image)).astype(np.uint16)
    if content[_COLOUR_TYPE] == _GREY_WITH_ALPHA:
        values = values[..., 2:]  # which Pillow shows as RGBA
    if not image.mode.startswith("I"):
        values <<= 8
        values |= _lower_bytes(content, image.mode)
    colours = values[..., : values.shape[2] - (values.shape[2] in (2, 4))]
    pixels = to_bytes(colours, remarks, bits=bits)
    key = image.info.get("transparency")
    if key is not None:
        alpha = np.where((colours == key).all(axis=2, keepdims=True), 0, 255).astype(np.uint8)
        pixels = np.concatenate([pixels, alpha], axis=2)
    elif values.shape[2] in (2, 4):
        pixels = np.concatenate([pixels, to_bytes(values[..., -1:], [], bits=bits)], axis=2)
    deep = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    deep.info["icc_profile"] = image.info.get("icc_profile")
    deep.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return deep


def _lower_bytes(content: bytes, mode: str) -> NDArray[np.uint8]:
    """The lower half of each sample of a PNG of 16 bits a channel."""
    if content[_COLOUR_TYPE] == _GREY_WITH_ALPHA:  # its bytes are stored as those of RGBA with 8 bits are
        head = content[8:24].replace(b"\0\0\0\rIHDR", b"IHDR") + b"\x08\x06" + content[26:29]
        content = content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:]
        with open_image(content) as image:
            return np.asarray(image)[..., 1::2]
    with open_image(content) as image:
        image.tile = [tile._replace(args=f"{mode};16L") for tile in image.tile]  # type: ignore[attr-defined]
        return np.asarray(image)


_ORIENTATION = 0x0112
_DEPTH, _COLOUR_TYPE, _GREY_WITH_ALPHA = 24, 25, 4  # places in a PNG, and a type
_TEXT = (b"tEXt", b"zTXt", b"iTXt")


def _without_text(content: bytes) -> bytes:
    """A PNG without its text, and without anything that it can do without and whose checksum is wrong."""
    kept, at, name = [content[:8]], 8, b""
    while at + 12 <= len(content) and name != b"IEND":
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        name, checksum = content[at + 4 : at + 8], int.from_bytes(content[end - 4 : end], "big")
        is_needed = not name[0] & 0x20
        if is_needed or (name not in _TEXT and zlib.crc32(content[at + 4 : end - 4]) == checksum):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _with_number_of_frames(remarks: Remarks, content: bytes) -> Remarks:
    """The remarks, with one about the images of an animation or file of pages if there are several."""
    frames, shown = _number_of_frames(content), dict(remarks).get("several images")
    if frames < 2:
        return remarks
    sentence = f"the first of {frames:,} images is used"
    if shown:
        sentence = f"image {shown} of {frames:,} is used, for those before it are blank"
    return [*(each for each in remarks if each[0] != "several images"), ("several images", sentence)]


def _number_of_frames(content: bytes) -> int:
    kind = format_of(content)
    if kind == "BMP" or (kind == "PNG" and content.find(b"acTL", 0, content.find(b"IDAT")) < 0):
        return 1
    try:
        with _QUIET:
            if kind == "TIFF":
                return tiff.count_pages(content)
            with open_image(content) as image:
                return int(getattr(image, "n_frames", 1))
    # The image itself is decoded, and Pillow may raise anything about the others.
    except Exception:  # noqa: BLE001
        return 1


_COUNTED = {
    "damaged part": "with a damaged part",
    "transparency": "drawn in white on a transparent ground, put over black",
    "several images": "in files of several, of which one is used",
    "bit depth": "of unusual bit depth, scaled to 8 bits",
    "colour profile": "with an unusable colour profile",
}


def count_remarks(kinds: Counter[str]) -> list[str]:
    """How many images there are with each kind of remark, in words."""
    return [f"{count(kinds[kind], 'image')} {words}" for kind, words in _COUNTED.items() if kinds[kind]]


def from_pillow(image: "Image.Image") -> NDArray[np.uint8]:
    """The pixels of a Pillow image as `decode` makes them."""
    from PIL import ImageOps

    return _to_rgb(ImageOps.exif_transpose(image), [])


def open_image(content: bytes) -> "Image.Image":
    """Open an image with Pillow's parser of its format alone, which may raise anything; its pixels are not read yet.

    Image.open would refuse a large one without saying how large it is.
    """
    from PIL import Image

    kind = format_of(content)
    if kind == "HEIF":
        from pi_heif import register_heif_opener

        register_heif_opener()
    elif kind and kind not in Image.OPEN:
        importlib.import_module(f"PIL.{_PLUGINS.get(kind, kind.capitalize())}ImagePlugin")
    if not kind:
        raise ImageError(reason(ValueError(), content))
    image: Image.Image = Image.OPEN[kind][0](BytesIO(content), "")
    return image


_PLUGINS = {"WEBP": "WebP"}
_UNSUPPORTED_KIND = re.compile(
    r"unsupported|not (yet )?supported|unknown (pixel|raw|data|layout)|no decoding|not implemented|not available"
)


def reason(error: Exception, content: bytes) -> str:
    """Why bytes could not be decoded, in a few words; after a colon, what to do about it."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "decompression bomb" in text:
        return "too large to decode"
    if words := next((words for magic, words in _OTHER_CONTENT if content.startswith(magic)), ""):
        return words
    if other := unsupported_format(content):
        return f"{other} images are not supported: save it as JPEG"
    kind = format_of(content)
    if not kind and content[4:8] == b"ftyp":
        return "a video, or a kind of HEIF that is not read: save the picture as JPEG"
    if not kind:
        return f"not an image ({_start(content)})"
    if kind == "JPEG" and (unusual := jpeg.unusual_kind(content)):
        return f"{unusual}: save it as an ordinary JPEG, with 8 bits a channel"
    name = _DISPLAY_NAMES.get(kind, kind)
    if not text.startswith("invalid input") and _UNSUPPORTED_KIND.search(text):  # of which libheif lists what it lacks
        return f"{name} of a kind that is not read ({_short(error)}): save it as JPEG or PNG"
    return f"{'truncated' if 'truncated' in text else 'damaged'} {name}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).replace(":", ",").rstrip(".")[:40].lower() or type(error).__name__


def _rotate(image: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    if how in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if how in (3, 4, 7, 8):
        image = image[::-1]
    if how in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _to_rgb(image: "Image.Image", remarks: Remarks) -> NDArray[np.uint8]:
    from PIL import Image

    profile = image.info.get("icc_profile") or b""
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(to_bytes(np.array(image), remarks))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        drawn = image if image.mode == "RGBA" else image.convert("RGBA")
        if profile and image.mode in ("L", "LA", "La"):
            alpha, drawn = drawn.getchannel("A"), to_srgb(drawn.convert("L"), profile, remarks).convert("RGB")
            drawn.putalpha(alpha)
        else:
            drawn = to_srgb(drawn, profile, remarks)
        return np.array(over_ground(drawn, remarks))
    if image.mode in ("P", "1", "YCbCr", "HSV"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    converted = to_srgb(image, profile, remarks)
    return np.array(converted if converted.mode == "RGB" else converted.convert("RGB"))


def _start(content: bytes) -> str:
    head = content[:1024].lstrip()[:16]
    if not content[:1024].strip(b"\0"):
        return "zero bytes"
    line = head.splitlines()[0] if head else b""
    text = line.decode("ascii", "replace")
    if line and text.isprintable() and "\ufffd" not in text:
        return f"starts with '{text}'"
    return f"starts with bytes {content[:4].hex(' ')}"


class _Quiet:
    """Silences Pillow's warnings of large images and odd metadata: what matters of them is an ImageError here.

    warnings.catch_warnings swaps a list that all threads share, so that two threads inside it at once can leave the
    wrong one behind: here the first to enter swaps it, and the last to leave swaps it back.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__(None, None, None)


_QUIET = _Quiet()
