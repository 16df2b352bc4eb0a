"""A folder of JPEGs to predictions, against OpenVINO on arrays in memory and Keras `predict`; images a second, in turn.

python bench/throughput.py [--repeat 3] [--no-keras]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from paths import PHOTOS, TL, dogs_vs_cats_table, run

from tl.engines.openvino import OpenVINOEngine
from tl.networks.backbones import backbone
from tl.networks.weights import resolve
from tl.runs.bundle import load
from tl.runs.prediction import Predictor

KERAS = """
import sys, time, keras
data = keras.utils.image_dataset_from_directory(sys.argv[1], image_size=(224, 224), batch_size=32, shuffle=False)
whole = keras.applications.ResNet50(weights=sys.argv[2])
inputs = keras.Input((224, 224, 3))
model = keras.Model(inputs, whole(keras.applications.resnet50.preprocess_input(inputs)))
started = time.monotonic()
model.predict(data, verbose=0)
print(f"rate {502 / (time.monotonic() - started):.2f}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-keras", action="store_true")
    given = parser.parse_args()
    photos = sorted(PHOTOS.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run([*TL, "finetune", str(dogs_vs_cats_table(folder / "photos.csv")), "--quiet", "--out", "run"], folder)
        predictor = Predictor(load(folder / "run"))
        engine = OpenVINOEngine(folder / "run" / "trunk.xml", "bench")
        rounds = [(bare(engine), ours(predictor, photos)) for _ in range(given.repeat + 1)][1:]
        keras = None
        if not given.no_keras:
            weights = str(resolve(backbone("resnet50")).path)
            theirs = run([sys.executable, "-c", KERAS, str(PHOTOS), weights], folder)
            keras = float(theirs.output.rsplit("rate ", 1)[1])
    print(f"OpenVINO on arrays in memory {statistics.median(b for b, _ in rounds):7.1f} images/s")
    print(f"folder to predictions        {statistics.median(o for _, o in rounds):7.1f} images/s")
    print(f"ratio, round by round        {statistics.median(o / b for b, o in rounds):7.2f}")
    if keras:
        times = statistics.median(o for _, o in rounds) / keras
        print(f"Keras predict                {keras:7.1f} images/s, {times:.1f} x")


def bare(engine: OpenVINOEngine, batches: int = 30) -> float:
    photos = np.random.default_rng(0).integers(0, 256, (engine.batch, 224, 224, 3), np.uint8)
    started = time.monotonic()
    for _ in engine.run((at, photos) for at in range(batches)):
        pass
    return batches * engine.batch / (time.monotonic() - started)


def ours(predictor: Predictor, photos: list[Path]) -> float:
    started = time.monotonic()
    count = sum(1 for _ in predictor.stream((str(path), path) for path in photos))
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    main()
