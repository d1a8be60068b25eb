"""What people draw that is no single digit, and digits of pens and fonts, for `tools/fit_rejector.py`.

Every drawing is ink in [0, 1], float ``[200, 200]`` or wider. `benchmarks/non_digits.py` draws with functions
and fonts of its own, so that it measures what was not fitted to.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIDE = 200
MIDDLE = SIDE // 2

# Without the letters that may be a digit's shape: I O S Z b g i j l o q s z.
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYacdefhkmnprtuvwxy"
SYMBOLS = (
    "&%@#?+=*<>^~$!{}[]/\\αβγδεζηθκλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩБГДЖИЙКЛПФЦЧШЩЪЫЬЭЮЯабвгджийклмнптфцчшщъыьэюя"
    "äöüßéñ→←↑↓∑∏∫√∞≈≠≤≥♥♦♣♠★☆✓✗☺"
)
_SYMBOL_FONTS = (
    *("DejaVuSans-BoldOblique", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
_FONTS = (
    *_SYMBOL_FONTS,
    *("DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)

Draw = Callable[[np.random.Generator], np.ndarray]


def letter(rng: np.random.Generator) -> np.ndarray:
    """One letter of a font, warped."""
    return warp(glyph(rng, rng.choice(list(LETTERS)), _FONTS), rng)


def symbol(rng: np.random.Generator) -> np.ndarray:
    """A sign, an arrow, a Greek or Cyrillic letter, or one with an accent."""
    return warp(glyph(rng, rng.choice(list(SYMBOLS)), _SYMBOL_FONTS), rng)


def word(rng: np.random.Generator) -> np.ndarray:
    """Two or three letters."""
    return warp(glyph(rng, "".join(rng.choice(list(LETTERS), rng.integers(2, 4))), _FONTS), rng, 0.5)


def printed_digit(rng: np.random.Generator, digit: int) -> np.ndarray:
    """A digit of a font, warped a little."""
    return warp(glyph(rng, str(digit), _FONTS), rng, 0.6)


def penned(rng: np.random.Generator, digit: np.ndarray) -> np.ndarray:
    """A digit, uint8 ``[28, 28]``, enlarged, as a thinner or thicker pen would have drawn it."""
    strokes, side = enlarge(digit / 255, 7), int(rng.integers(3, 10))
    change = ndimage.grey_erosion if rng.random() < 0.5 else ndimage.grey_dilation
    return np.pad(change(strokes, (side, side)), 10)


def enlarge(ink: np.ndarray, scale: float, order: int = 3) -> np.ndarray:
    """Enlarges ink in [0, 1] and makes its edges sharp again."""
    return np.clip(ndimage.zoom(ink, scale, order=order) * 2.5 - 0.75, 0, 1)


def scribble(rng: np.random.Generator) -> np.ndarray:
    """A line without a plan, a zigzag, or loops."""
    number = rng.integers(0, 4)
    if number == 0:
        points = ndimage.zoom(rng.uniform(15, SIDE - 15, (int(rng.integers(5, 20)), 2)), (10, 1), order=3)
    elif number == 1:
        steps = rng.normal(size=int(rng.integers(60, 300)))
        bend = ndimage.gaussian_filter1d(steps, rng.uniform(2, 8)) * rng.uniform(0.5, 3)
        angle = np.cumsum(bend + rng.normal(0, 0.05))
        points = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1), axis=0)
    elif number == 2:
        count = int(rng.integers(5, 14))
        swing = rng.uniform(30, 80) * (-1.0) ** np.arange(count) + rng.normal(0, 10, count)
        points = np.stack([np.linspace(-80, 80, count), swing], 1)[:, :: rng.choice([-1, 1])]
    else:
        angle = np.linspace(0, rng.uniform(3, 12) * np.pi, 300)
        radius = rng.uniform(10, 60) + rng.uniform(-1, 4) * angle
        radius += rng.uniform(0, 20) * np.sin(rng.uniform(0.3, 3) * angle)
        drift = rng.uniform(-6, 6, 2) * angle[:, None]
        points = _ring(angle, radius) * [rng.uniform(0.5, 1.5), 1] + drift
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    return line(points / np.abs(points).max() * rng.uniform(55, 85), int(rng.integers(4, 15)))


def shape(rng: np.random.Generator) -> np.ndarray:
    """A polygon, a star, a cross, an arrow, a heart, a face and others like them."""
    kinds = (polygon, polygon, polygon, filled, cross, arrow, rectangle, curved)
    return kinds[int(rng.integers(0, len(kinds)))](rng)


def polygon(rng: np.random.Generator) -> np.ndarray:
    """The outline of a polygon or a star."""
    corners, step = ((3, 1), (4, 1), (5, 2), (5, 1), (6, 1), (7, 3), (7, 2), (8, 3))[int(rng.integers(0, 8))]
    angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * step * np.arange(corners + 2) / corners
    points = _ring(angle, rng.uniform(50, 80)) * rng.uniform(0.6, 1.3, 2)
    return line(points + rng.normal(0, 4, points.shape) * (rng.random() < 0.5), _width(rng))


def filled(rng: np.random.Generator) -> np.ndarray:
    """A polygon or an ellipse without a hole."""
    if rng.random() < 0.5:
        rows, columns = np.mgrid[:SIDE, :SIDE] - MIDDLE
        return (np.hypot(rows / rng.uniform(30, 80), columns / rng.uniform(30, 80)) < 1).astype(float)
    canvas = Image.new("L", (SIDE, SIDE))
    corners = rng.uniform(-80, 80, (int(rng.integers(3, 6)), 2)) + MIDDLE
    ImageDraw.Draw(canvas).polygon([tuple(map(float, corner)) for corner in corners], 255)
    return np.asarray(canvas) / 255


def cross(rng: np.random.Generator) -> np.ndarray:
    """Two to four lines through one point."""
    count, width, turn = int(rng.integers(2, 5)), _width(rng), rng.uniform(0, np.pi)
    angles = turn + np.pi * np.arange(count) / count + rng.normal(0, 0.1, count)
    return np.max([line(_ring(a + np.array([0, np.pi]), rng.uniform(50, 80)), width) for a in angles], axis=0)


def arrow(rng: np.random.Generator) -> np.ndarray:
    """A line with a head."""
    turn, width, length = rng.uniform(0, 2 * np.pi), _width(rng), rng.uniform(30, 60)
    tip, tail = _ring(turn + np.array([0, np.pi]), 75)
    lines = [[tip, tail]]
    lines += [[tip, tip + _ring(np.array([turn + np.pi + side]), length)[0]] for side in (0.5, -0.5)]
    return np.max([line(np.stack(ends), width) for ends in lines], axis=0)


def rectangle(rng: np.random.Generator) -> np.ndarray:
    """A rectangle, perhaps with its diagonals or another in it."""
    width, (x, y) = _width(rng), rng.uniform(30, 80, 2)
    corners = np.array([[-x, -y], [x, -y], [x, y], [-x, y], [-x, -y], [-x * 0.9, -y]])
    lines = [corners]
    lines += [corners[ends] for ends in ([0, 2], [1, 3]) if rng.random() < 0.5]
    lines += [0.4 * corners] if rng.random() < 0.3 else []
    return np.max([line(points, width) for points in lines], axis=0)


def curved(rng: np.random.Generator) -> np.ndarray:
    """A heart, two rings, half a disk, or a face."""
    width, around, number = _width(rng), np.linspace(0, 2 * np.pi, 200), rng.integers(0, 4)
    if number == 0:
        waves = 13 * np.cos(around) - 5 * np.cos(2 * around) - 2 * np.cos(3 * around) - np.cos(4 * around)
        return line(4.5 * np.stack([16 * np.sin(around) ** 3, -waves], 1), width)
    if number == 1:
        rings = [line(_ring(around, radius), width) for radius in (75, rng.uniform(25, 50))]
        return warp(np.maximum(*rings), rng)
    if number == 2:
        half = _ring(rng.uniform(0, 2 * np.pi) + np.linspace(0, np.pi, 100), 75)
        return line(np.concatenate([half, half[:2]]), width)
    rows, columns = np.mgrid[:SIDE, :SIDE] - MIDDLE
    eyes = [np.hypot(rows + 25, columns + side) < 9 for side in (-28, 28)]
    mouth = line(_ring(np.linspace(0.3, np.pi - 0.3, 50), 45), max(4, width // 2))
    return np.max([line(_ring(around, 78), max(4, width // 2)), *eyes, mouth], axis=0)


def texture(rng: np.random.Generator) -> np.ndarray:
    """Blots, stripes, squares or dots, in a square or a disk."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    number, step = rng.integers(0, 5), rng.uniform(10, 40)
    if number == 0:
        plane = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), rng.uniform(2, 14))
        pattern = plane > np.quantile(plane, rng.uniform(0.4, 0.85))
    elif number == 1:
        turn = rng.uniform(0, np.pi)
        pattern = (rows * np.sin(turn) + columns * np.cos(turn)) % step < rng.uniform(0.2, 0.6) * step
    elif number == 2:
        pattern = (rows // step + columns // step) % 2 > 0
    elif number == 3:
        places = np.hypot(rows % step - step / 2, columns % step - step / 2)
        pattern = places < rng.uniform(0.2, 0.45) * step
    else:
        dots = rng.uniform(20, 180, (int(rng.integers(4, 40)), 2))
        pattern = np.any([np.hypot(rows - y, columns - x) < rng.uniform(2, 14) for y, x in dots], axis=0)
    margin, inside = int(rng.integers(5, 50)), np.zeros((SIDE, SIDE))
    inside[margin:-margin, margin:-margin] = 1
    if rng.random() < 0.3:
        inside *= np.hypot(rows - MIDDLE, columns - MIDDLE) < rng.uniform(50, 90)
    return pattern * inside


def side_by_side(rng: np.random.Generator, digits: np.ndarray) -> np.ndarray:
    """Digits, uint8 ``[count, 28, 28]``, beside each other or touching."""
    gap, canvas, end = int(rng.integers(-4, 6)), np.zeros((28, 40 + 34 * len(digits))), 0
    for digit in digits / 255:
        columns = np.flatnonzero(digit.max(axis=0) > 0.3)
        cut = np.roll(digit[:, columns[0] : columns[-1] + 1], int(rng.integers(-3, 4)), axis=0)
        place = slice(max(end, 0), max(end, 0) + cut.shape[1])
        canvas[:, place] = np.maximum(canvas[:, place], cut)
        end = place.stop + gap
    canvas = canvas[:, : max(8, end - gap)]
    return enlarge(canvas, 190 / max(canvas.shape), order=1)


def glyph(rng: np.random.Generator, text: str, fonts: tuple[str, ...]) -> np.ndarray:
    """A text in one of the fonts that come with Matplotlib."""
    canvas = Image.new("L", (SIDE, SIDE))
    font = _font(str(rng.choice(fonts)), int(rng.integers(80, 150)))
    ImageDraw.Draw(canvas).text((MIDDLE, MIDDLE), text, 255, font, anchor="mm")
    return np.asarray(canvas) / 255


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def warp(ink: np.ndarray, rng: np.random.Generator, amount: float = 1.0) -> np.ndarray:
    """Turns, shears, scales and bends ink as hands do, and may thicken it."""
    turn, shear = rng.normal(0, 0.12 * amount), rng.normal(0, 0.18 * amount)
    scale = np.diag(np.exp(rng.normal(0, 0.12 * amount, 2)))
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = turned @ np.array([[1, 0], [shear, 1]]) @ scale
    center = np.array(ink.shape)[:, None, None] / 2
    places = np.tensordot(matrix, np.indices(ink.shape) - center, 1) + center
    smoothness, strength = rng.uniform(14, 30), rng.uniform(0, 9) * amount
    for axis in range(2):
        field = ndimage.gaussian_filter(rng.normal(size=ink.shape), smoothness)
        places[axis] += strength * field / field.std()
    warped = ndimage.map_coordinates(ink, places, order=1)
    if rng.random() < 0.6:
        side = int(rng.integers(2, 7))
        warped = ndimage.grey_dilation(warped, (side, side))
    return np.clip(warped, 0, 1)


def line(points: np.ndarray, width: int) -> np.ndarray:
    """A line through points ``[N, 2]``, pixels to the right of and below the middle."""
    canvas = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(canvas).line([tuple(map(float, p + MIDDLE)) for p in points], 255, width, joint="curve")
    return np.asarray(canvas) / 255


def _ring(angle: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _width(rng: np.random.Generator) -> int:
    return int(rng.integers(4, 16))
