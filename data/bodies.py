"""A coat and a kind -> the body of a cat or a dog in one of five poses, the head at (0, 0), facing right."""

from dataclasses import dataclass

from coats import Coat, marked
from pen import Pen, Point, ellipse, mirrored, mix, smooth


@dataclass(frozen=True)
class Pose:
    """How far a pose reaches left, up, right and down of the middle of the head, in half head widths."""

    left: float
    top: float
    right: float
    bottom: float


POSES: dict[str, Pose] = {
    "face": Pose(-1.35, -1.6, 1.35, 1.5),
    "front": Pose(-1.75, -1.6, 2.1, 3.75),
    "side": Pose(-3.3, -1.6, 1.35, 3.75),
    "standing": Pose(-4.3, -1.8, 1.3, 3.45),
    "lying": Pose(-3.5, -1.6, 1.5, 2.0),
}


def body(pen: Pen, coat: Coat, dog: bool, pose: str) -> None:
    """Draw all but the head."""
    {"face": _bust, "front": _front, "side": _side, "standing": _standing, "lying": _lying}[pose](pen, coat, dog)


def collar(pen: Pen, coat: Coat, x: float, y: float, half: float, tilt: float = 0.0) -> None:
    """A band around the neck with a tag, where the coat has one."""
    if coat.collar is None:
        return
    band = pen.placed(x, y, tilt=tilt)
    edge = mix(coat.collar, (40, 20, 30), 0.5)
    band.line([(-half, -0.08), (0, 0.16), (half, -0.08)], edge, 0.32)
    band.line([(-half, -0.08), (0, 0.16), (half, -0.08)], coat.collar, 0.24)
    band.shape(ellipse(0, 0.36, 0.15, 0.15), (246, 204, 84), (166, 118, 34), 0.04)


def _tail(pen: Pen, coat: Coat, points: list[Point], dog: bool) -> None:
    # a cat's tail is long and even; a dog's is shorter, thick at its root and pointed
    if dog:
        points = points[:3]
    first, last = (0.52, 0.2) if dog else (0.3, 0.24)
    pen.line(points, coat.edge, first + 0.1, last + 0.1)
    pen.line(points, coat.extremity, first, last)
    tip = coat.pale if coat.marking == "bib" else coat.mark
    if coat.marking in ("bib", "stripes", "mask"):
        curve = smooth(points, closed=False, steps=6)
        share = len(curve) // 4
        size = (first + 3 * last) / 4
        pen.line(curve[-share:], tip, size, last)
        if coat.marking == "stripes" and not dog:
            for at in range(4, len(curve) - share - 2, 5):
                pen.line(curve[at : at + 2], tip, first)


