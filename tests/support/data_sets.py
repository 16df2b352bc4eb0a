"""Small generated photos and data sets."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tl.data.dataset import Dataset, Sample, assemble
from tl.data.image_stats import measure_images
from tl.workflows.data_check import Measured


def photo(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """A picture with structure at every scale, different for each seed."""
    draw = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for side in (3, 6, 12, 24, 48):
        coarse = Image.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray((total / 5).astype(np.uint8))


def write(folder: Path, files: dict[str, Image.Image | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
    return folder


def put(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"content of " + name.encode("utf-8", "surrogateescape"))
    return root


def write_video(path: Path, codec: str = "MJPG", frames: int = 25, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a video whose frame number n is of the colour (8 n, 0, 0)."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, size)
    assert writer.isOpened()
    for number in range(frames):
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        frame[..., 2] = 8 * number  # OpenCV's colours are blue, green, red
        writer.write(frame)
    writer.release()
    return path


def write_faulty(folder: Path) -> Path:
    """Two classes of 12 with a split and faults: a leak, copies, two labels, broken files, spelling, an extension."""
    files: dict[str, Image.Image | bytes] = {}
    for number in range(12):
        part = "val" if number % 4 == 3 else "train"
        for offset, label in ((0, "cat"), (100, "dog")):
            files[f"{part}/{label}/{number:02}.png"] = photo(offset + number)
    files |= {"val/dog/leak.png": ImageOps.mirror(photo(102)), "train/dog/twice.png": photo(5)}
    files |= {"train/cat/broken.jpg": b"\xff\xd8\xff", "train/cat/empty.jpg": b"", "train/cat/notes.txt": b"x"}
    files |= {"train/Cats/1.png": photo(50), "train/Cats/2.png": photo(51)}
    files |= {"train/dog/deep/large.png": photo(104).resize((240, 180))}
    write(folder, files)
    (folder / "train/cat/00.png").rename(folder / "train/cat/00.jpg")
    return folder


def dataset(images: dict[str, Image.Image], parts: dict[str, str] | None = None) -> Dataset:
    """Pictures in memory under names such as "cat/1.png", whose folder is the label."""
    samples = [
        Sample(np.asarray(image.convert("RGB")), name, name.split("/")[0], (parts or {}).get(name))
        for name, image in images.items()
    ]
    return assemble(samples, source="test", name="test", root=None, labelled=False)


def measured(images: Dataset) -> Measured:
    """The statistics of a data set; images with similar grey blocks have similar features."""
    stats = measure_images(images.images)
    usable = np.array([at for at in range(len(images.names)) if at not in stats.errors], np.int64)
    blocks = stats.grey.reshape(len(stats.grey), 8, 4, 8, 4).mean(axis=(2, 4)).reshape(len(stats.grey), 64)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    features = np.abs(blocks @ np.random.default_rng(0).standard_normal((64, 64))).astype(np.float32)
    return Measured(stats, features[usable], usable)
