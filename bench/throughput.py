"""A folder of JPEGs to a file of rows, against OpenVINO on arrays in memory and Keras `predict`; images a second.

In turn, and every second round backwards, since a machine has faster and slower minutes. OpenVINO is measured twice: by
its own benchmark program, and by our loop; same precision and batch. The folder has the 502 photos twice.

python bench/throughput.py [--repeat 6] [--no-keras]
"""

import argparse
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from paths import PHOTOS, TL, bare, dogs_vs_cats_table, run

from tl.data.inputs import read_inputs
from tl.engines.autotune import DEFAULT
from tl.engines.openvino import OpenVINOEngine
from tl.networks.backbones import backbone
from tl.networks.weights import resolve
from tl.prediction.columns import Columns
from tl.prediction.predictor import Predictor
from tl.prediction.row_writer import open_rows
from tl.runs.run import load_run

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
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--no-keras", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run([*TL, "finetune", str(dogs_vs_cats_table(folder / "photos.csv")), "--quiet", "--out", "run"], folder)
        for copy in ("once", "twice"):
            shutil.copytree(PHOTOS, folder / "photos" / copy)
        predictor = Predictor(load_run(folder / "run"))
        engine = OpenVINOEngine(folder / "run" / "trunk.xml", "bench", options=DEFAULT)
        predictor.engine.use(DEFAULT)  # else it would stop to look for another one
        sides = {
            "theirs": lambda: benchmark_app(engine, folder),
            "bare": lambda: bare(engine),
            "ours": lambda: ours(predictor, folder / "photos", folder / "rows.jsonl"),
        }
        rounds = []
        for at in range(given.repeat + 1):
            order = list(sides)[:: -1 if at % 2 else 1]
            found = {name: sides[name]() for name in order}
            rounds.append((found["theirs"], found["bare"], found["ours"]))
        rounds = rounds[1:]
        keras = None
        if not given.no_keras:
            weights = str(resolve(backbone("resnet50")).path)
            theirs = run([sys.executable, "-c", KERAS, str(PHOTOS), weights], folder)
            keras = float(theirs.output.rsplit("rate ", 1)[1])
    theirs, bare_rates, our_rates = zip(*rounds, strict=True)
    print(f"OpenVINO's benchmark_app     {statistics.median(theirs):7.1f} images/s")
    print(f"OpenVINO on arrays in memory {statistics.median(bare_rates):7.1f} images/s")
    print(f"folder to rows               {statistics.median(our_rates):7.1f} images/s")
    print(f"ratio to benchmark_app       {compared(our_rates, theirs)}")
    print(f"ratio to arrays in memory    {compared(our_rates, bare_rates)}")
    if keras:
        times = statistics.median(our_rates) / keras
        print(f"Keras predict                {keras:7.1f} images/s, {times:.1f} x")


def compared(ours: Sequence[float], others: Sequence[float]) -> str:
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return f"{statistics.median(ratios):7.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"


def benchmark_app(engine: OpenVINOEngine, folder: Path, seconds: int = 14) -> float:
    shape = f"[{engine.batch},224,224,3]"
    options = ["-hint", "throughput", "-infer_precision", engine.precision, "-shape", shape, "-t", str(seconds)]
    program = Path(sys.executable).with_name("benchmark_app")
    done = run([str(program), "-m", str(folder / "run" / "trunk.xml"), "-d", "CPU", *options], folder)
    return float(re.findall(r"Throughput:\s+([\d.]+) FPS", done.output)[-1])


def ours(predictor: Predictor, photos: Path, out: Path) -> float:
    out.unlink(missing_ok=True)
    started = time.monotonic()
    columns, count = Columns(3), 0
    items = read_inputs(str(photos), min_side=predictor.min_side)
    with open_rows(out, "jsonl", columns, predictor.run, resume=False) as (rows, _):
        for prediction in predictor.in_order(items, top=3):
            rows.write(columns.record(prediction))
            count += 1
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    main()
