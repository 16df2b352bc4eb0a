"""Find files that cannot be read or are not what they seem, and class and folder names that look wrong."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tl.data.colour import Remarks
from tl.data.dataset import Dataset, Skipped, part_of
from tl.data.decoding import SUFFIXES
from tl.data.image_stats import Header, ImageStats
from tl.doctor.findings import Finding, FixCommands
from tl.text import count

_SAVE = "save it as JPEG"
_REASONS = (
    ("unsupported format", "images are not supported"),
    ("empty", "empty file"),
    ("truncated", "truncated"),
    ("enormous", "too large"),
    ("enormous", "larger than"),
    ("not an image", "not an image"),
    ("unreadable", "cannot be read"),
    ("unread kind", ": "),  # after the colon the decoder says what to do
)
_BROKEN = re.compile("empty file|(truncated|damaged) |not an image|no pixels")  # all that deleting is suggested for
_ADVICE = {
    "enormous": "make it smaller",
    "unreadable": "check that the file exists and that you have permission to read it",
}
_MAX_PIXELS = 50_000_000  # more only costs time: networks look at a fraction of a megapixel
_MIN_SIDE = 24  # pixels, where the other images are larger
_MAX_ASPECT = 4.0  # squeezed into a square, the short side keeps a quarter of its detail
_MAX_SKIPPED = 10_000


def file_findings(dataset: Dataset, stats: ImageStats) -> list[Finding]:
    """Findings about files that cannot be read, and about those that can but are unusual."""
    fixes = FixCommands(dataset)
    findings = [_unreadable(dataset, fixes, index, reason) for index, reason in stats.errors.items()]
    findings += [_skipped(skipped) for skipped in dataset.skipped[:_MAX_SKIPPED]]
    headers = {index: header for index, header in enumerate(stats.headers) if header is not None}
    sides = [min(header.width, header.height) for header in headers.values()]
    median = float(np.median(sides)) if sides else 0.0
    for index, header in headers.items():
        findings += _unusual(dataset, fixes, index, header, median=median)
        findings += _remarks(fixes, index, stats.remarks[index])
    return findings


def _unreadable(dataset: Dataset, fixes: FixCommands, index: int, reason: str) -> Finding:
    kind = next((kind for kind, words in _REASONS if words in reason), "corrupt")
    evidence, _, advice = reason.partition(": ") if kind in ("unsupported format", "unread kind") else (reason, "", "")
    fix = _ADVICE.get(kind) or advice
    if not fix:
        fix = fixes.remove(index) if _BROKEN.match(reason) else f"if another program opens it, {_SAVE}"
    return Finding(kind, "error", evidence, files=(dataset.names[index],), fix=fix, score=1.0)


def _unusual(dataset: Dataset, fixes: FixCommands, index: int, header: Header, *, median: float) -> list[Finding]:
    name, size = dataset.names[index], f"{header.width} × {header.height} pixels"
    long, short = max(header.width, header.height), min(header.width, header.height)
    findings: list[Finding] = []

    def add(kind: str, severity: str, evidence: str, *, fix: str = "", score: float) -> None:
        findings.append(fixes.finding(kind, severity, evidence, index, fix=fix, score=score))

    suffixes = SUFFIXES.get(header.format)
    if suffixes and isinstance(dataset.images[index], Path) and PurePosixPath(name).suffix.lower() not in suffixes:
        add("wrong extension", "note", f"is a {header.format}", fix=fixes.rename(index, suffixes[0]), score=0.4)
    if header.width * header.height > _MAX_PIXELS:
        add("enormous", "note", size, score=0.3)
    if short < _MIN_SIDE and short < median / 2:
        evidence = f"{size}; the median short side is {median:.0f}"
        add("tiny", "warning", evidence, fix=fixes.inspect(index), score=0.5)
    if long > _MAX_ASPECT * short:
        add("extreme aspect ratio", "note", size, fix="crop it to the subject", score=min(1.0, long / short / 40))
    if header.orientation not in (0, 1):
        evidence = f"rotated by EXIF orientation {header.orientation}: upright here, but not in every program"
        add("rotated", "note", evidence, score=0.1)
    if header.mode in ("CMYK", "YCCK"):
        add("colour mode", "note", f"{header.mode}, meant for printing: its colours may shift", score=0.2)
    return findings


def _remarks(fixes: FixCommands, index: int, remarks: Remarks) -> list[Finding]:
    """What was decided while an image was decoded; damage inside of it deserves a look."""
    findings = []
    for kind, sentence in remarks:
        severity, fix, score = ("warning", fixes.inspect(index), 0.7) if kind == "damaged part" else ("note", "", 0.3)
        findings.append(fixes.finding(kind, severity, sentence, index, fix=fix, score=score))
    return findings


def _skipped(skipped: Skipped) -> Finding:
    """A skipped file does no harm, but an image among them deserves a warning."""
    names, reason = (skipped.path,), skipped.reason
    if reason == "not in a class folder":
        return Finding("left out", "note", reason, files=names, fix="move it to the folder of its class", score=0.1)
    if "images are not supported" in reason:
        return Finding("unsupported format", "warning", reason, files=names, fix=_SAVE, score=0.8)
    return Finding("left out", "note", reason, files=names, score=0.1)


_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")
_PLURAL = re.compile(r"[a-z]{3,}")  # of Latin words; others have no ending that tells it


def name_findings(dataset: Dataset) -> list[Finding]:
    """Findings about class names that differ only in spelling, nested folders, and parts of a split under two names."""
    # The reader's own notes on how it understood the folders, where the user may have meant something else.
    relevant = ("another spelling", "are one class")
    notes = [note for note in dataset.notes if note in dataset.omissions or any(words in note for words in relevant)]
    layout = [Finding("layout", "note", note, score=0.3) for note in notes]
    return [*_same_classes(dataset), *_nested_folders(dataset), *_split_folders(dataset), *layout]


def same_class(class_names: Sequence[str]) -> list[list[int]]:
    """Groups of class indices whose names differ only in case, white space, Unicode form or plural."""
    spellings = {_spelling(name) for name in class_names}
    return _alike(class_names, lambda name: _singular(_spelling(name), spellings))


def _alike(class_names: Sequence[str], key: Callable[[str], str]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(class_names):
        groups[key(name)].append(label)
    return [labels for labels in groups.values() if len(labels) > 1]


def _same_classes(dataset: Dataset) -> list[Finding]:
    findings = []
    numbers = _alike(dataset.class_names, lambda name: str(int(name)) if name.isdecimal() else name)  # 1, 01
    for labels in [*same_class(dataset.class_names), *numbers]:
        sizes = {dataset.class_names[label]: int((dataset.labels == label).sum()) for label in labels}
        listed = ", ".join(f"{name} ({images:,})" for name, images in sizes.items())
        fix = f"if they are one class, move all their images to {max(sizes, key=lambda name: sizes[name])}"
        findings.append(Finding("class names", "warning", f"possibly the same class: {listed}", fix=fix, score=0.9))
    return findings


def _spelling(name: str) -> str:
    """A name without what people vary: case, Unicode form, and white space, `_` or `-` between words.

    Everything else tells classes apart: C and C#, A+ and A-, 1.5 and 15, bass and baß, か and が.
    """
    return _BETWEEN_WORDS.sub(" ", " ".join(unicodedata.normalize("NFC", name).lower().split()))


def _singular(word: str, spellings: Collection[str]) -> str:
    """The one of some spellings that a word is the English plural of, or the word."""
    if word.endswith("ies"):
        singulars = [f"{word[:-3]}y", word[:-1]]  # flies, pies
    elif word.endswith(("ses", "xes", "zes", "ches", "shes")):
        singulars = [word[:-2], word[:-1]]  # buses, horses
    elif word.endswith("s") and not word.endswith("ss"):
        singulars = [word[:-1]]
    else:
        singulars = []
    is_word = _PLURAL.search(word[-4:]) is not None
    return next((each for each in singulars if is_word and len(each) > 2 and each in spellings), word)


def _nested_folders(dataset: Dataset) -> list[Finding]:
    if dataset.root is None:
        return []
    nested: Counter[tuple[str, str]] = Counter()
    for name, label, part in zip(dataset.names, dataset.labels, dataset.parts, strict=True):
        folders = PurePosixPath(name).parts[:-1]
        below_part = folders[1:] if part and folders and part_of(folders[0]) else folders
        if label >= 0 and len(below_part) > 1 and below_part[0] == dataset.class_names[label]:
            nested[below_part[0], "/".join(below_part[1:])] += 1
    findings = []
    for (label, folder), images in sorted(nested.items()):
        others = {_spelling(name): name for name in dataset.class_names if name != label}
        other = others.get(_singular(_spelling(folder), others))
        evidence = f"{count(images, 'image')} of {label} in the folder {label}/{folder}"
        evidence += f", although {other} is a class of its own" if other else ""
        fix = f"move the folder {label}/{folder} to where its images belong"
        severity, score = ("warning", 0.8) if other else ("note", 0.2)
        findings.append(Finding("nested folder", severity, evidence, fix=fix, score=score))
    return findings


def _split_folders(dataset: Dataset) -> list[Finding]:
    if dataset.root is None or not any(dataset.parts):
        return []
    folders: dict[str, set[str]] = defaultdict(set)
    for folder in {PurePosixPath(name).parts[0] for name in dataset.names}:
        if part := part_of(folder):
            folders[part].add(folder)
    findings = []
    for part, names in sorted(folders.items()):
        if len(names) > 1:
            evidence = f"{' and '.join(map(repr, sorted(names)))} both exist, and both are read as {part}"
            fix = "move the images of one to the other, or to test/"
            findings.append(Finding("split folders", "warning", evidence, fix=fix, score=0.7))
    return findings
