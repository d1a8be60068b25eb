"""``python -m benchmarks.photographs``: what a run reads in made-up photographs of test digits, by kind."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.result_files import JSON_FILE, KEEP, make_result, write_result
from mnist_jax import cli
from mnist_jax.errors import DataError

COMMAND = cli.Command(
    "python -m benchmarks.photographs",
    "Lays test digits of MNIST on paper with the light, edges and lines that photographs have, or takes the\n"
    "pictures of a folder with labels.csv (columns file, label and kind), and counts what a run reads.",
    (
        cli.WORKDIR,
        cli.Flag("folder", "", "read these pictures instead of made-up ones", metavar="DIR"),
        cli.Flag("count", 40, "pictures of each kind", at_least=1, metavar="N"),
        cli.Flag("seed", 0, "of the made-up pictures", at_least=0, metavar="S"),
        JSON_FILE,
        KEEP,
    ),
)

HEIGHT, WIDTH = 400, 340
_SURE = 0.8


class Photograph(NamedTuple):
    """A picture file, by path or content, and what it shows."""

    source: str | io.BytesIO
    label: int
    kind: str


def main(arguments: cli.Arguments) -> int:
    """Reads all pictures and prints a table."""
    from mnist_jax.data import load_splits
    from mnist_jax.run.load import load
    from mnist_jax.runtime.environment import collect_versions, describe_device

    model = load(arguments["workdir"])
    if arguments["folder"]:
        photographs = labeled_folder(Path(arguments["folder"]))
    else:
        test = load_splits("mnist").test
        photographs = make_photographs(
            test.images[..., 0], test.labels, arguments["count"], arguments["seed"]
        )
    images, is_read = prepare(photographs, model.preparation)
    counts = count(photographs, model.predict(images), is_read)
    settings = {name: arguments[name] for name in ("folder", "count", "seed")}
    device = str(describe_device()["device"])
    result = make_result("photographs", device, settings, {"kinds": counts}, collect_versions())
    print(table(counts))
    write_result(result, arguments["json"], arguments["keep"])
    return 0


def labeled_folder(folder: Path) -> list[Photograph]:
    """Lists the pictures of a folder that has ``labels.csv`` with the columns file, label and kind.

    Raises:
        DataError: there is no such file.
    """
    try:
        with open(folder / "labels.csv", newline="") as file:
            return [
                Photograph(str(folder / row["file"]), int(row["label"]), row["kind"])
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{folder}/labels.csv: {found}; expected columns file, label and kind") from error


def make_photographs(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[Photograph]:
    """Makes ``count`` JPEG files of each kind of digits, uint8 ``[N, 28, 28]``, drawn without replacement."""
    photographs = []
    for number, (kind, change) in enumerate(KINDS.items()):
        rng = np.random.default_rng([seed, number])
        for index in rng.choice(len(images), count, replace=False):
            sheet = make_sheet(rng)
            if kind in RULINGS:
                sheet *= RULINGS[kind](rng)
            gray = change(_write(sheet, images[index], rng), rng)
            photographs.append(Photograph(save(gray), int(labels[index]), kind))
    return photographs


def save(gray: np.ndarray) -> io.BytesIO:
    """Returns a JPEG file of tones in [0, 1]."""
    file = io.BytesIO()
    pixels = np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    file.seek(0)
    return file


def prepare(photographs: list[Photograph], preparation: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pictures as the network takes them, and which could be read; the others are black."""
    images = np.zeros((len(photographs), *preparation.image_shape), np.uint8)
    is_read = np.ones(len(photographs), bool)
    for index, photograph in enumerate(photographs):
        try:
            images[index] = preparation.load(photograph.source)
        except DataError:
            is_read[index] = False
    return images, is_read


def count(
    photographs: list[Photograph], probabilities: np.ndarray, is_read: np.ndarray
) -> dict[str, dict[str, int]]:
    """Counts, for each kind, the pictures, those answered right, and those wrong and surer than 0.8."""
    labels = np.array([photograph.label for photograph in photographs])
    kinds = np.array([photograph.kind for photograph in photographs])
    is_right = (probabilities.argmax(axis=1) == labels) & is_read
    is_sure = (probabilities.max(axis=1) > _SURE) & is_read
    return {
        str(kind): {
            "pictures": int((kinds == kind).sum()),
            "right": int(is_right[kinds == kind].sum()),
            "wrong_and_sure": int((is_sure & ~is_right)[kinds == kind].sum()),
        }
        for kind in dict.fromkeys(kinds)
    }


def table(counts: dict[str, dict[str, int]]) -> str:
    """Draws the counts as a table in Markdown, with a last line for all."""
    total = {name: sum(row[name] for row in counts.values()) for name in next(iter(counts.values()))}
    lines = [f"| kind | pictures | right | wrong and surer than {_SURE} |", "| --- | --- | --- | --- |"]
    for kind, row in {**counts, "all": total}.items():
        lines.append(f"| {kind} | {row['pictures']} | {row['right']} | {row['wrong_and_sure']} |")
    return "\n".join(lines)


