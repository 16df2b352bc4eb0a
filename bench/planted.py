"""A copy of a folder of labelled photos with faults planted in it by a seed, and the list of what was planted."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, random.Random], Image.Image]


@dataclass
class Planted:
    """By name within the folder: labels that were flipped, files that were destroyed, pairs and the kind of copy."""

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
    """Photos (each in the folder of its class) as train/ and validation/ in `folder`, with faults.

    A fifth goes to validation. `flips` is the share put into another class, `copies` changed copies of training
    photos go to validation, and `corrupt` files are destroyed in five ways.
    """
    draw = random.Random(seed)
    made = Planted(folder)
    photos = sorted(photos)
    draw.shuffle(photos)
    classes = sorted({photo.parent.name for photo in photos})
    broken, flipped = photos[:corrupt], set(photos[corrupt : corrupt + round(flips * len(photos))])
    training = []
    for place, photo in enumerate(photos):
        part = "validation" if place % 5 == 4 else "train"
        label = photo.parent.name
        if photo in flipped:
            label = draw.choice([other for other in classes if other != label])
        name = f"{part}/{label}/{photo.name}"
        content = photo.read_bytes()
        if place < len(broken):
            content = destroyed(content, place % 5, draw)
            made.corrupt.add(name)
        elif photo in flipped:
            made.flipped.add(name)
        elif part == "train":
            training.append((photo, name))
        _write(folder / name, content)
    for place, (photo, name) in enumerate(draw.sample(training, copies)):
        kind = list(COPIES)[place % len(COPIES)]
        copy = f"validation/{photo.parent.name}/copy-{place:02}{photo.suffix}"
        _write(folder / copy, _encoded(COPIES[kind](Image.open(photo).convert("RGB"), draw), photo.suffix))
        made.copies[frozenset((name, copy))] = kind
    made.images = len(photos) + copies
    return made


def destroyed(content: bytes, way: int, draw: random.Random) -> bytes:
    """Half a file, nothing, words, zeros, or a file with a hole in its head."""
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
