"""Compare training the backbone in `tl` and in the Keras guide: same photos, weights, epochs and batch size.

python bench/tuning.py [--photos 160] [--epochs 3] [--unfreeze last all]

Images per second are those of training alone, after the steps that compile; seconds are of the whole process, which
in `tl` also includes features, head, stored activations and the comparison with the head alone.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

from paths import ROOT, TL, dogs_vs_cats_table, run

from tl.networks.backbones import backbone
from tl.networks.weights import resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--unfreeze", nargs="+", default=["last", "all"])
    arguments = parser.parse_args()
    weights = resolve(backbone("resnet50"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table = subset(dogs_vs_cats_table(folder / "all.csv"), folder / "photos.csv", arguments.photos)
        for unfreeze in arguments.unfreeze:
            script = [sys.executable, str(ROOT / "bench" / "keras_guide.py"), str(table), str(weights.path)]
            theirs = run([*script, str(arguments.epochs), unfreeze], folder)
            speed = float(theirs.output.rsplit("images per second ", 1)[1].split()[0])
            command = [*TL, "finetune", str(table), "--unfreeze", unfreeze, "--epochs", str(arguments.epochs)]
            ours = run([*command, "--batch", "32", "--json"], folder)
            metrics = json.loads(ours.output)["metrics"]["fine-tuning"]
            line(f"Keras, {unfreeze}", speed, theirs.seconds, theirs.megabytes, 1.0)
            line(
                f"tl, {unfreeze}",
                metrics["images_per_second"],
                ours.seconds,
                ours.megabytes,
                metrics["images_per_second"] / speed,
            )


def subset(table: Path, target: Path, photos: int) -> Path:
    """The first photos of each part: `photos` for training, a quarter as many for validation."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    train = [row for row in rows if row["split"] == "train"][:photos]
    validation = [row for row in rows if row["split"] != "train"][: photos // 4]
    with target.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(train + validation)
    return target


def line(name: str, speed: float, seconds: float, megabytes: float, ratio: float) -> None:
    print(f"{name:<20}{speed:>8.1f} images/s{seconds:>9.1f} s{megabytes:>8.0f} MB{ratio:>8.2f} x", flush=True)


if __name__ == "__main__":
    main()
