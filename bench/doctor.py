"""What `tl data check` finds of faults planted into the dogs-vs-cats photos and into CIFAR-100, by a seed.

python bench/doctor.py [--seed 0] [--per-class 100]     recall and precision on both
python bench/doctor.py --speed                          seconds and memory on 50,000 images with kept features

Two labels in a hundred are flipped, ten files destroyed, and thirty changed copies of training photos put among the
validation photos: resized, re-compressed, mirrored, cropped by 4 to 16 %, darker or brighter. Pairs that are found in
the photos as they are are shown and count neither way; look at them (--pairs DIR writes them side by side).
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from paths import CIFAR, PHOTOS, cifar_folder
from planted import Planted, plant

from tl.data.dataset import Dataset
from tl.data.load import load
from tl.data.near_duplicates import copies
from tl.doctor.findings import Finding
from tl.doctor.read import Seen, read_all
from tl.engines import open_engine
from tl.networks.backbones import backbone
from tl.networks.weights import resolve
from tl.progress import Progress
from tl.workflows.data_check import check, examine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.speed:
            speed(cifar_folder(folder / "cifar", 500))
            return
        if PHOTOS.is_dir():
            measure("dogs-vs-cats", PHOTOS, "*.jpg", folder / "photos", given.seed, given.pairs)
        if CIFAR.is_file():
            whole = cifar_folder(folder / "whole", given.per_class)
            measure("CIFAR-100", whole, "*.png", folder / "cifar", given.seed, given.pairs)


def measure(name: str, photos: Path, pattern: str, folder: Path, seed: int, pairs: Path | None) -> None:
    made = plant(list(photos.rglob(pattern)), folder, seed=seed, flips=0.02, copies=30, corrupt=10)
    clean, clean_seen = seen(photos)
    natural = {frozenset(Path(file).name for file in pair) for pair in found_pairs(clean, clean_seen)}
    dataset, looked = seen(folder)
    findings, _ = examine(dataset, looked)
    print(f"{name}: {made.images:,} images, seed {seed}")
    corrupt(made, findings)
    copied(made, found_pairs(dataset, looked), natural)
    flipped(made, findings)
    if pairs is not None:
        draw(clean, clean_seen, pairs / name)


def seen(data: Path) -> tuple[Dataset, Seen]:
    dataset = load(str(data))
    network = backbone("resnet50")
    engine = open_engine(network, resolve(network))
    return dataset, read_all(dataset.images, engine, network.recipe, network.features, Progress())


def found_pairs(dataset: Dataset, looked: Seen) -> list[frozenset[str]]:
    found = copies(looked.looks, looked.features, looked.usable)
    return [frozenset((dataset.names[copy.first], dataset.names[copy.second])) for copy in found]


def corrupt(made: Planted, findings: tuple[Finding, ...]) -> None:
    found = {file for finding in findings if finding.severity == "error" for file in finding.files}
    wrong = {
        file
        for finding in findings
        if finding.severity == "error" and finding.kind not in ("leak", "two labels")
        for file in finding.files
    } - made.corrupt
    print(f"  corrupt files        {len(made.corrupt & found)} of {len(made.corrupt)}, {len(wrong)} others called so")


def copied(made: Planted, found: list[frozenset[str]], natural: set[frozenset[str]]) -> None:
    there = set(found)
    hit = set(made.copies) & there
    known = [pair for pair in there - hit if frozenset(Path(file).name for file in pair) in natural]
    # A copy of a photo that was there twice already is a copy of both.
    twice = [pair for pair in there - hit - set(known) if any(Path(file).name.startswith("copy-") for file in pair)]
    twice = [pair for pair in twice if _through(pair, made, natural)]
    counted = len(there) - len(known) - len(twice)
    precision = len(hit) / counted if counted else 1.0
    print(f"  changed copies       {len(hit)} of {len(made.copies)}, precision {precision:.1%} of {counted}")
    print(f"                       {len(natural)} pairs in the photos as they are")
    for pair in set(made.copies) - hit:
        print(f"    missed: {made.copies[pair]}, {', '.join(sorted(pair))}")


def _through(pair: frozenset[str], made: Planted, natural: set[frozenset[str]]) -> bool:
    copy = next(file for file in pair if Path(file).name.startswith("copy-"))
    other = next(file for file in pair if file != copy)
    source = next(file for planted in made.copies for file in planted if copy in planted and file != copy)
    return frozenset((Path(source).name, Path(other).name)) in natural


def flipped(made: Planted, findings: tuple[Finding, ...]) -> None:
    ranking = sorted((found for found in findings if found.kind.endswith("label")), key=lambda found: -found.score)
    first = ranking[: round(0.03 * made.images)]
    hit = made.flipped & {found.files[0] for found in first}
    sure = [found for found in ranking if found.severity == "warning"]
    right = made.flipped & {found.files[0] for found in sure}
    print(f"  flipped labels       {len(hit)} of {len(made.flipped)} among the first {len(first)} of the ranking")
    print(f"                       {len(right)} of {len(sure)} warnings are flipped labels")


def draw(dataset: Dataset, looked: Seen, folder: Path) -> None:
    """Every pair of copies in the photos as they are, side by side."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for place, copy in enumerate(copies(looked.looks, looked.features, looked.usable)):
        sheet = Image.new("RGB", (400, 200))
        for side, index in enumerate((copy.first, copy.second)):
            sheet.paste(Image.open(str(dataset.images[index])).convert("RGB").resize((200, 200)), (200 * side, 0))
        sheet.save(folder / f"{place:04}-{copy.likeness:.3f}.png")


def speed(folder: Path) -> None:
    check(folder)  # keeps the features
    started = time.monotonic()
    diagnosis = check(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(diagnosis.dataset.names):,} images in {time.monotonic() - started:.1f} s, peak memory {peak:,.0f} MB")
    print({kind: len(found) for kind, found in diagnosis.kinds.items()})


if __name__ == "__main__":
    main()
