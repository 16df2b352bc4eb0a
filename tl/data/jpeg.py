"""Read JPEGs: their segments, whether they are whole, and their pixels, by libjpeg-turbo.

Source: ITU-T T.81, annexes B and G.
"""

import re
from collections.abc import Iterator

START = b"\xff\xd8\xff"
MAX_SCANS = 500  # a malicious progressive JPEG has thousands of scans of few bytes; real ones have about ten
# A marker is FF and a code; FF 00, FF FF and the restart markers are part of the image data.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN, _TABLES, _APP1, _APP2 = 0xDA, 0xC4, 0xE1, 0xE2
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; Huffman-coded, so that a cut shows
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded"),
    0xF7: "lossless (JPEG-LS)",
}
_ENDING = (0xD9, 0xD8, 0x01, *_OTHER_FRAMES)  # the end marker itself, and what has no place inside a usual image
_MAX_SEGMENTS = 10_000
_COEFFICIENTS = range(64)
_ZEROS = bytes(16)


def segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The code of each marker with the start and the end of its body, to the end of the image or the last marker."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(content, at)
        if marker is None:
            return
        start = marker.end()
        code, length = content[start - 1], int.from_bytes(content[start : start + 2], "big")
        if code in (0xD8, 0xD9, 0x01):
            length = 0
        yield code, start + 2, start + length
        if code == 0xD9:
            return
        at = start + length


def _header(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments before the first scan, and that scan's own header."""
    for code, start, end in segments(content):
        yield code, content[start:end]
        if code in (_SCAN, 0xD9):
            return


def lacks_only_its_end(content: bytes) -> bool:
    """Whether a JPEG has all the scans that it needs and only its end marker is missing.

    libjpeg cannot tell: a progressive image that was cut between two scans decodes without a warning, only coarser, and
    one with a scan for each colour decodes as grey. The last scan may itself be cut: that its decoder notices.
    """
    components = b""
    missing: dict[tuple[int, int], int] = {}  # how many bits are still to come, by component and coefficient
    for number, (code, start, end) in enumerate(segments(content)):
        body = content[start:end]
        if code in _ENDING or end < start or (code in _FRAMES and components) or number == _MAX_SEGMENTS - 1:
            return False
        if code in _FRAMES:
            components = body[6::3]
        elif code == _SCAN:
            missing.update(_missing_bits(body))
    needed = [(component, k) for component in components for k in _COEFFICIENTS]
    return bool(needed) and all(missing.get(one) == 0 for one in needed)


def _missing_bits(scan: bytes) -> dict[tuple[int, int], int]:
    count = scan[0] if scan else 0
    if not 1 <= count <= 4 or len(scan) != 4 + 2 * count:
        return {}
    first, last, bits = scan[-3:]
    return {(component, k): bits & 15 for component in scan[1:-3:2] for k in _COEFFICIENTS if first <= k <= last}


def has_too_many_scans(content: bytes) -> bool:
    """Whether decoding would take very long; what follows the end of the image does not count."""
    if content.count(b"\xff\xda") <= MAX_SCANS:
        return False
    codes = [code for code, _, _ in segments(content)]
    return codes.count(_SCAN) > MAX_SCANS or len(codes) == _MAX_SEGMENTS


def is_progressive(content: bytes) -> bool:
    """Whether all of a JPEG is held in memory while it is decoded."""
    return any(code in (0xC2, 0xCA) for code, _ in _header(content))


def unusual_kind(content: bytes) -> str:
    """What kind of JPEG no decoder here reads, such as "12-bit JPEG"; "" for the usual ones."""
    for code, body in _header(content):
        if code in _FRAMES and body and body[0] != 8:
            return f"{body[0]}-bit JPEG"
        if code in _OTHER_FRAMES:
            return f"{_OTHER_FRAMES[code]} JPEG"
    return ""


def orientation(content: bytes) -> int:
    """How a JPEG is to be rotated by its EXIF data, from 1 (not at all) to 8."""
    exif = b"".join(body[6:] for code, body in _header(content) if code == _APP1 and body.startswith(b"Exif\0\0"))
    if not exif:
        return 1
    from PIL import Image

    try:
        values = Image.Exif()
        values.load(exif)
        value = values.get(0x0112, 1)
    # The pixels are decoded by now, and Pillow raises all kinds of errors on odd EXIF data: the photo is not rotated.
    except Exception:  # noqa: BLE001
        return 1
    return value if value in range(1, 9) else 1


def colour_profile(content: bytes) -> bytes:
    """The embedded ICC profile, from all of its segments; b"" if there is none."""
    parts = sorted(
        (body[12], body[14:])
        for code, body in _header(content)
        if code == _APP2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14
    )
    return b"".join(part for _, part in parts)


def components(content: bytes) -> int:
    """How many samples a pixel has: 1 is grey, 4 are inks."""
    return next((body[5] for code, body in _header(content) if code in _FRAMES and len(body) > 5), 0)


def damage(content: bytes, *, had_warning: bool = True) -> str:
    """What libjpeg-turbo says is damaged inside of a JPEG that it decodes; "" for one that is whole.

    Without `had_warning` it is known to have decoded it without one. Zeros before the end marker are padding. Zeros
    inside of a scan decode without a warning, but no encoder writes them: the code of an ordinary block has ones.
    """
    if had_warning and (warning := _warning(content)):
        padding = re.match(r"(\d+) extraneous bytes before marker 0xd9", warning)
        end = next((start - 4 for code, start, _ in segments(content) if code == 0xD9), len(content))
        return "" if padding and not content[end - int(padding[1]) : end].strip(b"\0") else warning
    return "zeros inside of its data" if _has_zeroed_bytes(content) else ""


def _warning(content: bytes) -> str:
    import simplejpeg

    try:
        *_, space, _ = simplejpeg.decode_jpeg_header(content)
        colorspace = "CMYK" if space in ("CMYK", "YCCK") else "GRAY"
        simplejpeg.decode_jpeg(content, colorspace, strict=True, min_height=1, min_width=1)
    except ValueError as error:
        return str(error).removeprefix("Corrupt JPEG data: ")
    return ""


def _has_zeroed_bytes(content: bytes) -> bool:
    first: dict[int, int] = {}  # the value of each table's code of zeros
    scan = 0  # where the data of a scan begins, in which zeros are damage
    for code, start, end in segments(content):
        if scan and content.find(_ZEROS, scan, start - 4) >= 0:
            return True
        body, scan = content[start:end], 0
        while code == _TABLES and len(body) > 17:
            first[body[0]] = body[17]
            body = body[17 + sum(body[1:17]) :]
        if code == 0xC2 or (code == _SCAN and content.find(_ZEROS, end) < 0):
            return False
        if code == _SCAN and len(body) > 2 and first.get(0x10 | (body[2] & 15)):
            scan = end  # where zeros were the code of "no more values", they would be a flat picture
    return False
