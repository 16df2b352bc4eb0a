"""The first bytes of an image become the name of its format, as Pillow calls it; each with the endings of its files."""

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIF": (".heic", ".heif"),
    "AVIF": (".avif",),
}
"""The endings of each format that is read, the usual one first."""

HEAD = 64
"""How many of the first bytes tell the format."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_UNREAD = (
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (8, b"crx ", "Canon raw"),
    (8, b"CR\x02", "Canon raw"),
    (0, b"FUJIFILM", "Fujifilm raw"),
)
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def format_of(content: bytes) -> str:
    """The name of an image's format, one of `SUFFIXES`; "" for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _of_brands(content[8:HEAD])
    return next((name for magic, name in _MAGIC if content.startswith(magic)), "")


def _of_brands(brands: bytes) -> str:
    # "mif1" alone says nothing of how the pixels are packed: then the other brands do.
    if brands[:4] in (b"avif", b"avis") or (brands[:4] in (b"mif1", b"msf1") and b"avif" in brands):
        return "AVIF"
    return "HEIF" if brands[:4] in _HEIF else ""


def unread(content: bytes) -> str:
    """The name of an image's format that is not read, in words for people; "" for anything else."""
    return next((name for at, magic, name in _UNREAD if content.startswith(magic, at)), "")
