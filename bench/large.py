"""Time and probabilities of large JPEGs, decoded whole, shrunk as `tl predict` does, and shrunk to the network's size.

    python bench/large.py RUN PHOTOS

Photos are tiled at their own size, so that they have the detail of cameras. Milliseconds of one core are for decoding
and resizing one file; the difference is the largest of a probability to that of the whole image.
"""

import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tl.data.images import SHRUNK, decode, fit
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run

SIZES = ((1024, 768), (1600, 1200), (2400, 1800), (4032, 3024))
PHOTOS, ROUNDS = 12, 4


def tiled(path: Path, width: int, height: int) -> bytes:
    tile = np.asarray(Image.open(path).convert("RGB"))
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    repeats = -(-height // tile.shape[0]), -(-width // tile.shape[1]), 1
    file = BytesIO()
    Image.fromarray(np.tile(tile, repeats)[:height, :width]).save(file, "JPEG", quality=92)
    return file.getvalue()


def main() -> None:
    predictor = Predictor(load_run(sys.argv[1]), engine="openvino", precision="f32")
    recipe = predictor.run.backbone.recipe
    photos = sorted(Path(sys.argv[2]).rglob("*.jpg"))
    photos = photos[:: max(1, len(photos) // PHOTOS)][:PHOTOS]
    for width, height in SIZES:
        files, whole = [tiled(photo, width, height) for photo in photos], None
        for name, least in (("whole", None), ("as tl predict", SHRUNK), ("to the network's size", 1)):
            seconds = []
            for _ in range(ROUNDS):
                started = time.process_time()
                sides = None if least is None else least * recipe.image_size
                pixels = [fit(decode(file, sides), recipe.image_size, recipe.resize) for file in files]
                seconds.append((time.process_time() - started) / len(files))
            probabilities, _ = predictor.judge(predictor.features([(name, one) for one in pixels]))
            whole = probabilities if whole is None else whole
            difference = np.abs(probabilities - whole).max()
            print(f"{width} x {height}  {name:<22} {1000 * min(seconds):5.1f} ms  {difference:.4f}")


if __name__ == "__main__":
    main()
