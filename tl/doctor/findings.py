"""What was noticed about a data set becomes a diagnosis: findings in the order in which they matter."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tl.data.dataset import Dataset

SEVERITIES = ("error", "warning", "note")
"""From what spoils a result to what is merely good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at: `files` by name, the `evidence` in a sentence, and the command that mends it (or "").

    `severity` is one of SEVERITIES. `score` from 0 to 1 says how sure it is, or how bad, and ranks findings of one
    severity. `pictures` are the indices of those of the files that can be shown.
    """

    kind: str
    severity: str
    files: tuple[str, ...]
    evidence: str
    mend: str
    score: float
    pictures: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "files": list(self.files),
            "evidence": self.evidence,
            "mend": self.mend,
            "score": round(self.score, 4),
        }


@dataclass(frozen=True)
class Diagnosis:
    """The findings about a data set, the most pressing first; `notes` say what could not be looked into, and why."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def severities(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def kinds(self) -> dict[str, tuple[Finding, ...]]:
        """The findings by kind, the kind of the most pressing one first."""
        order = dict.fromkeys(finding.kind for finding in self.findings)
        return {kind: tuple(finding for finding in self.findings if finding.kind == kind) for kind in order}

    def reaches(self, severity: str) -> bool:
        """Whether there is a finding of this severity or a graver one."""
        grave = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return any(finding.severity in grave for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data": self.dataset.name,
            "images": len(self.dataset.names),
            "classes": len(self.dataset.class_names),
            "counts": self.severities,
            "kinds": {kind: len(found) for kind, found in self.kinds.items()},
            "findings": [finding.as_dict() for finding in self.findings],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, then score, then name, so that the order is the same each time."""
    return tuple(sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), -found.score, found.files)))
