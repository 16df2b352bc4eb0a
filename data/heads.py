"""A coat -> the face of a cat or of a dog, looking at the viewer; one unit is half a head's width."""

from dataclasses import dataclass

from coats import Coat
from pen import Colour, Pen, Point, ellipse, mirrored, mix, smooth

CAT_EYES: tuple[Colour, ...] = ((150, 188, 74), (232, 178, 52), (104, 178, 196), (196, 150, 60), (92, 160, 110))
DOG_EYES: tuple[Colour, ...] = ((96, 58, 34), (74, 44, 30), (140, 88, 40), (108, 164, 196))
DARK = (34, 26, 30)
PINK = (236, 152, 150)


@dataclass(frozen=True)
class Look:
    """How a head is held: `turn` from -1 (left) to 1 (right), eyes closed or not, tongue out or not, shape of ears."""

    turn: float
    asleep: bool
    tongue: bool
    ears: str


def cat_head(pen: Pen, coat: Coat, look: Look) -> None:
    """Pointed ears, slit pupils, whiskers, a small pink nose."""
    turn = look.turn * 0.13
    for side in (-1, 1):
        _cat_ear(pen, coat, side, turn)
    cheek = 1.12 if look.ears == "fluffy" else 1.02
    half = [(0, -0.8), (0.42, -0.78), (0.8, -0.48), (0.98, 0.0), (cheek, 0.36), (0.84, 0.66), (0.46, 0.86), (0, 0.9)]
    face = pen.shape(smooth(mirrored(half)), coat.base, coat.edge)
    _face_markings(pen, coat, face, turn)
    with pen.inside(face):
        for side in (-1, 1):
            pen.glow(turn + side * 0.62, 0.42, 0.34, 0.26, PINK, 0.35)
    for side in (-1, 1):
        pen.shape(ellipse(turn * 1.3 + side * 0.19, 0.46, 0.27, 0.22), coat.pale)
    pen.shape(ellipse(turn * 1.3, 0.62, 0.2, 0.17), coat.pale)
    for side in (-1, 1):
        _cat_eye(pen, coat, look, side * 0.43 + turn, side)
    _cat_mouth(pen, coat, turn * 1.4)


def _cat_ear(pen: Pen, coat: Coat, side: int, turn: float) -> None:
    tip = side * 0.86 - turn * 0.6
    points: list[Point] = [
        (side * 0.16, -0.72),
        (side * 0.5, -1.12),
        (tip, -1.46),
        (side * 0.98, -0.9),
        (side * 0.95, -0.2),
    ]
    outline = (
        smooth([points[0], points[1]], False, 4) + smooth([points[2]], False, 1)[:1] + smooth(points[3:], False, 4)
    )
    pen.shape(outline, coat.mark if coat.marking == "mask" else coat.base, coat.edge)
    inner = [
        (side * 0.36, -0.7),
        (side * 0.57, -1.02),
        (tip - side * 0.03, -1.26),
        (side * 0.87, -0.86),
        (side * 0.84, -0.4),
    ]
    pen.shape(inner, mix(PINK, coat.base, 0.25))
    for step in range(3):
        at = side * (0.4 + 0.1 * step)
        pen.line([(at, -0.62), (at + side * 0.1, -0.9)], coat.pale, 0.07, 0.02)


def _cat_eye(pen: Pen, coat: Coat, look: Look, x: float, side: int) -> None:
    ink = DARK if sum(coat.base) > 300 else mix(coat.base, (255, 240, 220), 0.55)
    if look.asleep:
        pen.line([(x - 0.22, -0.04), (x, 0.09), (x + 0.22, -0.04)], ink, 0.055)
        return
    colour = _eye_colour(pen, CAT_EYES)
    almond = smooth(
        [
            (x - side * 0.26, 0.05),
            (x - side * 0.08, -0.2),
            (x + side * 0.14, -0.24),
            (x + side * 0.28, -0.1),
            (x + side * 0.1, 0.16),
            (x - side * 0.12, 0.17),
        ]
    )
    pen.shape(almond, colour, DARK, 0.055)
    with pen.inside(almond):
        pen.glow(x, 0.16, 0.34, 0.26, mix(colour, (255, 255, 220), 0.6), 0.8)
        pen.shape(ellipse(x + look.turn * 0.04, -0.02, 0.062, 0.23), DARK)
    pen.shape(ellipse(x + 0.075, -0.11, 0.052, 0.06, points=16), (255, 255, 255))


def _eye_colour(pen: Pen, colours: tuple[Colour, ...]) -> Colour:
    # both eyes of one creature are alike, though drawn one after the other: the state is put back after the draw
    state = pen.rng.getstate()
    colour = pen.rng.choice(colours)
    pen.rng.setstate(state)
    return colour


