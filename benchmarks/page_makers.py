"""Made-up pages of test digits: two makers that share nothing but the digits, and what is on each page."""

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from benchmarks.photographs import KINDS as PHOTOGRAPHS
from benchmarks.photographs import RULINGS, make_sheet, save

Box = tuple[float, float, float, float]  # top, left, bottom, right in pixels


class Digit(NamedTuple):
    """One digit on a page."""

    label: int
    box: Box  # of its ink
    is_touched: bool = False  # by the digit before or after it


class Page(NamedTuple):
    """A picture file, its kind, and its digits, line by line as they are read."""

    source: io.BytesIO
    kind: str
    lines: list[list[Digit]]


Digits = tuple[np.ndarray, np.ndarray]  # uint8 [N, 28, 28], and their classes
Maker = Callable[[Digits, np.random.Generator], Page]


# --- Sheets: digits cut out at their ink, in the ink, light and rulings of benchmarks.photographs ---


class _Style(NamedTuple):
    """How a sheet is written; lengths are in heights of a digit."""

    gap: tuple[float, float] = (0.25, 0.8)
    sizes: tuple[float, float] = (0.85, 1.15)
    leading: float = 1.7
    turn: float = 0.0  # degrees, to either side
    ruling: str = ""
    light: str = ""  # one of benchmarks.photographs' kinds
    pen: float = 0.75  # the higher, the thinner the strokes
    cells: str = ""  # "form": a row of boxes apart from each other; "table": boxes that share their lines


def make_sheets(digits: Digits, rng: np.random.Generator, style: _Style, kind: str) -> Page:
    """Writes 5 to 40 digits in lines on a sheet of about 1,200 x 900 pixels."""
    shape = int(rng.integers(1000, 1400)), int(rng.integers(800, 1100))
    sheet = make_sheet(rng, shape)
    if style.ruling:
        sheet *= RULINGS[style.ruling](rng, shape)
    height = rng.uniform(45, 85)
    pen = np.zeros(shape)
    lines, left_to_write = [], int(rng.integers(5, 41))
    top = rng.uniform(1, 2) * height
    if style.cells:
        top = rng.uniform(0.08, 0.2) * shape[0]
    while left_to_write > 0 and top + 2.2 * height < shape[0]:
        line = _write_line(pen, sheet, top, height, left_to_write, digits, rng, style)
        lines.append(line)
        left_to_write -= len(line)
        top += height * (1.6 if style.cells == "table" else style.leading * rng.uniform(1, 1.2))
    gray = sheet * (1 - rng.uniform(0.6, 0.9) * pen)
    if style.light:
        gray = PHOTOGRAPHS[style.light](gray, rng)
    if style.turn:
        angle = rng.uniform(0.6, 1) * style.turn * rng.choice([-1, 1])
        gray = ndimage.rotate(gray, angle, reshape=False, order=1, mode="nearest")
        lines = [[digit._replace(box=_turned(digit.box, angle, shape)) for digit in line] for line in lines]
    return Page(save(gray), kind, lines)


def _write_line(
    pen: np.ndarray,
    sheet: np.ndarray,
    top: float,
    height: float,
    at_most: int,
    digits: Digits,
    rng: np.random.Generator,
    style: _Style,
) -> list[Digit]:
    line: list[Digit] = []
    left = (0.12 if style.cells else rng.uniform(0.06, 0.15)) * pen.shape[1]
    cell, room = round(1.6 * height), (round(2.0 * height) if style.cells == "form" else round(1.6 * height))
    number = min(at_most, int(rng.integers(4, 11)) if style.cells != "table" else 6)
    for _ in range(number):
        index = int(rng.integers(len(digits[0])))
        ink = cut_out(digits[0][index], height * rng.uniform(*style.sizes), style.pen)
        if left + max(ink.shape[1], room) + 10 > pen.shape[1]:
            break
        if style.cells:
            _draw_cell(sheet, int(top), int(left), cell, rng)
            y, x = int(top + (cell - ink.shape[0]) / 2), int(left + (cell - ink.shape[1]) / 2)
            y, x = y + int(rng.integers(-3, 4)), x + int(rng.integers(-5, 6))
            left += room
        else:
            y = int(top + (height - ink.shape[0]) * 0.7 + rng.uniform(-0.08, 0.08) * height)
            x = int(left)
            left += ink.shape[1] + height * rng.uniform(*style.gap)
        place = pen[y : y + ink.shape[0], x : x + ink.shape[1]]
        np.maximum(place, ink, out=place)
        line.append(Digit(int(digits[1][index]), (y, x, y + ink.shape[0], x + ink.shape[1])))
    return _with_touching(line, style)


