"""A random generator -> the place a creature sits in, the same places for cats and for dogs."""

from collections.abc import Callable

from pen import Colour, Pen, ellipse, mix, smooth

WALLS: tuple[Colour, ...] = (
    (244, 226, 200),
    (214, 226, 220),
    (232, 210, 206),
    (206, 218, 234),
    (236, 230, 214),
    (198, 212, 196),
    (120, 136, 158),
    (222, 186, 152),
)
FLOORS: tuple[Colour, ...] = ((176, 128, 88), (202, 164, 120), (140, 104, 80), (188, 182, 172), (160, 96, 74))
FABRICS: tuple[Colour, ...] = (
    (188, 84, 72),
    (70, 112, 134),
    (96, 126, 92),
    (214, 160, 70),
    (134, 104, 140),
    (90, 92, 104),
)
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((126, 186, 232), (222, 240, 248)),
    ((92, 150, 210), (196, 224, 240)),
    ((246, 180, 130), (252, 228, 190)),
    ((150, 150, 200), (246, 206, 196)),
    ((46, 58, 104), (120, 122, 168)),
    ((190, 204, 214), (232, 236, 236)),
)
GREENS: tuple[Colour, ...] = ((112, 168, 82), (142, 182, 88), (84, 142, 84), (172, 178, 96), (206, 186, 118))
FLOWERS: tuple[Colour, ...] = ((250, 250, 244), (248, 208, 74), (226, 100, 110), (180, 130, 200))