def _cat_mouth(pen: Pen, coat: Coat, x: float) -> None:
    ink = mix(coat.edge, DARK, 0.4) if sum(coat.pale) > 330 else mix(coat.pale, (255, 244, 230), 0.6)
    pen.line([(x, 0.36), (x, 0.49)], ink, 0.045)
    for side in (-1, 1):
        pen.line([(x, 0.49), (x + side * 0.1, 0.58), (x + side * 0.24, 0.53)], ink, 0.045, 0.03)
    pen.shape(
        smooth([(x - 0.13, 0.25), (x, 0.225), (x + 0.13, 0.25), (x + 0.03, 0.375), (x - 0.03, 0.375)]),
        PINK,
        mix(PINK, DARK, 0.45),
        0.03,
    )
    light = sum(coat.base) < 420
    whisker = (250, 246, 236) if light else mix(coat.edge, DARK, 0.3)
    for side in (-1, 1):
        for row, (rise, droop) in enumerate(((-0.16, 0.0), (0.02, 0.06), (0.2, 0.16))):
            start = (x + side * 0.3, 0.42 + row * 0.07)
            end = (x * 0.4 + side * 1.46, 0.4 + rise + row * 0.07)
            pen.line(
                [start, (x + side * 0.85, 0.36 + rise * 0.5 + row * 0.07 - droop * 0.4), end], whisker, 0.034, 0.016
            )


def dog_head(pen: Pen, coat: Coat, look: Look) -> None:
    """Floppy, folded or long pricked ears, a big snout with a dark nose, round eyes, sometimes the tongue."""
    turn = look.turn * 0.2
    if look.ears == "pricked":
        for side in (-1, 1):
            _pricked_ear(pen, coat, side, turn)
    half = [(0, -0.88), (0.4, -0.84), (0.72, -0.52), (0.8, -0.05), (0.74, 0.35), (0.58, 0.74), (0.34, 0.98), (0, 1.06)]
    face = pen.shape(smooth(mirrored(half)), coat.base, coat.edge)
    _face_markings(pen, coat, face, turn * 0.8)
    if look.ears != "pricked":
        for side in (-1, 1):
            _hanging_ear(pen, coat, side, look)
    for side in (-1, 1):
        _dog_eye(pen, coat, look, side * 0.36 + turn * 0.8)
    _snout(pen, coat, look, turn * 1.5)


def _pricked_ear(pen: Pen, coat: Coat, side: int, turn: float) -> None:
    ear = [
        (side * 0.12, -0.74),
        (side * 0.34, -1.3),
        (side * 0.6 - turn * 0.4, -1.74),
        (side * 0.82, -1.3),
        (side * 0.82, -0.4),
    ]
    pen.shape(
        smooth([*ear, (side * 0.4, -0.4)]), coat.mark if coat.marking in ("mask", "patches") else coat.base, coat.edge
    )
    inner = [
        (side * 0.34, -0.84),
        (side * 0.45, -1.26),
        (side * 0.6 - turn * 0.4, -1.5),
        (side * 0.71, -1.22),
        (side * 0.68, -0.78),
    ]
    pen.shape(smooth(inner), mix(PINK, coat.mark, 0.45))


def _hanging_ear(pen: Pen, coat: Coat, side: int, look: Look) -> None:
    dark = coat.mark if coat.marking != "plain" else mix(coat.base, coat.mark, 0.55)
    if look.ears == "folded":
        ear = [(0.34, -0.84), (0.62, -1.16), (0.98, -1.06), (1.18, -0.62), (1.1, -0.26), (0.92, -0.34), (0.74, -0.62)]
    else:
        ear = [
            (0.44, -0.8),
            (0.8, -0.84),
            (1.1, -0.46),
            (1.22, 0.12),
            (1.16, 0.62),
            (0.94, 0.76),
            (0.78, 0.46),
            (0.72, -0.06),
            (0.6, -0.44),
        ]
    pen.shape(outline := smooth([(side * x, y) for x, y in ear]), dark, mix(coat.edge, dark, 0.2))
    with pen.inside(outline):
        pen.glow(side * 1.0, 0.7 if look.ears != "folded" else -0.2, 0.5, 0.6, mix(dark, DARK, 0.6), 0.45)


