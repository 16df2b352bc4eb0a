"""Copy a folder of labelled photos and plant faults in the copy, chosen by a seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, random.Random], Image.Image]


@dataclass
class Planted:
    """What was planted, by file name: flipped labels, destroyed files, and pairs of copies with the kind of change."""

    folder: Path
    images: int = 0
    flipped: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)
    copies: dict[frozenset[str], str] = field(default_factory=dict)


def resized(image: Image.Image, draw: random.Random) -> Image.Image:
    share = draw.uniform(0.4, 0.8)
    return image.resize((max(8, round(image.width * share)), max(8, round(image.height * share))))


def recompressed(image: Image.Image, draw: random.Random) -> Image.Image:
    content = BytesIO()
    image.save(content, "JPEG", quality=draw.randint(15, 40))
    return Image.open(content).convert("RGB")


def mirrored(image: Image.Image, _: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    left, right, top, bottom = (draw.uniform(0.02, 0.08) for _ in range(4))
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


def brightened(image: Image.Image, draw: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(draw.choice((0.6, 0.7, 1.3, 1.5)))


COPIES: dict[str, Change] = {
    change.__name__: change for change in (resized, recompressed, mirrored, cropped, brightened)
}


def plant(photos: list[Path], folder: Path, *, seed: int, flips: float, copies: int, corrupt: int) -> Planted:
    """Copy photos (each in the folder of its class) to train/ and validation/ in `folder`, with faults.

    A fifth goes to validation. The fraction `flips` is put into another class, `copies` changed copies of training
    photos are added to validation, and `corrupt` files are destroyed in five ways.
    """
    draw = random.Random(seed)
    planted = Planted(folder)
    photos = sorted(photos)
    draw.shuffle(photos)
    classes = sorted({photo.parent.name for photo in photos})
    broken, flipped = photos[:corrupt], set(photos[corrupt : corrupt + round(flips * len(photos))])
    training = []
    for number, photo in enumerate(photos):
        part = "validation" if number % 5 == 4 else "train"
        label = photo.parent.name
        if photo in flipped:
            label = draw.choice([other for other in classes if other != label])
        name = f"{part}/{label}/{photo.name}"
        content = photo.read_bytes()
        if number < len(broken):
            content = destroyed(content, number % 5, draw)
            planted.corrupt.add(name)
        elif photo in flipped:
            planted.flipped.add(name)
        elif part == "train":
            training.append((photo, name))
        _write(folder / name, content)
    for number, (photo, name) in enumerate(draw.sample(training, copies)):
        kind = list(COPIES)[number % len(COPIES)]
        copy = f"validation/{photo.parent.name}/copy-{number:02}{photo.suffix}"
        _write(folder / copy, _encoded(COPIES[kind](Image.open(photo).convert("RGB"), draw), photo.suffix))
        planted.copies[frozenset((name, copy))] = kind
    planted.images = len(photos) + copies
    return planted


def destroyed(content: bytes, way: int, draw: random.Random) -> bytes:
    """Half of the file, an empty file, HTML, zeros, or a file with a damaged header."""
    hole = bytearray(content)
    hole[2:400] = draw.randbytes(398)
    return (content[: len(content) // 2], b"", b"<html>404 not found</html>", bytes(len(content)), bytes(hole))[way]


def _encoded(image: Image.Image, suffix: str) -> bytes:
    content = BytesIO()
    image.save(content, "PNG" if suffix == ".png" else "JPEG", quality=88)
    return content.getvalue()


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
