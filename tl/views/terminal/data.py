"""Figures of a data set become lines for a terminal."""

import textwrap

from tl.doctor.stats import Stats
from tl.views.terminal.tables import padded, shortened, size, width_of

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
