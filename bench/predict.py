"""`tl predict` of one photo against the shortest Keras script with the same network; whole processes in turn.

Once with the cache that training left, and once with an empty one: all that is needed is in the run.

python bench/predict.py [--repeat 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from paths import PHOTOS, ROOT, TL, dogs_vs_cats_table, run

from tl.networks.backbones import backbone
from tl.networks.weights import resolve

MAKE = """
import sys, keras
whole = keras.applications.ResNet50(weights=sys.argv[1])
base = keras.Model(whole.input, whole.get_layer("avg_pool").output)
model = keras.Sequential([base, keras.layers.Dense(2, activation="softmax")])
model.build((None, 224, 224, 3))
model.save(sys.argv[2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    photo = str(sorted(PHOTOS.rglob("*.jpg"))[0])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run([*TL, "finetune", str(dogs_vs_cats_table(folder / "photos.csv")), "--quiet"], folder)
        model = str(folder / "model.keras")
        weights = str(resolve(backbone("resnet50")).path)
        subprocess.run([sys.executable, "-c", MAKE, weights, model], check=True, capture_output=True)
        pairs = [
            (
                run([*TL, "predict", photo], folder),
                run([sys.executable, str(ROOT / "bench" / "keras_predict.py"), model, photo], folder),
            )
            for _ in range(repeat)
        ]
        bare = [run([*TL, "predict", photo], folder, TL_CACHE_DIR=str(folder / f"empty-{at}")) for at in range(repeat)]
        help_ = [run([*TL, "--help"], folder).seconds for _ in range(repeat)]
    for name, side in (("tl predict", 0), ("Keras script", 1)):
        seconds = statistics.median(pair[side].seconds for pair in pairs)
        megabytes = max(pair[side].megabytes for pair in pairs)
        print(f"{name:<14}{seconds:>8.2f} s{megabytes:>8.0f} MB")
    print(f"without cache {statistics.median(process.seconds for process in bare):>8.2f} s")
    print(f"ratio, pair by pair: {statistics.median(b.seconds / a.seconds for a, b in pairs):.1f} x")
    print(f"tl --help     {statistics.median(help_):>8.2f} s")


if __name__ == "__main__":
    main()
