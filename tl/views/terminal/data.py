"""Figures of a data set become lines for a terminal."""

import shlex
import textwrap

from tl.doctor.balance import Stats
from tl.doctor.findings import SEVERITIES, Diagnosis, Finding
from tl.views.terminal.tables import columns, padded, shortened, size, width_of

_CLASSES = 20  # that are listed one by one
_BAR = 30


def figures(told: Stats, width: int) -> str:
    """The figures in lines of at most `width` columns."""
    lines = [f"{told.name}: {told.images:,} images in {len(told.per_class):,} classes, {size(told.bytes)}"]
    if told.broken:
        lines.append(f"{told.broken:,} more cannot be read: tl data check names them")
    if told.identical:
        lines.append(f"{told.identical:,} byte-identical to another")
    named = ", ".join(f"{count:,} {part or 'without a part'}" for part, count in told.parts.items())
    lines += ["", *_said("parts", named, width)] if set(told.parts) != {""} else [""]
    lines += _said("formats", ", ".join(f"{count:,} {name}" for name, count in told.formats.items()), width)
    lines += [_spread(name, values) for name, values in told.percentiles.items()]
    if told.colour:
        lines.append(f"{'colour':<10}{', '.join(f'{value:.0f}' for value in told.colour)} (mean red, green, blue)")
    return "\n".join([*lines, "", *_classes(told, width)])


def _said(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=f"{name:<10}", subsequent_indent=" " * 10)


def _spread(name: str, values: tuple[float, ...]) -> str:
    least, low, middle, high, largest = (size(int(v)) if name == "bytes" else f"{v:,.0f}" for v in values)
    return f"{name:<10}{least} to {largest}, half up to {middle}, nine of ten from {low} to {high}"


def _classes(told: Stats, width: int) -> list[str]:
    ordered = sorted(told.per_class.items(), key=lambda item: (-item[1], item[0]))
    most = max((count for _, count in ordered), default=0)
    shown = ordered if len(ordered) <= _CLASSES else [*ordered[: _CLASSES // 2], *ordered[-(_CLASSES // 2) :]]
    room = min(max((width_of(name) for name, _ in shown), default=0), width - _BAR - 12)
    lines = [
        f"{padded(shortened(name, room), room)} {count:>8,}  {'█' * round(_BAR * count / max(most, 1))}".rstrip()
        for name, count in shown
    ]
    if len(shown) < len(ordered):
        lines.insert(_CLASSES // 2, f"… {len(ordered) - len(shown):,} more")
    return lines


TITLES: dict[str, tuple[str, str]] = {
    "corrupt": ("Damaged files", "They are left out of training, and of every check."),
    "truncated": ("Truncated files", "The lower part of the picture is missing, so that they are left out."),
    "empty": ("Empty files", "They hold not a byte."),
    "not an image": ("Files that are no images", "They are named like images, but hold something else."),
    "unreadable": ("Files that cannot be read", "Permissions or the disk do not allow it."),
    "colour mode": ("Odd colour modes", "Other programs may show other colours, or nothing."),
    "unread format": ("Images in formats that are not read", "They may be good photos, but are not learnt from so."),
    "wrong extension": ("Names that say another format", "Some programs go by the name and fail."),
    "left out": ("Files that are left out", "They are in the folders, but are not among the images."),
    "enormous": ("Enormous images", "They cost time: networks look at a fraction of a megapixel."),
    "tiny": ("Tiny images", "They are enlarged to a blur."),
    "extreme shape": ("Extreme shapes", "Squeezed into a square, next to nothing is left of their short side."),
    "rotated": ("Photos turned by EXIF", "They are shown upright here; other programs may not turn them."),
    "leak": ("Photos on both sides of the split", "They are answered from memory, so that the accuracy is too high."),
    "two labels": ("One photo, two labels", "One of them is wrong, or the classes overlap."),
    "duplicate": ("Photos that are there twice", "They count twice, and add nothing."),
    "torn group": ("Groups on both sides of the split", "What must stay together is learnt from and checked with."),
    "label": ("Labels that are probably wrong", "A classifier that has not seen the photo is sure of another one."),
    "doubtful label": ("Labels in doubt", "These photos are hard, or their labels wrong: they are worth a look."),
    "outlier": ("Photos unlike all others", "They may not belong here at all, or be rare and worth having."),
    "blank": ("Blank photos", "They show one colour."),
    "too dark": ("Dark photos", "There is little to see in them."),
    "too bright": ("Overexposed photos", "There is little to see in them."),
    "blurred": ("Blurred photos", "They have no fine detail at all."),
    "shortcut": ("Classes told by something else", "A network may learn that, and fail on photos made elsewhere."),
    "few photos": ("Classes with few photos", "What is not seen is not learnt, and not checked."),
    "copies": ("Classes with many copies", "There is less to learn from than it seems."),
    "imbalance": ("Uneven classes", "The large ones are answered too often, and top-1 hides it."),
    "class names": ("Classes that may be one", "Two names for one thing cannot be told apart."),
    "nested folder": ("Folders inside of classes", "Their photos count as the class above."),
    "split folders": ("Parts under two names", "Both are taken for the same part."),
    "layout": ("How the folders were read", "Make sure that it is what was meant."),
}


def heading(kind: str) -> tuple[str, str]:
    """The heading of a kind, and why it matters."""
    return TITLES.get(kind, (kind.capitalize(), ""))


def verdict(diagnosis: Diagnosis) -> str:
    """All findings in a sentence."""
    if not diagnosis.findings:
        return "Nothing found."
    told = [_counted(count, severity) for severity, count in diagnosis.severities.items() if count]
    return f"{', '.join(told)}."


def about(diagnosis: Diagnosis) -> str:
    """What was looked at, in a few words."""
    dataset = diagnosis.dataset
    images = _counted(len(dataset.names), "image")
    classes = f"{len(dataset.class_names):,} class{'' if len(dataset.class_names) == 1 else 'es'}"
    return f"{dataset.name}: {images}, {classes}, looked through in {diagnosis.seconds:.1f} s"


COMMANDS = ("rm ", "mv ")


def mend(finding: Finding) -> str:
    """What mends it, in letters that a terminal and a page can show; a command is never changed."""
    if finding.mend.isprintable():
        return finding.mend
    return "rename it first: its name has letters that cannot be typed" if finding.mend.startswith(COMMANDS) else ""


def gravest(found: tuple[Finding, ...]) -> str:
    """The gravest severity among findings."""
    return min((one.severity for one in found), key=SEVERITIES.index)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
