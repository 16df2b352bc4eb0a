"""CIFAR-100: validation accuracy of the defaults, seconds and peak memory of the whole process.

python bench/cifar.py                      100 images of each class, a fifth held out, at 224 px
python bench/cifar.py --per-class 500      all 50,000 (ten minutes): peak memory of a large extraction
python bench/cifar.py --per-class 500 --no-cache --bare    beside the bare engine on as many images

More options of `tl finetune` may follow, such as --image-size 64 --no-cache.
"""

import argparse
import json
import tempfile
from pathlib import Path

from paths import TL, bare, cifar_folder, run

from tl.engines.autotune import DEFAULT
from tl.engines.openvino import OpenVINOEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--bare", action="store_true", help="measure the bare engine before and after")
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = cifar_folder(folder / "cifar100", arguments.per_class)
        options = ["--json", "--backbone", arguments.backbone, "--out", "run", *more]
        rates = []
        if arguments.bare:
            run(
                [
                    *TL,
                    "finetune",
                    str(cifar_folder(folder / "few", 2)),
                    "--backbone",
                    arguments.backbone,
                    "--out",
                    "few-run",
                ],
                folder,
            )
            rates.append(bare_rate(folder / "few-run"))
        done = run([*TL, "finetune", str(data), *options], folder)
        metrics = json.loads(done.output)["metrics"]
        if arguments.bare:
            rates.append(bare_rate(folder / "few-run"))
    scores, seconds = metrics["validation"], metrics["seconds"]
    top1, top5 = 100 * scores["top1"], 100 * scores["top5"]
    print(f"accuracy {top1:.1f}%, top-5 accuracy {top5:.1f}% on {scores['count']:,} images")
    print(f"{done.seconds:.1f} s, {done.megabytes:.0f} MB; {seconds}")
    if rates:
        alone = 100 * arguments.per_class / (sum(rates) / len(rates))
        before, after = rates
        print(f"bare engine: {alone:.1f} s ({before:.1f} images/s before, {after:.1f} after)")
        print(f"beyond 1.1 x the bare engine: {done.seconds - 1.1 * alone:.1f} s")


def bare_rate(folder: Path) -> float:
    return bare(OpenVINOEngine(folder / "trunk.xml", "bench", options=DEFAULT))


if __name__ == "__main__":
    main()
