"""Compare `tl finetune` with the recipe of the Keras guide: same photos, split and weights; whole processes in turn.

python bench/finetune.py [--epochs 10] [--repeat 3]
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from paths import ROOT, TL, Process, dogs_vs_cats_table, run

from tl.networks.backbones import backbone
from tl.networks.weights import resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    weights = resolve(backbone("resnet50"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table = dogs_vs_cats_table(folder / "photos.csv")
        cache = folder / "cache"
        (cache / "weights").mkdir(parents=True)
        for suffix in (".h5", ".json"):
            shutil.copy(weights.path.with_suffix(suffix), cache / "weights")
        phases = {"to be converted": ["trunks", "features"], "converted": ["features"], "features cached": []}
        ours = {
            name: [tl(table, folder, cache, clear) for _ in range(arguments.repeat)] for name, clear in phases.items()
        }
        script = str(ROOT / "bench" / "keras_guide.py")
        theirs = run([sys.executable, script, str(table), str(weights.path), str(arguments.epochs)], folder)
        accuracy = float(theirs.output.rsplit("accuracy ", 1)[1])
        line("Keras guide", theirs.seconds, theirs.megabytes, accuracy, 1.0)
        for name, measured in ours.items():
            seconds = statistics.median(process.seconds for process, _ in measured)
            megabytes = max(process.megabytes for process, _ in measured)
            line(f"tl finetune, {name}", seconds, megabytes, measured[0][1], theirs.seconds / seconds)


def tl(table: Path, folder: Path, cache: Path, clear: list[str]) -> tuple[Process, float]:
    for name in clear:
        shutil.rmtree(cache / name, ignore_errors=True)
    process = run([*TL, "finetune", str(table), "--json"], folder, TL_CACHE_DIR=str(cache))
    return process, json.loads(process.output)["metrics"]["validation"]["top1"]


def line(name: str, seconds: float, megabytes: float, accuracy: float, ratio: float) -> None:
    print(
        f"{name:<32}{seconds:>8.2f} s{megabytes:>8.0f} MB   accuracy {100 * accuracy:>5.1f}%{ratio:>8.1f} x", flush=True
    )


if __name__ == "__main__":
    main()
