"""Findings about a data set, ranked by severity, and the commands that fix them."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tl.data.dataset import Dataset, part_of
from tl.text import html_table

SEVERITIES = ("error", "warning", "note")  # from what invalidates a result to what is merely good to know


@dataclass(frozen=True)
class Finding:
    """One problem: the `evidence` in a sentence, the names of its `files`, and the command or advice that fixes it.

    `severity` is one of SEVERITIES. `score`, from 0 to 1, is how certain or how bad it is, and ranks findings of the
    same severity. `images` are the indices of those files that can be shown.
    """

    kind: str
    severity: str
    evidence: str
    _: KW_ONLY
    score: float
    files: tuple[str, ...] = ()
    fix: str = ""
    images: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The finding for JSON; `fix` is called "mend" there, as in every version so far."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "files": list(self.files),
            "evidence": self.evidence,
            "mend": self.fix,
            "score": round(self.score, 4),
        }


@dataclass(frozen=True)
class Diagnosis:
    """The ranked findings about a data set; `notes` say which checks were skipped, and why.

    `page` is the HTML page that was written, if any.
    """

    dataset: Dataset
    findings: tuple[Finding, ...] = field(repr=False)
    notes: tuple[str, ...]
    seconds: float
    page: Path | None = None

    @property
    def severities(self) -> dict[str, int]:
        """The number of findings of each severity."""
        counts = Counter(finding.severity for finding in self.findings)
        return {severity: counts[severity] for severity in SEVERITIES}

    @property
    def kinds(self) -> dict[str, tuple[Finding, ...]]:
        """The findings by kind, in the order of the first finding of each kind."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.kind, []).append(finding)
        return {kind: tuple(group) for kind, group in groups.items()}

    def reaches(self, severity: str) -> bool:
        """Whether any finding is of this severity or worse."""
        return any(SEVERITIES.index(finding.severity) <= SEVERITIES.index(severity) for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis for JSON."""
        return {
            "data": self.dataset.name,
            "images": len(self.dataset.names),
            "classes": len(self.dataset.class_names),
            "counts": self.severities,
            "kinds": {kind: len(group) for kind, group in self.kinds.items()},
            "findings": [finding.as_dict() for finding in self.findings],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

    def _repr_html_(self) -> str:
        rows = [(group[0].severity, kind, len(group), group[0].evidence) for kind, group in self.kinds.items()]
        return html_table(rows, ("severity", "finding", "count", "example"))


def rank(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, then score, then file names, so that the order never changes between two checks."""
    return tuple(sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), -each.score, each.files)))


def in_words(finding: Finding) -> Finding:
    """The finding with words instead of a command, for readers who have no shell where the files are."""
    if not finding.fix.startswith(("rm -- ", "mv -n -- ")):
        return finding
    command, *words = shlex.split(finding.fix)
    files = [PurePosixPath(word) for word in words if not word.startswith("-")]
    if command == "rm":
        names = [next((name for name in finding.files if str(file).endswith(name)), str(file)) for file in files]
        return replace(finding, fix="leave it out" if names == list(finding.files) else f"leave out {', '.join(names)}")
    source, target = files
    return replace(
        finding,
        fix=f"rename it to {target.name}" if source.parent == target.parent else f"label it as {target.parent.name}",
    )


class FixCommands:
    """What to do about an image of a data set: a shell command for class folders, advice in words for tables.

    Nothing is executed here: the commands move or remove the user's own files, so the user runs them.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._has_class_folders = _has_class_folders(dataset)

    def finding(self, kind: str, severity: str, evidence: str, *indices: int, fix: str = "", score: float) -> Finding:
        """A finding about the images at these indices."""
        names = tuple(self._dataset.names[index] for index in indices)
        return Finding(kind, severity, evidence, files=names, fix=fix, score=score, images=indices)

    def remove(self, *indices: int) -> str:
        """Take images out of the data set."""
        files = [self._file(index) for index in indices]
        return shlex.join(["rm", "--", *files]) if self._has_class_folders else f"leave out {', '.join(files)}"

    def inspect(self, index: int) -> str:
        """Look at an unusual image; being unusual is not enough to remove it."""
        label = int(self._dataset.labels[index])
        condition = f"shows {self._dataset.class_names[label]}" if label >= 0 else "belongs here"
        return f"look at it: keep it if it {condition}, remove it if not"

    def relabel(self, index: int, label: str) -> str:
        """Give an image another label."""
        name = PurePosixPath(self._dataset.names[index])
        if not self._has_class_folders:
            return f"label {name} as {label}"
        depth = 1 if part_of(name.parts[0]) and self._dataset.parts[index] else 0
        target = PurePosixPath(*name.parts[:depth], label, name.name)
        shown = _printable(self._dataset.root / target) if self._dataset.root else str(target)
        return shlex.join(["mv", "-n", "--", self._file(index), shown])

    def rename(self, index: int, suffix: str) -> str:
        """Give an image's file another extension; "" where the file has no name of its own."""
        file = self._file(index)
        command = ["mv", "-n", "--", file, str(Path(file).with_suffix(suffix))]
        return shlex.join(command) if self._has_class_folders else ""

    def _file(self, index: int) -> str:
        image = self._dataset.images[index]
        return _printable(image) if isinstance(image, Path) else self._dataset.names[index]


def _has_class_folders(dataset: Dataset) -> bool:
    """Whether the label of an image is the name of the folder it is in."""
    labelled = next(((name, at) for name, at in zip(dataset.names, dataset.labels, strict=True) if at >= 0), None)
    if labelled is None or dataset.root is None or not isinstance(dataset.images[0], Path):
        return False
    return dataset.class_names[labelled[1]] in PurePosixPath(labelled[0]).parts[:2]


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
