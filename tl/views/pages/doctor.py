"""Render the diagnosis of a data set with its photos as one self-contained HTML page: no network, no other files."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tl.data.images import decode, read
from tl.doctor.findings import Diagnosis, Finding
from tl.errors import ImageError
from tl.text import one_line
from tl.views.pages import render
from tl.views.pages.report_examples import thumbnail
from tl.views.terminal.data import TITLES, is_command, printable_fix, summary, verdict

_MAX_FINDINGS = 24  # of a kind
_MAX_IMAGES = 4  # of a finding
_SIDE = 192  # pixels of the long side of an image


def render_page(diagnosis: Diagnosis, command: str = "") -> str:
    """The page, for light and dark, narrow and wide screens, and screen readers."""

    def thumbnails(finding: Finding) -> Iterator[tuple[str, str]]:
        for index in finding.images[:_MAX_IMAGES]:
            uri = ""
            with suppress(ImageError):
                uri = thumbnail(decode(read(diagnosis.dataset.images[index]), _SIDE), _SIDE).uri
            yield one_line(diagnosis.dataset.names[index]), uri

    values = {
        "title": f"Check of {one_line(diagnosis.dataset.name)}",
        "verdict": verdict(diagnosis),
        "summary": summary(diagnosis),
        "notes": diagnosis.notes,
        "sections": [_section(kind, findings) for kind, findings in diagnosis.kinds.items()],
        "command": command,
        "most_images": _MAX_IMAGES,
        "thumbnails": thumbnails,
        "printable_fix": printable_fix,
        "is_command": is_command,
    }
    return render("doctor.html.jinja", values, style="doctor.css")


def _section(kind: str, findings: tuple[Finding, ...]) -> dict[str, Any]:
    heading, why = TITLES[kind]
    return {
        "anchor": kind.replace(" ", "-"),
        "title": heading,
        "why": why,
        "severity": findings[0].severity,
        "count": f"{len(findings):,}",
        "findings": findings[:_MAX_FINDINGS],
        "rest": max(0, len(findings) - _MAX_FINDINGS),
    }
