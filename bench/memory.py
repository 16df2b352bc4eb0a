"""Memory of `tl predict` over many small files: how much it grows after the first thousand. Linux.

python bench/memory.py [--files 100000] [--folders 1] [--format jsonl]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paths import ROOT, TL

MEGABYTE = 1 << 20
EVERY = 0.1  # seconds between measurements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=1)
    parser.add_argument("--format", default="jsonl", choices=("jsonl", "csv", "parquet"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train = [*TL, "finetune", str(ROOT / "data"), "--backbone", "simple-cnn", "--weights", "none", "--epochs", "1"]
        subprocess.run([*train, "--out", "run", "--quiet"], cwd=folder, check=True)
        count = small_files(folder / "photos", options.files, options.folders)
        started = time.monotonic()
        at_thousand, most, rows = measure(folder, options.format)
        seconds = time.monotonic() - started
    print(f"files                     {count:>9,} ({rows:,} rows, {options.format})")
    print(f"after the first thousand  {at_thousand:>9.0f} MB")
    print(f"most                      {most:>9.0f} MB")
    print(f"growth                    {most - at_thousand:>9.0f} MB")
    print(f"seconds                   {seconds:>9.0f}   ({rows / seconds:.0f} files/s)")
    if most - at_thousand > 50:
        sys.exit("memory grows by more than 50 MB")


def small_files(target: Path, count: int, folders: int) -> int:
    """Write `count` names of a few hundred tiny PNGs, as hard links, which are read like files of their own."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for at in range(count):
        folder = target / f"{at % folders:05}"
        if at < folders:
            folder.mkdir(parents=True)
        name = folder / f"photo-{at:07}.png"
        first = target / f"{at % 500 % folders:05}" / f"photo-{at % 500:07}.png"
        if at < 500:
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(name)
        else:
            os.link(first, name)
    return count


def measure(folder: Path, form: str) -> tuple[float, float, int]:
    """Resident megabytes after the first thousand rows, the most from then on, and the number of rows."""
    out = folder / f"rows.{form}"
    growing = folder / f"rows.{form}.unfinished" if form == "parquet" else out
    at_thousand = most = 0.0
    rows = 0
    command = [*TL, "predict", "photos", "--run", "run", "--out", out.name, "--quiet"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        read = 0
        while process.poll() is None:
            resident = megabytes(process.pid)
            if growing.exists():
                with growing.open("rb") as file:
                    file.seek(read)
                    part = file.read()
                read, rows = read + len(part), rows + part.count(b"\n")
            if rows >= 1000 and resident:
                at_thousand = at_thousand or resident
                most = max(most, resident)
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"tl predict failed with {process.returncode}")
    return at_thousand, most, rows


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    try:
        with open(f"/proc/{process}/status") as file:
            values = [int(line.split()[1]) for line in file if line.startswith("VmRSS:")]
    except (OSError, ValueError):
        return 0.0
    return values[0] / 1024 if values else 0.0


if __name__ == "__main__":
    main()
