"""Show the statistics and the diagnosis of a data set in a terminal."""

from tl.doctor.balance import DatasetStats
from tl.doctor.findings import Diagnosis, Finding
from tl.text import count, size
from tl.views.terminal.tables import columns, padded, shortened, width_of

_MAX_CLASSES = 20  # that are listed one by one
_BAR = 30


def stats_text(stats: DatasetStats, width: int) -> str:
    """The statistics of a data set in lines of at most `width` columns."""
    images, classes = count(stats.images, "image"), count(len(stats.classes), "class")
    lines = [f"{stats.data}: {images} in {classes}, {size(stats.bytes)}"]
    if stats.broken:
        lines.append(f"{stats.broken:,} more cannot be read: see which with tl data check")
    if stats.identical:
        lines.append(f"{stats.identical:,} identical to another")
    parts = ", ".join(f"{images:,} {part or 'in no part'}" for part, images in stats.parts.items())
    facts = [("parts", parts)] if set(stats.parts) != {""} else []
    facts.append(("formats", ", ".join(f"{files:,} {name}" for name, files in stats.formats.items())))
    for name, values in stats.percentiles.items():
        least, low, median, high, most = (size(int(v)) if name == "bytes" else f"{v:,.0f}" for v in values)
        facts.append((name, f"{least} to {most}, median {median}, 90% from {low} to {high}"))
    if stats.mean_colour:
        colour = ", ".join(f"{value:.0f}" for value in stats.mean_colour)
        facts.append(("colour", f"{colour} (mean red, green, blue)"))
    return "\n".join([*lines, "", columns(facts, (8, width - 10)), "", *_class_bars(stats, width)])