def make_sheet(rng: np.random.Generator, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Returns an even sheet with grain, of this height and width, luminance in [0, 1]."""
    grain = ndimage.gaussian_filter(rng.normal(0, 0.015, shape), 0.8)
    return rng.uniform(0.7, 0.95) + grain


def _write(sheet: np.ndarray, digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scale = rng.uniform(5, 8.5)
    return lay(sheet, np.clip(ndimage.zoom(digit / 255, scale, order=3) * 2.5 - 0.75, 0, 1), rng)


def lay(sheet: np.ndarray, pen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the sheet with ink in [0, 1] somewhere near its middle."""
    top = int((HEIGHT - pen.shape[0]) * rng.uniform(0.3, 0.7))
    left = int((WIDTH - pen.shape[1]) * rng.uniform(0.3, 0.7))
    sheet = sheet.copy()
    sheet[top : top + pen.shape[0], left : left + pen.shape[1]] *= 1 - rng.uniform(0.65, 0.9) * pen
    return sheet


def _stripes(
    rng: np.random.Generator, turned: bool = False, shape: tuple[int, int] = (HEIGHT, WIDTH)
) -> np.ndarray:
    """Lines one to three pixels wide, leaning by up to two degrees, as a factor."""
    height, width = shape
    along, across = _axes(shape)[::-1] if turned else _axes(shape)
    place = across * (width if turned else height) + rng.uniform(-0.035, 0.035) * along * width
    return np.where(place % rng.uniform(35, 75) < rng.integers(1, 4), rng.uniform(0.6, 0.85), 1.0)


def _axes(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel lies to the right and down, in [0, 1]."""
    height, width = shape
    down, right = np.mgrid[:height, :width]
    return right / width, down / height


def _shadow(softness: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        right, down = _axes(gray.shape)
        beyond = right + rng.uniform(-0.5, 0.5) * (down - 0.5) - rng.uniform(0.4, 0.7)
        return gray * (1 - rng.uniform(0.3, 0.5) / (1 + np.exp(-np.clip(beyond / softness, -50, 50))))

    return change


def _vignette(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    right, down = _axes(gray.shape)
    return gray * (1 - rng.uniform(0.6, 1.0) * ((right - 0.5) ** 2 + (down - 0.5) ** 2))


def _desk(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    right, down = _axes(gray.shape)
    edge = rng.uniform(0.04, 0.12) + rng.uniform(-0.05, 0.05) * down
    return np.where(right < edge, rng.uniform(0.1, 0.4), gray)


def _turned(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(gray, rng.uniform(6, 15) * rng.choice([-1, 1]), reshape=False, order=1)


def _on_canvas(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(30, 200, 2)
    canvas = np.ones((HEIGHT + 230, WIDTH + 230))
    canvas[top : top + HEIGHT, left : left + WIDTH] = 0.85 * gray
    return canvas


def _frame(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut out of a form, with two to four of the lines around it."""
    gray, width, tone = gray.copy(), int(rng.integers(4, 14)), rng.uniform(0.1, 0.4)
    for turns in rng.permutation(4)[: rng.integers(2, 5)]:
        np.rot90(gray, turns)[:width] = tone
    return gray


def _printed_box(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gray, margin, tone = gray.copy(), int(rng.integers(8, 20)), rng.uniform(0.1, 0.5)
    for turns in range(4):
        np.rot90(gray, turns)[margin : margin + 3, margin:-margin] = tone
    return gray


def _specks(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gray = gray.copy()
    for row, column, side in zip(
        rng.integers(0, HEIGHT, 8), rng.integers(0, WIDTH, 8), rng.integers(3, 11, 8), strict=True
    ):
        gray[row : row + side, column : column + side] *= 0.45
    return gray


def _plain(gray: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return gray


def _grid(rng: np.random.Generator, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return _stripes(rng, shape=shape) * _stripes(rng, turned=True, shape=shape)


RULINGS: dict[str, Callable[..., np.ndarray]] = {
    "ruled": lambda rng, shape=(HEIGHT, WIDTH): _stripes(rng, shape=shape),
    "grid": _grid,
    "ruled, in half shadow": lambda rng, shape=(HEIGHT, WIDTH): _stripes(rng, shape=shape),
}
KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "even sheet": _plain,
    "light on dark": lambda gray, _: 1 - gray,
    "hard shadow": _shadow(0.001),
    "soft shadow": _shadow(0.06),
    "vignette": _vignette,
    "edge of a desk": _desk,
    "turned, black corners": _turned,
    "on a white canvas": _on_canvas,
    "frame at the border": _frame,
    "printed box": _printed_box,
    "specks": _specks,
    "noise": lambda gray, rng: gray + rng.normal(0, 0.1, gray.shape),
    "ruled": _plain,
    "grid": _plain,
    "ruled, in half shadow": _shadow(0.001),
}

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
