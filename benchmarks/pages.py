"""``python -m benchmarks.pages``: what a run reads on made-up pages of test digits, by kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.page_makers import Box, Page, make_pages
from benchmarks.result_files import JSON_FILE, KEEP, make_result, write_result
from mnist_jax import cli
from mnist_jax.errors import DataError
from mnist_jax.terminal.format import format_percent

if TYPE_CHECKING:
    from mnist_jax.data.pictures.pages.answer import PredictFn

COMMAND = cli.Command(
    "python -m benchmarks.pages",
    "Writes test digits of MNIST in lines, forms and tables on pages with the light, lines and noise that\n"
    "photographs and scans have, and counts the digits that a run finds, reads and puts in order.",
    (
        cli.WORKDIR,
        cli.Flag("pages", 50, "pages of each of the two makers", at_least=1, metavar="N"),
        cli.Flag("seed", 0, "of the pages", at_least=0, metavar="S"),
        JSON_FILE,
        KEEP,
    ),
)

# A box is a digit's where they share this much of what they cover together.
_SAME = 0.5


class Answer(NamedTuple):
    """What was read at a box; in reading order."""

    box: Box
    label: int
    line: int


def main(arguments: cli.Arguments) -> int:
    """Reads all pages and prints a table."""
    from mnist_jax.data import load_splits
    from mnist_jax.run.load import load
    from mnist_jax.runtime.environment import collect_versions, describe_device

    model = load(arguments["workdir"])
    test = load_splits("mnist").test
    made = make_pages((test.images[..., 0], test.labels), arguments["pages"], arguments["seed"])
    counts = {}
    for maker, pages in made.items():
        answers = read(pages, model.predict)
        counts[maker] = count(pages, answers)
    settings = {name: arguments[name] for name in ("pages", "seed")}
    device = str(describe_device()["device"])
    result = make_result("pages", device, settings, {"makers": counts}, collect_versions())
    print(table(counts))
    write_result(result, arguments["json"], arguments["keep"])
    return 0


def read(pages: Sequence[Page], predict: "PredictFn") -> list[list[Answer]]:
    """Returns the answers for each page; none where nothing was found."""
    from mnist_jax.data.pictures.pages.answer import answer_pages
    from mnist_jax.data.pictures.pages.find import Group, load_page

    found: list[list[Group]] = []
    for page in pages:
        try:
            found.append(load_page(page.source).groups)
        except DataError:
            found.append([])
    return [
        [Answer(digit.box, digit.label, digit.line) for digit in digits]
        for digits in answer_pages(found, predict)
    ]


def count(pages: Sequence[Page], answers: Sequence[Sequence[Answer]]) -> dict[str, dict[str, int]]:
    """Counts pages, digits, those found, those found and right, other boxes, and pages in order, by kind."""
    rows: dict[str, dict[str, int]] = {}
    for page, found in zip(pages, answers, strict=True):
        row = rows.setdefault(
            page.kind, dict.fromkeys(("pages", "digits", "found", "right", "others", "in_order"), 0)
        )
        truth = [digit for line in page.lines for digit in line]
        pairs = match([digit.box for digit in truth], [answer.box for answer in found])
        row["pages"] += 1
        row["digits"] += len(truth)
        row["found"] += len(pairs)
        row["right"] += sum(truth[i].label == found[j].label for i, j in pairs.items())
        row["others"] += len(found) - len(pairs)
        line_of = [number for number, line in enumerate(page.lines) for _ in line]
        order = [pairs[i] for i in sorted(pairs)]
        lines = {(line_of[i], found[j].line) for i, j in pairs.items()}
        has_lines = len({a for a, _ in lines}) == len({b for _, b in lines}) == len(lines)
        row["in_order"] += order == sorted(order) and has_lines
    return rows


def match(truth: Sequence[Box], found: Sequence[Box]) -> dict[int, int]:
    """Returns for each true box that is found the number of the box that covers it best."""
    if not truth or not found:
        return {}
    a, b = np.array(truth, float)[:, None], np.array(found, float)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b)]
    overlap = shared / (areas[0] + areas[1] - shared)
    best = overlap.argmax(axis=1)
    return {i: int(j) for i, j in enumerate(best) if overlap[i, j] >= _SAME and overlap[:, j].argmax() == i}


def table(counts: dict[str, dict[str, dict[str, int]]]) -> str:
    """Draws the counts as a table in Markdown, with a last line for all of each maker."""
    lines = [
        "| maker | kind | pages | digits | found | found and right | other boxes | pages in order |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for maker, rows in counts.items():
        total = {name: sum(row[name] for row in rows.values()) for name in next(iter(rows.values()))}
        for kind, row in {**rows, "all": total}.items():
            share = f"{row['right']} ({format_percent(row['right'] / row['digits'])})"
            lines.append(
                f"| {maker} | {kind} | {row['pages']} | {row['digits']} | {row['found']} | {share} | "
                f"{row['others']} | {row['in_order']} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
