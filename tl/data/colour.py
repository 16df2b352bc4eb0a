"""Bring the pixels of every kind of image to 8-bit sRGB: colour profiles, deep samples, transparent parts."""

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

Remarks = list[tuple[str, str]]
"""What was decided about an image while it was decoded: the kind of the decision, and a sentence."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for an image without pixels or with too many."""
    if width < 1 or height < 1:
        raise ImageError("no pixels")
    if width * height > max_pixels:
        raise ImageError(f"too large: {width} × {height} pixels, {max_pixels // 10**6} million are allowed")


_SPACES = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_SAME = 2  # levels of 255: profiles that are nearer to sRGB than this are sRGB, written by another program
_BROKEN = "its colour profile is damaged or of another kind of image: its colours are taken for sRGB"


def to_srgb(image: "Image.Image", profile: bytes, remarks: Remarks) -> "Image.Image":
    """The image with its colours as the ICC profile says, in sRGB; itself without a profile or with one of sRGB.

    A profile that is broken, or of another colour space than the image, is ignored, and `remarks` says so.
    """
    mode = image.mode
    if mode == "LAB":
        profile = profile or _lab()
    if not profile or mode not in _SPACES:
        return image
    transform = _transform(profile, mode)
    if transform is None and mode == "L" and _transform(profile, "RGB") is not None:
        mode, transform = "RGB", _transform(profile, "RGB")  # grey pixels and a profile of colours
    if transform is None:
        remarks.append(("colour profile", _BROKEN))
    elif transform:
        from PIL import ImageCms

        converted = ImageCms.applyTransform(image if image.mode == mode else image.convert(mode), transform)
        return converted if converted is not None else image
    return image


def pixels_to_srgb(pixels: NDArray[np.uint8], profile: bytes, remarks: Remarks, *, is_grey: bool) -> NDArray[np.uint8]:
    """RGB pixels with their colours as the profile says, as `to_srgb` does; of grey ones the channels are equal."""
    if not profile or _transform(profile, "L" if is_grey else "RGB") is False:
        return pixels
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if is_grey else pixels)
    converted = to_srgb(image, profile, remarks)
    return pixels if converted is image else np.array(converted)


@lru_cache(32)
def _transform(profile: bytes, mode: str) -> Any:
    """The conversion to sRGB; False where it would change next to nothing, None where the profile cannot be used."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGBA" if mode == "RGBA" else "RGB")
    # A profile comes with the file: littlecms raises PyCMSError, and Pillow OSError or worse, on a broken one.
    except Exception:  # noqa: BLE001
        return None
    if mode not in ("RGB", "RGBA"):
        return transform
    return transform if _change(transform, mode) > _SAME else False


def _change(transform: Any, mode: str) -> int:
    """The largest change of a channel of colours from everywhere in the cube of RGB."""
    from PIL import Image, ImageCms

    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    samples = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(samples).convert(mode)
    change = np.asarray(ImageCms.applyTransform(before, transform)).astype(int) - np.asarray(before)
    return int(np.abs(change).max())


@lru_cache(1)
def _srgb() -> Any:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")


@lru_cache(1)
def _lab() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors and programs have
_FULL = (1 << 16) - 1  # the highest value of 16 bits: that a file names it says nothing
_OVERSHOOT = 0.05  # of floats, where resampling sharpens
_VAGUE = 16.0  # floats up to this and above 1 may be anything


def to_bytes(values: NDArray[Any], remarks: Remarks, *, bits: int = 0, white: int = 0) -> NDArray[np.uint8]:
    """Samples of more than 8 bits, or floats, as bytes.

    `bits` and `white` are the number of bits and the highest value that the file names. Otherwise it is the least that
    holds the highest value: 8, 10, 12, 14 or 16 bits, and for floats also 1. That is a property of the sensor or
    program, so that it is the same for nearly all images of one source. Raises ImageError where it cannot be told.
    """
    is_float = values.dtype.kind == "f"
    if is_float:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    lowest, highest = float(values.min()), float(values.max())
    top = _white(lowest, highest, values.dtype, bits=bits, white=white)
    if top not in (1, (1 << 8 * values.dtype.itemsize) - 1):
        held = "floating-point numbers" if is_float else f"{8 * values.dtype.itemsize} bits"
        remarks.append(("bit depth", f"values up to {highest:.0f} in {held}: {top:,} is taken for white"))
    scaled = np.empty(values.shape, np.uint8)
    for row in range(len(values)):  # by rows, which takes less memory
        exact = values[row].clip(0, top).astype(np.float64 if is_float else np.int64)
        scaled[row] = exact * (255 / top) + 0.5 if is_float else (exact * 255 + top // 2) // top
    return scaled


def _white(lowest: float, highest: float, kind: np.dtype[Any], *, bits: int, white: int) -> int:
    """The value that is white. Raises ImageError."""
    is_float = kind.kind == "f"
    beyond = _OVERSHOOT if is_float else 0.0
    if is_float and highest <= 1 + beyond and lowest >= -beyond:
        return 1
    most = highest / (1 + beyond)
    if lowest < -beyond * highest or most >= 1 << 16 or (is_float and highest < _VAGUE):
        raise ImageError(
            f"{8 * kind.itemsize}-bit {'floating-point' if is_float else 'integer'} pixels with values from"
            f" {lowest:.6g} to {highest:.6g}: scale them to 0–255 and save it as PNG"
        )
    if most <= white < _FULL:
        return white
    depths = (bits, *DEPTHS) if most < 1 << bits < _FULL else DEPTHS
    depths = (*depths[:-1], 15, 16) if kind == np.int16 else depths
    return (1 << next(depth for depth in depths if most < 1 << depth)) - 1


FAINT = 32  # levels of 255 that something must differ from its ground to be seen
_SAMPLED = 1024  # pixels of the longest side that are looked at
HIDDEN = 0.2


def over_ground(image: "Image.Image", remarks: Remarks) -> "Image.Image":
    """An RGBA image over white, or over black where white would hide it, as it hides white drawings.

    That is where, of all that is drawn, less than a fifth as much differs from white as from black.
    """
    from PIL import Image, ImageChops

    step = -(-max(image.size) // _SAMPLED)
    size = -(-image.width // step), -(-image.height // step)
    drawn = image if step == 1 else image.resize(size, Image.Resampling.NEAREST)
    red, green, blue, alpha = drawn.split()
    least, most = (pick(pick(red, green), blue) for pick in (ImageChops.darker, ImageChops.lighter))
    on_white = _weight(alpha, least.point([255 * (level < 256 - FAINT) for level in range(256)]))
    on_black = _weight(alpha, most.point([255 * (level >= FAINT) for level in range(256)]))
    is_hidden = on_white < HIDDEN * on_black and alpha.getextrema() != (255, 255)
    if is_hidden:
        remarks.append(("transparency", "drawn in white on a transparent ground: black is put behind it"))
    ground = Image.new("RGB", image.size, "black" if is_hidden else "white")
    ground.paste(image, mask=image)  # not alpha_composite, which takes twice the memory
    return ground


def _weight(alpha: "Image.Image", mask: "Image.Image") -> int:
    from PIL import ImageChops

    return sum(level * pixels for level, pixels in enumerate(ImageChops.multiply(alpha, mask).histogram()))