def _class_bars(stats: DatasetStats, width: int) -> list[str]:
    ordered = sorted(stats.classes.items(), key=lambda item: -item[1])
    most = max((images for _, images in ordered), default=0)
    shown = ordered if len(ordered) <= _MAX_CLASSES else ordered[: _MAX_CLASSES // 2] + ordered[-(_MAX_CLASSES // 2) :]
    room = min(max((width_of(name) for name, _ in shown), default=0), width - _BAR - 12)
    lines = [
        f"{padded(shortened(name, room), room)} {images:>8,}  {'█' * round(_BAR * images / max(most, 1))}".rstrip()
        for name, images in shown
    ]
    if len(shown) < len(ordered):
        lines.insert(_MAX_CLASSES // 2, f"… {len(ordered) - len(shown):,} more")
    return lines


# The title of each kind of finding, and why it matters.
TITLES = {
    "corrupt": ("Damaged files", "They are left out of training and evaluation."),
    "truncated": ("Truncated files", "Part of the image is missing, so they are left out."),
    "empty": ("Empty files", "They have no content."),
    "not an image": ("Files that are not images", "They are named like images, but contain something else."),
    "unreadable": ("Files that cannot be read", "Permissions or the disk prevent it."),
    "colour mode": ("Unusual colour modes", "Other programs may show other colours, or nothing."),
    "unread kind": ("Images of a kind that is not read", "They may be good, but training cannot use them."),
    "damaged part": ("Images with a damaged part", "They are used as they are."),
    "several images": ("Files of several images", "One image of each is used."),
    "transparency": ("White drawings on a transparent ground", "Over white, as usual, they would be blank."),
    "bit depth": ("Unusual numbers of bits", "They are scaled by what the file says or by its highest value."),
    "colour profile": ("Unusable colour profiles", "Their colours may shift."),
    "unsupported format": ("Unsupported image formats", "These may be good images, but training cannot use them."),
    "wrong extension": ("Wrong file extensions", "Some programs go by the extension, and fail."),
    "left out": ("Files that are left out", "They are in the folders, but not among the images."),
    "enormous": ("Enormous images", "They only cost time: networks look at a fraction of a megapixel."),
    "tiny": ("Tiny images", "Enlarged for the network, they are a blur."),
    "extreme aspect ratio": ("Extreme aspect ratios", "Squeezed into a square, the short side keeps little detail."),
    "rotated": ("Images rotated by EXIF", "They are upright here; other programs may not rotate them."),
    "leak": ("Images on both sides of the split", "The network has seen them, so the accuracy is too high."),
    "two labels": ("One photo, two labels", "One of the labels is wrong, or the classes overlap."),
    "duplicate": ("Duplicate images", "They count twice and add nothing."),
    "group leak": ("Groups on both sides of the split", "Related images are in training and evaluation."),
    "label": ("Probably wrong labels", "A classifier that has not seen the image is sure of another class."),
    "doubtful label": ("Doubtful labels", "Either the image is hard or its label is wrong: have a look."),
    "outlier": ("Outliers", "They may not belong here, or be rare and worth having."),
    "blank": ("Blank images", "They show a single colour."),
    "too dark": ("Dark images", "There is little to see in them."),
    "too bright": ("Overexposed images", "There is little to see in them."),
    "blurred": ("Blurred images", "They have no fine detail."),
    "shortcut": ("Shortcuts", "A network may learn these instead of the subject, and fail on images from elsewhere."),
    "few photos": ("Classes with few images", "There is too little to learn from, or to measure accuracy with."),
    "copies": ("Classes with many copies", "There is less to learn from than it seems."),
    "imbalance": ("Class imbalance", "Large classes are predicted too often, and accuracy hides it."),
    "class names": ("Classes that may be the same", "Two names for one thing cannot be told apart."),
    "nested folder": ("Folders inside class folders", "Their images count as the class above."),
    "split folders": ("Parts with two names", "Both folders are read as the same part."),
    "layout": ("How the folders were read", "Check that this is what you meant."),
}


def verdict(diagnosis: Diagnosis) -> str:
    """The number of findings of each severity."""
    counts = [count(number, severity) for severity, number in diagnosis.severities.items() if number]
    return f"{', '.join(counts)}." if counts else "Nothing found."


def summary(diagnosis: Diagnosis) -> str:
    """What was checked: the data set, its size, and how long it took."""
    dataset = diagnosis.dataset
    images, classes = count(len(dataset.names), "image"), count(len(dataset.class_names), "class")
    return f"{dataset.name}: {images}, {classes}, checked in {diagnosis.seconds:.1f} s"


def is_command(fix: str) -> bool:
    """Whether a fix is a shell command rather than advice."""
    return fix.startswith(("rm ", "mv "))


def printable_fix(finding: Finding) -> str:
    """The fix; a command with unprintable characters is never changed, but replaced by advice."""
    if finding.fix.isprintable():
        return finding.fix
    return "rename it first: its name has characters that cannot be typed" if is_command(finding.fix) else ""


_EXAMPLES = 3  # of each kind
_FILES = 3  # of one finding


def diagnosis_text(diagnosis: Diagnosis, width: int) -> str:
    """The findings in lines of at most `width` columns; a command stays on one line, to be copied."""
    blocks = [_wrapped(f"{summary(diagnosis)}. {verdict(diagnosis)}", width, "")]
    blocks += [_wrapped(f"Not checked: {note}", width, "") for note in diagnosis.notes]
    blocks += [_section(kind, findings, width) for kind, findings in diagnosis.kinds.items()]
    if any(len(findings) > _EXAMPLES for findings in diagnosis.kinds.values()):
        blocks.append("The page shows more of them, --json all.")
    return "\n\n".join(blocks)


def _section(kind: str, findings: tuple[Finding, ...], width: int) -> str:
    heading, why = TITLES[kind]
    lines = [_wrapped(f"{findings[0].severity}: {heading} ({len(findings):,})", width, ""), _wrapped(why, width, "  ")]
    for finding in findings[:_EXAMPLES]:
        lines += _finding(finding, width)
    if len(findings) > _EXAMPLES:
        lines.append(f"  … and {len(findings) - _EXAMPLES:,} more")
    return "\n".join(line for line in lines if line)


def _finding(finding: Finding, width: int) -> list[str]:
    lines = [f"  - {shortened(name, width - 4)}" for name in finding.files[:1]]
    lines += [f"    {shortened(name, width - 4)}" for name in finding.files[1:_FILES]]
    if len(finding.files) > _FILES:
        lines.append(f"    and {count(len(finding.files) - _FILES, 'more file')}")
    lines.append(_wrapped(finding.evidence, width, "    " if finding.files else "  - ", "    "))
    fix = printable_fix(finding)
    if is_command(fix):
        lines.append(f"    $ {fix}")
    elif fix:
        lines.append(_wrapped(f"→ {fix}", width, "    ", "      "))
    return lines


def _wrapped(text: str, width: int, first: str, later: str | None = None) -> str:
    """Text wrapped to `width` columns, indented by `first` on the first line and by `later` on the others."""
    indent = first if later is None else later
    lines = columns([(text,)], [width - len(indent)]).splitlines()
    return "\n".join((indent if at else first) + line for at, line in enumerate(lines))