def _rectangle(pen: Pen, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    pen.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _fade(pen: Pen, width: float, top: float, bottom: float, first: Colour, last: Colour) -> None:
    rows = 60
    for row in range(rows):
        upper = top + (bottom - top) * row / rows
        _rectangle(pen, -2, upper, width + 2, upper + (bottom - top) / rows + 1, mix(first, last, row / (rows - 1)))


def _cloud(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    for dx, dy, radius in ((-0.9, 0.12, 0.42), (-0.35, -0.12, 0.56), (0.3, -0.2, 0.62), (0.9, 0.1, 0.44)):
        pen.shape(ellipse(x + dx * size, y + dy * size, radius * size, radius * size * 0.8), colour)
    pen.shape(ellipse(x, y + 0.25 * size, 1.25 * size, 0.3 * size), colour)


def _sky(pen: Pen, width: float, height: float, down: float) -> tuple[Colour, Colour]:
    rng = pen.rng
    high, low = rng.choice(SKIES)
    _fade(pen, width, 0, height * down, high, low)
    if sum(high) < 260:
        for _ in range(26):
            x, y = rng.uniform(0, width), rng.uniform(0, height * down * 0.8)
            pen.shape(ellipse(x, y, 0.9, 0.9, points=8), (250, 244, 214))
    if rng.random() < 0.55:
        x, y, radius = rng.uniform(0.1, 0.9) * width, rng.uniform(0.08, 0.28) * height, height * rng.uniform(0.05, 0.09)
        pen.glow(x, y, radius * 3.2, radius * 3.2, (255, 246, 214), 0.6)
        pen.shape(ellipse(x, y, radius, radius), (255, 240, 190))
    for _ in range(rng.randint(0, 4)):
        x, y = rng.uniform(0, width), rng.uniform(0.05, 0.42) * height
        _cloud(pen, x, y, height * rng.uniform(0.06, 0.12), mix(low, (255, 255, 255), 0.7))
    return high, low


def _hill(pen: Pen, width: float, height: float, level: float, colour: Colour) -> None:
    rng = pen.rng
    heights = [level + rng.uniform(-0.045, 0.045) for _ in range(6)]
    ridge = smooth([(width * (i / 4 - 0.12), height * h) for i, h in enumerate(heights)], closed=False)
    pen.shape([*ridge, (width * 1.2, height * 1.1), (-width * 0.2, height * 1.1)], colour)


def _tuft(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    for lean in (-0.5, -0.1, 0.35):
        pen.line(
            [(x, y), (x + lean * size * 0.4, y - size * 0.6), (x + lean * size, y - size)], colour, size * 0.16, 0.4
        )


def grass(pen: Pen, width: float, height: float, ground: float) -> None:
    """A meadow under a sky, with hills, tufts and flowers; `ground` is the pixel row the creature stands on."""
    rng = pen.rng
    low = _sky(pen, width, height, 0.75)[1]
    green = rng.choice(GREENS)
    horizon = min(0.74, ground / height - rng.uniform(0.12, 0.26))
    _hill(pen, width, height, horizon - 0.07, mix(green, low, 0.55))
    _hill(pen, width, height, horizon, mix(green, low, 0.25))
    if rng.random() < 0.4:
        _tree(
            pen,
            rng.choice((0.08, 0.14, 0.86, 0.93)) * width,
            height * (horizon + 0.04),
            height * 0.3,
            mix(green, (30, 70, 40), 0.4),
        )
    _hill(pen, width, height, horizon + 0.07, green)
    for _ in range(26):
        y = rng.uniform(horizon + 0.12, 1.02) * height
        _tuft(pen, rng.uniform(0, width), y, height * 0.045, mix(green, (40, 80, 40), rng.uniform(0.1, 0.35)))
    for _ in range(rng.choice((0, 0, 7, 14))):
        x, y, size = rng.uniform(0, width), rng.uniform(horizon + 0.13, 1) * height, height * 0.011
        colour = rng.choice(FLOWERS)
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            pen.shape(ellipse(x + dx * size, y + dy * size, size, size, points=12), colour)
        pen.shape(ellipse(x, y, size * 0.8, size * 0.8, points=12), mix(colour, (190, 120, 30), 0.6))


def _tree(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    pen.line([(x, y), (x + 1, y - size * 0.5), (x, y - size)], (118, 88, 66), size * 0.13, size * 0.08)
    for dx, dy, radius in ((-0.25, -0.95, 0.3), (0.25, -0.95, 0.3), (0, -1.25, 0.36), (0, -0.9, 0.3)):
        pen.shape(ellipse(x + dx * size, y + dy * size, radius * size, radius * size), colour)


def sky(pen: Pen, width: float, height: float, ground: float) -> None:
    """Mostly sky, with a wall or a hilltop to sit on."""
    rng = pen.rng
    high, _ = _sky(pen, width, height, 1.0)
    top = ground - height * 0.03
    if rng.random() < 0.5:
        stone = rng.choice(FLOORS)
        _rectangle(pen, -2, top, width + 2, height + 2, mix(stone, high, 0.15))
        _rectangle(pen, -2, top, width + 2, top + height * 0.035, mix(stone, (255, 255, 255), 0.35))
        for row in range(6):
            y = top + height * (0.035 + 0.09 * row)
            _rectangle(pen, -2, y, width + 2, y + 1.4, mix(stone, (60, 50, 50), 0.35))
            for column in range(9):
                x = width * (column / 6 - 0.1 + 0.08 * (row % 2))
                _rectangle(pen, x, y, x + 1.4, y + height * 0.09, mix(stone, (60, 50, 50), 0.35))
    else:
        green = rng.choice(GREENS)
        pen.shape(
            ellipse(width * rng.uniform(0.35, 0.65), top + height * 0.9, width * 0.95, height * 0.93, points=80), green
        )
        for _ in range(9):
            _tuft(
                pen,
                rng.uniform(0, width),
                rng.uniform(top + height * 0.1, height * 1.02),
                height * 0.04,
                mix(green, (40, 80, 40), 0.3),
            )


def _paper(pen: Pen, width: float, height: float, wall: Colour) -> None:
    rng = pen.rng
    kind, colour = rng.randrange(4), mix(wall, (255, 255, 255), rng.choice((0.22, 0.35)))
    if kind == 0:
        for column in range(0, 14, 2):
            _rectangle(pen, width * column / 13, 0, width * (column + 1) / 13, height, colour)
    elif kind == 1:
        for row in range(12):
            for column in range(12):
                x, y = width * (column + row % 2 / 2) / 10, height * row / 10
                pen.shape(ellipse(x, y, height * 0.012, height * 0.012, points=14), colour)


def _window(pen: Pen, x: float, y: float, size: float, frame: Colour) -> None:
    high, low = pen.rng.choice(SKIES)
    _rectangle(pen, x - size * 0.06, y - size * 0.06, x + size * 0.86, y + size * 1.06, frame)
    for row in range(20):
        _rectangle(pen, x, y + size * row / 20, x + size * 0.8, y + size * (row + 1) / 20, mix(high, low, row / 19))
    _rectangle(pen, x + size * 0.375, y, x + size * 0.425, y + size, frame)
    _rectangle(pen, x, y + size * 0.475, x + size * 0.8, y + size * 0.525, frame)


def _wall(pen: Pen, width: float, height: float) -> Colour:
    rng = pen.rng
    wall = rng.choice(WALLS)
    _rectangle(pen, -2, -2, width + 2, height + 2, wall)
    _paper(pen, width, height, wall)
    if rng.random() < 0.6:
        _window(
            pen,
            rng.choice((0.04, 0.6, 0.68)) * width,
            height * rng.uniform(0.02, 0.1),
            height * 0.36,
            mix(wall, (255, 255, 255), 0.75),
        )
    elif rng.random() < 0.6:
        x, y, size = rng.choice((0.06, 0.72)) * width, height * 0.08, height * 0.2
        _rectangle(pen, x, y, x + size, y + size, mix(wall, (90, 60, 40), 0.7))
        _rectangle(pen, x + size * 0.1, y + size * 0.1, x + size * 0.9, y + size * 0.9, rng.choice(WALLS))
        pen.shape(ellipse(x + size / 2, y + size * 0.55, size * 0.22, size * 0.25), rng.choice(FABRICS))
    pen.glow(width * rng.random(), 0, width * 0.9, height * 0.9, (255, 250, 230), 0.28)
    return wall


def room(pen: Pen, width: float, height: float, ground: float) -> None:
    """A wall with paper, window or picture, a floor, and perhaps a rug."""
    rng = pen.rng
    floor_at = ground - height * rng.uniform(0.08, 0.16)
    wall = _wall(pen, width, height)
    floor = rng.choice(FLOORS)
    _fade(pen, width, floor_at, height + 2, mix(floor, (255, 255, 255), 0.08), mix(floor, (60, 40, 30), 0.2))
    for plank in range(-3, 12):
        pen.line(
            [(width * plank / 8, floor_at), (width * (plank * 1.7 - 2.8) / 8, height + 4)],
            mix(floor, (60, 40, 30), 0.25),
            0.9,
        )
    _rectangle(pen, -2, floor_at - height * 0.03, width + 2, floor_at, mix(wall, (255, 255, 255), 0.6))
    if rng.random() < 0.55:
        rug = rng.choice(FABRICS)
        for share, colour in ((1.0, mix(rug, (40, 30, 40), 0.2)), (0.9, mix(rug, (255, 255, 255), 0.5)), (0.82, rug)):
            pen.shape(
                ellipse(width / 2, ground + height * 0.01, width * 0.46 * share, height * 0.11 * share, points=60),
                colour,
            )


def sofa(pen: Pen, width: float, height: float, ground: float) -> None:
    """A sofa before a wall; the creature sits on its seat."""
    rng = pen.rng
    _wall(pen, width, height)
    cloth = rng.choice(FABRICS)
    dark, light = mix(cloth, (30, 24, 34), 0.28), mix(cloth, (255, 255, 255), 0.14)
    back = ground - height * rng.uniform(0.34, 0.44)
    for left, right in ((-0.08, 0.5), (0.5, 1.08)):
        corners = [
            (left, back + height * 0.04),
            (left + 0.03, back),
            (right - 0.03, back),
            (right, back + height * 0.04),
        ]
        outline = [(width * x, y) for x, y in corners] + [(width * right, ground), (width * left, ground)]
        pen.shape(outline, cloth, dark, 1.4)
        pen.glow(width * (left + right) / 2, back + height * 0.1, width * 0.25, height * 0.12, light, 0.7)
    seat = ground - height * 0.07
    _fade(pen, width, seat, height * 1.02, light, dark)
    _rectangle(pen, -2, ground + height * 0.075, width + 2, ground + height * 0.09, dark)
    if rng.random() < 0.6:
        x, size = rng.choice((0.06, 0.94)) * width, height * 0.17
        puffed = [(-1, -0.9), (0, -0.75), (1, -0.9), (0.8, 0), (1, 0.9), (0, 0.8), (-1, 0.9), (-0.8, 0)]
        colour = rng.choice(FABRICS)
        pen.shape(
            smooth([(x + a * size, seat - size * 0.6 + b * size) for a, b in puffed]),
            mix(colour, (255, 255, 255), 0.25),
            mix(colour, (30, 24, 34), 0.2),
            1.2,
        )


def ball(pen: Pen, x: float, ground: float, radius: float) -> None:
    """A striped ball to play with, beside the creature."""
    colour = pen.rng.choice(FABRICS)
    edge = mix(colour, (30, 24, 34), 0.5)
    pen.glow(x, ground, radius * 1.5, radius * 0.5, (30, 20, 40), 0.5)
    outline = pen.shape(ellipse(x, ground - radius * 0.8, radius, radius), colour)
    with pen.inside(outline):
        pen.line(
            [(x - radius, ground - radius * 0.3), (x, ground - radius * 1.1), (x + radius, ground - radius)],
            (250, 244, 230),
            radius * 0.36,
        )
        pen.glow(x - radius * 0.3, ground - radius * 1.3, radius * 0.8, radius * 0.6, (255, 255, 255), 0.5)
    pen.line([*outline[::3], outline[0]], edge, 1.3)


SCENES: tuple[Callable[[Pen, float, float, float], None], ...] = (room, grass, sky, sofa)
