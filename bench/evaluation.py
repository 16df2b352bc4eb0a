"""How well calibrated confidences are on CIFAR-100, and how long an evaluation of cached features takes.

python bench/evaluation.py                    all 50,000 images at 224 px, 10,000 of them held out (twelve minutes)
python bench/evaluation.py --image-size 64    the same at a tenth of the time, and of lower accuracy

The head is fitted and calibrated on 40,000 images drawn at random. The 10,000 others are evaluated, in a whole process
with the report and their features in the cache.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path

from paths import TL, cifar_folder, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=500)
    parser.add_argument("--image-size", default="224")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = cifar_folder(folder / "cifar100", arguments.per_class)
        options = ["--image-size", arguments.image_size, "--val", "0.2", "--out", "runs/cifar100", "--quiet"]
        fitted = run([*TL, "finetune", str(data), *options], folder)
        print(f"finetune: {fitted.seconds:.1f} s, {fitted.megabytes:.0f} MB")
        metrics = json.loads((folder / "runs" / "cifar100" / "metrics.json").read_text())
        scores, calibration = metrics["validation"], metrics["calibration"]
        print(f"accuracy {100 * scores['top1']:.1f}%, log-loss {scores['log_loss']:.3f} on {scores['count']:,} images")
        print(f"calibration error {scores['calibration_error']:.4f}, temperature {calibration['temperature']:.2f}")
        held_out = unseen(folder / "runs" / "cifar100", data, folder / "unseen.csv")
        for options in ([], ["--no-report"]):
            done = run([*TL, "evaluate", str(held_out), "--run", "runs/cifar100", "--quiet", *options], folder)
            print(f"evaluate {' '.join(options):<12}{done.seconds:.2f} s, {done.megabytes:.0f} MB")


def unseen(run_folder: Path, data: Path, target: Path) -> Path:
    """The validation images of the run, as a table."""
    with (run_folder / "split.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "validation"]
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label"), *((data / row["path"], row["label"]) for row in rows)])
    return target


if __name__ == "__main__":
    main()
