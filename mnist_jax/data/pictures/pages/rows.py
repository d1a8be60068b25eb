"""What was read on pages, as plain values, lines of text and pictures (no JAX)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mnist_jax.data.pictures.answer import describe_answer
from mnist_jax.data.pictures.pages.answer import Digit, to_text
from mnist_jax.data.pictures.pages.draw import draw_boxes
from mnist_jax.data.pictures.read import Picture
from mnist_jax.errors import ConfigError


def describe(picture: Picture, digits: Sequence[Digit], top: int = 1) -> dict[str, Any]:
    """Puts the answers for one page into plain values.

    Args:
        picture: the page.
        digits: what was read there, in reading order.
        top: how many classes of each digit to list; 1 for the likeliest alone, without a list.

    Returns:
        ``{"file", "digits", "text"}`` or ``{"file", "error"}``; with ``index`` where the page was one of
        several in a file. ``text`` has a string for each line. Each digit has ``box`` (top, left, bottom,
        right in pixels of the picture, ends exclusive), ``line`` and ``place`` in it (from 0), ``label``,
        ``probability``, ``probabilities`` (by class), ``unsure`` and ``reason``.
    """
    row: dict[str, Any] = {"file": picture.file}
    if picture.index is not None:
        row["index"] = picture.index
    if picture.page is None:
        return {**row, "error": picture.error}
    return {**row, "digits": [describe_digit(digit, top) for digit in digits], "text": to_text(digits)}


def describe_digit(digit: Digit, top: int = 1) -> dict[str, Any]:
    """Puts one digit into plain values: what `describe_answer` returns, and where it is."""
    place = {"box": list(digit.box), "line": digit.line, "place": digit.place}
    return place | describe_answer(digit.probabilities, range(10), digit.doubt, top)


def as_lines(row: dict[str, Any]) -> list[str]:
    """Returns the lines of a page that `describe` described, each with what is doubted in it."""
    lines = []
    for number, text in enumerate(row["text"]):
        doubted = [
            f"{digit['place'] + 1}: {digit['reason']}"
            for digit in row["digits"]
            if digit["line"] == number and digit["unsure"]
        ]
        lines.append(f"{text}  ({'; '.join(doubted)})" if doubted else text)
    return lines or ["no digits"]


def draw_all(path: str, read: Sequence[tuple[Picture, Sequence[Digit]]]) -> Iterator[tuple[Path, bytes]]:
    """Draws every page with its boxes and answers, as ``NAME.boxes.png``, or the only one under this name.

    Args:
        path: a folder; a file where it ends in ``.png``.
        read: the pages and what was read there; those that could not be read are left out.

    Yields:
        where to write a page, and the PNG file.

    Raises:
        ConfigError: there are several pages for one file.
    """
    pages = [(picture, picture.page, digits) for picture, digits in read if picture.page is not None]
    is_file = path.lower().endswith(".png")
    if is_file and len(pages) > 1:
        raise ConfigError([f"boxes: {path} is one file for {len(pages)} pages; expected a folder"])
    taken: set[str] = set()
    for picture, page, digits in pages:
        yield Path(path) if is_file else Path(path) / _name(picture, taken), draw_boxes(page, digits)


def _name(picture: Picture, taken: set[str]) -> str:
    stem = "page" if picture.file == "-" else Path(picture.file).stem
    stem += "" if picture.index is None else f"_{picture.index}"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return f"{name}.boxes.png"
