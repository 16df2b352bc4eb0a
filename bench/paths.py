"""The photos, splits and measured processes that the benchmarks share."""

import csv
import os
import random
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl.engines.openvino import OpenVINOEngine

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PHOTOS = SHARED / "dogs-vs-cats"
CIFAR = SHARED / "cifar100-train.tar"
TL = [sys.executable, str(ROOT / "cli.py")]


@dataclass(frozen=True)
class Process:
    """A finished process: wall seconds, peak resident memory in MB, what it printed."""

    seconds: float
    megabytes: float
    output: str


def run(command: list[str], folder: Path, **environment: str) -> Process:
    """Run to the end, measured from outside; raises when it fails."""
    started = time.monotonic()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    ) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}\n{output}")
    return Process(time.monotonic() - started, usage.ru_maxrss / 1024, output)


def dogs_vs_cats_table(target: Path) -> Path:
    """The split of the teaching material as a CSV: sorted by path, `random.seed(42)`, 400 train and 102 validation."""
    paths = sorted(PHOTOS.rglob("*.jpg"))
    random.seed(42)
    random.shuffle(paths)
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split"))
        for place, path in enumerate(paths):
            writer.writerow((path, path.parent.name, "train" if place < 400 else "validation"))
    return target


def cifar_folder(target: Path, per_class: int, seed: int = 0) -> Path:
    """Images of each CIFAR-100 class as class folders, drawn at random: the first by name resemble each other."""
    with tarfile.open(CIFAR) as archive:
        members: dict[str, list[tarfile.TarInfo]] = {}
        for member in sorted((m for m in archive.getmembers() if m.name.endswith(".png")), key=lambda m: m.name):
            members.setdefault(Path(member.name).parent.name, []).append(member)
        draw = random.Random(seed)
        # Up to 140 images a class are the first of the same draw, so that scripts share kept features.
        chosen = {label: draw.sample(own, max(per_class, 140))[:per_class] for label, own in sorted(members.items())}
        for label, own in chosen.items():
            folder = target / label
            folder.mkdir(parents=True, exist_ok=True)
            for member in own:
                data = archive.extractfile(member)
                (folder / Path(member.name).name).write_bytes(data.read() if data else b"")
    return target


def bare(engine: OpenVINOEngine, batches: int = 64) -> float:
    """Images a second of the engine alone, on arrays in memory."""
    photos = np.random.default_rng(0).integers(0, 256, (engine.batch, 224, 224, 3), np.uint8)
    started = time.monotonic()
    for _ in engine.run((at, photos) for at in range(batches)):
        pass
    return batches * engine.batch / (time.monotonic() - started)
