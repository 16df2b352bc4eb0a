"""A kind of finding becomes a heading and a sentence that says why it matters."""

from tl.doctor.findings import SEVERITIES, Diagnosis, Finding

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
