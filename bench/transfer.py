"""Accuracy of the head alone and of training the backbone, on held-out photos.

python bench/transfer.py few      40 training photos of dogs and cats, --unfreeze last, 5 seeds (4 minutes)
python bench/transfer.py cifar    CIFAR-100, 50 training images per class at 128 px, --unfreeze half (25 minutes)
python bench/transfer.py vgg      VGG16 with bsds500 weights, 400 photos of dogs and cats, --unfreeze last (5 minutes)

More options of `tl finetune` may follow, such as --unfreeze all --augment strong.
"""

import argparse
import csv
import json
import random
import tempfile
from pathlib import Path

from paths import PHOTOS, TL, cifar_folder, dogs_vs_cats_table, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=("few", "cifar", "vgg"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.case == "few":
            pairs = [both(few(folder / f"{seed}.csv", seed), folder, *more) for seed in range(arguments.seeds)]
            head, tuned, kept = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
            sides = f"head {head:.2f}%, trained backbone {tuned:.2f}%, kept by the runs {kept:.2f}%"
            print(f"mean of {len(pairs)}: {sides}")
        elif arguments.case == "cifar":
            half = [] if "--unfreeze" in more else ["--unfreeze", "half"]
            both(cifar(folder), folder, "--image-size", "128", *half, *more)
        else:
            table = dogs_vs_cats_table(folder / "photos.csv")
            both(table, folder, "--backbone", "vgg16", "--weights", "bsds500", *more)


def both(table: Path, folder: Path, *options: str) -> tuple[float, float, float]:
    """Accuracy in percent of the head alone, of the trained backbone, and of what the run kept."""
    words = ["--unfreeze", "last", *options] if "--unfreeze" not in options else list(options)
    done = run([*TL, "finetune", str(table), *words, "--json"], folder)
    metrics = json.loads(done.output)["metrics"]["fine-tuning"]
    part = "test" if "test" in metrics["tuned"] else "validation"
    head, tuned = (100 * metrics[side][part]["top1"] for side in ("head_only", "tuned"))
    count = metrics["tuned"][part]["count"]
    print(
        f"{table.stem}: head {head:.2f}%, trained backbone {tuned:.2f}% on {count:,} {part} photos "
        f"({'kept' if metrics['kept'] else 'not kept'}, p {metrics['comparison']['p_value']:.2g} on validation); "
        f"{metrics['images_per_second']} images/s, {done.seconds:.0f} s, {done.megabytes:.0f} MB {metrics['stopped']}",
        flush=True,
    )
    return head, tuned, tuned if metrics["kept"] else head


def few(target: Path, seed: int) -> Path:
    """Per class 20 photos for training, 31 for validation, the rest for test, chosen by seed."""
    rows = []
    for label in ("Cat", "Dog"):
        paths = sorted((PHOTOS / label).glob("*.jpg"))
        random.Random(seed).shuffle(paths)
        rows += [(path, label, part_of(place, 20, 31)) for place, path in enumerate(paths)]
    return write_table(target, rows)


def cifar(folder: Path) -> Path:
    """Per class 50 images for training, 10 for validation, 20 for test, drawn at random."""
    images, draw = cifar_folder(folder / "cifar100", 80), random.Random(0)
    rows = []
    for label in sorted(images.iterdir()):
        paths = draw.sample(sorted(label.iterdir()), 80)
        rows += [(path, label.name, part_of(place, 50, 10)) for place, path in enumerate(paths)]
    return write_table(folder / "cifar.csv", rows)


def part_of(place: int, train: int, validation: int) -> str:
    return "train" if place < train else "validation" if place < train + validation else "test"


def write_table(target: Path, rows: list[tuple[Path, str, str]]) -> Path:
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *rows])
    return target


if __name__ == "__main__":
    main()