def _leg(
    pen: Pen, coat: Coat, x: float, top: float, bottom: float, dog: bool, near: bool = True, flare: float = 0.0
) -> None:
    half = 0.36 if dog else 0.29
    colour = coat.extremity if near else mix(coat.extremity, (40, 24, 40), 0.22)
    paw = coat.paw if near else mix(coat.paw, (40, 24, 40), 0.22)
    leg = [
        (x - half * 1.25 - flare, top),
        (x - half, (top + bottom) / 2),
        (x - half, bottom),
        (x + half, bottom),
        (x + half, (top + bottom) / 2),
        (x + half * 1.2, top),
    ]
    outline = smooth(leg[:3], False) + smooth(leg[3:], False)
    pen.faded(outline, colour, top, top + (bottom - top) * 0.45)
    pen.line(outline[: len(outline) // 2 + 1][3:], coat.edge, 0.05)
    pen.line(outline[len(outline) // 2 + 1 :][:-3], coat.edge, 0.05)
    foot = smooth(
        [
            (x - half * 1.15, bottom + 0.12),
            (x - half, bottom - 0.18),
            (x + half, bottom - 0.22),
            (x + half * 1.6, bottom),
            (x + half * 1.35, bottom + 0.16),
        ]
    )
    pen.shape(foot, paw, coat.edge)
    for toe in (0.15, 0.75):
        pen.line([(x + half * toe, bottom - 0.02), (x + half * toe, bottom + 0.12)], coat.edge, 0.04)


def _chest(pen: Pen, coat: Coat, outline: list[Point], x: float, y: float, across: float, down: float) -> None:
    with pen.inside(outline):
        if coat.marking == "bib":
            pen.shape(ellipse(x, y, across, down), coat.pale)
        else:
            pen.glow(x, y, across * 1.5, down * 1.4, coat.pale, 0.7)


def _bust(pen: Pen, coat: Coat, dog: bool) -> None:
    wide = 1.15 if dog else 1.0
    half = [(0, 0.3), (0.62, 0.5), (wide, 1.4), (wide * 1.25, 2.4), (wide * 1.45, 4.5), (0, 5.0)]
    outline = pen.shape(smooth(mirrored(half)), coat.base, coat.edge)
    marked(pen, coat, outline, "x")
    _chest(pen, coat, outline, 0, 2.2, 0.62, 1.4)
    if dog or coat.collar:
        collar(pen, coat, 0, 1.12, 0.72)


def _front(pen: Pen, coat: Coat, dog: bool) -> None:
    long = [(0.8, 3.25), (1.55, 3.3), (2.0, 2.7), (1.75, 2.0), (1.95, 1.5)]
    _tail(pen, coat, [(0.8, 3.0), (1.5, 2.7), (1.95, 1.9)] if dog else long, dog)
    wide = 1.06 if dog else 0.94
    for side in (-1, 1):
        haunch = pen.shape(ellipse(side * 0.88, 2.88, 0.64, 0.72, side * -14), coat.base, coat.edge)
        marked(pen, coat, haunch, "x")
        pen.shape(ellipse(side * 1.12, 3.5, 0.5, 0.22), coat.paw, coat.edge)
    half = [(0, 0.3), (0.5, 0.55), (wide * 0.84, 1.3), (wide, 2.2), (wide * 0.9, 3.1), (0, 3.4)]
    outline = pen.shape(smooth(mirrored(half)), coat.base, coat.edge)
    marked(pen, coat, outline, "x")
    _chest(pen, coat, outline, 0, 1.6, 0.46, 0.85)
    for side in (-1, 1):
        placed = pen.placed(side * 0.4, 0, flip=side < 0)
        _leg(placed, coat, 0, 2.0, 3.5, dog)
    collar(pen, coat, 0, 1.02, 0.58)


def _side(pen: Pen, coat: Coat, dog: bool) -> None:
    if dog:
        _tail(pen, coat, [(-2.0, 3.1), (-2.75, 2.75), (-3.1, 1.9)], dog)
    else:
        _tail(pen, coat, [(-1.9, 3.3), (-2.7, 3.3), (-3.1, 2.7), (-2.8, 2.1), (-3.05, 1.6)], dog)
    _leg(pen, coat, 0.52, 1.6, 3.42, dog, near=False)
    back = [
        (-0.5, 0.1),
        (-0.95, 1.0),
        (-1.75, 1.85),
        (-2.25, 2.8),
        (-1.9, 3.5),
        (-0.6, 3.45),
        (0.3, 2.6),
        (0.72, 1.7),
        (0.6, 0.8),
        (0.3, 0.2),
    ]
    outline = pen.shape(smooth(back), coat.base, coat.edge)
    marked(pen, coat, outline)
    _chest(pen, coat, outline, 0.5, 1.6, 0.42, 0.75)
    _leg(pen, coat, 0.14, 1.9, 3.5, dog)
    thigh = smooth([(-2.0, 2.6), (-1.4, 2.1), (-0.75, 2.45), (-0.62, 3.1), (-0.95, 3.55), (-1.75, 3.5)])
    pen.shape(thigh, coat.base)
    marked(pen, coat, thigh)
    pen.line(thigh[4:34], coat.edge, 0.05)
    pen.shape(smooth([(-1.4, 3.66), (-1.3, 3.36), (-0.7, 3.34), (-0.36, 3.5), (-0.4, 3.68)]), coat.paw, coat.edge)
    collar(pen, coat, 0.05, 1.0, 0.56, -8)


def _standing(pen: Pen, coat: Coat, dog: bool) -> None:
    if dog:
        _tail(pen, coat, [(-3.1, 1.1), (-3.7, 0.5), (-4.05, -0.35)], dog)
    else:
        _tail(pen, coat, [(-3.1, 1.1), (-3.85, 0.5), (-3.75, -0.5), (-3.9, -1.2), (-3.45, -1.55)], dog)
    for x in (-2.55, -0.2):
        _leg(pen, coat, x, 1.6, 3.1, dog, near=False)
    belly = 2.15 if dog else 2.05
    spine = [
        (-0.5, 0.0),
        (-1.2, 0.72),
        (-2.3, 0.7),
        (-3.2, 0.95),
        (-3.45, 1.6),
        (-3.0, 2.1),
        (-1.8, belly),
        (-0.5, belly + 0.1),
        (0.35, 1.7),
        (0.5, 0.7),
    ]
    outline = pen.shape(smooth(spine), coat.base, coat.edge)
    marked(pen, coat, outline)
    _chest(pen, coat, outline, -1.2, 2.4, 2.0, 0.6)
    for x in (-3.0, 0.1):
        _leg(pen, coat, x, 1.6, 3.2, dog)
    collar(pen, coat, 0.0, 1.0, 0.54, -6)


def _lying(pen: Pen, coat: Coat, dog: bool) -> None:
    rump = [
        (-0.6, 0.1),
        (-1.3, 0.15),
        (-2.4, 0.1),
        (-3.15, 0.75),
        (-3.2, 1.5),
        (-2.6, 1.85),
        (-0.8, 1.85),
        (0.5, 1.75),
        (0.8, 1.2),
        (0.5, 0.3),
    ]
    outline = pen.shape(smooth(rump), coat.base, coat.edge)
    marked(pen, coat, outline)
    _chest(pen, coat, outline, 0.4, 1.4, 0.5, 0.6)
    thigh = ellipse(-2.35, 1.3, 0.82, 0.62)
    pen.shape(thigh, coat.base, coat.edge)
    marked(pen, coat, thigh)
    pen.shape(smooth([(-2.3, 1.86), (-2.2, 1.6), (-1.5, 1.6), (-1.2, 1.75), (-1.25, 1.9)]), coat.paw, coat.edge)
    if dog:
        _tail(pen, coat, [(-3.0, 1.55), (-3.35, 1.2), (-3.5, 0.7)], dog)
    else:
        _tail(pen, coat, [(-3.1, 1.5), (-2.9, 1.88), (-2.0, 1.92), (-1.2, 1.8), (-0.95, 1.55)], dog)
    for x, y in ((-0.25, 1.62), (0.42, 1.72)):
        arm = smooth(
            [(x - 0.4, y + 0.18), (x - 0.3, y - 0.26), (x + 0.5, y - 0.24), (x + 0.85, y), (x + 0.75, y + 0.2)]
        )
        pen.shape(arm, coat.paw, coat.edge)
        for toe in (0.5, 0.68):
            pen.line([(x + toe, y + 0.02), (x + toe, y + 0.17)], coat.edge, 0.04)
    collar(pen, coat, 0.05, 0.98, 0.5, -4)
