"""``python -m benchmarks.non_digits``: how often a run refuses what is no digit, and what is one."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from benchmarks.photographs import RULINGS, Photograph, lay, make_photographs, make_sheet, prepare, save
from benchmarks.result_files import JSON_FILE, KEEP, make_result, write_result
from mnist_jax import cli
from mnist_jax.data.pictures.doubt import NO_DIGIT, find_doubt
from mnist_jax.terminal.format import format_percent

COMMAND = cli.Command(
    "python -m benchmarks.non_digits",
    "Draws letters, scribbles, shapes, textures, several digits and empty paper, and counts how many a run\n"
    "refuses or is unsure of; the same for test digits of MNIST, and for what it reads right in photographs.",
    (
        cli.WORKDIR,
        cli.Flag("count", 30, "pictures of each kind", at_least=1, metavar="N"),
        cli.Flag("digits", 1000, "test digits, the first ones", at_least=1, metavar="N"),
        cli.Flag("seed", 0, "of the made-up pictures", at_least=0, metavar="S"),
        JSON_FILE,
        KEEP,
    ),
)

SIDE = 200
BLANK = "blank"
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]

# The letters that are no digit's shape as well, as O, l, S and g are.
LETTERS = "ACEFGHJKLMNPRTUVWXYacdefhkmnprtuvwxy"
_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono")


def main(arguments: cli.Arguments) -> int:
    """Asks the network of a run about everything and prints a table."""
    from mnist_jax.data import load_splits
    from mnist_jax.run.load import load
    from mnist_jax.runtime.environment import collect_versions, describe_device

    model = load(arguments["workdir"])
    test = load_splits("mnist").test
    seed, number = arguments["seed"], arguments["digits"]
    drawn = make_non_digits(test.images[..., 0], arguments["count"], seed)
    rows = refused(model, *prepare(drawn, model.preparation), np.array([p.kind for p in drawn]))
    rows |= refused(model, test.images[:number], np.ones(number, bool), np.array(["test digits"] * number))
    photographs = make_photographs(test.images[..., 0], test.labels, arguments["count"], seed)
    images, is_read = prepare(photographs, model.preparation)
    is_right = is_read & (model.predict(images).argmax(axis=1) == [p.label for p in photographs])
    kinds = np.array(["photographs read right"] * int(is_right.sum()))
    rows |= refused(model, images[is_right], is_read[is_right], kinds)
    settings = {name: arguments[name] for name in ("count", "digits", "seed")}
    device = str(describe_device()["device"])
    result = make_result("non_digits", device, settings, {"kinds": rows}, collect_versions())
    print(table(rows))
    write_result(result, arguments["json"], arguments["keep"])
    return 0


def refused(
    model: Any, images: np.ndarray, is_read: np.ndarray, kinds: np.ndarray
) -> dict[str, dict[str, int]]:
    """Counts the pictures of each kind, and of those the blank ones, those refused and those unsure."""
    reasons = [
        find_doubt(image, answer, model.class_names, model.preparation) if read else BLANK
        for image, answer, read in zip(images, model.predict(images), is_read, strict=True)
    ]
    return {
        str(kind): {
            "pictures": len(of_kind),
            "blank": of_kind.count(BLANK),
            "no single digit": of_kind.count(NO_DIGIT),
            "unsure": sum(reason.startswith("unsure") for reason in of_kind),
        }
        for kind in dict.fromkeys(kinds)
        for of_kind in [[reason for reason, k in zip(reasons, kinds, strict=True) if k == kind]]
    }


def table(rows: dict[str, dict[str, int]]) -> str:
    """Draws the counts as a table in Markdown, with a line for all kinds that are no digits."""
    others = [row for kind, row in rows.items() if kind in KINDS]
    total = {name: sum(row[name] for row in others) for name in others[0]}
    lines = ["| kind | pictures | blank | no single digit | unsure | together |", "| --- |" + " --- |" * 5]
    for kind, row in {**rows, "all that are no digits": total}.items():
        together = sum(row.values()) - row["pictures"]
        cells = [kind, *map(str, row.values()), f"{together} ({format_percent(together / row['pictures'])})"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def letter(rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """A letter in one of five fonts, ink in [0, 1] as by all of these, ``[200, 200]``."""
    from matplotlib import get_data_path

    file = f"{get_data_path()}/fonts/ttf/{rng.choice(_FONTS)}.ttf"
    canvas = Image.new("L", (SIDE, SIDE))
    font = ImageFont.truetype(file, int(rng.integers(90, 150)))
    ImageDraw.Draw(canvas).text((SIDE // 2, SIDE // 2), rng.choice(list(LETTERS)), 255, font, anchor="mm")
    return np.asarray(canvas) / 255


def scribble(rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """A line through points at random, smoothed."""
    points = ndimage.zoom(rng.uniform(20, SIDE - 20, (int(rng.integers(7, 16)), 2)), (12, 1), order=3)
    return _line(points, int(rng.integers(5, 14)))


def shape(rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """A triangle, square, star, hexagon, disk, block or cross."""
    number, turn = int(rng.integers(0, 7)), rng.uniform(0, 2 * np.pi)
    if number < 4:
        corners, step = ((3, 1), (4, 1), (5, 2), (6, 1))[number]
        angle = turn + 2 * np.pi * step * np.arange(corners + 1) / corners
        return _line(SIDE / 2 + 70 * np.stack([np.sin(angle), np.cos(angle)], 1), int(rng.integers(6, 14)))
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    if number == 4:
        return (np.hypot(rows, columns) < rng.uniform(35, 75)).astype(float)
    if number == 5:
        return ((abs(rows) < rng.uniform(35, 75)) & (abs(columns) < rng.uniform(35, 75))).astype(float)
    ends = np.array([[np.sin(turn), np.cos(turn)], [np.cos(turn), -np.sin(turn)]]) * 70
    width = int(rng.integers(6, 14))
    lines = [_line(SIDE / 2 + np.stack([end, -end]), width) for end in ends]
    return np.maximum(*lines)


def texture(rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """Blots, hatching or dots that fill a square."""
    number = rng.integers(0, 3)
    if number == 0:
        plane = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), rng.uniform(3, 9))
        pattern = plane > np.quantile(plane, rng.uniform(0.4, 0.7))
    elif number == 1:
        rows, columns = np.mgrid[:SIDE, :SIDE]
        slope, step = rng.uniform(-2, 2), rng.uniform(10, 24)
        pattern = (rows + slope * columns) % step < 0.4 * step
    else:
        rows, columns = np.mgrid[:SIDE, :SIDE] / rng.uniform(8, 16) % 2 - 1
        pattern = rows**2 + columns**2 < 0.5
    margin = int(rng.integers(15, 50))
    inside = np.zeros((SIDE, SIDE))
    inside[margin:-margin, margin:-margin] = 1
    return pattern * inside


def several_digits(rng: np.random.Generator, digits: np.ndarray) -> np.ndarray:
    """Two to four digits side by side."""
    chosen = digits[rng.choice(len(digits), rng.integers(2, 5), replace=False)] / 255
    columns = [np.flatnonzero(digit.max(axis=0) > 0.3) for digit in chosen]
    gap = int(rng.integers(2, 6))
    cut = [np.pad(d[:, c[0] : c[-1] + 1], ((0, 0), (0, gap))) for d, c in zip(chosen, columns, strict=True)]
    word = np.concatenate(cut, axis=1)
    scale = 190 / max(word.shape)
    return np.clip(ndimage.zoom(word, scale, order=1) * 2.5 - 0.75, 0, 1)


def nothing(rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """No ink at all."""
    return np.zeros((SIDE, SIDE))


KINDS: dict[str, Draw] = {
    "letters": letter,
    "scribbles": scribble,
    "shapes": shape,
    "textures": texture,
    "two to four digits": several_digits,
    "empty ruled paper": nothing,
    "empty grid paper": nothing,
}


def _line(points: np.ndarray, width: int) -> np.ndarray:
    canvas = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(canvas).line([tuple(map(float, p)) for p in points], 255, width, joint="curve")
    return np.asarray(canvas) / 255


def make_non_digits(digits: np.ndarray, count: int, seed: int) -> list[Photograph]:
    """Makes ``count`` pictures of each kind, as JPEG files: half on a drawing pad, half on paper.

    Args:
        digits: uint8 ``[N, 28, 28]``, to make several digits of.
        count: pictures of each kind.
        seed: of the pictures.
    """
    made = []
    for number, (kind, draw) in enumerate(KINDS.items()):
        rng = np.random.default_rng([seed, 100 + number])
        for index in range(count):
            ink = draw(rng, digits)
            if index % 2 or draw is nothing:
                sheet = make_sheet(rng)
                if draw is nothing:
                    sheet *= RULINGS["grid" if "grid" in kind else "ruled"](rng)
                gray = lay(sheet, ink, rng)
            else:
                gray = 1 - np.pad(ink, 20)
            made.append(Photograph(save(gray), -1, kind))
    return made


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