def _dog_eye(pen: Pen, coat: Coat, look: Look, x: float) -> None:
    ink = DARK if sum(coat.base) > 300 else (18, 16, 20)
    if look.asleep:
        line = DARK if sum(coat.base) > 300 else mix(coat.base, (255, 240, 220), 0.55)
        pen.line([(x - 0.17, -0.12), (x, -0.03), (x + 0.17, -0.12)], line, 0.06)
        return
    if sum(coat.base) < 330:
        pen.shape(ellipse(x, -0.37, 0.12, 0.08), mix(coat.base, (226, 168, 110), 0.7))
    pen.shape(ellipse(x, -0.12, 0.19, 0.2), mix(coat.base, (255, 250, 240), 0.55), ink, 0.05)
    colour = _eye_colour(pen, DOG_EYES)
    pen.shape(ellipse(x + look.turn * 0.04, -0.11, 0.145, 0.16), colour)
    pen.shape(ellipse(x + look.turn * 0.04, -0.11, 0.09, 0.1), DARK)
    pen.shape(ellipse(x + 0.06 + look.turn * 0.04, -0.175, 0.05, 0.055, points=16), (255, 255, 255))
    pen.line([(x - 0.14, -0.42), (x, -0.47), (x + 0.14, -0.43)], mix(coat.base, ink, 0.5), 0.05, 0.03)


def _snout(pen: Pen, coat: Coat, look: Look, x: float) -> None:
    pale = coat.pale if coat.marking != "mask" else mix(coat.mark, coat.base, 0.25)
    edge = mix(pale, coat.edge, 0.45)
    if look.tongue:
        tongue = [
            (x * 0.9 - 0.15, 0.78),
            (x * 0.9 + 0.17, 0.78),
            (x * 0.9 + 0.19, 1.1),
            (x * 0.9 + 0.02, 1.28),
            (x * 0.9 - 0.15, 1.1),
        ]
        pen.shape(ellipse(x * 0.9, 0.84, 0.28, 0.2), (112, 44, 52), edge)
        pen.shape(smooth(tongue), (238, 122, 130), (186, 78, 92), 0.04)
        pen.line([(x * 0.9 + 0.01, 0.85), (x * 0.9 + 0.02, 1.08)], (206, 92, 106), 0.04)
    half = [(0, 0.06), (0.26, 0.12), (0.44, 0.4), (0.46, 0.66), (0.28, 0.85), (0, 0.82)]
    muzzle = pen.shape(smooth([(px + x, py) for px, py in mirrored(half)]), pale, edge, 0.045)
    with pen.inside(muzzle):
        pen.glow(x, 0.9, 0.6, 0.3, mix(pale, DARK, 0.6), 0.4)
    ink = mix(pale, DARK, 0.8) if sum(pale) > 330 else mix(pale, (255, 240, 224), 0.45)
    pen.line([(x, 0.42), (x, 0.66)], ink, 0.05)
    for side in (-1, 1):
        pen.line([(x, 0.66), (x + side * 0.16, 0.75), (x + side * 0.34, 0.66)], ink, 0.05, 0.035)
        for dx, dy in ((0.2, 0.52), (0.29, 0.58), (0.25, 0.45)):
            pen.shape(ellipse(x + side * dx, dy, 0.018, 0.018, points=8), ink)
    nose = smooth([(x - 0.25, 0.16), (x, 0.1), (x + 0.25, 0.16), (x + 0.17, 0.36), (x, 0.44), (x - 0.17, 0.36)])
    pen.shape(nose, DARK, (18, 14, 18), 0.03)
    pen.shape(ellipse(x - 0.06, 0.19, 0.1, 0.035, -6), (128, 118, 124))


def _face_markings(pen: Pen, coat: Coat, face: list[Point], turn: float) -> None:
    with pen.inside(face):
        if coat.marking == "patches":
            side = pen.rng.choice((-1, 1))
            pen.shape(ellipse(turn + side * 0.55, -0.35, 0.5, 0.62, side * 18), coat.mark)
        elif coat.marking == "bib":
            half = [(0.0, -0.78), (0.13, -0.3), (0.2, 0.1), (0.62, 0.62), (0.0, 1.1)]
            pen.shape(smooth([(turn + x, y) for x, y in mirrored(half)]), coat.pale)
        elif coat.marking == "mask":
            pen.glow(turn * 1.2, 0.25, 0.95, 0.95, coat.mark, 0.95)
        elif coat.marking == "stripes":
            _face_stripes(pen, coat.mark, turn)
        pen.glow(0, 1.15, 1.3, 0.6, mix(coat.base, (40, 20, 50), 0.55), 0.45)
        pen.glow(-0.2, -0.75, 0.7, 0.5, mix(coat.base, (255, 252, 236), 0.75), 0.4)


def _face_stripes(pen: Pen, colour: Colour, turn: float) -> None:
    for x, long in ((-0.24, 0.42), (0.0, 0.5), (0.24, 0.42)):
        pen.line([(x * 1.3, -0.95), (turn + x, -0.8 + long * 0.5), (turn + x * 0.8, -0.8 + long)], colour, 0.13, 0.04)
    for side in (-1, 1):
        for y in (0.1, 0.34):
            pen.line([(side * 1.2, y - 0.08), (side * 0.9, y), (side * 0.66 + turn, y + 0.02)], colour, 0.11, 0.03)