def _with_touching(line: list[Digit], style: _Style) -> list[Digit]:
    """Marks neighbors written into each other."""
    if style.gap[0] >= 0:
        return line
    overlaps = [a.box[3] > b.box[1] for a, b in zip(line, line[1:], strict=False)]
    touched = [any(pair) for pair in zip([False, *overlaps], [*overlaps, False], strict=True)]
    return [digit._replace(is_touched=is_touched) for digit, is_touched in zip(line, touched, strict=True)]


def cut_out(digit: np.ndarray, height: float, pen: float = 0.75) -> np.ndarray:
    """Returns a digit's ink in [0, 1] without margins, with the height of its 20 pixels brought to this."""
    large = np.clip(ndimage.zoom(digit / 255, height / 20, order=3) * (pen + 1.75) - pen, 0, 1)
    rows, columns = np.flatnonzero(large.max(axis=1) > 0.3), np.flatnonzero(large.max(axis=0) > 0.3)
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _draw_cell(sheet: np.ndarray, top: int, left: int, side: int, rng: np.random.Generator) -> None:
    tone, width = 0.35, 3
    for rows, columns in (
        (slice(top, top + width), slice(left, left + side + width)),
        (slice(top + side, top + side + width), slice(left, left + side + width)),
        (slice(top, top + side + width), slice(left, left + width)),
        (slice(top, top + side + width), slice(left + side, left + side + width)),
    ):
        sheet[rows, columns] = tone + rng.normal(0, 0.02)


def _turned(box: Box, degrees: float, shape: tuple[int, int]) -> Box:
    """The box around a box turned as `ndimage.rotate` turns the picture."""
    turn = np.deg2rad(degrees)
    center = (np.array(shape) - 1) / 2
    y, x = (np.array(box[0::2]) - center[0])[:, None], (np.array(box[1::2]) - center[1])[None]
    rows = y * np.cos(turn) - x * np.sin(turn) + center[0]
    columns = y * np.sin(turn) + x * np.cos(turn) + center[1]
    return float(rows.min()), float(columns.min()), float(rows.max()), float(columns.max())


SHEETS = {
    "even sheet": _Style(),
    "ruled": _Style(ruling="ruled"),
    "grid paper": _Style(ruling="grid"),
    "hard shadow": _Style(light="hard shadow"),
    "vignette": _Style(light="vignette"),
    "ruled, in half shadow": _Style(ruling="ruled", light="hard shadow"),
    "turned by up to 3 degrees": _Style(turn=3.0),
    "ruled, turned": _Style(ruling="ruled", turn=2.0),
    "sizes from half to double": _Style(sizes=(0.6, 1.5), leading=2.2),
    "thin pencil": _Style(pen=3.0),
    "close together": _Style(gap=(0.04, 0.12)),
    "light on dark": _Style(light="light on dark"),
    "form of cells": _Style(cells="form"),
    "table": _Style(cells="table"),
    "table, turned": _Style(cells="table", turn=2.0),
}
TOUCHING = {"touching": _Style(gap=(-0.16, 0.3))}


# --- Scans: the 28x28 pixels of MNIST pasted as tiles, on sheets of any size, by Pillow alone ---


