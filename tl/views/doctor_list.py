"""A diagnosis becomes lines for a terminal: the kinds of finding, the most pressing first, with examples of each."""

import shlex

from tl.doctor.findings import Diagnosis, Finding
from tl.views.doctor_words import COMMANDS, about, gravest, heading, mend, verdict
from tl.views.terminal.tables import columns, shortened

_EXAMPLES = 3  # of each kind
_NAMES = 3  # files of one finding


def listing(diagnosis: Diagnosis, width: int) -> str:
    """The findings in lines of at most `width` columns; a command that is longer goes on behind a backslash."""
    blocks = [_wrapped(f"{about(diagnosis)}. {verdict(diagnosis)}", width, "")]
    blocks += [_wrapped(f"Not looked into: {note}", width, "") for note in diagnosis.notes]
    blocks += [_block(kind, found, width) for kind, found in diagnosis.kinds.items()]
    if any(len(found) > _EXAMPLES for found in diagnosis.kinds.values()):
        blocks.append("More of them are in the page, and all in --json.")
    return "\n\n".join(blocks)


def _block(kind: str, found: tuple[Finding, ...], width: int) -> str:
    title, why = heading(kind)
    lines = [_wrapped(f"{gravest(found)}: {title} ({len(found):,})", width, ""), _wrapped(why, width, "  ")]
    for finding in found[:_EXAMPLES]:
        lines += _lines(finding, width)
    if len(found) > _EXAMPLES:
        lines.append(f"  … and {len(found) - _EXAMPLES:,} more")
    return "\n".join(line for line in lines if line)


def _lines(finding: Finding, width: int) -> list[str]:
    lines = [f"  - {shortened(name, width - 4)}" for name in finding.files[:1]]
    lines += [f"    {shortened(name, width - 4)}" for name in finding.files[1:_NAMES]]
    if len(finding.files) > _NAMES:
        lines.append(f"    and {len(finding.files) - _NAMES} more files")
    lines.append(_wrapped(finding.evidence, width, "    " if finding.files else "  - ", "    "))
    words = mend(finding)
    if words.startswith(COMMANDS):
        lines.append(_command(words, width))
    elif words:
        lines.append(_wrapped(f"→ {words}", width, "    ", "      "))
    return lines


def _command(text: str, width: int) -> str:
    """A command of the shell on as many lines as it takes, each but the last with a backslash at its end."""
    from rich.cells import cell_len

    lines = [""]
    for word in map(shlex.quote, shlex.split(text)):
        if lines[-1] and cell_len(f"{lines[-1]} {word}") > width - 8:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return "    $ " + " \\\n        ".join(lines)


def _wrapped(text: str, width: int, first: str, after: str | None = None) -> str:
    """Text behind indents, which are of one width or the later ones wider; Korean letters take two columns."""
    indent = first if after is None else after
    lines = columns([(text,)], [width - len(indent)]).splitlines()
    return "\n".join((indent if at else first) + line for at, line in enumerate(lines))
