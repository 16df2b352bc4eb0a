"""A seed -> a folder of cats and a folder of dogs, drawn: the data set to try `tl` with, `python data/draw.py`."""

import argparse
import os
import random
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # a __pycache__ folder here would stand among the folders of the classes

from bodies import POSES, body  # noqa: E402
from coats import random_coat  # noqa: E402
from heads import Look, cat_head, dog_head  # noqa: E402
from pen import blank, finished, mix  # noqa: E402
from PIL import Image  # noqa: E402
from scenes import SCENES, ball  # noqa: E402

SIZES = (
    (240, 240),
    (256, 192),
    (192, 256),
    (288, 216),
    (216, 288),
    (200, 200),
    (304, 200),
    (180, 260),
    (260, 220),
    (220, 240),
)
POSE_ORDER = ("face", "front", "side", "standing", "lying", "front", "side", "face")
DOG_EARS = ("floppy", "pricked", "floppy", "folded")
QUALITY = 80


def picture(kind: str, index: int, seed: int) -> Image.Image:
    """Draw the picture number `index` of a kind ("cat" or "dog"): the same for the same three arguments."""
    rng = random.Random(f"{seed} {kind} {index}")
    dog = kind == "dog"
    width, height = rng.choice(SIZES)
    pen = blank(width, height, rng)
    pose = POSE_ORDER[index % len(POSE_ORDER)]
    reach = POSES[pose]
    room = rng.uniform(0.8, 0.97) if pose != "face" else rng.uniform(0.95, 1.25)
    unit = room * min(width / (reach.right - reach.left), height / (reach.bottom - reach.top))
    x, y = _middle(rng, width, height, unit, pose)
    flip = rng.random() < 0.5
    ground = min(y + (reach.bottom if pose != "face" else 2.1) * unit, height * 0.96)
    SCENES[(index // 2 + index // 8) % len(SCENES)](pen, width, height, ground)
    coat = random_coat(rng, 0.75 if dog else 0.4)
    asleep = rng.random() < (0.3 if pose == "lying" else 0.06)
    look = Look(
        rng.uniform(-0.4, 1.0),
        asleep,
        dog and rng.random() < 0.45 and not asleep,
        rng.choice(DOG_EARS if dog else ("short", "fluffy")),
    )
    creature = pen.placed(x if not flip else width - x, y, unit, flip=flip)
    if pose != "face":
        middle, across = (reach.left + reach.right) / 2, (reach.right - reach.left) / 2
        creature.glow(middle, reach.bottom - 0.02, across * 0.95, 0.42, (30, 20, 40), 0.55)
    body(creature, coat, dog, pose)
    tilt = rng.uniform(-9, 9)
    (dog_head if dog else cat_head)(creature.placed(0, 0, rng.uniform(0.98, 1.08), tilt), coat, look)
    if pose != "face" and rng.random() < 0.25:
        ball(pen, rng.choice((0.1, 0.9)) * width, ground, height * 0.05)
    return _lit(finished(pen), rng)


def _middle(rng: random.Random, width: int, height: int, unit: float, pose: str) -> tuple[float, float]:
    reach = POSES[pose]
    spare_across = width - unit * (reach.right - reach.left)
    spare_down = height - unit * (reach.bottom - reach.top)
    across = spare_across * rng.uniform(0.15, 0.85) - unit * reach.left
    share = rng.uniform(0.3, 0.7) if pose == "face" else rng.uniform(0.7, 0.95)
    return across, spare_down * share - unit * reach.top


def _lit(image: Image.Image, rng: random.Random) -> Image.Image:
    light = rng.choice(((255, 214, 150), (150, 190, 255), (255, 255, 255), (90, 80, 120)))
    return Image.blend(image, Image.new("RGB", image.size, mix(light, (255, 255, 255), 0.2)), rng.uniform(0.0, 0.12))


def write(folder: Path, count: int, seed: int) -> None:
    """Write `count` JPEGs of each kind into folder/cat and folder/dog, each complete or not there at all."""
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            path = folder / kind / f"{kind}-{index:03d}.jpg"
            unfinished = path.with_suffix(".tmp")
            picture(kind, index, seed).save(unfinished, "JPEG", quality=QUALITY, optimize=True)
            os.replace(unfinished, path)


def main() -> None:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description="Draw cats and dogs: the same pictures for the same seed.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write cat/ and dog/ into"
    )
    parser.add_argument("--count", type=int, default=100, help="pictures of each kind (default: 100)")
    parser.add_argument("--seed", type=int, default=2026, help="another seed draws other pictures (default: 2026)")
    arguments = parser.parse_args()
    write(arguments.out, arguments.count, arguments.seed)
    print(f"{arguments.count} cats and {arguments.count} dogs in {arguments.out}")


if __name__ == "__main__":
    main()