def make_scan(digits: Digits, rng: np.random.Generator, kind: str) -> Page:
    """Pastes tiles of 28x28 pixels in rows on a page of 800x600 to 4000x3000 pixels.

    Args:
        digits: to choose from.
        rng: decides everything else.
        kind: one of `SCANS`.
    """
    if kind == "phone number":
        tile = int(rng.integers(60, 160))
        rows, columns = 1, int(rng.integers(7, 12))
        size = columns * tile + 2 * tile, 2 * tile
    else:
        size = [(800, 600), (1240, 1754), (2480, 3508), (4000, 3000)][rng.integers(4)]
        tile = int(min(size) * rng.uniform(0.07, 0.13))
        rows, columns = int(rng.integers(2, 6)), int(rng.integers(3, 9))
    pitch = rng.uniform(1.35, 1.7) if "lines" in kind else rng.uniform(0.95, 1.4)
    columns = min(columns, int((size[0] - tile) / (tile * pitch)))
    rows = min(rows, max(1, int((size[1] - tile) / (tile * 1.6))))
    paper = Image.new("L", size, int(rng.integers(190, 256)))
    if "gradient" in kind:
        gradient = Image.linear_gradient("L").rotate(int(rng.integers(0, 4)) * 90).resize(size)
        paper = Image.blend(paper, gradient, 0.35)
    draw, lines = ImageDraw.Draw(paper), []
    x0, y0 = (size[0] - columns * tile * pitch) / 2, (size[1] - rows * tile * 1.6) / 2
    if "lines" in kind:
        _draw_table(draw, x0, y0, rows, columns, tile, pitch)
    ink_tone = int(rng.integers(10, 90))
    for row in range(rows):
        line = []
        for column in range(columns):
            index = int(rng.integers(len(digits[0])))
            side = int(tile * rng.uniform(0.8, 1.0))
            x = int(x0 + column * tile * pitch + (tile * pitch - side) / 2)
            y = int(y0 + row * tile * 1.6 + (tile * 1.6 - side) / 2 + rng.uniform(-0.08, 0.08) * tile)
            mask = Image.fromarray(digits[0][index]).resize((side, side), Image.Resampling.BICUBIC)
            paper.paste(ink_tone, (x, y), mask)
            bounds = mask.point(lambda value: 255 * (value > 80)).getbbox()
            box = (y + bounds[1], x + bounds[0], y + bounds[3], x + bounds[2])
            line.append(Digit(int(digits[1][index]), box))
        lines.append(line)
    return Page(_saved_scan(paper, kind, rng), kind, lines)


def _draw_table(
    draw: ImageDraw.ImageDraw, x0: float, y0: float, rows: int, columns: int, tile: int, pitch: float
) -> None:
    width = max(1, tile // 40)
    right, bottom = x0 + columns * tile * pitch, y0 + rows * tile * 1.6
    for row in range(rows + 1):
        draw.line([(x0, y0 + row * tile * 1.6), (right, y0 + row * tile * 1.6)], 60, width)
    for column in range(columns + 1):
        draw.line([(x0 + column * tile * pitch, y0), (x0 + column * tile * pitch, bottom)], 60, width)


def _saved_scan(paper: Image.Image, kind: str, rng: np.random.Generator) -> io.BytesIO:
    if kind == "blurred":
        paper = paper.filter(ImageFilter.GaussianBlur(max(paper.size) / 1500))
    if kind == "grain":
        noise = Image.effect_noise(paper.size, float(rng.uniform(15, 40)))
        paper = Image.blend(paper, noise, 0.3)
    if kind == "white on black":
        paper = paper.point(lambda value: 255 - value)
    file = io.BytesIO()
    paper.convert("RGB").save(file, "JPEG", quality=int(rng.integers(60, 96)))
    file.seek(0)
    return file


SCANS = ("plain", "gradient", "blurred", "grain", "white on black", "table lines", "phone number")


def make_pages(digits: Digits, count: int, seed: int) -> dict[str, list[Page]]:
    """Makes ``count`` pages by each maker, the kinds in turn, and a fifth as many with digits that touch.

    Args:
        digits: uint8 ``[N, 28, 28]`` and their classes.
        count: pages of each maker.
        seed: of the pages.
    """

    def rng(number: int, maker: int) -> np.random.Generator:
        return np.random.default_rng([seed, maker, number])

    def sheets(styles: dict[str, _Style], number: int, maker: int) -> Sequence[Page]:
        kinds = [list(styles)[index % len(styles)] for index in range(number)]
        return [make_sheets(digits, rng(i, maker), styles[kind], kind) for i, kind in enumerate(kinds)]

    scans = [make_scan(digits, rng(i, 1), SCANS[i % len(SCANS)]) for i in range(count)]
    return {
        "sheets": list(sheets(SHEETS, count, 0)),
        "scans": scans,
        "touching": list(sheets(TOUCHING, max(1, count // 5), 2)),
    }
