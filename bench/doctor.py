"""Measure how many faults `tl data check` finds that were planted into the dogs-vs-cats photos and into CIFAR-100.

python bench/doctor.py [--seed 0] [--per-class 100]     recall and precision on both
python bench/doctor.py --speed                          seconds and memory for 50,000 images with cached features

2% of the labels are flipped, ten files are destroyed, and thirty changed copies of training photos are added to the
validation photos: resized, re-compressed, mirrored, cropped by 4 to 16%, darkened or brightened. Pairs in the original
photos are counted neither as right nor as wrong; --pairs DIR writes them side by side, to look at.
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
from tl.data.near_duplicates import Copy, find_copies
from tl.doctor.findings import Finding
from tl.progress import Progress
from tl.workflows.data_check import Measured, check, examine, measure

Pair = frozenset[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.speed:
            time_check(cifar_folder(folder / "cifar", 500))
            return
        if PHOTOS.is_dir():
            measure_recall("dogs-vs-cats", PHOTOS, "*.jpg", folder / "photos", options=options)
        if CIFAR.is_file():
            images = cifar_folder(folder / "whole", options.per_class)
            measure_recall("CIFAR-100", images, "*.png", folder / "cifar", options=options)


def measure_recall(name: str, photos: Path, pattern: str, folder: Path, *, options: argparse.Namespace) -> None:
    planted = plant(list(photos.rglob(pattern)), folder, seed=options.seed, flips=0.02, copies=30, corrupt=10)
    original, original_values = measured(photos)
    natural = {frozenset(Path(file).name for file in pair) for pair in pairs_of(original, original_values)}
    dataset, values = measured(folder)
    findings, _ = examine(dataset, values)
    print(f"{name}: {planted.images:,} images, seed {options.seed}")
    print_corrupt(planted, findings)
    print_copies(planted, pairs_of(dataset, values), natural)
    print_flipped(planted, findings)
    if options.pairs is not None:
        draw_pairs(original, copies_of(original_values), options.pairs / name)


def measured(data: Path) -> tuple[Dataset, Measured]:
    dataset = load(data, progress=Progress())
    return dataset, measure(dataset, "resnet50", progress=Progress())


def copies_of(values: Measured) -> list[Copy]:
    return find_copies(values.stats, values.features, values.usable)


def pairs_of(dataset: Dataset, values: Measured) -> list[Pair]:
    return [frozenset((dataset.names[copy.first], dataset.names[copy.second])) for copy in copies_of(values)]


def print_corrupt(planted: Planted, findings: tuple[Finding, ...]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    found = {file for finding in errors for file in finding.files}
    wrong = {
        file for each in errors if each.kind not in ("leak", "two labels") for file in each.files
    } - planted.corrupt
    print(f"  corrupt files        {len(planted.corrupt & found)} of {len(planted.corrupt)}, {len(wrong)} others")


def print_copies(planted: Planted, pairs: list[Pair], natural: set[Pair]) -> None:
    found = set(pairs)
    hits = set(planted.copies) & found
    known = {pair for pair in found - hits if frozenset(Path(file).name for file in pair) in natural}
    # A copy of a photo that has a natural copy is a copy of both.
    twice = {pair for pair in found - hits - known if is_copy_of_natural_pair(pair, planted, natural)}
    counted = len(found) - len(known) - len(twice)
    precision = len(hits) / counted if counted else 1.0
    print(f"  changed copies       {len(hits)} of {len(planted.copies)}, precision {precision:.1%} of {counted}")
    print(f"                       {len(natural)} pairs in the original photos")
    for pair in set(planted.copies) - hits:
        print(f"    missed: {planted.copies[pair]}, {', '.join(sorted(pair))}")


def is_copy_of_natural_pair(pair: Pair, planted: Planted, natural: set[Pair]) -> bool:
    copy = next((file for file in pair if Path(file).name.startswith("copy-")), None)
    if copy is None:
        return False
    other = next(file for file in pair if file != copy)
    source = next(file for names in planted.copies for file in names if copy in names and file != copy)
    return frozenset((Path(source).name, Path(other).name)) in natural


def print_flipped(planted: Planted, findings: tuple[Finding, ...]) -> None:
    ranked = sorted((each for each in findings if each.kind.endswith("label")), key=lambda each: -each.score)
    first = ranked[: round(0.03 * planted.images)]
    hits = planted.flipped & {each.files[0] for each in first}
    warnings = [each for each in ranked if each.severity == "warning"]
    right = planted.flipped & {each.files[0] for each in warnings}
    print(f"  flipped labels       {len(hits)} of {len(planted.flipped)} among the first {len(first)} of the ranking")
    print(f"                       {len(right)} of {len(warnings)} warnings are flipped labels")


def draw_pairs(dataset: Dataset, found: list[Copy], folder: Path) -> None:
    """Write every pair of copies in the original photos, side by side."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, copy in enumerate(found):
        sheet = Image.new("RGB", (400, 200))
        for side, index in enumerate((copy.first, copy.second)):
            sheet.paste(Image.open(str(dataset.images[index])).convert("RGB").resize((200, 200)), (200 * side, 0))
        sheet.save(folder / f"{number:04}-{copy.likeness:.3f}.png")


def time_check(folder: Path) -> None:
    check(folder, page=False)  # fills the cache
    started = time.monotonic()
    diagnosis = check(folder, page=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(diagnosis.dataset.names):,} images in {time.monotonic() - started:.1f} s, peak memory {peak:,.0f} MB")
    print({kind: len(findings) for kind, findings in diagnosis.kinds.items()})


if __name__ == "__main__":
    main()
