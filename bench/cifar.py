"""CIFAR-100: validation accuracy of the defaults, seconds and peak memory of the whole process.

python bench/cifar.py                      100 images of each class, a fifth held out, at 224 px
python bench/cifar.py --per-class 500      all 50,000 (ten minutes): peak memory of a large extraction

More options of `tl finetune` may follow, such as --image-size 64 --no-cache.
"""

import argparse
import json
import tempfile
from pathlib import Path

from paths import TL, cifar_folder, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--backbone", default="resnet50")
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = cifar_folder(folder / "cifar100", arguments.per_class)
        done = run([*TL, "finetune", str(data), "--json", "--backbone", arguments.backbone, *more], folder)
        metrics = json.loads(done.output)["metrics"]
    scores, seconds = metrics["validation"], metrics["seconds"]
    top1, top5 = 100 * scores["top1"], 100 * scores["top5"]
    print(f"accuracy {top1:.1f}%, top-5 accuracy {top5:.1f}% on {scores['count']:,} images")
    print(f"{done.seconds:.1f} s, {done.megabytes:.0f} MB; {seconds}")


if __name__ == "__main__":
    main()
